//! The aliases: handed out, read, changed, revoked.

use rusqlite::{Connection, OptionalExtension, Row};

use super::{Engine, blocking, names, targets};
use crate::alias::{Alias, AliasName, Caps, KeyHash, Limits, ManageKey};
use crate::clock::Timestamp;
use crate::ledger::{AmendOutcome, Amendment, Issued, LedgerError, NewAlias, Record, Result};

/// What [`read`] reads, from where.
pub(super) const SELECT: &str =
    "SELECT name, domain, address, created, valid_from, valid_until, max_usage, used, paused, bounces
     FROM aliases JOIN targets ON targets.id = aliases.target";

/// What [`read_record`] reads: the columns of [`SELECT`], and those that only the ledger knows.
pub(super) const SELECT_RECORD: &str =
    "SELECT name, domain, address, created, valid_from, valid_until, max_usage, used, paused, bounces,
            key_hash, last_spent, row_start
     FROM aliases JOIN targets ON targets.id = aliases.target";

pub(super) const BY_NAME: &str = "WHERE name = ?1";
pub(super) const AT_OR_AFTER: &str = "WHERE name >= ?1 ORDER BY name LIMIT 1";
pub(super) const AT_OR_BEFORE: &str = "WHERE name <= ?1 ORDER BY name DESC LIMIT 1";
pub(super) const NEXT_PAGE: &str = "WHERE name > ?1 ORDER BY name LIMIT ?2";

pub(super) const UPDATE: &str = "
    UPDATE aliases SET valid_until = ?2, max_usage = ?3, used = ?4, paused = ?5, bounces = ?6, row_start = ?7
    WHERE name = ?1";

/// Aliases read at once when all are listed.
const PAGE: i64 = 500;

impl Engine {
    /// Hands out a new alias.
    pub async fn issue(&self, new: NewAlias, now: Timestamp) -> Result<Issued> {
        let key = ManageKey::random().map_err(|cause| LedgerError::Random(cause.to_string()))?;
        self.writer.run(move |connection| issue(connection, new, key, now)).await
    }

    /// Reads an alias. It takes as long for one that does not exist.
    pub async fn lookup(&self, name: &AliasName) -> Result<Option<Alias>> {
        lookup(&*self.readers.get().await?, name)
    }

    /// Reads an alias if `key` is its manage key.
    pub async fn lookup_with_key(&self, name: &AliasName, key: &ManageKey) -> Result<Option<Alias>> {
        lookup_with_key(&*self.readers.get().await?, name, key)
    }

    /// The aliases after `name` in the order of their names, some hundreds of them; none at the end.
    pub async fn page_after(&self, name: String) -> Result<Vec<Alias>> {
        let reader = self.readers.get().await?;
        let read_page = move || {
            let mut statement = reader.prepare_cached(&format!("{SELECT} {NEXT_PAGE}"))?;
            let rows = statement.query_map((name, PAGE), |row| Ok(read(row)))?;
            rows.map(|row| row?).collect()
        };
        blocking(read_page).await
    }

    /// How many there are, which takes its time when they are many.
    pub async fn count(&self) -> Result<u32> {
        let reader = self.readers.get().await?;
        blocking(move || Ok(count(&reader)?)).await
    }

    /// Decides on the alias as it is inside the transaction, so that no spend and no other amendment
    /// can come between reading and writing.
    pub async fn amend(
        &self,
        name: AliasName,
        amendment: Amendment,
        caps: Caps,
        now: Timestamp,
    ) -> Result<AmendOutcome> {
        let amend = move |connection: &Connection| {
            let Some(mut record) = lookup_record(connection, &name)? else {
                return Ok(AmendOutcome::Missing);
            };
            let outcome = record.amend(&amendment, caps, now);
            if let AmendOutcome::Amended(..) = outcome {
                update(connection, &record)?;
            }
            Ok(outcome)
        };
        self.writer.run(amend).await
    }

    /// Deletes an alias; false when it does not exist.
    pub async fn revoke(&self, name: AliasName) -> Result<bool> {
        let delete = "DELETE FROM aliases WHERE name = ?1";
        self.writer
            .run(move |connection| Ok(connection.prepare_cached(delete)?.execute([name.as_str()])? == 1))
            .await
    }
}

