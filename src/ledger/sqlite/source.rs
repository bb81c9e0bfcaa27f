//! Databases that are opened to be copied or inspected, trusted or not.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::BackupError;
use super::{files, open};
use crate::ledger::OpenError;

/// Opens the ledger of this data directory, or one that this process has made, to be read.
pub(super) fn open_source(path: &Path, access: OpenFlags) -> Result<Connection, BackupError> {
    let source = open::connect(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // Closing would tidy up a file that is refused.
    keep_log(&source, true).map_err(BackupError::sqlite(path))?;
    recognise(path, &source)?;
    keep_log(&source, false).map_err(BackupError::sqlite(path))?;
    Ok(source)
}

/// Opens a file of unknown origin. The write-ahead log beside it counts if there `is_log`, and it must be of
/// the same owner. Neither is changed, and nothing is made beside them.
pub(super) fn open_foreign(path: &Path, is_log: bool) -> Result<Connection, BackupError> {
    let sqlite = BackupError::sqlite(path);
    // Nothing writes to it, or there are no locks: then the index of the log is not shared, and SQLite keeps it
    // in memory instead of a file (<https://sqlite.org/wal.html#noshm>).
    let uri = uri(path, if is_log { "vfs=unix-none" } else { "immutable=1" })?;
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if is_log && let Some(beside) = files::foreign_sidecar(path).map_err(BackupError::file(path))? {
        return Err(OpenError::ForeignSidecar { file: path.to_owned(), beside }.into());
    }
    let source = Connection::open_with_flags(uri, flags).map_err(&sqlite)?;
    source.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(&sqlite)?;
    keep_log(&source, true).map_err(&sqlite)?;
    recognise(path, &source)?;
    Ok(source)
}

fn recognise(path: &Path, source: &Connection) -> Result<(), BackupError> {
    let sqlite = BackupError::sqlite(path);
    source.busy_timeout(super::BUSY_TIMEOUT).map_err(&sqlite)?;
    distrust(source).map_err(&sqlite)?;
    open::recognise(path, source)?;
    Ok(())
}

/// Its schema cannot do more than read and write its own tables
/// (<https://sqlite.org/security.html#untrusted_sqlite_database_files>).
pub(super) fn distrust(source: &Connection) -> rusqlite::Result<()> {
    source.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    source.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    Ok(())
}

/// Sets whether the last connection, when it closes, keeps the write-ahead log as it is.
pub(super) fn keep_log(connection: &Connection, keep: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(|_| ())
}

/// `path` as a URI with a parameter (<https://sqlite.org/uri.html>).
fn uri(path: &Path, parameter: &str) -> Result<String, BackupError> {
    let path = std::path::absolute(path).map_err(BackupError::file(path))?;
    let name = utf8(&path)?.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    Ok(format!("file:{name}?{parameter}"))
}

pub(super) fn utf8(path: &Path) -> Result<&str, BackupError> {
    path.to_str().ok_or_else(|| BackupError::unsound(path, "its path is not UTF-8"))
}
