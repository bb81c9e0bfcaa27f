//! Uses: spent on a message that is about to be delivered, given back when it is refused.

use rusqlite::Connection;

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
      AND NOT paused AND bounces < ?3";

pub(super) const REFUND: &str = "UPDATE aliases SET used = used - 1 WHERE name = ?1 AND used > 0";

/// What became of a spend. The aliases are in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpendOutcome {
    /// One use of each of these was taken.
    Spent(Vec<AliasName>),
    /// These aliases had none left, or were over; nothing was taken from any.
    Exhausted(Vec<AliasName>),
}

/// One use of each of `names`, or of none.
pub(super) fn spend(
    connection: &Connection,
    names: Vec<AliasName>,
    now: Timestamp,
) -> Result<SpendOutcome, LedgerError> {
    let names = each_once(names);
    if let [name] = names.as_slice() {
        return match take(connection, name, now)? {
            true => Ok(SpendOutcome::Spent(names)),
            false => Ok(SpendOutcome::Exhausted(names)),
        };
    }
    // In a savepoint of its own, since not to find a use everywhere is an answer and no error.
    connection.prepare_cached("SAVEPOINT spend")?.execute([])?;
    let mut exhausted = Vec::new();
    for name in &names {
        if !take(connection, name, now)? {
            exhausted.push(name.clone());
        }
    }
    if exhausted.is_empty() {
        connection.prepare_cached("RELEASE spend")?.execute([])?;
        Ok(SpendOutcome::Spent(names))
    } else {
        connection.execute_batch("ROLLBACK TO spend; RELEASE spend")?;
        Ok(SpendOutcome::Exhausted(exhausted))
    }
}

/// Takes a use, if there is one.
fn take(connection: &Connection, name: &AliasName, now: Timestamp) -> rusqlite::Result<bool> {
    let parameters = (name.as_str(), now.as_second(), SUSPENDED_AFTER_BOUNCES);
    Ok(connection.prepare_cached(SPEND)?.execute(parameters)? == 1)
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
