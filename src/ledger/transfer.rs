//! Moving: all that makes an alias, to be handed over to another ledger.

use rusqlite::{Connection, Row};

use super::{LedgerError, aliases, names, targets};
use crate::alias::{Alias, AliasName, KeyHash};
use crate::clock::Timestamp;

/// An alias with all that only the ledger knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The alias.
    pub alias: Alias,
    /// Whose key it answers to.
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

/// Why a [`Moved`] was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Clash {
    /// An alias of this name is here.
    #[error("there is an alias of this name here")]
    Alias,
    /// The name was handed out here, to somebody who may still be known by it elsewhere.
    #[error("this name was handed out here before, and its alias is gone; it is never handed out again")]
    Name,
    /// The name is retired there, and here is an alias of it.
    #[error(
        "its alias is gone there, but there is an alias of this name here; revoke one that was moved before"
    )]
    Alive,
}

/// Every alias, and then every other name that was ever handed out, each in the order of their names.
const EXPORT: &str = "
    SELECT name, domain, address, created, valid_from, valid_until, max_usage, used, paused, bounces,
           key_hash, last_spent, row_start
    FROM aliases JOIN targets ON targets.id = aliases.target ORDER BY name";

const RETIRED: &str = "SELECT name FROM names WHERE name NOT IN (SELECT name FROM aliases) ORDER BY name";

/// Shows everything to `visit`, as it is at one instant, until that fails.
pub(super) fn export<E: From<LedgerError>>(
    connection: &Connection,
    mut visit: impl FnMut(Moved) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |cause: rusqlite::Error| E::from(LedgerError::from(cause));
    // Both statements see one state.
    let state = connection.unchecked_transaction().map_err(failed)?;
    let mut statement = state.prepare(EXPORT).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        visit(Moved::Alias(read(row)?))?;
    }
    let mut statement = state.prepare(RETIRED).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let name: String = row.get(0).map_err(failed)?;
        let parsed = name.parse().map_err(|_| aliases::damaged(&name, "name"))?;
        visit(Moved::Name(parsed))?;
    }
    Ok(())
}

/// Takes in all of `moved`, or nothing of it when there is a clash: then all of these, each with its
/// place in `moved`. A name that is retired here and there is none; one that is retired there and alive
/// here is: the alias was moved before, or lives in both.
pub(super) fn import(connection: &Connection, moved: &[Moved]) -> Result<Vec<(usize, Clash)>, LedgerError> {
    let mut clashes = Vec::new();
    connection.execute_batch("SAVEPOINT import")?;
    for (place, one) in moved.iter().enumerate() {
        match one {
            Moved::Alias(record) if !reserve(connection, &record.alias.name)? => {
                let is_alive = is_alive(connection, &record.alias.name)?;
                clashes.push((place, if is_alive { Clash::Alias } else { Clash::Name }));
            }
            Moved::Alias(record) => insert(connection, record)?,
            Moved::Name(name) if !reserve(connection, name)? && is_alive(connection, name)? => {
                clashes.push((place, Clash::Alive));
            }
            Moved::Name(_) => {}
        }
    }
    let longest = moved.iter().map(|one| one.name().as_str().len()).max().unwrap_or(0);
    names::recount(connection, longest)?;
    connection.execute_batch(match clashes.is_empty() {
        true => "RELEASE import",
        false => "ROLLBACK TO import; RELEASE import",
    })?;
    Ok(clashes)
}

fn is_alive(connection: &Connection, name: &AliasName) -> Result<bool, LedgerError> {
    Ok(aliases::lookup(connection, name)?.is_some())
}

/// Whether the name was free.
fn reserve(connection: &Connection, name: &AliasName) -> Result<bool, LedgerError> {
    let mut statement =
        connection.prepare_cached("INSERT INTO names (name) VALUES (?1) ON CONFLICT DO NOTHING")?;
    Ok(statement.execute([name.as_str()])? == 1)
}

fn insert(connection: &Connection, record: &Record) -> Result<(), LedgerError> {
    let Record { alias, key, last_spent, row_start } = record;
    let slot = targets::store(connection, &alias.target)?;
    connection
        .prepare_cached(
            "INSERT INTO aliases (name, domain, target, key_hash, created, valid_from, valid_until, max_usage,
                                  used, last_spent, paused, bounces, row_start)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(rusqlite::params![
            alias.name.as_str(),
            alias.domain.as_str(),
            slot,
            key.as_bytes(),
            alias.created.as_second(),
            alias.limits.valid_from.as_second(),
            alias.limits.valid_until.map(Timestamp::as_second),
            alias.limits.max_usage,
            alias.used,
            last_spent.map(Timestamp::as_second),
            alias.paused,
            alias.bounces,
            row_start,
        ])?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<Record, LedgerError> {
    let alias = aliases::read(row)?;
    let last_spent: Option<i64> = row.get(11)?;
    let last_spent = last_spent.map(Timestamp::from_second).transpose();
    Ok(Record {
        key: KeyHash::from(row.get::<_, [u8; 32]>(10)?),
        last_spent: last_spent.map_err(|_| aliases::damaged(alias.name.as_str(), "last_spent"))?,
        row_start: row.get(12)?,
        alias,
    })
}
