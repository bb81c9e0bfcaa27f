//! An alias and its parts: its name, its limits, its manage key, its state.

mod key;
mod limits;
mod name;

pub use key::{KeyHash, ManageKey};
pub use limits::{Caps, Clamped, LimitError, LimitRequest, Limits};
pub use name::{AliasName, NameError};

use crate::address::{Domain, Mailbox};
use crate::clock::Timestamp;

/// So many bounces in a row suspend an alias: its target is gone, or refuses its mail.
pub const SUSPENDED_AFTER_BOUNCES: u32 = 5;

/// `name@domain`, its target, and how much of it is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The local part, unique over all domains and for ever.
    pub name: AliasName,
    /// One of our own domains.
    pub domain: Domain,
    /// The real mailbox. Shown only to the holder of the manage key.
    pub target: Mailbox,
    /// When it was handed out.
    pub created: Timestamp,
    /// How often, from when and until when it forwards.
    pub limits: Limits,
    /// Uses spent so far.
    pub used: u32,
    /// Switched off by its holder for the time being.
    pub paused: bool,
    /// Bounces from its target in a row.
    pub bounces: u32,
}

/// What an alias would do with a message right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Forwards.
    Active,
    /// Its `valid_from` lies ahead.
    Pending,
    /// Its `valid_until` has passed.
    Expired,
    /// No use left.
    UsedUp,
    /// Switched off by its holder.
    Paused,
    /// Switched off by the server after [`SUSPENDED_AFTER_BOUNCES`] bounces.
    Suspended,
}

impl Alias {
    /// The state at `now`. A use is spent only in [`State::Active`]: the engine of the ledger has the same
    /// condition in the statement that spends.
    pub fn state(&self, now: Timestamp) -> State {
        if self.limits.valid_until.is_some_and(|until| now >= until) {
            State::Expired
        } else if self.uses_left() == Some(0) {
            State::UsedUp
        } else if self.bounces >= SUSPENDED_AFTER_BOUNCES {
            State::Suspended
        } else if self.paused {
            State::Paused
        } else if now < self.limits.valid_from {
            State::Pending
        } else {
            State::Active
        }
    }

    /// Messages it will still forward; `None` when only time limits it.
    pub fn uses_left(&self) -> Option<u32> {
        self.limits.max_usage.map(|granted| granted.saturating_sub(self.used))
    }

    /// `name@domain`.
    pub fn address(&self) -> String {
        format!("{}@{}", self.name, self.domain)
    }
}

impl State {
    /// The word the API and the command line use for it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Pending => "pending",
            State::Expired => "expired",
            State::UsedUp => "used-up",
            State::Paused => "paused",
            State::Suspended => "suspended",
        }
    }
}
