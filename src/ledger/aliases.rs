//! What can be done with one alias: each function runs inside the caller's transaction.

use rusqlite::{Connection, OptionalExtension, Row};

use super::{LedgerError, names, targets};
use crate::address::{Domain, Mailbox};
use crate::alias::{
    Alias, AliasName, Caps, Clamped, KeyHash, LimitError, LimitRequest, Limits, ManageKey, State,
};
use crate::clock::{Timestamp, floor};

/// What [`read`] reads, from where.
pub(super) const SELECT: &str =
    "SELECT name, domain, address, created, valid_from, valid_until, max_usage, used, paused, bounces
     FROM aliases JOIN targets ON targets.id = aliases.target";

pub(super) const BY_NAME: &str = "WHERE name = ?1";
pub(super) const AT_OR_AFTER: &str = "WHERE name >= ?1 ORDER BY name LIMIT 1";
pub(super) const AT_OR_BEFORE: &str = "WHERE name <= ?1 ORDER BY name DESC LIMIT 1";
pub(super) const NEXT_PAGE: &str = "WHERE name > ?1 ORDER BY name LIMIT ?2";

/// Aliases read at once when all are listed.
const PAGE: i64 = 500;

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
    /// Its manage key; kept nowhere else.
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

pub(super) fn issue(connection: &Connection, new: NewAlias, now: Timestamp) -> Result<Issued, LedgerError> {
    let key = ManageKey::random().map_err(|cause| LedgerError::Random(cause.to_string()))?;
    issue_with_key(connection, new, key, now)
}

/// With a manage key that was not just made.
pub(super) fn issue_with_key(
    connection: &Connection,
    new: NewAlias,
    key: ManageKey,
    now: Timestamp,
) -> Result<Issued, LedgerError> {
    let NewAlias { domain, target, limits } = new;
    let limits = in_seconds(limits);
    let name = names::reserve(connection)?;
    let slot = targets::store(connection, &target)?;
    connection
        .prepare_cached(
            "INSERT INTO aliases (name, domain, target, key_hash, created, valid_from, valid_until, max_usage)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute((
            name.as_str(),
            domain.as_str(),
            slot,
            key.hash().as_bytes(),
            now.as_second(),
            limits.valid_from.as_second(),
            limits.valid_until.map(Timestamp::as_second),
            limits.max_usage,
        ))?;
    let created = floor(now);
    let alias = Alias { name, domain, target, created, limits, used: 0, paused: false, bounces: 0 };
    Ok(Issued { alias, key })
}

pub(super) fn lookup(connection: &Connection, name: &AliasName) -> Result<Option<Alias>, LedgerError> {
    Ok(select_one(connection, BY_NAME, name)?.flatten())
}

/// As [`lookup`], and as long for an alias that does not exist: its neighbour is read in its place.
pub(super) fn lookup_evenly(connection: &Connection, name: &AliasName) -> Result<Option<Alias>, LedgerError> {
    match select_one(connection, AT_OR_AFTER, name)? {
        Some(found) => Ok(found),
        None => Ok(select_one(connection, AT_OR_BEFORE, name)?.flatten()),
    }
}

/// Reads the row that `condition` finds for `name`; `Some(None)` when it is another alias's.
fn select_one(
    connection: &Connection,
    condition: &str,
    name: &AliasName,
) -> Result<Option<Option<Alias>>, LedgerError> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} {condition}"))?;
    let found = statement.query_row([name.as_str()], |row| {
        let alias = read(row);
        Ok((row.get_ref(0)?.as_str()? == name.as_str()).then_some(alias))
    });
    found.optional()?.map(Option::transpose).transpose()
}

/// How many there are.
pub(super) fn count(connection: &Connection) -> Result<i64, LedgerError> {
    Ok(connection.query_row("SELECT count(*) FROM aliases", [], |row| row.get(0))?)
}

/// The alias is read only after its key was found right: what comes before takes as long for an
/// alias that does not exist.
pub(super) fn lookup_with_key(
    connection: &Connection,
    name: &AliasName,
    key: &ManageKey,
) -> Result<Option<Alias>, LedgerError> {
    // Both statements see one state, and SQLite takes its locks once.
    let _snapshot = connection.unchecked_transaction()?;
    let stored: Option<[u8; 32]> = connection
        .prepare_cached("SELECT key_hash FROM aliases WHERE name = ?1")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?;
    let matches = KeyHash::from(stored.unwrap_or_default()).matches(&key.hash());
    if matches { lookup(connection, name) } else { Ok(None) }
}

/// The aliases after `name` in the order of their names, some hundreds of them; none at the end.
pub(super) fn page_after(connection: &Connection, name: &str) -> Result<Vec<Alias>, LedgerError> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} {NEXT_PAGE}"))?;
    let rows = statement.query_map((name, PAGE), |row| Ok(read(row)))?;
    rows.map(|row| row?).collect()
}

