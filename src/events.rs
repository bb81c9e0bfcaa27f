//! What happens that is worth telling, each fact in one place: the line in the log and the metric are
//! drawn from it.
//!
//! No event holds a target or a key. The log has an alias by its shortened name, and of a client its
//! network.

use std::net::IpAddr;
use std::sync::Arc;

use crate::alias::AliasName;
use crate::message_id::MessageId;
use crate::metrics::{IntCounter, Label, Metrics, Tally, labels};

/// Something that has happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Page or API has handed out an alias.
    Created(&'a AliasName),
    /// Its holder has changed an alias.
    Changed(&'a AliasName),
    /// Its holder has revoked an alias.
    Revoked(&'a AliasName),
    /// Aliases that were over have been deleted for good.
    Purged {
        /// Past their last day.
        expired: usize,
        /// Without a use left.
        used_up: usize,
    },
    /// An SMTP client was refused at the greeting.
    Rejected {
        /// Who.
        client: IpAddr,
        /// Why.
        reason: Rejection,
    },
    /// A recipient was refused.
    Refused {
        /// To whom.
        client: IpAddr,
        /// The alias that was meant, when there is one.
        alias: Option<&'a AliasName>,
        /// Why.
        reason: &'a Refusal,
        /// The reply's.
        code: u16,
    },
    /// A session lost its connection to the smarthost to another client, and ends.
    Preempted {
        /// Whose session.
        client: IpAddr,
        /// What it was about.
        during: Stage,
    },
    /// A message that came as far as DATA has come to its end.
    Message {
        /// Who sent it.
        client: IpAddr,
        /// Its id, or that of the message which a bounce is about.
        id: Option<MessageId>,
        /// Whom it was for, or whose message a bounce is about.
        alias: Option<&'a AliasName>,
        /// What became of it.
        outcome: &'a Outcome,
        /// The reply's; none for a client that has gone.
        code: Option<u16>,
    },
    /// The use that a message had taken was given back: the smarthost has not taken the message.
    Refunded {
        /// Which message.
        id: MessageId,
        /// Whose use.
        alias: &'a AliasName,
    },
}

/// What a session was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waited for a command, or carried out one of little consequence.
    Idle,
    /// RCPT.
    Recipient,
    /// DATA.
    Message,
}

labels! {
    /// Why a client is refused at the greeting.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Rejection {
        /// It has connected too often in this minute.
        TooManyConnections => "too-many-connections",
        /// It has named too many recipients that do not exist.
        Harvesting => "harvesting",
        /// All sessions are taken.
        Full => "full",
        /// The client or its network has all the sessions it may have.
        FullForClient => "full-for-client",
    }
}

labels! {
    /// Why a recipient is refused, for good or for now.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Refusal {
        /// There is no such alias; also a bounce address that was not made here.
        NoAlias => "no-alias",
        /// The alias does not forward yet. The client hears the same as of [`Refusal::NoAlias`], here and
        /// in the next four.
        Pending => "pending",
        /// Its time is over.
        Expired => "expired",
        /// No use is left.
        UsedUp => "used-up",
        /// Its holder has paused it.
        Paused => "paused",
        /// Too many of its messages have bounced.
        Suspended => "suspended",
        /// The domain is not served here.
        Relaying => "relaying",
        /// The client is on this DNS list.
        Listed(String) => "listed",
        /// The client has named too many recipients that do not exist.
        Harvesting => "harvesting",
        /// The message has a recipient already.
        TooManyRecipients => "too-many-recipients",
        /// The smarthost takes no message of the declared size.
        TooLarge => "too-large",
        /// The smarthost does not take 8-bit text.
        NoEightBit => "no-8bit",
        /// The smarthost does not take UTF-8 in addresses.
        NoUtf8 => "no-utf8",
        /// All connections to the smarthost are in use.
        TooBusy => "too-busy",
        /// The client has, or waits for, all the connections to the smarthost that it may have.
        TooBusyWithClient => "too-busy-with-client",
        /// Too many clients wait to deliver to the alias.
        TooBusyWithAlias => "too-busy-with-alias",
        /// The client hung up while it waited for the smarthost.
        ClientGone => "client-gone",
        /// Another client needed the connection to the smarthost.
        Preempted => "preempted",
        /// The smarthost refused the recipient, with this code.
        SmarthostRefused(u16) => "smarthost-refused",
        /// The smarthost cannot be used.
        SmarthostFailed => "smarthost-failed",
        /// The ledger cannot be read.
        LedgerFailed => "ledger-failed",
    }
}

