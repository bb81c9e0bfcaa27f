//! Backups: a whole, checked copy of the ledger as it was at one instant, while it is in use.
//!
//! `VACUUM INTO` reads one state of the database, however long it takes and whatever is written
//! meanwhile (SQLite's backup interface would begin anew with every commit of the server). What it
//! writes is made anew from what is there: no trace of a deleted target comes along.
//!
//! The copy is a [`Part`] until it is checked and on the disk.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::error::{self, BackupError};
use super::part::Part;
use super::source::{open_source, utf8};
use super::verify::verify;
use super::{FILE_NAME, files, open, owner};

/// What a backup or a restore is at; each comes once at most, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Checking the backup that is to be restored, and waiting for other processes that open the ledger.
    CheckingBackup,
    /// Writing [`part_of`](super::part_of) the file that is asked for, which grows.
    Copying,
    /// Adding to the copy what the replaced ledger knows better.
    CarryingOver,
    /// Checking what was written, and giving it its name.
    CheckingResult,
}

/// Copies the ledger in `data_dir` to `file`, which is only its owner's to read. An older backup
/// there is replaced at the last moment. Blocks until the copy is on the disk; says by `report` how far it is.
///
/// Root acts as the owner of the ledger while that is opened and closed, and as the owner of `file`'s
/// directory while the copy is made there.
///
/// # Errors
/// When there is no ledger, or no whole copy of it could be made. Then `file` is as it was; or it is the new
/// one, when only the directory did not get to the disk.
pub fn back_up(data_dir: &Path, file: &Path, report: impl Fn(Phase)) -> Result<(), BackupError> {
    report(Phase::Copying);
    let ledger = data_dir.join(FILE_NAME);
    let (source, found) = owner::acting_in(data_dir, || open_ledger(&ledger))?;
    let copied = owner::acting_in(files::directory_of(file), || {
        may_be_replaced(file, &found)?;
        let part = Part::begin(file)?;
        copy(&source, &ledger, &part)?;
        report(Phase::CheckingResult);
        verify(part.path())?;
        part.finish(file)?;
        files::sync_directory_of(file).map_err(BackupError::file(file))
    });
    owner::acting_in(data_dir, || {
        drop(source);
        Ok::<_, BackupError>(())
    })?;
    copied
}

/// All that is read of it is in files that are open from here on: with a write-ahead log SQLite opens no
/// other journal by its name.
fn open_ledger(ledger: &Path) -> Result<(Connection, fs::Metadata), BackupError> {
    let found = fs::metadata(ledger).map_err(BackupError::file(ledger))?;
    let source = open_source(ledger, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    source.pragma_update(None, "journal_mode", "WAL").map_err(BackupError::sqlite(ledger))?;
    Ok((source, found))
}

/// An older backup may be, a configuration or the ledger itself may not.
fn may_be_replaced(file: &Path, ledger: &fs::Metadata) -> Result<(), BackupError> {
    let found = fs::metadata(file).ok();
    if found.as_ref().is_some_and(|found| (found.dev(), found.ino()) == (ledger.dev(), ledger.ino())) {
        return Err(BackupError::Itself(file.to_owned()));
    }
    if let Some(beside) = files::sidecar(file, &files::SIDECARS) {
        return Err(BackupError::Sidecar { file: file.to_owned(), beside });
    }
    let Some(found) = found else { return Ok(()) };
    let mut head = [0; 72];
    let is_ours = found.is_file()
        && File::open(file).and_then(|mut file| file.read_exact(&mut head)).is_ok()
        // <https://sqlite.org/fileformat2.html#application_id>
        && head.starts_with(b"SQLite format 3\0")
        && head[68..] == open::APPLICATION_ID.to_be_bytes()[4..];
    if is_ours { Ok(()) } else { Err(BackupError::Occupied(file.to_owned())) }
}

/// Copies `source`, which is at `path`. What came out is still to be checked.
pub(super) fn copy(source: &Connection, path: &Path, part: &Part) -> Result<(), BackupError> {
    let sqlite = BackupError::sqlite(path);
    // The copy inherits it: what its pages do not use is zero.
    source.pragma_update(None, "secure_delete", "ON").map_err(&sqlite)?;
    let copied = source.execute("VACUUM INTO ?1", [utf8(part.path())?]);
    match copied {
        Err(cause) if error::is_full(&cause) => Err(BackupError::sqlite(part.path())(cause)),
        copied => copied.map(drop).map_err(sqlite),
    }
}
