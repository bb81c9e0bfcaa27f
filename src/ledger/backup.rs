//! Backups: a whole, checked copy of the ledger as it was at one instant, while it is in use.
//!
//! `VACUUM INTO` reads one state of the database, however long it takes and whatever is written
//! meanwhile (SQLite's backup interface would begin anew with every commit of the server). What it
//! writes is made anew from what is there: no trace of a deleted target comes along.
//!
//! The copy is made beside its place, checked, brought to the disk, and only then gets its name.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{FILE_NAME, OpenError, error, files, open, owner};

/// Why there is no backup, or nothing was restored. What was there before is as it was, but for
/// [`BackupError::Unsettled`].
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The ledger, or the backup that is to be restored, cannot be used.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// There is something that must not be replaced.
    #[error("{} is there already, and is no backup of tempalias; it is not overwritten", .0.display())]
    Occupied(PathBuf),
    /// The ledger itself.
    #[error("{} is the ledger itself; choose another file", .0.display())]
    Itself(PathBuf),
    /// SQLite would take what lies there for part of the backup.
    #[error(
        "{} is there: {} is a database in use, or was; remove both, or choose another file",
        .beside.display(), .file.display()
    )]
    Beside {
        /// Where the backup should be.
        file: PathBuf,
        /// What is beside it.
        beside: PathBuf,
    },
    /// Beside the backup that is to be restored is what SQLite would take for part of it.
    #[error(
        "{} is beside the backup, and would be taken for part of it; `tempalias backup` leaves none: remove it{}",
        .beside.display(), or_take_it(*.is_log)
    )]
    Journal {
        /// What is beside it.
        beside: PathBuf,
        /// Whether it is a write-ahead log, which can be restored as well.
        is_log: bool,
    },
    /// Two at once.
    #[error("{}: another backup or restore is writing it", .0.display())]
    UnderWay(PathBuf),
    /// The operating system's word on a file.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Its word.
        cause: io::Error,
    },
    /// What was read, or what was written, is not whole.
    #[error("{}: not a whole ledger: {cause}", path.display())]
    Unsound {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The backup has taken the ledger's place; what came after that has failed.
    #[error("restored, but {cause}{}", now_at(set_aside.as_deref()))]
    Unsettled {
        /// What has failed.
        cause: Box<BackupError>,
        /// Where the ledger is that was there before, if there was one.
        set_aside: Option<PathBuf>,
    },
}

fn or_take_it(is_log: bool) -> &'static str {
    if is_log { ", or if both were copied from a ledger's directory, restore them --with-log" } else { "" }
}

fn now_at(set_aside: Option<&Path>) -> String {
    set_aside
        .map_or_else(String::new, |path| format!("; the ledger that was there is now {}", path.display()))
}

impl BackupError {
    pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| BackupError::File { path: path.to_owned(), cause: owner::explain(cause) }
    }

    pub(super) fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> Self {
        move |cause| open::explain(path, &cause).into()
    }

    pub(super) fn unsound(path: &Path, cause: impl ToString) -> Self {
        BackupError::Unsound { path: path.to_owned(), cause: cause.to_string() }
    }
}

