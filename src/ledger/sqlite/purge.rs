//! Purging: what is over is deleted for good.

use rusqlite::Connection;

use super::{Engine, latest};
use crate::clock::Timestamp;
use crate::ledger::policy::{BOUNCE_RETENTION, IDEMPOTENCY_RETENTION, USED_UP_RETENTION};
use crate::ledger::{Purged, Result};
use crate::message_id::MessageId;

/// Rows of a kind that are deleted in one transaction: a spend waits for no more.
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

impl Engine {
    /// Deletes what is over at `now`, portion by portion, and clears the write-ahead log of it.
    pub async fn purge(&self, now: Timestamp) -> Result<Purged> {
        let mut purged = Purged::default();
        loop {
            let portion = self.writer.run(move |connection| aliases(connection, now)).await?;
            if portion.is_empty() {
                break;
            }
            purged.expired += portion.expired;
            purged.used_up += portion.used_up;
        }
        while self.writer.run(move |connection| repeats(connection, now)).await? > 0 {}
        while self.writer.run(move |connection| deliveries(connection, now)).await? > 0 {}
        self.writer.run(move |connection| latest::note(connection, now)).await?;
        self.writer.checkpoint().await?;
        Ok(purged)
    }
}

/// A portion of the aliases that are over.
fn aliases(connection: &Connection, now: Timestamp) -> Result<Purged> {
    let delete = |statement, until: i64| connection.prepare_cached(statement)?.execute((until, PORTION));
    Ok(Purged {
        expired: delete(EXPIRED, now.as_second())?,
        used_up: delete(USED_UP, now.as_second().saturating_sub(USED_UP_RETENTION))?,
    })
}

/// A portion of the repeated requests whose day is over; how many.
fn repeats(connection: &Connection, now: Timestamp) -> Result<usize> {
    let until = now.as_second().saturating_sub(IDEMPOTENCY_RETENTION);
    Ok(connection.prepare_cached(REPEATS)?.execute((until, PORTION))?)
}

/// A portion of the deliveries of which no bounce is awaited any more; how many.
fn deliveries(connection: &Connection, now: Timestamp) -> Result<usize> {
    let until = now.as_second().saturating_sub(BOUNCE_RETENTION) + 1;
    let until = Timestamp::from_second(until).unwrap_or(Timestamp::MIN);
    Ok(connection.prepare_cached(DELIVERIES)?.execute((MessageId::earliest_at(until), PORTION))?)
}