labels! {
    /// What becomes of a message that came as far as DATA.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Outcome {
        /// The smarthost has taken it.
        Delivered(Delivery) => "delivered",
        /// The smarthost did not answer the final dot: it may be delivered, and its use stays spent.
        InDoubt => "in-doubt",
        /// The last use of the alias was spent by another message.
        UsedUp => "used-up",
        /// The smarthost refused it for good, with this code.
        MessageRefused(u16) => "smarthost-refused-message",
        /// The smarthost refused it for now.
        MessageDeferred => "smarthost-deferred-message",
        /// The smarthost refused DATA, with this code.
        SmarthostRefused(u16) => "smarthost-refused",
        /// The smarthost cannot be used.
        SmarthostFailed => "smarthost-failed",
        /// The smarthost went away in the middle of the message.
        SmarthostLost => "smarthost-lost",
        /// The ledger could take no use, or note no bounce.
        LedgerFailed => "ledger-failed",
        /// Larger than we or the smarthost take.
        TooLarge => "too-large",
        /// Its header section is too large.
        HeaderTooLarge => "header-too-large",
        /// It has a bare CR, a bare LF or a NUL.
        BadLine => "bad-line",
        /// The client sent text before the 354.
        EarlyData => "out-of-turn",
        /// It has been here before.
        Loop => "loop",
        /// The smarthost does not take 8-bit text.
        NoEightBit => "no-8bit",
        /// The smarthost does not take UTF-8 in addresses.
        NoUtf8 => "no-utf8",
        /// A bounce, which counts against the alias.
        Bounced => "bounce",
        /// A bounce, the last that it took to suspend the alias.
        Suspended => "bounce-suspended-alias",
        /// A bounce that came soon enough to give the use back.
        BounceRefunded => "bounce-refunded",
        /// A bounce that changes nothing.
        BounceIgnored => "bounce-ignored",
        /// A message to a bounce address that is no bounce.
        NotABounce => "not-a-bounce",
        /// The client sent it too slowly.
        TooSlow => "aborted",
        /// The client sent far more than the limit.
        Endless => "aborted",
        /// The client hung up.
        ClientGone => "aborted",
        /// Another client needed the connection to the smarthost.
        Preempted => "preempted",
    }
}

/// What was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The message's id.
    pub id: MessageId,
    /// Octets of its text, as the client sent them.
    pub octets: u64,
}

/// Where events are told. Clones are the same.
#[derive(Clone, Default)]
pub struct Events(Arc<Counters>);

struct Counters {
    metrics: Metrics,
    created: IntCounter,
    /// Expired, used up.
    purged: [IntCounter; 2],
    rejected: Tally<Rejection>,
    refused: Tally<Refusal>,
    preempted: IntCounter,
    messages: Tally<Outcome>,
    octets: IntCounter,
}

impl Events {
    /// Tells what has happened.
    pub fn tell(&self, event: Event<'_>) {
        self.0.count(event);
        log(event);
    }

