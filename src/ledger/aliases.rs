//! What can be done with aliases: each function runs inside the caller's transaction.

use std::ops::AddAssign;

use rusqlite::{Connection, OptionalExtension, Row};

use super::LedgerError;
use crate::address::{Domain, Mailbox};
use crate::alias::{
    Alias, AliasName, Caps, Clamped, KeyHash, LimitError, LimitRequest, Limits, ManageKey,
    SUSPENDED_AFTER_BOUNCES, State,
};
use crate::clock::Timestamp;

/// A used-up alias stays for an hour (in seconds): its last message may still be in flight and
/// come back as a refund. No message can take longer: smtp.rs's time-outs add up to less.
const REFUND_WINDOW: i64 = 3600;

/// Aliases deleted in one transaction.
const PURGE_PORTION: i64 = 500;

const COLUMNS: &str =
    "name, domain, target, created, valid_from, valid_until, max_usage, used, paused, bounces, key_hash";

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

/// What became of a spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpendOutcome {
    /// One use of every alias was taken.
    Spent(Vec<Usage>),
    /// These aliases had none left, or were over; nothing was taken from any.
    Exhausted(Vec<AliasName>),
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

impl AddAssign for Purged {
    fn add_assign(&mut self, other: Self) {
        self.expired += other.expired;
        self.used_up += other.used_up;
    }
}

pub(super) fn issue(connection: &Connection, new: &NewAlias, now: Timestamp) -> Result<Issued, LedgerError> {
    let key = ManageKey::random().map_err(|cause| LedgerError::Random(cause.to_string()))?;
    let name = reserve(connection)?;
    let NewAlias { domain, target, limits } = new;
    connection
        .prepare_cached(
            "INSERT INTO aliases (name, domain, target, key_hash, created, valid_from, valid_until, max_usage)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute((
            name.as_str(),
            domain.as_str(),
            target.as_str(),
            key.hash().as_bytes(),
            now.as_second(),
            limits.valid_from.as_second(),
            limits.valid_until.map(Timestamp::as_second),
            limits.max_usage,
        ))?;
    let alias = Alias {
        name,
        domain: domain.clone(),
        target: target.clone(),
        created: now,
        limits: *limits,
        used: 0,
        paused: false,
        bounces: 0,
    };
    Ok(Issued { alias, key })
}

/// Takes a name out of the keyspace for good. Each collision makes all later names one character
/// longer, which makes the keyspace 32 times as large.
fn reserve(connection: &Connection) -> Result<AliasName, LedgerError> {
    loop {
        let length: i64 =
            connection.prepare_cached("SELECT name_length FROM state")?.query_row([], |row| row.get(0))?;
        let name = AliasName::random(usize::try_from(length).unwrap_or(usize::MAX))
            .map_err(|cause| LedgerError::Random(cause.to_string()))?;
        let inserted = connection
            .prepare_cached("INSERT INTO names (name) VALUES (?1) ON CONFLICT DO NOTHING")?
            .execute([name.as_str()])?;
        if inserted == 1 {
            return Ok(name);
        }
        connection.execute("UPDATE state SET name_length = name_length + 1", [])?;
    }
}

pub(super) fn lookup(connection: &Connection, name: &AliasName) -> Result<Option<Alias>, LedgerError> {
    Ok(row_of(connection, name)?.map(|(alias, _)| alias))
}

pub(super) fn lookup_with_key(
    connection: &Connection,
    name: &AliasName,
    key: &ManageKey,
) -> Result<Option<Alias>, LedgerError> {
    let given = key.hash();
    Ok(match row_of(connection, name)? {
        Some((alias, stored)) if stored.matches(&given) => Some(alias),
        Some(_) => None,
        None => {
            // As much work as for an alias that exists.
            KeyHash::from([0; 32]).matches(&given);
            None
        }
    })
}

fn row_of(connection: &Connection, name: &AliasName) -> Result<Option<(Alias, KeyHash)>, LedgerError> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM aliases WHERE name = ?1"))?
        .query_row([name.as_str()], |row| Ok(read(row)))
        .optional()?
        .transpose()
}

pub(super) fn list(connection: &Connection) -> Result<Vec<Alias>, LedgerError> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM aliases ORDER BY name"))?;
    let rows = statement.query_map([], |row| Ok(read(row)))?;
    rows.map(|row| row?.map(|(alias, _)| alias)).collect()
}

