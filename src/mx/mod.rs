//! The MX: what arrives for our aliases, and goes on to the smarthost.
//!
//! [`listener`] → [`wire`] → [`session`] → [`message`] → [`transaction`] → [`settlement`].
//!
//! | file | what is in it |
//! |---|---|
//! | [`listener`] | accept, count, hand over |
//! | [`wire`], [`data`] | bounded lines and deadlines; where a message ends, and which lines are not lines |
//! | [`pace`], [`guesses`] | how fast a message must come; how often a client may guess |
//! | [`first_contact`] | what a stranger must not learn by the time |
//! | [`session`], [`message`] | one client, from the banner to the last word; DATA, from 354 to the answer |
//! | [`command`], [`conversation`] | one line, parsed by smtp-proto; the order of commands, which is mailin's |
//! | [`transaction`], [`recipient`] | the envelope; who is meant by RCPT |
//! | [`settlement`], [`trace`] | the text, what it costs and how it ends; our header fields, and loops |
//! | [`report`] | a bounce as it streams by: the part that decides |
//! | [`dsn`], [`notice`] | what a delivery status reports; what a bounce in plain text does |
//! | [`counters`] | what is counted |
//! | [`fuzzing`] | a session without a network, for tests |
//! | [`verdict`], [`reply`] | what becomes of a recipient or a message; every text we say |
//!
//! `docs/design.md` says why mailin's own server is not used here.

mod command;
mod conversation;
mod counters;
mod data;
mod dsn;
mod first_contact;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod guesses;
mod listener;
mod message;
mod notice;
mod pace;
mod recipient;
mod reply;
mod report;
mod session;
mod settlement;
mod trace;
mod transaction;
mod verdict;
mod wire;

pub use listener::serve;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

use crate::address::{Domain, Mailbox};
use crate::alias::{AliasName, SUSPENDED_AFTER_BOUNCES};
use crate::bounce::{BounceKey, Failure};
use crate::clock;
use crate::config::{Config, Smtp};
use crate::dnsbl::Lists;
use crate::ledger::{Bounced, Ledger};
use crate::message_id::MessageId;
use crate::metrics::Metrics;
use crate::net::limits::{ClientNet, Rate, Slots, lesser_limit};
use crate::net::tls::Identity;
use crate::relay::{Busy, Claim, FairQueue, Lease, Smarthost};
use counters::Counters;
use first_contact::FirstContact;
use guesses::Guesses;
use pace::Pace;
use verdict::Verdict;

const MINUTE: Duration = Duration::from_secs(60);

/// A session may go on without a message for so many times the wait for one command: 30 minutes,
/// or one when sessions are scarce.
const FRUITLESS_WAITS: u32 = 6;

/// How long an envelope may keep the smarthost waiting between its first recipient and DATA: as
/// long as RFC 5321 §4.5.3.2.7 wants a server to wait for a command.
const ENVELOPE_TIMEOUT: Duration = Duration::from_secs(300);

/// A client may have one in so many of the connections to the smarthost.
const SHARES: usize = 4;

/// Who waits for a connection to the smarthost waits so many times as long, at least, as one is held before it may
/// be preempted. Otherwise they would have given up before.
const GRACES: u32 = 3;

/// Whether slots are scarce is looked at so often while a client is waited for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long it is remembered, at least, that a client has delivered a message; twice as long at most.
const DELIVERY_REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// What all sessions share.
pub struct Mx {
    hostname: String,
    domains: Vec<Domain>,
    postmaster: Mailbox,
    limits: Smtp,
    slots: Arc<Slots>,
    /// Connections to the smarthost, and how long to wait for one.
    upstream: Arc<FairQueue>,
    most_upstream: usize,
    /// After so long one may be preempted.
    upstream_grace: Duration,
    upstream_patience: Duration,
    connections: Arc<Rate>,
    guesses: Guesses,
    first_contact: Arc<FirstContact>,
    lists: Lists,
    ledger: Ledger,
    bounce_key: BounceKey,
    /// Uses that are still to be given back; the orderly stop waits for them.
    refunds: TaskTracker,
    smarthost: Smarthost,
    identity: Option<Identity>,
    counters: Arc<Counters>,
}

