//! What can go wrong with the ledger, whatever its engine: no SMTP or HTTP codes, and no engine's types.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

/// The result of a request to the ledger.
pub type Result<T, E = LedgerError> = std::result::Result<T, E>;

/// A request that was not carried out; nothing of it has happened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// The engine failed: disk full, file gone, damage.
    #[error("ledger: {cause}")]
    Backend {
        /// The engine's own error.
        cause: Arc<dyn Error + Send + Sync>,
        /// What the engine says of it.
        nature: Nature,
    },
    /// All connections for reading were taken, for too long.
    #[error("ledger: no reader: timed out waiting for connection")]
    NoReader,
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

/// What is to be expected after an engine's error; decided where the error is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// The disk is full. It may pass by itself.
    Full,
    /// Another process holds a lock. It may pass by itself.
    Busy,
    /// It stays until the operator acts.
    Lasting,
}

/// Why the ledger could not be opened. Nothing in it has been touched.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is missing or may not be used.
    #[error("{path}: {cause}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The operating system's error.
        cause: std::io::Error,
    },
    /// The directory belongs to another user.
    #[error("{path}: permission denied: it belongs to user id {owner}, and this is user id {us}{}", capabilities(*us))]
    WrongOwner {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user of this process.
        us: u32,
    },
    /// A server uses it.
    #[error("{path} is in use by a running tempalias{}; stop that one first", with_id(*pid))]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// The server's process id, if it could be read.
        pid: Option<u32>,
    },
    /// The file, or a file that the engine keeps beside it, may not be written.
    #[error("{path}: the database or its directory is read-only for {us}")]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// The user of this process, in words.
        us: String,
    },
    /// The disk is full.
    #[error("{path}: the disk is full; make room, then try again: nothing is lost")]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// A file beside the database would be taken for part of it, and is another user's or a link.
    #[error(
        "{beside}: a link, or not a file of the owner of {file}, and would be taken for part of it; look at it, \
         and remove it"
    )]
    ForeignSidecar {
        /// The database.
        file: PathBuf,
        /// The file beside it.
        beside: PathBuf,
    },
    /// Not a database, or damaged.
    #[error("{path}: damaged, or not a database: {cause}; restore a backup")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The engine's message.
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
    /// Another program has locked the file.
    #[error("{path}: another program keeps it locked")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Anything else.
    #[error("{path}: {cause}")]
    Backend {
        /// The file.
        path: PathBuf,
        /// The engine's message.
        cause: String,
    },
}

impl OpenError {
    /// Whether only access failed, and the content may be good: another process holds the file, or this
    /// one may not read or write it.
    pub(super) fn is_about_access(&self) -> bool {
        match self {
            OpenError::Directory { .. }
            | OpenError::WrongOwner { .. }
            | OpenError::InUse { .. }
            | OpenError::ReadOnly { .. }
            | OpenError::Full { .. }
            | OpenError::ForeignSidecar { .. }
            | OpenError::Locked { .. } => true,
            OpenError::Corrupt { .. }
            | OpenError::Foreign { .. }
            | OpenError::Newer { .. }
            | OpenError::Backend { .. } => false,
        }
    }
}

/// The capabilities that root lacks when it is refused.
fn capabilities(us: u32) -> &'static str {
    if us == 0 { " without CAP_SETUID and CAP_SETGID" } else { "" }
}

fn with_id(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

impl LedgerError {
    /// Whether the disk is full. It may pass by itself.
    pub fn is_full(&self) -> bool {
        matches!(self, LedgerError::Backend { nature: Nature::Full, .. })
    }

    /// Whether the same request may well succeed a little later: disk full, another process's lock,
    /// no free reader, or the program about to be started anew.
    pub fn is_transient(&self) -> bool {
        match self {
            LedgerError::Backend { nature, .. } => *nature != Nature::Lasting,
            LedgerError::NoReader | LedgerError::Closed => true,
            LedgerError::Random(_) | LedgerError::Damaged { .. } | LedgerError::Panicked => false,
        }
    }
}