/// An alias out of a row of [`COLUMNS`]; what does not parse is damage, never guessed at.
fn read(row: &Row<'_>) -> Result<(Alias, KeyHash), LedgerError> {
    let name: String = row.get(0)?;
    let damaged = |what| LedgerError::Damaged { name: name.clone(), what };
    let instant = |seconds, what| Timestamp::from_second(seconds).map_err(|_| damaged(what));
    let valid_until: Option<i64> = row.get(5)?;
    let alias = Alias {
        name: name.parse().map_err(|_| damaged("name"))?,
        domain: row.get::<_, String>(1)?.parse().map_err(|_| damaged("domain"))?,
        target: row.get::<_, String>(2)?.parse().map_err(|_| damaged("target"))?,
        created: instant(row.get(3)?, "created")?,
        limits: Limits {
            valid_from: instant(row.get(4)?, "valid_from")?,
            valid_until: valid_until.map(|seconds| instant(seconds, "valid_until")).transpose()?,
            max_usage: row.get(6)?,
        },
        used: row.get(7)?,
        paused: row.get(8)?,
        bounces: row.get(9)?,
    };
    Ok((alias, KeyHash::from(row.get::<_, [u8; 32]>(10)?)))
}

/// All or nothing is the caller's savepoint: on [`SpendOutcome::Exhausted`] the decrements made
/// here are undone here.
pub(super) fn spend(
    connection: &Connection,
    names: &[AliasName],
    now: Timestamp,
) -> Result<SpendOutcome, LedgerError> {
    let mut names: Vec<_> = names.to_vec();
    names.sort_unstable();
    names.dedup();

    connection.execute_batch("SAVEPOINT spend")?;
    let mut spent = Vec::with_capacity(names.len());
    let mut exhausted = Vec::new();
    for name in names {
        let usage = connection
            .prepare_cached(
                "UPDATE aliases SET used = used + 1, last_spent = ?2
                 WHERE name = ?1
                   AND (max_usage IS NULL OR used < max_usage)
                   AND valid_from <= ?2
                   AND (valid_until IS NULL OR ?2 < valid_until)
                   AND NOT paused AND bounces < ?3
                 RETURNING used, max_usage",
            )?
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
        connection.execute_batch("RELEASE spend")?;
        Ok(SpendOutcome::Spent(spent))
    } else {
        connection.execute_batch("ROLLBACK TO spend; RELEASE spend")?;
        Ok(SpendOutcome::Exhausted(exhausted))
    }
}

pub(super) fn refund(connection: &Connection, names: &[AliasName]) -> Result<(), LedgerError> {
    let mut names: Vec<_> = names.iter().collect();
    names.sort_unstable();
    names.dedup();
    let mut statement =
        connection.prepare_cached("UPDATE aliases SET used = used - 1 WHERE name = ?1 AND used > 0")?;
    for name in names {
        statement.execute([name.as_str()])?;
    }
    Ok(())
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
        Ok(granted) => granted,
        Err(why) => return Ok(AmendOutcome::Refused(why)),
    };
    let paused = amendment.paused.unwrap_or(alias.paused);
    let bounces = if amendment.paused == Some(false) { 0 } else { alias.bounces };
    connection
        .prepare_cached(
            "UPDATE aliases SET valid_until = ?2, max_usage = ?3, paused = ?4, bounces = ?5 WHERE name = ?1",
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

pub(super) fn bounced(connection: &Connection, name: &AliasName) -> Result<Option<u32>, LedgerError> {
    Ok(connection
        .prepare_cached("UPDATE aliases SET bounces = bounces + 1 WHERE name = ?1 RETURNING bounces")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?)
}

/// Writes, but changes nothing: shows that there is room and that the file may be written.
pub(super) fn touch(connection: &Connection) -> Result<(), LedgerError> {
    connection.execute("UPDATE state SET name_length = name_length", [])?;
    Ok(())
}

pub(super) fn purge(connection: &Connection, now: Timestamp) -> Result<Purged, LedgerError> {
    let expired = connection
        .prepare_cached(
            "DELETE FROM aliases WHERE name IN
             (SELECT name FROM aliases WHERE valid_until <= ?1 LIMIT ?2)",
        )?
        .execute((now.as_second(), PURGE_PORTION))?;
    let used_up = connection
        .prepare_cached(
            "DELETE FROM aliases WHERE name IN
             (SELECT name FROM aliases WHERE used >= max_usage AND last_spent <= ?1 LIMIT ?2)",
        )?
        .execute((now.as_second() - REFUND_WINDOW, PURGE_PORTION))?;
    Ok(Purged { expired, used_up })
}
