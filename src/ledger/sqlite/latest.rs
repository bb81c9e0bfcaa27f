//! The latest instant that was seen, so that time does not go back after a restart.

use rusqlite::Connection;

use super::Engine;
use crate::clock::Timestamp;
use crate::ledger::Result;

impl Engine {
    /// Whether the database can be read and written; what is written is that it has been `now`.
    pub async fn check(&self, now: Timestamp) -> Result<()> {
        latest(&*self.readers.get().await?)?;
        self.writer.run(move |connection| note(connection, now)).await
    }
}

/// Notes that it has been `now`. It may be earlier than before: what the time is decides [`crate::clock`].
pub(super) fn note(connection: &Connection, now: Timestamp) -> Result<()> {
    connection.execute("UPDATE state SET latest = ?1", [now.as_second()])?;
    Ok(())
}

/// The instant of the last [`note`].
pub(super) fn latest(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let latest: Option<i64> = connection.query_row("SELECT latest FROM state", [], |row| row.get(0))?;
    Ok(latest.and_then(|second| Timestamp::from_second(second).ok()))
}
