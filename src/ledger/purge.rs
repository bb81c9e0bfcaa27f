//! Purging: what is over is deleted for good.

use std::ops::AddAssign;

use rusqlite::Connection;

use super::LedgerError;
use super::bounces::AWAITED_FOR;
use super::repeats::KNOWN_FOR;
use crate::clock::Timestamp;
use crate::message_id::MessageId;

/// A used-up alias stays for an hour (in seconds): its last message may still be in flight and
/// be refused, which gives the use back. The time-outs towards the smarthost add up to less.
pub(super) const REFUND_WINDOW: i64 = 3600;

/// Aliases deleted in one transaction, of each kind: a spend waits for no more.
const PORTION: i64 = 250;

pub(super) const EXPIRED: &str = "
    DELETE FROM aliases WHERE name IN
    (SELECT name FROM aliases WHERE valid_until <= ?1 LIMIT ?2)";

pub(super) const USED_UP: &str = "
    DELETE FROM aliases WHERE name IN
    (SELECT name FROM aliases WHERE used >= max_usage AND last_spent <= ?1 LIMIT ?2)";

pub(super) const REPEATS: &str = "
    DELETE FROM repeats WHERE id IN
    (SELECT id FROM repeats WHERE made <= ?1 LIMIT ?2)";

pub(super) const DELIVERIES: &str = "
    DELETE FROM deliveries WHERE message IN
    (SELECT message FROM deliveries WHERE message < ?1 LIMIT ?2)";

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

/// Deletes one portion; empty when there is nothing left to delete.
pub(super) fn portion(connection: &Connection, now: Timestamp) -> Result<Purged, LedgerError> {
    let delete = |statement, until: i64| connection.prepare_cached(statement)?.execute((until, PORTION));
    Ok(Purged {
        expired: delete(EXPIRED, now.as_second())?,
        used_up: delete(USED_UP, now.as_second().saturating_sub(REFUND_WINDOW))?,
    })
}

/// Notes that it has been `now`. It may be earlier than before: what the time is decides [`crate::clock`].
pub(super) fn note(connection: &Connection, now: Timestamp) -> Result<(), LedgerError> {
    connection.execute("UPDATE state SET latest = ?1", [now.as_second()])?;
    Ok(())
}

/// When [`note`] was called last.
pub(super) fn latest(connection: &Connection) -> Result<Option<Timestamp>, LedgerError> {
    let latest: Option<i64> = connection.query_row("SELECT latest FROM state", [], |row| row.get(0))?;
    Ok(latest.and_then(|second| Timestamp::from_second(second).ok()))
}

/// Forgets a portion of the repeated requests whose day is over; how many.
pub(super) fn repeats(connection: &Connection, now: Timestamp) -> Result<usize, LedgerError> {
    let until = now.as_second().saturating_sub(KNOWN_FOR);
    Ok(connection.prepare_cached(REPEATS)?.execute((until, PORTION))?)
}

/// Forgets a portion of the deliveries of which no bounce is awaited any more; how many.
pub(super) fn deliveries(connection: &Connection, now: Timestamp) -> Result<usize, LedgerError> {
    let until = now.as_second().saturating_sub(AWAITED_FOR) + 1;
    let until = Timestamp::from_second(until).unwrap_or(Timestamp::MIN);
    Ok(connection.prepare_cached(DELIVERIES)?.execute((MessageId::earliest_at(until), PORTION))?)
}
