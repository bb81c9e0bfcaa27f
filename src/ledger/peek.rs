//! A look at a ledger that makes, changes and migrates nothing.

use std::io;
use std::path::Path;

use rusqlite::OpenFlags;

use super::backup::{BackupError, open_source};
use super::{FILE_NAME, owner, purge};
use crate::clock::Timestamp;

/// What there is to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peek {
    /// How many aliases.
    pub aliases: u32,
    /// When the last purge was; `None`: never, or it was written by a version that did not note it.
    pub latest: Option<Timestamp>,
}

/// Looks at the ledger in `data_dir`; `None` when there is none yet.
///
/// # Errors
/// When it cannot be read, or is not one of ours.
pub fn peek(data_dir: &Path) -> Result<Option<Peek>, BackupError> {
    owner::acting_in(data_dir, || look_at(&data_dir.join(FILE_NAME)))
}

fn look_at(path: &Path) -> Result<Option<Peek>, BackupError> {
    match std::fs::metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(BackupError::file(path)(cause)),
        Ok(_) => {}
    }
    // Not read-only: the last one to close such a connection would leave SQLite's other files behind.
    let ledger = open_source(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let count = ledger.query_row("SELECT count(*) FROM aliases", [], |row| row.get(0));
    let aliases = count.map_err(BackupError::sqlite(path))?;
    Ok(Some(Peek { aliases, latest: purge::latest(&ledger).ok().flatten() }))
}
