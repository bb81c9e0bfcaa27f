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

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio_util::task::TaskTracker;

use crate::bounce::BounceKey;
use crate::config::{Config, Settings};
use crate::dnsbl::Lists;
use crate::events::Events;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::net::limits::{Rate, Slots};
use crate::net::tls::Identity;
use crate::relay::{Smarthost, Snapshot};
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
    settings: Settings,
    ledger: Ledger,
    smarthost: Smarthost,
    bounce_key: BounceKey,
    /// With one STARTTLS is offered.
    identity: ArcSwapOption<Identity>,
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

/// What is set when a session begins, and stays so to its end.
struct Setup<'a> {
    mx: &'a Mx,
    config: Arc<Config>,
    smarthost: Snapshot,
    identity: Option<Arc<Identity>>,
}

impl Mx {
    /// The MX in front of `smarthost`; with an `identity` it offers STARTTLS.
    pub fn new(
        settings: Settings,
        ledger: Ledger,
        smarthost: Smarthost,
        identity: Option<Identity>,
        events: Events,
    ) -> Self {
        let config = settings.load();
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
            identity: ArcSwapOption::from_pointee(identity),
            settings: settings.clone(),
            ledger,
            smarthost,
            events,
        }
    }

    /// Sets the limits of `config`, and what STARTTLS presents from now on. What clients have done is
    /// forgotten only where the limit for it is another.
    pub fn apply(&self, config: &Config, identity: Option<Identity>) {
        let limits = &config.smtp;
        self.slots.set_limits(limits.max_connections, limits.max_connections_per_ip);
        self.connections.set_limit(limits.connections_per_minute, MINUTE);
        self.guesses.set_limit(limits.unknown_recipients_per_hour);
        self.lists.set(&limits.rbls, &config.dns);
        self.identity.store(identity.map(Arc::new));
    }

    fn setup(&self) -> Setup<'_> {
        Setup {
            mx: self,
            config: self.settings.load_full(),
            smarthost: self.smarthost.snapshot(),
            identity: self.identity.load_full(),
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