    /// What is counted of events.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}

fn log(event: Event<'_>) {
    match event {
        Event::Created(alias) => tracing::info!(alias = alias.shortened(), "alias created"),
        Event::Changed(alias) => tracing::info!(alias = alias.shortened(), "alias changed"),
        Event::Revoked(alias) => tracing::info!(alias = alias.shortened(), "alias revoked"),
        Event::Purged { expired, used_up } => tracing::info!(expired, used_up, "purged"),
        Event::Rejected { client, reason } => {
            tracing::debug!(reason = reason.as_str(), client = network(client), "client rejected");
        }
        Event::Refused { client, alias, reason, code } => {
            let (alias, client) = (alias.map(AliasName::shortened), network(client));
            tracing::info!(reason = reason.as_str(), code, alias, client, "recipient refused");
        }
        Event::Preempted { client, .. } => {
            tracing::info!(client = network(client), "preempted: other clients wait for the smarthost");
        }
        Event::Refunded { id, alias } => tracing::info!(%id, alias = alias.shortened(), "refunded"),
        Event::Message { client, id, alias, outcome, code } => {
            let id = id.map(tracing::field::display);
            let (alias, client) = (alias.map(AliasName::shortened), network(client));
            let what = match outcome {
                Outcome::Delivered(_) => "delivered",
                Outcome::InDoubt => "in doubt",
                Outcome::Bounced => "bounced",
                Outcome::Suspended => "suspended",
                Outcome::BounceRefunded => "bounced and refunded",
                Outcome::BounceIgnored => "bounce ignored",
                Outcome::TooSlow | Outcome::Endless | Outcome::ClientGone => {
                    return tracing::debug!(id, alias, client, "message aborted");
                }
                reason => {
                    let reason = reason.as_str();
                    return tracing::info!(id, reason, code, alias, client, "message refused");
                }
            };
            tracing::info!(id, code, alias, client, "{what}");
        }
    }
}

/// The client's network: /24 or /48, no person's address.
pub(crate) fn network(client: IpAddr) -> String {
    match client.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}::/48")
        }
    }
}

impl Counters {
    fn count(&self, event: Event<'_>) {
        match event {
            Event::Created(_) => self.created.inc(),
            Event::Purged { expired, used_up } => {
                for (counter, count) in self.purged.iter().zip([expired, used_up]) {
                    counter.inc_by(count as u64);
                }
            }
            Event::Rejected { reason, .. } => self.rejected.count(&reason),
            Event::Refused { reason, .. } => self.refused.count(reason),
            Event::Preempted { during, .. } => {
                self.preempted.inc();
                match during {
                    Stage::Idle => {}
                    Stage::Recipient => self.refused.count(&Refusal::Preempted),
                    Stage::Message => self.messages.count(&Outcome::Preempted),
                }
            }
            Event::Message { outcome, .. } => {
                self.messages.count(outcome);
                match outcome {
                    Outcome::Delivered(delivery) => self.octets.inc_by(delivery.octets),
                    Outcome::Preempted => self.preempted.inc(),
                    _ => {}
                }
            }
            Event::Changed(_) | Event::Revoked(_) | Event::Refunded { .. } => {}
        }
    }
}

impl Default for Counters {
    fn default() -> Self {
        let metrics = Metrics::default();
        Counters {
            created: metrics.counter(
                "tempalias_http_aliases_created_total",
                "Aliases that were handed out by page and API.",
            ),
            purged: metrics.counters(
                "tempalias_ledger_aliases_purged_total",
                "Aliases that were deleted for good, by what was over.",
                ("reason", ["expired", "used-up"]),
            ),
            rejected: metrics.tally(
                "tempalias_smtp_sessions_refused_total",
                "SMTP clients that heard 421 instead of the greeting.",
                "reason",
            ),
            refused: metrics.tally(
                "tempalias_smtp_recipients_refused_total",
                "Recipients that were refused, or put off.",
                "reason",
            ),
            preempted: metrics.counter(
                "tempalias_smtp_preempted_total",
                "Sessions that had to give up their connection to the smarthost, because others waited.",
            ),
            messages: metrics.tally(
                "tempalias_smtp_messages_total",
                "Messages that came as far as DATA, by what became of them.",
                "outcome",
            ),
            octets: metrics.counter(
                "tempalias_smtp_delivered_bytes_total",
                "Octets of the delivered messages, as their clients have sent them.",
            ),
            metrics,
        }
    }
}