/// What a backup or a restore is at; each comes once at most, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Looking at the backup that is to be restored, and waiting for whoever works on the ledger.
    CheckingBackup,
    /// Writing [`part_of`] the file that is asked for, which grows.
    Copying,
    /// Adding to the copy what the ledger that is replaced knows better.
    CarryingOver,
    /// Looking at what was written, and giving it its name.
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
    let (ledger, place) = (data_dir.join(FILE_NAME), files::directory_of(file));
    let (source, found) = owner::acting_in(data_dir, || open_ledger(&ledger))?;
    let copied = owner::acting_in(place, || {
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

/// Whatever is read of it is in files that are open from here on: with a write-ahead log SQLite looks for no
/// other journal by its name.
fn open_ledger(ledger: &Path) -> Result<(Connection, fs::Metadata), BackupError> {
    let found = fs::metadata(ledger).map_err(BackupError::file(ledger))?;
    let source = open_source(ledger, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    source.pragma_update(None, "journal_mode", "WAL").map_err(BackupError::sqlite(ledger))?;
    Ok((source, found))
}

/// The file that grows while a backup to `file` is being made.
pub fn part_of(file: &Path) -> PathBuf {
    files::with_suffix(file, ".part")
}

/// An older backup may be, a configuration or the ledger itself may not.
fn may_be_replaced(file: &Path, ledger: &fs::Metadata) -> Result<(), BackupError> {
    let found = fs::metadata(file).ok();
    if found.as_ref().is_some_and(|found| (found.dev(), found.ino()) == (ledger.dev(), ledger.ino())) {
        return Err(BackupError::Itself(file.to_owned()));
    }
    if let Some(beside) = files::beside(file, &files::BESIDE) {
        return Err(BackupError::Beside { file: file.to_owned(), beside });
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

/// A copy in the making; removed unless it is finished.
pub(super) struct Part {
    path: PathBuf,
    /// Locked, so that two do not write at once.
    file: File,
    finished: bool,
}

impl Part {
    /// Begins the copy that will be `file`. What a run that was killed has left is removed: its rights
    /// may have been changed since.
    pub(super) fn begin(file: &Path) -> Result<Self, BackupError> {
        let path = part_of(file);
        let failed = |cause| BackupError::file(&path)(cause);
        let left_over = files::open_private(&path).map_err(failed)?;
        lock(&left_over, &path)?;
        fs::remove_file(&path).map_err(failed)?;
        files::clear_beside(&path).map_err(failed)?;
        let part = match files::create_private(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                return Err(BackupError::UnderWay(path));
            }
            made => made.map_err(failed)?,
        };
        // Until this moment another run may have taken it for left over.
        lock(&part, &path)?;
        Ok(Part { path, file: part, finished: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Brings it to the disk, and gives it its name; that this is on the disk, too, is left to
    /// [`files::sync_directory_of`]. When it fails, `file` is as it was.
    pub(super) fn finish(mut self, file: &Path) -> Result<(), BackupError> {
        if !files::is_at(&self.file, &self.path).map_err(BackupError::file(&self.path))? {
            return Err(BackupError::UnderWay(self.path.clone()));
        }
        self.file.sync_all().map_err(BackupError::file(&self.path))?;
        fs::rename(&self.path, file).map_err(BackupError::file(file))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.finished {
            // If it cannot be removed, the next run writes over it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Locks `file`, and makes sure that it is still at `path`.
fn lock(file: &File, path: &Path) -> Result<(), BackupError> {
    match file.try_lock() {
        Ok(()) if files::is_at(file, path).map_err(BackupError::file(path))? => Ok(()),
        Ok(()) | Err(TryLockError::WouldBlock) => Err(BackupError::UnderWay(path.to_owned())),
        Err(TryLockError::Error(cause)) => Err(BackupError::file(path)(cause)),
    }
}

/// A database that is only read, by one who may work on it.
pub(super) fn open_source(path: &Path, access: OpenFlags) -> Result<Connection, BackupError> {
    let source = open::connect(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // Closing would tidy up a file that is refused.
    keep_log(&source, true).map_err(BackupError::sqlite(path))?;
    recognise(path, &source)?;
    keep_log(&source, false).map_err(BackupError::sqlite(path))?;
    Ok(source)
}

/// A file of somebody's; the write-ahead log beside it counts if there `is_log`, and it must be of the same
/// owner. Neither is changed, and nothing is made beside them.
pub(super) fn open_foreign(path: &Path, is_log: bool) -> Result<Connection, BackupError> {
    let sqlite = BackupError::sqlite(path);
    // That nobody writes to it, or that there are no locks: then nobody shares the index of the log, which
    // SQLite keeps in memory instead of a file (<https://sqlite.org/wal.html#noshm>).
    let uri = uri(path, if is_log { "vfs=unix-none" } else { "immutable=1" })?;
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if is_log && let Some(beside) = files::stranger_beside(path).map_err(BackupError::file(path))? {
        return Err(OpenError::Stranger { file: path.to_owned(), beside }.into());
    }
    let source = Connection::open_with_flags(uri, flags).map_err(&sqlite)?;
    source.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(&sqlite)?;
    keep_log(&source, true).map_err(&sqlite)?;
    recognise(path, &source)?;
    Ok(source)
}

fn recognise(path: &Path, source: &Connection) -> Result<(), BackupError> {
    let sqlite = BackupError::sqlite(path);
    source.busy_timeout(open::BUSY_TIMEOUT).map_err(&sqlite)?;
    distrust(source).map_err(&sqlite)?;
    open::recognise(path, source)?;
    Ok(())
}

/// Whatever its schema says does no more than read and write its own tables
/// (<https://sqlite.org/security.html#untrusted_sqlite_database_files>).
pub(super) fn distrust(source: &Connection) -> rusqlite::Result<()> {
    source.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    source.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    Ok(())
}

/// Whether the last connection to end leaves the write-ahead log as it is.
pub(super) fn keep_log(connection: &Connection, keep: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(|_| ())
}

/// `path` as a URI with a parameter (<https://sqlite.org/uri.html>).
fn uri(path: &Path, parameter: &str) -> Result<String, BackupError> {
    let path = std::path::absolute(path).map_err(BackupError::file(path))?;
    let name = utf8(&path)?.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    Ok(format!("file:{name}?{parameter}"))
}

/// Copies `source`, which is at `path`. What came out is still to be checked.
pub(super) fn copy(source: &Connection, path: &Path, part: &Part) -> Result<(), BackupError> {
    let sqlite = BackupError::sqlite(path);
    // The copy inherits it: what its pages do not use is zero.
    source.pragma_update(None, "secure_delete", "ON").map_err(&sqlite)?;
    let copied = source.execute("VACUUM INTO ?1", [utf8(part.path())?]);
    copied.map_err(|cause| match error::is_full(&cause) {
        true => BackupError::sqlite(part.path())(cause),
        false => sqlite(cause),
    })?;
    Ok(())
}

/// Whether the database at `path` is a whole ledger, of a version that we know.
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

fn utf8(path: &Path) -> Result<&str, BackupError> {
    path.to_str().ok_or_else(|| BackupError::unsound(path, "its path is not UTF-8"))
}
