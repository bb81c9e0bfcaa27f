//! What the smarthost's failures come to, and the reply to each refusal and each outcome.

use super::reply;
use crate::events::{Outcome, Refusal, Rejection};
use crate::relay::{Busy, RelayError, Unfit};
use crate::smtp::headers::HeaderFault;
use crate::smtp::reply::Reply;

impl From<Busy> for Refusal {
    fn from(busy: Busy) -> Self {
        match busy {
            Busy::ForAll => Refusal::TooBusy,
            Busy::ForClient => Refusal::TooBusyWithClient,
            Busy::ForAlias => Refusal::TooBusyWithAlias,
            Busy::Gone => Refusal::ClientGone,
        }
    }
}

impl Refusal {
    /// What `cause` means for a recipient.
    pub(super) fn by_smarthost(cause: &RelayError) -> Self {
        log_failure("rcpt", cause);
        match cause {
            RelayError::Refused(code) => Refusal::SmarthostRefused(*code),
            RelayError::Unfit(Unfit::TooLarge) => Refusal::TooLarge,
            RelayError::Unfit(Unfit::EightBit) => Refusal::NoEightBit,
            RelayError::Unfit(Unfit::Utf8) => Refusal::NoUtf8,
            RelayError::Tls(_) | RelayError::Failed(_) => Refusal::SmarthostFailed,
        }
    }

    /// The answer to RCPT.
    pub(super) fn reply(&self) -> Reply {
        match self {
            Refusal::NoAlias
            | Refusal::Pending
            | Refusal::Expired
            | Refusal::UsedUp
            | Refusal::Paused
            | Refusal::Suspended => reply::NO_ALIAS,
            Refusal::Relaying => reply::RELAYING_DENIED,
            Refusal::Listed(list) => reply::listed(list),
            Refusal::Harvesting => reply::TOO_MANY_UNKNOWN,
            Refusal::TooManyRecipients => reply::TOO_MANY_RECIPIENTS,
            Refusal::TooLarge => reply::TOO_LARGE,
            Refusal::NoEightBit => reply::NO_8BIT,
            Refusal::NoUtf8 => reply::NO_UTF8,
            Refusal::TooBusy
            | Refusal::TooBusyWithClient
            | Refusal::TooBusyWithAlias
            | Refusal::ClientGone => reply::TOO_BUSY,
            Refusal::Preempted => reply::PREEMPTED,
            Refusal::SmarthostRefused(400..500 | 552) => reply::RECIPIENT_LATER,
            Refusal::SmarthostRefused(_) => reply::RECIPIENT_REFUSED,
            Refusal::SmarthostFailed => reply::SMARTHOST_UNAVAILABLE,
            Refusal::LedgerFailed => reply::NO_ROOM,
        }
    }
}

impl Outcome {
    /// What `cause` means for a message of which nothing was sent.
    pub(super) fn at_data(cause: &RelayError) -> Self {
        log_failure("data", cause);
        match cause {
            RelayError::Refused(code) => Outcome::SmarthostRefused(*code),
            RelayError::Unfit(Unfit::TooLarge) => Outcome::TooLarge,
            RelayError::Unfit(Unfit::EightBit) => Outcome::NoEightBit,
            RelayError::Unfit(Unfit::Utf8) => Outcome::NoUtf8,
            RelayError::Tls(_) | RelayError::Failed(_) => Outcome::SmarthostFailed,
        }
    }

    /// What `cause` means for a message that was begun; nothing has been spent.
    pub(super) fn in_text(cause: &RelayError) -> Self {
        log_failure("text", cause);
        match cause {
            RelayError::Refused(code) => Outcome::refused(*code),
            _ => Outcome::SmarthostLost,
        }
    }

    /// The smarthost answered the message with `code` (4xx or 5xx), at its end or in the middle of it.
    pub(super) fn refused(code: u16) -> Self {
        if code < 500 { Outcome::MessageDeferred } else { Outcome::MessageRefused(code) }
    }

    /// The answer to a message; none for a client that has gone.
    pub(super) fn reply(&self) -> Option<Reply> {
        Some(match self {
            Outcome::Delivered(delivery) => reply::accepted(delivery.id),
            Outcome::InDoubt => reply::OUTCOME_UNKNOWN,
            Outcome::UsedUp => reply::NO_ALIAS,
            Outcome::MessageRefused(552) | Outcome::TooLarge => reply::TOO_LARGE,
            Outcome::MessageRefused(_) => reply::MESSAGE_REFUSED,
            Outcome::SmarthostRefused(400..500) | Outcome::MessageDeferred => reply::MESSAGE_LATER,
            Outcome::SmarthostRefused(_) => reply::MESSAGE_REFUSED,
            Outcome::SmarthostFailed | Outcome::SmarthostLost => reply::SMARTHOST_UNAVAILABLE,
            Outcome::LedgerFailed => reply::NO_ROOM,
            Outcome::HeaderTooLarge => reply::HEADER_TOO_LARGE,
            Outcome::BadLine => reply::BAD_TEXT,
            Outcome::EarlyData => reply::EARLY_DATA,
            Outcome::Loop => reply::LOOP,
            Outcome::NoEightBit => reply::NO_8BIT,
            Outcome::NoUtf8 => reply::NO_UTF8,
            Outcome::Bounced | Outcome::Suspended | Outcome::BounceRefunded | Outcome::BounceIgnored => {
                reply::BOUNCE_TAKEN
            }
            Outcome::NotABounce => reply::BOUNCES_ONLY,
            Outcome::TooSlow => reply::IDLE,
            Outcome::Endless => reply::ENDLESS,
            Outcome::Preempted => reply::PREEMPTED,
            Outcome::ClientGone => return None,
        })
    }
}

impl From<HeaderFault> for Outcome {
    fn from(fault: HeaderFault) -> Self {
        match fault {
            HeaderFault::Loop => Outcome::Loop,
            HeaderFault::TooLarge => Outcome::HeaderTooLarge,
        }
    }
}

fn log_failure(stage: &'static str, cause: &RelayError) {
    match cause {
        RelayError::Refused(code) => tracing::info!(stage, code, "the smarthost refused"),
        RelayError::Unfit(_) => {}
        RelayError::Tls(_) | RelayError::Failed(_) => {
            tracing::warn!(stage, %cause, "the smarthost failed");
        }
    }
}

impl Rejection {
    /// Instead of the greeting.
    pub(super) fn reply(self) -> Reply {
        match self {
            Rejection::TooManyConnections => reply::TOO_MANY_CONNECTIONS,
            Rejection::Harvesting => reply::TOO_MANY_UNKNOWN,
            Rejection::Full => reply::TOO_MANY_SESSIONS,
            Rejection::FullForClient => reply::TOO_MANY_OF_YOURS,
        }
    }
}
