//! What a ledger holds, without opening it for work: nothing is made, changed or migrated.

use std::io;
use std::path::Path;

use rusqlite::OpenFlags;

use super::error::BackupError;
use super::source::open_source;
use super::{FILE_NAME, aliases, latest, owner};
use crate::clock::Timestamp;

/// What a ledger holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many aliases.
    pub aliases: u32,
    /// When the last purge was; `None`: never, or it was written by a version that did not note it.
    pub latest: Option<Timestamp>,
}

/// What the ledger in `data_dir` holds; `None` when there is none yet.
///
/// # Errors
/// When it cannot be read, or is not a ledger of tempalias.
pub fn summary(data_dir: &Path) -> Result<Option<Summary>, BackupError> {
    owner::acting_in(data_dir, || summary_of(&data_dir.join(FILE_NAME)))
}

fn summary_of(path: &Path) -> Result<Option<Summary>, BackupError> {
    match std::fs::metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(BackupError::file(path)(cause)),
        Ok(_) => {}
    }
    // Not read-only: the last one to close such a connection would leave SQLite's other files behind.
    let ledger = open_source(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let aliases = aliases::count(&ledger).map_err(BackupError::sqlite(path))?;
    Ok(Some(Summary { aliases, latest: latest::latest(&ledger).ok().flatten() }))
}