impl Mx {
    /// The MX for `config`, in front of `smarthost`; with an `identity` it offers STARTTLS.
    ///
    /// # Panics
    /// When there is no domain: the configuration has been checked.
    pub fn new(config: &Config, ledger: Ledger, smarthost: Smarthost, identity: Option<Identity>) -> Self {
        assert!(!config.domains.is_empty(), "a checked configuration has a domain");
        let limits = config.smtp.clone();
        let most_upstream = config.smarthost.max_connections;
        let upstream_patience = config.smarthost.connect_timeout;
        let upstream_grace = limits.stress_timeout.min(upstream_patience / GRACES);
        Mx {
            hostname: config.hostname.to_string(),
            domains: config.domains.clone(),
            postmaster: config.postmaster.clone(),
            slots: Slots::new(limits.max_connections, limits.max_connections_per_ip),
            upstream: FairQueue::new(most_upstream, most_upstream.div_ceil(SHARES), upstream_grace),
            upstream_grace,
            most_upstream,
            upstream_patience,
            connections: Arc::new(Rate::new(limits.connections_per_minute, MINUTE)),
            guesses: Guesses::new(limits.unknown_recipients_per_hour),
            first_contact: Arc::default(),
            lists: Lists::new(&limits.rbls, &config.dns),
            limits,
            bounce_key: BounceKey::new(ledger.secret()),
            ledger,
            refunds: TaskTracker::new(),
            smarthost,
            identity,
            counters: Arc::default(),
        }
    }

    /// The same with another configuration. What is counted goes on; who has come how often is
    /// remembered unless the limit is another.
    pub fn renewed(&self, config: &Config, smarthost: Smarthost, identity: Option<Identity>) -> Self {
        let fresh = Mx::new(config, self.ledger.clone(), smarthost, identity);
        let (old, new) = (&self.limits, &fresh.limits);
        let keeps_slots = (old.max_connections, old.max_connections_per_ip)
            == (new.max_connections, new.max_connections_per_ip);
        let keeps_upstream =
            (self.most_upstream, self.upstream_grace) == (fresh.most_upstream, fresh.upstream_grace);
        let keeps_connections = old.connections_per_minute == new.connections_per_minute;
        Mx {
            slots: if keeps_slots { self.slots.clone() } else { fresh.slots },
            upstream: if keeps_upstream { self.upstream.clone() } else { fresh.upstream },
            connections: if keeps_connections { self.connections.clone() } else { fresh.connections },
            guesses: self.guesses.renewed(new.unknown_recipients_per_hour),
            first_contact: self.first_contact.clone(),
            lists: self.lists.renewed(&config.smtp.rbls, &config.dns),
            refunds: self.refunds.clone(),
            counters: self.counters.clone(),
            ..fresh
        }
    }

    /// Where accepted mail goes.
    pub fn smarthost(&self) -> &Smarthost {
        &self.smarthost
    }

    /// The DNS lists, to be watched.
    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    /// What is counted here, and of the smarthost.
    pub fn metrics(&self) -> [&Metrics; 2] {
        [&self.counters.metrics, self.smarthost.metrics()]
    }

    /// Forgets the clients that have not come for so long that there is nothing to know of them.
    pub fn forget_clients(&self) {
        self.connections.forget();
        self.guesses.forget();
        self.first_contact.forget();
    }

    /// Our domain that `name` means: any case, with or without a trailing dot, in ASCII or not.
    fn own_domain(&self, name: &str) -> Option<&Domain> {
        let international: Option<Domain> = if name.is_ascii() { None } else { name.parse().ok() };
        let name = international.as_ref().map_or(name, Domain::as_str);
        let name = name.strip_suffix('.').unwrap_or(name);
        self.domains.iter().find(|domain| domain.as_str().eq_ignore_ascii_case(name))
    }

    /// How long to wait, from now, for the next command of a client that has delivered nothing for
    /// the time of `fruitless`: commands to no end must not hold a slot for ever.
    fn patience(&self, fruitless: Duration) -> Duration {
        let Smtp { idle_timeout, stress_timeout, .. } = self.limits;
        let idle = if self.slots.are_scarce() { stress_timeout.min(idle_timeout) } else { idle_timeout };
        idle.min((FRUITLESS_WAITS * idle).saturating_sub(fruitless))
    }

