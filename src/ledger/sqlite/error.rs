//! SQLite's errors in the ledger's words, and what can go wrong with a backup.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

use super::owner;
use crate::ledger::{LedgerError, Nature, OpenError};

impl From<rusqlite::Error> for LedgerError {
    fn from(cause: rusqlite::Error) -> Self {
        let nature = match cause.sqlite_error_code() {
            _ if is_full(&cause) => Nature::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Nature::Busy,
            _ => Nature::Lasting,
        };
        LedgerError::Backend { cause: Arc::new(cause), nature }
    }
}

/// Whether SQLite found the disk full.
pub(super) fn is_full(cause: &rusqlite::Error) -> bool {
    // The latter: no space for the index of the write-ahead log.
    cause.sqlite_error_code() == Some(ErrorCode::DiskFull)
        || cause.sqlite_extended_error_code() == Some(SQLITE_IOERR_SHMSIZE)
}

/// Why the database at `path` cannot be opened.
pub(super) fn explain(path: &Path) -> impl Fn(rusqlite::Error) -> OpenError {
    move |cause| explained(path.to_owned(), &cause)
}

fn explained(path: PathBuf, cause: &rusqlite::Error) -> OpenError {
    match cause.sqlite_error_code() {
        _ if is_full(cause) => OpenError::Full { path },
        _ if path.is_dir() => OpenError::Backend { path, cause: "a directory, not a file".into() },
        // The latter: the file may be read and written, but none may be made beside it.
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            OpenError::ReadOnly { path, us: owner::user() }
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            OpenError::Corrupt { path, cause: cause.to_string() }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked { path },
        _ => OpenError::Backend { path, cause: cause.to_string() },
    }
}

/// Why there is no backup, or nothing was restored. What was there before is as it was, but for
/// [`BackupError::Unsettled`].
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The ledger, or the backup that is to be restored, cannot be used.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// A file is there that must not be replaced.
    #[error("{} is there already, and is no backup of tempalias; it is not overwritten", .0.display())]
    Occupied(PathBuf),
    /// The ledger itself.
    #[error("{} is the ledger itself; choose another file", .0.display())]
    Itself(PathBuf),
    /// A file beside the backup that SQLite would take for part of it.
    #[error(
        "{} is there: {} is a database in use, or was; remove both, or choose another file",
        .beside.display(), .file.display()
    )]
    Sidecar {
        /// Where the backup should be.
        file: PathBuf,
        /// The file beside it.
        beside: PathBuf,
    },
    /// A file beside the backup that is to be restored, which SQLite would take for part of it.
    #[error(
        "{} is beside the backup, and would be taken for part of it; `tempalias backup` leaves none: remove it{}",
        .beside.display(), or_with_log(*.is_log)
    )]
    Journal {
        /// The file beside it.
        beside: PathBuf,
        /// Whether it is a write-ahead log, which can be restored as well.
        is_log: bool,
    },
    /// Two at once.
    #[error("{}: another backup or restore is writing it", .0.display())]
    UnderWay(PathBuf),
    /// The operating system refused a file.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Its error.
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
    /// The backup has replaced the ledger; what came after that has failed.
    #[error("restored, but {cause}{}", now_at(set_aside.as_deref()))]
    Unsettled {
        /// What has failed.
        cause: Box<BackupError>,
        /// Where the replaced ledger is now, if there was one.
        set_aside: Option<PathBuf>,
    },
}

fn or_with_log(is_log: bool) -> &'static str {
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
        move |cause| explained(path.to_owned(), &cause).into()
    }

    pub(super) fn unsound(path: &Path, cause: impl ToString) -> Self {
        BackupError::Unsound { path: path.to_owned(), cause: cause.to_string() }
    }
}
