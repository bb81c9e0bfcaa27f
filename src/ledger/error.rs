//! What can go wrong with the ledger, in its own words: it knows no SMTP and no HTTP codes.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

/// A request that was not carried out; nothing of it has happened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// SQLite refused: disk full, file gone, damage.
    #[error("ledger: {0}")]
    Sqlite(Arc<rusqlite::Error>),
    /// No reader could be had in time.
    #[error("ledger: no reader: {0}")]
    Readers(Arc<r2d2::Error>),
    /// The operating system's random number generator failed.
    #[error("ledger: random numbers: {0}")]
    Random(String),
    /// A row does not hold what the program writes there.
    #[error("ledger: alias {name} is damaged: {what}")]
    Damaged {
        /// The alias; as much of it as may be logged.
        name: String,
        /// The column.
        what: &'static str,
    },
    /// A defect in the program; what the request had done is undone.
    #[error("ledger: a request panicked")]
    Panicked,
    /// The ledger has been closed: the program is about to end.
    #[error("ledger: closed")]
    Closed,
}

/// Why the ledger could not be opened. Nothing in it has been touched.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is missing or may not be used.
    #[error("{path}: {cause}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The operating system's word.
        cause: std::io::Error,
    },
    /// The directory is somebody else's.
    #[error("{path}: permission denied: it belongs to user id {owner}, and this is user id {us}{}", capabilities(*us))]
    WrongOwner {
        /// The directory.
        path: PathBuf,
        /// To whom it belongs.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// A server works on it.
    #[error("{path} is in use by a running tempalias{}; stop that one first", with_id(*pid))]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// The server's process id, if it could be read.
        pid: Option<u32>,
    },
    /// The file, or what SQLite keeps beside it, may not be written.
    #[error("{path}: the database or its directory is read-only for {us}")]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// Who we are, in words.
        us: String,
    },
    /// There is no room to work in.
    #[error("{path}: the disk is full; make room, then try again: nothing is lost")]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// SQLite would take what lies beside the file for part of it, and it is not the file's own.
    #[error(
        "{beside}: a link, or not a file of the owner of {file}, and would be taken for part of it; look at it, \
         and remove it"
    )]
    Stranger {
        /// The database.
        file: PathBuf,
        /// What is beside it.
        beside: PathBuf,
    },
    /// Not SQLite, or damaged.
    #[error("{path}: damaged, or not a database: {cause}; restore a backup")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// SQLite's word.
        cause: String,
    },
    /// A database of another program.
    #[error("{path}: a database, but not one of tempalias")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Written by a version of tempalias that knows more.
    #[error(
        "{path}: written by a newer version of tempalias (schema {found}; this version knows {known}); \
         install that version, or restore a backup"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Our newest schema.
        known: i64,
    },
    /// Somebody works on the file.
    #[error("{path}: another program keeps it locked")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Anything else.
    #[error("{path}: {cause}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's word.
        cause: String,
    },
}

impl OpenError {
    /// Whether the file may be good, and only who is at work or may read it is in the way.
    pub(super) fn is_in_the_way(&self) -> bool {
        match self {
            OpenError::Directory { .. }
            | OpenError::WrongOwner { .. }
            | OpenError::InUse { .. }
            | OpenError::ReadOnly { .. }
            | OpenError::Full { .. }
            | OpenError::Stranger { .. }
            | OpenError::Locked { .. } => true,
            OpenError::Corrupt { .. }
            | OpenError::Foreign { .. }
            | OpenError::Newer { .. }
            | OpenError::Sqlite { .. } => false,
        }
    }
}

/// What root lacks that is not let in.
fn capabilities(us: u32) -> &'static str {
    if us == 0 { " without CAP_SETUID and CAP_SETGID" } else { "" }
}

fn with_id(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// Whether SQLite found no room.
pub(super) fn is_full(cause: &rusqlite::Error) -> bool {
    // The latter: no room for the index of the write-ahead log.
    cause.sqlite_error_code() == Some(ErrorCode::DiskFull)
        || cause.sqlite_extended_error_code() == Some(SQLITE_IOERR_SHMSIZE)
}

impl LedgerError {
    /// Whether there is no room to write: it may pass by itself.
    pub fn is_full(&self) -> bool {
        matches!(self, LedgerError::Sqlite(cause) if is_full(cause))
    }

    /// Whether the same request may well succeed a little later: no room, somebody else's lock,
    /// no free reader, or the program about to be started anew.
    pub fn is_transient(&self) -> bool {
        match self {
            LedgerError::Sqlite(cause) => matches!(
                cause.sqlite_error_code(),
                Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
            ),
            LedgerError::Readers(_) | LedgerError::Closed => true,
            LedgerError::Random(_) | LedgerError::Damaged { .. } | LedgerError::Panicked => false,
        }
    }
}

impl From<rusqlite::Error> for LedgerError {
    fn from(cause: rusqlite::Error) -> Self {
        LedgerError::Sqlite(Arc::new(cause))
    }
}

impl From<r2d2::Error> for LedgerError {
    fn from(cause: r2d2::Error) -> Self {
        LedgerError::Readers(Arc::new(cause))
    }
}
