//! Whether a database is a whole ledger.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::error::BackupError;
use super::source::open_source;

/// Whether the database at `path` is a whole ledger, of a version that this one knows.
pub(super) fn verify(path: &Path) -> Result<(), BackupError> {
    let copy = open_source(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    check(&copy, path)
}

/// Every page, every index, and that every alias has its name and its target.
pub(super) fn check(ledger: &Connection, path: &Path) -> Result<(), BackupError> {
    let sqlite = BackupError::sqlite(path);
    let verdict: String =
        ledger.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(&sqlite)?;
    if verdict != "ok" {
        return Err(BackupError::unsound(path, verdict));
    }
    let lost: i64 = ledger
        .query_row(
            "SELECT (SELECT count(*) FROM aliases WHERE name NOT IN (SELECT name FROM names))
                  + (SELECT count(*) FROM aliases WHERE target NOT IN (SELECT id FROM targets WHERE free = 0))
                  + (SELECT count(*) != 1 FROM state)",
            [],
            |row| row.get(0),
        )
        .map_err(&sqlite)?;
    if lost == 0 {
        Ok(())
    } else {
        Err(BackupError::unsound(path, format!("{lost} rows do not belong together")))
    }
}
