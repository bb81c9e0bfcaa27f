//! Uses: spent on a message that is about to be delivered, given back when it is refused.

use rusqlite::{Connection, OptionalExtension};

use super::LedgerError;
use crate::alias::{AliasName, SUSPENDED_AFTER_BOUNCES};
use crate::clock::Timestamp;

/// The heart of the program: a use is taken only from an alias that has one and may forward now.
/// `Alias::state` says the same in Rust.
pub(super) const SPEND: &str = "
    UPDATE aliases SET used = used + 1, last_spent = ?2
    WHERE name = ?1
      AND (max_usage IS NULL OR used < max_usage)
      AND valid_from <= ?2
      AND (valid_until IS NULL OR ?2 < valid_until)
      AND NOT paused AND bounces < ?3
    RETURNING used, max_usage";

pub(super) const REFUND: &str = "UPDATE aliases SET used = used - 1 WHERE name = ?1 AND used > 0";

/// Uses of one alias after a spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The alias.
    pub name: AliasName,
    /// Uses spent, this one included.
    pub used: u32,
    /// Uses granted; `None`: no limit.
    pub granted: Option<u32>,
}

/// What became of a spend. The aliases are in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpendOutcome {
    /// One use of every alias was taken.
    Spent(Vec<Usage>),
    /// These aliases had none left, or were over; nothing was taken from any.
    Exhausted(Vec<AliasName>),
}

/// One use of each of `names`, or of none: in a savepoint of its own, since not to find a use
/// everywhere is an answer and no error.
pub(super) fn spend(
    connection: &Connection,
    names: Vec<AliasName>,
    now: Timestamp,
) -> Result<SpendOutcome, LedgerError> {
    let mut spent = Vec::with_capacity(names.len());
    let mut exhausted = Vec::new();
    connection.prepare_cached("SAVEPOINT spend")?.execute([])?;
    for name in each_once(names) {
        let usage = connection
            .prepare_cached(SPEND)?
            .query_row((name.as_str(), now.as_second(), SUSPENDED_AFTER_BOUNCES), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        match usage {
            Some((used, granted)) => spent.push(Usage { name, used, granted }),
            None => exhausted.push(name),
        }
    }
    if exhausted.is_empty() {
        connection.prepare_cached("RELEASE spend")?.execute([])?;
        Ok(SpendOutcome::Spent(spent))
    } else {
        connection.execute_batch("ROLLBACK TO spend; RELEASE spend")?;
        Ok(SpendOutcome::Exhausted(exhausted))
    }
}

pub(super) fn refund(connection: &Connection, names: Vec<AliasName>) -> Result<(), LedgerError> {
    let mut statement = connection.prepare_cached(REFUND)?;
    for name in each_once(names) {
        statement.execute([name.as_str()])?;
    }
    Ok(())
}

fn each_once(mut names: Vec<AliasName>) -> Vec<AliasName> {
    names.sort_unstable();
    names.dedup();
    names
}