/// Hands out a new alias that answers to `key`.
pub(super) fn issue(
    connection: &Connection,
    new: NewAlias,
    key: ManageKey,
    now: Timestamp,
) -> Result<Issued> {
    let record = Record::new(new, names::reserve(connection)?, key.hash(), now);
    insert(connection, &record)?;
    Ok(Issued { alias: record.alias, key })
}

/// Writes a new row; its name is reserved.
pub(super) fn insert(connection: &Connection, record: &Record) -> Result<()> {
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

/// Writes what an amendment or a bounce may have changed.
pub(super) fn update(connection: &Connection, record: &Record) -> Result<()> {
    let Record { alias, row_start, .. } = record;
    connection.prepare_cached(UPDATE)?.execute((
        alias.name.as_str(),
        alias.limits.valid_until.map(Timestamp::as_second),
        alias.limits.max_usage,
        alias.used,
        alias.paused,
        alias.bounces,
        row_start,
    ))?;
    Ok(())
}

pub(super) fn lookup_record(connection: &Connection, name: &AliasName) -> Result<Option<Record>> {
    let mut statement = connection.prepare_cached(&format!("{SELECT_RECORD} {BY_NAME}"))?;
    statement.query_row([name.as_str()], |row| Ok(read_record(row))).optional()?.transpose()
}

/// Takes as long for an alias that does not exist: its neighbour is read instead.
pub(super) fn lookup(connection: &Connection, name: &AliasName) -> Result<Option<Alias>> {
    let select = |condition| {
        let mut statement = connection.prepare_cached(&format!("{SELECT} {condition}"))?;
        let found = statement
            .query_row([name.as_str()], |row| Ok((row.get_ref(0)?.as_str()? == name.as_str(), read(row))));
        found.optional()
    };
    let found = match select(AT_OR_AFTER)? {
        None => select(AT_OR_BEFORE)?,
        found => found,
    };
    // Damage of a neighbour is not reported.
    found.filter(|(is_same, _)| *is_same).map(|(_, alias)| alias).transpose()
}

/// How many there are.
pub(super) fn count(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("SELECT count(*) FROM aliases", [], |row| row.get(0))
}

/// The alias is read only after its key was found right: what comes before takes as long for an
/// alias that does not exist.
fn lookup_with_key(connection: &Connection, name: &AliasName, key: &ManageKey) -> Result<Option<Alias>> {
    // Both statements see one state, and SQLite takes its locks once.
    let _snapshot = connection.unchecked_transaction()?;
    let stored: Option<[u8; 32]> = connection
        .prepare_cached("SELECT key_hash FROM aliases WHERE name = ?1")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?;
    let matches = KeyHash::from(stored.unwrap_or_default()).matches(&key.hash());
    if matches { lookup(connection, name) } else { Ok(None) }
}

/// Column `what` of alias `name` holds what the program never writes there.
pub(super) fn damaged(name: &str, what: &'static str) -> LedgerError {
    LedgerError::Damaged { name: name.chars().take(2).chain(['…']).collect(), what }
}

/// An alias out of a row of [`SELECT`]; what does not parse is damage, never guessed at.
pub(super) fn read(row: &Row<'_>) -> Result<Alias> {
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

/// A record out of a row of [`SELECT_RECORD`].
pub(super) fn read_record(row: &Row<'_>) -> Result<Record> {
    let alias = read(row)?;
    let last_spent: Option<i64> = row.get(11)?;
    let last_spent = last_spent.map(Timestamp::from_second).transpose();
    Ok(Record {
        key: KeyHash::from(row.get::<_, [u8; 32]>(10)?),
        last_spent: last_spent.map_err(|_| damaged(alias.name.as_str(), "last_spent"))?,
        row_start: row.get(12)?,
        alias,
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
        lookup(connection, &name.parse().unwrap()).unwrap();
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
        let opened = super::super::open::open(&dir.path().join("tempalias.db"), 6).unwrap();
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
                ManageKey::random().unwrap(),
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