/// Decides on the alias as it is inside the transaction, so that no spend and no other amendment
/// can come between reading and writing.
pub(super) fn amend(
    connection: &Connection,
    name: &AliasName,
    amendment: &Amendment,
    caps: Caps,
    now: Timestamp,
) -> Result<AmendOutcome, LedgerError> {
    let Some(alias) = lookup(connection, name)?.filter(|alias| alias.state(now) != State::Expired) else {
        return Ok(AmendOutcome::Missing);
    };
    let (limits, clamped) = match alias.limits.amend(amendment.limits, caps, now) {
        Ok((limits, clamped)) => (in_seconds(limits), clamped),
        Err(why) => return Ok(AmendOutcome::Refused(why)),
    };
    let paused = amendment.paused.unwrap_or(alias.paused);
    let bounces = if amendment.paused == Some(false) { 0 } else { alias.bounces };
    connection
        .prepare_cached(
            "UPDATE aliases SET valid_until = ?2, max_usage = ?3, paused = ?4, bounces = ?5,
                 row_start = iif(?5 = 0, used, row_start)
             WHERE name = ?1",
        )?
        .execute((
            name.as_str(),
            limits.valid_until.map(Timestamp::as_second),
            limits.max_usage,
            paused,
            bounces,
        ))?;
    Ok(AmendOutcome::Amended(Alias { limits, paused, bounces, ..alias }, clamped))
}

pub(super) fn revoke(connection: &Connection, name: &AliasName) -> Result<bool, LedgerError> {
    Ok(connection.prepare_cached("DELETE FROM aliases WHERE name = ?1")?.execute([name.as_str()])? == 1)
}

/// Column `what` of alias `name` holds what nobody wrote there.
pub(super) fn damaged(name: &str, what: &'static str) -> LedgerError {
    LedgerError::Damaged { name: name.chars().take(2).chain(['…']).collect(), what }
}

/// The limits as they will be read back: the ledger's unit is the second.
fn in_seconds(limits: Limits) -> Limits {
    Limits { valid_from: floor(limits.valid_from), valid_until: limits.valid_until.map(floor), ..limits }
}

/// An alias out of a row of [`SELECT`]; what does not parse is damage, never guessed at.
pub(super) fn read(row: &Row<'_>) -> Result<Alias, LedgerError> {
    let name: String = row.get(0)?;
    let damaged = |what| damaged(&name, what);
    let instant = |seconds, what| Timestamp::from_second(seconds).map_err(|_| damaged(what));
    let valid_until: Option<i64> = row.get(5)?;
    Ok(Alias {
        domain: row.get::<_, String>(1)?.parse().map_err(|_| damaged("domain"))?,
        target: targets::unpad(&row.get::<_, Vec<u8>>(2)?).ok_or_else(|| damaged("target"))?,
        created: instant(row.get(3)?, "created")?,
        limits: Limits {
            valid_from: instant(row.get(4)?, "valid_from")?,
            valid_until: valid_until.map(|seconds| instant(seconds, "valid_until")).transpose()?,
            max_usage: row.get(6)?,
        },
        used: row.get(7)?,
        paused: row.get(8)?,
        bounces: row.get(9)?,
        name: name.parse().map_err(|_| damaged("name"))?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rusqlite::StatementStatus::VmStep;

    use super::*;

    /// Steps of SQLite's machine for a look-up of `name`.
    fn steps(connection: &Connection, name: &str) -> i32 {
        let before = spent(connection);
        lookup_evenly(connection, &name.parse().unwrap()).unwrap();
        spent(connection) - before
    }

    /// Steps of both look-ups so far: their statements are kept.
    fn spent(connection: &Connection) -> i32 {
        [AT_OR_AFTER, AT_OR_BEFORE]
            .map(|condition| connection.prepare_cached(&format!("{SELECT} {condition}")).unwrap())
            .iter()
            .map(|statement| statement.get_status(VmStep))
            .sum()
    }

    /// docs/security.md: whether an alias is used up or never was, cannot be told by the time.
    #[test]
    fn a_name_that_is_no_alias_costs_as_many_steps_as_one_that_is() {
        let dir = tempfile::tempdir().unwrap();
        let opened = super::super::open::open(&dir.path().join(super::super::FILE_NAME), 6).unwrap();
        for name in ["b", "d"].map(|letter| letter.repeat(6)) {
            let issued = issue(
                &opened.write,
                NewAlias {
                    domain: "alias.test".parse().unwrap(),
                    target: "target@mailbox.test".parse().unwrap(),
                    limits: Limits {
                        valid_from: Timestamp::UNIX_EPOCH,
                        valid_until: None,
                        max_usage: Some(1),
                    },
                },
                Timestamp::UNIX_EPOCH,
            );
            let issued = issued.unwrap().alias.name;
            opened.write.execute("PRAGMA foreign_keys = OFF", []).unwrap();
            opened
                .write
                .execute("UPDATE aliases SET name = ?1 WHERE name = ?2", (name, issued.as_str()))
                .unwrap();
        }
        let steps: BTreeMap<_, _> =
            ["bbbbbb", "dddddd", "aaaaaa", "cccccc"].map(|name| (name, steps(&opened.write, name))).into();
        let one = steps["bbbbbb"];
        assert!(one > 10, "{steps:?}");
        assert!(steps.values().all(|steps| *steps == one), "{steps:?}");
    }
}
