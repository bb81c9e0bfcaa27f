//! The MX: takes messages for our aliases, and passes them on to the smarthost.
//!
//! [`listener`] → [`wire`] → [`session`] → [`transaction`] → [`message`] → [`settlement`].
//!
//! | file | what is in it |
//! |---|---|
//! | [`listener`] | which clients may begin a session |
//! | [`wire`] | the connection to the client, with its deadlines |
//! | [`pace`], [`guesses`] | how fast a message must come; how often a client may guess |
//! | [`first_contact`] | response times, padded for strangers |
//! | [`session`], [`message`] | one client's commands, from the greeting to the last reply; the text of a message |
//! | [`conversation`] | the order of commands, which is mailin's |
//! | [`transaction`], [`recipient`] | the envelope; what the path of RCPT means |
//! | [`settlement`] | the text, what it costs and how it ends |
//! | [`report`] | a bounce as it streams by: the part that decides |
//! | [`dsn`], [`text_bounce`] | what a delivery status reports; what a bounce in plain text does |
//! | [`fields`], [`status`] | header fields of reports; enhanced status codes |
//! | [`counters`] | what is counted |
//! | [`fuzzing`] | a session without a network, for tests |
//! | [`verdict`], [`reply`] | the reply to each refusal and each outcome; every text we say |
//!
//! `docs/design.md` says why mailin's own server is not used here.

mod conversation;
mod counters;
mod dsn;
mod fields;
mod first_contact;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod guesses;
mod listener;
mod message;
mod pace;
mod recipient;
mod reply;
mod report;
mod session;
mod settlement;
mod status;
mod text_bounce;
mod transaction;
mod verdict;
mod wire;

pub use listener::serve;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::task::TaskTracker;

use crate::bounce::BounceKey;
use crate::config::Config;
use crate::dnsbl::Lists;
use crate::events::Events;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::net::limits::{Rate, Slots};
use crate::net::tls::Identity;
use crate::relay::Smarthost;
use counters::Counters;
use first_contact::FirstContact;
use guesses::Guesses;

const MINUTE: Duration = Duration::from_secs(60);

/// Whether sessions or connections to the smarthost are scarce is checked so often while a client is
/// waited for.
const RECHECK: Duration = Duration::from_secs(1);

/// How long it is remembered, at least, that a client has delivered a message; twice as long at most.
const DELIVERY_REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// What all sessions share.
pub struct Mx {
    current: ArcSwap<Current>,
    ledger: Ledger,
    bounce_key: BounceKey,
    events: Events,
    slots: Arc<Slots>,
    connections: Rate,
    guesses: Guesses,
    first_contact: FirstContact,
    lists: Lists,
    /// Uses that are still to be given back; the orderly stop waits for them.
    refunds: TaskTracker,
    counters: Counters,
}

/// What a reload replaces: all of it at once, so that no session begins with a part of it.
struct Current {
    config: Arc<Config>,
    smarthost: Smarthost,
    /// With one STARTTLS is offered.
    identity: Option<Identity>,
}

/// What is set when a session begins, and stays so to its end.
struct Setup<'a> {
    mx: &'a Mx,
    current: Arc<Current>,
}

impl Deref for Setup<'_> {
    type Target = Current;

    fn deref(&self) -> &Current {
        &self.current
    }
}

impl Mx {
    /// The MX in front of `smarthost`; with an `identity` it offers STARTTLS.
    pub fn new(
        config: Arc<Config>,
        ledger: Ledger,
        smarthost: Smarthost,
        identity: Option<Identity>,
        events: Events,
    ) -> Self {
        let limits = &config.smtp;
        Mx {
            slots: Slots::new(limits.max_connections, limits.max_connections_per_ip),
            connections: Rate::new(limits.connections_per_minute, MINUTE),
            guesses: Guesses::new(limits.unknown_recipients_per_hour),
            first_contact: FirstContact::default(),
            lists: Lists::new(&limits.rbls, &config.dns),
            bounce_key: BounceKey::new(ledger.secret()),
            refunds: TaskTracker::new(),
            counters: Counters::default(),
            current: ArcSwap::from_pointee(Current { config, smarthost, identity }),
            ledger,
            events,
        }
    }

    /// Sets the limits of `config`, and what sessions have that begin from now on. What clients have done is
    /// forgotten only where the limit for it is another.
    pub fn apply(&self, config: Arc<Config>, smarthost: Smarthost, identity: Option<Identity>) {
        let limits = &config.smtp;
        self.slots.set_limits(limits.max_connections, limits.max_connections_per_ip);
        self.connections.set_limit(limits.connections_per_minute, MINUTE);
        self.guesses.set_limit(limits.unknown_recipients_per_hour);
        self.lists.set(&limits.rbls, &config.dns);
        smarthost.set_limits(&config);
        self.current.store(Arc::new(Current { config, smarthost, identity }));
    }

    fn setup(&self) -> Setup<'_> {
        Setup { mx: self, current: self.current.load_full() }
    }

    /// Where accepted mail goes.
    pub fn smarthost(&self) -> Smarthost {
        self.current.load().smarthost.clone()
    }

    /// The DNS lists, to be watched.
    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    /// What is counted of sessions.
    pub fn metrics(&self) -> &Metrics {
        &self.counters.metrics
    }

    /// Forgets the clients that have not come for so long that there is nothing to know of them.
    pub fn forget_clients(&self) {
        self.connections.forget();
        self.guesses.forget();
        self.first_contact.forget();
    }
}
