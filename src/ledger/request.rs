//! What can be asked of the ledger, and its answers.

use crate::address::{Domain, Mailbox};
use crate::alias::{Alias, Clamped, LimitError, LimitRequest, Limits, ManageKey};

/// What is needed to hand out an alias.
#[derive(Clone, Debug)]
pub struct NewAlias {
    /// One of our own domains.
    pub domain: Domain,
    /// Where to forward.
    pub target: Mailbox,
    /// How often and how long.
    pub limits: Limits,
}

/// An alias fresh from the ledger, with the key that only its holder will know.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The alias.
    pub alias: Alias,
    /// Its manage key, which is not stored.
    pub key: ManageKey,
}

/// What an alias's holder wishes to change.
#[derive(Clone, Debug, Default)]
pub struct Amendment {
    /// As in [`Limits::amend`].
    pub limits: LimitRequest,
    /// On or off; `None` leaves it as it is. Switching on also forgets the bounces that
    /// suspended it.
    pub paused: Option<bool>,
}

/// What became of an [`Amendment`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AmendOutcome {
    /// The alias as it is now, and which wishes were cut to the operator's caps.
    Amended(Alias, Vec<Clamped>),
    /// Nothing was changed.
    Refused(LimitError),
    /// There is no such alias, or it is past its end.
    Missing,
}

/// What became of a spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpendOutcome {
    /// One use was taken.
    Spent,
    /// The alias had none left, or is over; nothing was taken.
    Exhausted,
}

/// What a bounce has changed; nothing, when there is no such delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounced {
    /// Bounces in a row, when this one counts.
    pub in_a_row: Option<u32>,
    /// The use of the message was given back.
    pub is_refunded: bool,
}

/// How many aliases a purge deleted, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Past their end.
    pub expired: usize,
    /// Without a use left.
    pub used_up: usize,
}

impl Purged {
    /// Nothing was deleted.
    pub fn is_empty(&self) -> bool {
        self.expired + self.used_up == 0
    }
}