    /// Remembers that `client` has delivered a message to `alias`, or to the postmaster.
    fn note_delivery(&self, client: ClientNet, alias: Option<&AliasName>) {
        self.guesses.note_delivery(client);
        self.first_contact.note_delivery(client, alias);
    }

    /// A place for a connection to the smarthost. Who finds none waits for it a while: the others
    /// mostly need theirs for less than a second.
    async fn upstream_lease(&self, claim: Claim) -> Result<Lease, Verdict> {
        let lease = self.upstream.wait(claim, self.upstream_patience).await;
        lease.map_err(|busy| match busy {
            Busy::ForAll => Verdict::new(reply::TOO_BUSY, "too-busy"),
            Busy::ForClient => Verdict::new(reply::TOO_BUSY, "too-busy-with-client"),
            Busy::ForAlias => Verdict::new(reply::TOO_BUSY, "too-busy-with-alias"),
        })
    }

    /// Ends when the smarthost has been kept waiting for DATA since `since` for as long as there is
    /// time. That may become less while somebody waits.
    async fn envelope_is_over(&self, since: Option<Instant>) {
        let Some(since) = since else { return std::future::pending().await };
        loop {
            let patience = match self.upstream.are_wanted() {
                true => self.limits.stress_timeout.min(ENVELOPE_TIMEOUT),
                false => ENVELOPE_TIMEOUT,
            };
            let (end, look_again) = (since + patience, Instant::now() + LOOK_AGAIN);
            sleep_until(end.min(look_again)).await;
            if end <= look_again {
                return;
            }
        }
    }

    /// How fast a text must come; faster when slots are scarce, ours or the smarthost's.
    fn pace(&self) -> Pace {
        match self.slots.are_scarce() || self.upstream.are_wanted() {
            true => Pace::hurried(self.limits.min_data_rate, self.limits.stress_timeout),
            false => Pace::new(self.limits.min_data_rate),
        }
    }

    /// The largest message in octets, by our limit and the smarthost's as last heard; 0: no limit.
    fn max_size(&self) -> u64 {
        let its_limit = self.smarthost.capabilities().and_then(|smarthost| smarthost.max_size);
        lesser_limit(self.limits.max_size, its_limit.unwrap_or(0))
    }

    fn default_domain(&self) -> &Domain {
        &self.domains[0]
    }

    /// Notes that `message` to the target of `name` has failed.
    async fn note_bounce(&self, name: AliasName, message: MessageId, failure: Failure) -> Verdict {
        match self.ledger.bounced(name, message, failure, clock::now()).await {
            Ok(Bounced { in_a_row: Some(SUSPENDED_AFTER_BOUNCES), .. }) => {
                Verdict::new(reply::BOUNCE_TAKEN, "bounce-suspended-alias")
            }
            Ok(Bounced { in_a_row: Some(_), .. }) => Verdict::new(reply::BOUNCE_TAKEN, "bounce"),
            Ok(Bounced { is_refunded: true, .. }) => Verdict::new(reply::BOUNCE_TAKEN, "bounce-refunded"),
            Ok(_) => Verdict::new(reply::BOUNCE_TAKEN, "bounce-ignored"),
            Err(cause) => {
                tracing::error!(%cause, "a bounce could not be noted");
                Verdict::new(reply::NO_ROOM, "ledger-failed")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60);

    /// docs/smtp.md §2: half an hour without a message.
    #[tokio::test]
    async fn a_session_without_a_message_may_last_half_an_hour() {
        let (mx, _dir) = fuzzing::lonely_mx();
        let idle = mx.limits.idle_timeout;
        assert_eq!(mx.patience(Duration::ZERO), idle);
        assert_eq!(mx.patience(HALF_AN_HOUR - idle), idle);
        assert_eq!(mx.patience(HALF_AN_HOUR - MINUTE), MINUTE);
        assert_eq!(mx.patience(HALF_AN_HOUR), Duration::ZERO);
    }

    /// docs/smtp.md §2: an envelope that is left open while nobody else wants the smarthost.
    #[tokio::test(start_paused = true)]
    async fn an_envelope_without_data_is_over_after_five_minutes() {
        let (mx, _dir) = fuzzing::lonely_mx();
        let start = Instant::now();
        mx.envelope_is_over(Some(start)).await;
        assert_eq!(start.elapsed(), 5 * MINUTE);
    }
}
