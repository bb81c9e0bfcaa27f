//! Restoring a backup: it takes the ledger's place as a whole or not at all, and nothing is thrown away.
//!
//! What a ledger must never forget is carried over from the one that is replaced, as far as that
//! can still be read: which names were handed out, and how many uses were spent.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::backup::{self, BackupError, Part};
use super::{DataDirLock, FILE_NAME, OpenError, files, lock, open};
use crate::clock::Timestamp;

/// What became of a restore.
#[derive(Debug, PartialEq, Eq)]
pub struct Restored {
    /// Aliases that are in the ledger now.
    pub aliases: u32,
    /// Where the ledger is that was there before, if there was one.
    pub set_aside: Option<PathBuf>,
    /// What was known since; `None` when there was no ledger, or it could not be read.
    pub carried_over: Option<CarriedOver>,
}

/// What the replaced ledger knew and the backup did not.
#[derive(Debug, PartialEq, Eq)]
pub struct CarriedOver {
    /// Names that were handed out since the backup.
    pub names: usize,
    /// Aliases of which uses were spent since.
    pub spent: usize,
    /// Aliases that are back though they had been revoked, or were over and purged, since.
    pub back: u32,
}

/// Puts the backup `file` in place of the ledger in `data_dir`, which is kept under a name with
/// the instant `now` in it.
///
/// # Errors
/// When a server or a command works on the ledger, or `file` is not a whole ledger of ours. Then
/// nothing has changed.
pub fn restore(data_dir: &Path, file: &Path, now: Timestamp) -> Result<Restored, BackupError> {
    let _server = DataDirLock::take(data_dir)?;
    let _openers = open::turn(data_dir).map_err(|cause| lock::explain(data_dir, cause))?;
    let ledger = data_dir.join(FILE_NAME);
    let source = open_backup(file, &ledger)?;
    backup::check(&source, file)?;

    let part = Part::begin(&ledger)?;
    files::belongs_to_directory(part.file(), part.path()).map_err(BackupError::file(part.path()))?;
    backup::copy(&source, file, &part)?;
    let is_there = fs::exists(&ledger).map_err(BackupError::file(&ledger))?;
    let carried_over = if is_there { carry_over(&ledger, part.path())? } else { None };
    backup::verify(part.path())?;
    let aliases = count(part.path())?;

    let set_aside = is_there.then(|| set_aside(&ledger, now)).transpose()?;
    part.finish(&ledger)?;
    Ok(Restored { aliases, set_aside, carried_over })
}

/// With a write-ahead log beside it, as a copy of the files of a ledger has it, the log counts.
fn open_backup(file: &Path, ledger: &Path) -> Result<Connection, BackupError> {
    fs::metadata(file).map_err(BackupError::file(file))?;
    if fs::canonicalize(file).ok() == fs::canonicalize(ledger).ok() {
        return Err(BackupError::Itself(file.to_owned()));
    }
    let log = fs::metadata(files::with_suffix(file, "-wal")).is_ok_and(|log| log.len() > 0);
    let uri = if log { OpenFlags::empty() } else { OpenFlags::SQLITE_OPEN_URI };
    backup::open_source(file, OpenFlags::SQLITE_OPEN_READ_ONLY | uri)
}

/// Takes over into `part` what `ledger` knows better, and makes one file of `ledger`. `None` when it
/// cannot be read: it may be the reason for the restore.
fn carry_over(ledger: &Path, part: &Path) -> Result<Option<CarriedOver>, BackupError> {
    let old = match backup::open_source(ledger, OpenFlags::SQLITE_OPEN_READ_WRITE) {
        Ok(old) => old,
        Err(BackupError::Open(OpenError::Foreign { .. } | OpenError::Corrupt { .. })) => return Ok(None),
        Err(cause) => return Err(cause),
    };
    let sqlite = BackupError::sqlite(ledger);
    backup::keep_log(&old, true).map_err(&sqlite)?;
    if backup::check(&old, ledger).is_err() {
        return Ok(None);
    }
    // Only the last connection can leave this mode: nobody else works on it.
    backup::keep_log(&old, false).map_err(&sqlite)?;
    old.pragma_update(None, "journal_mode", "DELETE").map_err(&sqlite)?;
    drop(old);
    let sqlite = BackupError::sqlite(part);
    let mut new = Connection::open(part).map_err(&sqlite)?;
    let carried_over = merge(&mut new, ledger).map_err(&sqlite)?;
    new.close().map_err(|(_, cause)| sqlite(cause))?;
    Ok(Some(carried_over))
}

fn merge(new: &mut Connection, ledger: &Path) -> rusqlite::Result<CarriedOver> {
    // A stop in the middle leaves nothing: the next restore makes the part anew.
    new.pragma_update(None, "journal_mode", "MEMORY")?;
    // The old one may be of an older schema: only what has been there from the first is read.
    new.execute("ATTACH DATABASE ?1 AS old", [ledger.to_string_lossy()])?;
    let transaction = new.transaction()?;
    let names = transaction.execute("INSERT OR IGNORE INTO main.names SELECT name FROM old.names", [])?;
    let spent = transaction.execute(
        "UPDATE main.aliases AS new SET used = was.used, last_spent = was.last_spent
         FROM old.aliases AS was WHERE was.name = new.name AND was.used > new.used",
        [],
    )?;
    transaction.execute(
        "UPDATE main.state SET name_length = max(name_length, (SELECT max(name_length) FROM old.state))",
        [],
    )?;
    // Before version 3 of the schema there is no such column; the migration will count.
    if transaction.column_exists(Some("main"), "state", "names_of_length")? {
        transaction.execute(
            "UPDATE main.state SET names_of_length =
                 (SELECT count(*) FROM main.names WHERE length(name) = name_length)",
            [],
        )?;
    }
    let back = transaction.query_row(
        "SELECT count(*) FROM main.aliases WHERE name NOT IN (SELECT name FROM old.aliases)",
        [],
        |row| row.get(0),
    )?;
    transaction.commit()?;
    new.execute("DETACH DATABASE old", [])?;
    Ok(CarriedOver { names, spent, back })
}

/// A second name for the ledger; its first one is about to be another file's. At no moment is there no ledger, for a
/// server would make a new one, which knows no name.
fn set_aside(ledger: &Path, now: Timestamp) -> Result<PathBuf, BackupError> {
    let aside = files::with_suffix(ledger, &format!(".before-restore-{}", now.strftime("%Y%m%dT%H%M%SZ")));
    // Of one that could not be read a log may be left; it must not meet the new one.
    for suffix in ["-wal", "-shm"] {
        let beside = files::with_suffix(ledger, suffix);
        if fs::exists(&beside).map_err(BackupError::file(&beside))? {
            fs::rename(&beside, files::with_suffix(&aside, suffix)).map_err(BackupError::file(&beside))?;
        }
    }
    fs::hard_link(ledger, &aside).map_err(BackupError::file(&aside))?;
    files::sync_directory_of(ledger).map_err(BackupError::file(ledger))?;
    Ok(aside)
}

fn count(path: &Path) -> Result<u32, BackupError> {
    let ledger = backup::open_source(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    ledger.query_row("SELECT count(*) FROM aliases", [], |row| row.get(0)).map_err(BackupError::sqlite(path))
}
