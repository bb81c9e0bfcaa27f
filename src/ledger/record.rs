//! Records: all that is kept of an alias, and what is moved to another ledger.

use crate::alias::{Alias, AliasName, KeyHash};
use crate::clock::Timestamp;

/// An alias with all that only the ledger knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The alias.
    pub alias: Alias,
    /// The hash of its manage key.
    pub key: KeyHash,
    /// When its last use was spent.
    pub last_spent: Option<Timestamp>,
    /// Uses spent before its latest row of bounces, less those that its bounces gave back.
    pub row_start: i64,
}

/// What moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// An alias.
    Alias(Record),
    /// A name that must not be handed out again, and nothing else.
    Name(AliasName),
}

impl Moved {
    /// The name, in any case.
    pub fn name(&self) -> &AliasName {
        match self {
            Moved::Alias(record) => &record.alias.name,
            Moved::Name(name) => name,
        }
    }
}

/// Why a [`Moved`] was not imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Clash {
    /// An alias of this name is here.
    #[error("there is an alias of this name here")]
    Alias,
    /// The name was handed out here, and a former holder may still be known by it.
    #[error("this name was handed out here before, and its alias is gone; it is never handed out again")]
    Name,
    /// The name is retired there, and here is an alias of it.
    #[error(
        "its alias is gone there, but there is an alias of this name here; revoke one that was moved before"
    )]
    Alive,
}
