//! What becomes of a recipient or a message: the words for the client, and those for the log.

use super::recipient::Refusal;
use super::reply;
use crate::alias::AliasName;
use crate::ledger::LedgerError;
use crate::relay::{RelayError, Unfit};
use crate::smtp::headers::HeaderFault;
use crate::smtp::reply::Reply;

/// A reply, and what to log beside it.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) reply: Reply,
    pub(super) reason: &'static str,
    /// Which alias it is about.
    pub(super) alias: Option<AliasName>,
}

impl Verdict {
    pub(super) fn new(reply: Reply, reason: &'static str) -> Self {
        Verdict { reply, reason, alias: None }
    }

    pub(super) fn about(self, alias: Option<&AliasName>) -> Self {
        Verdict { alias: alias.cloned(), ..self }
    }

    /// The smarthost's fault: `by_code` tells the answer to a refusal, all else is "later".
    pub(super) fn upstream(cause: &RelayError, stage: &'static str, by_code: impl Fn(u16) -> Reply) -> Self {
        match cause {
            RelayError::Refused(code) => {
                tracing::info!(stage, code, "the smarthost refused");
                Verdict::new(by_code(*code), "smarthost-refused")
            }
            RelayError::Unfit(Unfit::TooLarge) => Verdict::new(reply::TOO_LARGE, "too-large"),
            RelayError::Unfit(Unfit::EightBit) => Verdict::new(reply::NO_8BIT, "no-8bit"),
            RelayError::Unfit(Unfit::Utf8) => Verdict::new(reply::NO_UTF8, "no-utf8"),
            RelayError::Tls(_) | RelayError::Failed(_) => {
                tracing::warn!(stage, %cause, "the smarthost is in trouble");
                Verdict::new(reply::SMARTHOST_UNAVAILABLE, "smarthost-failed")
            }
        }
    }

    /// The smarthost has failed before, in this transaction.
    pub(super) fn no_smarthost() -> Self {
        Verdict::new(reply::SMARTHOST_UNAVAILABLE, "smarthost-failed")
    }

    /// The smarthost answered the message with `code` (4xx or 5xx), at its end or in the middle of it.
    pub(super) fn message_refused(code: u16) -> Self {
        match code {
            552 => Verdict::new(reply::TOO_LARGE, "smarthost-refused-message"),
            500.. => Verdict::new(reply::MESSAGE_REFUSED, "smarthost-refused-message"),
            _ => Verdict::new(reply::MESSAGE_LATER, "smarthost-deferred-message"),
        }
    }

    /// The smarthost refused the message or went away in the middle of the text; nothing has been spent.
    pub(super) fn lost(cause: &RelayError) -> Self {
        if let RelayError::Refused(code) = cause {
            tracing::info!(stage = "text", code, "the smarthost refused");
            return Verdict::message_refused(*code);
        }
        tracing::warn!(stage = "text", %cause, "the smarthost is in trouble");
        Verdict::new(reply::SMARTHOST_UNAVAILABLE, "smarthost-lost")
    }

    /// The ledger's fault; nothing has been spent.
    pub(super) fn ledger(cause: &LedgerError) -> Self {
        tracing::error!(%cause, "no use could be taken");
        Verdict::new(reply::NO_ROOM, "ledger-failed")
    }
}

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Self {
        match &refusal {
            Refusal::Relaying => Verdict::new(refusal.reply(), "relaying"),
            Refusal::Unknown => Verdict::new(refusal.reply(), "no-alias"),
            Refusal::Inactive(name, state) => Verdict::new(refusal.reply(), state.as_str()).about(Some(name)),
            Refusal::Ledger(cause) => {
                tracing::error!(%cause, "an alias could not be looked up");
                Verdict::new(refusal.reply(), "ledger-failed")
            }
        }
    }
}

impl From<HeaderFault> for Verdict {
    fn from(fault: HeaderFault) -> Self {
        match fault {
            HeaderFault::Loop => Verdict::new(reply::LOOP, "loop"),
            HeaderFault::TooLarge => Verdict::new(reply::HEADER_TOO_LARGE, "header-too-large"),
        }
    }
}
