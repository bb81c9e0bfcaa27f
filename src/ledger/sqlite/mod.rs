//! The ledger in SQLite: the only SQL of the program.
//!
//! One **writer thread** owns the write connection and commits in groups ([`writer`]); [`readers`] come from a
//! pool and see the last commit (WAL). Each request of the ledger is a method of [`Engine`], in the file of its
//! table; free functions run inside the caller's transaction.
//!
//! | file | what is in it |
//! |---|---|
//! | [`open`] | recognise the file, migrate its schema, check it |
//! | [`writer`] | the thread that writes: groups, commits, answers |
//! | [`readers`] | the pool of connections that read |
//! | [`checkpointer`] | the thread that moves the write-ahead log into the database |
//! | [`aliases`] | one alias: handed out, read, changed, revoked |
//! | [`names`], [`targets`] | its name, never used again; its target, never left behind |
//! | [`repeats`] | requests that may come twice and give one alias |
//! | [`uses`] | spend and refund |
//! | [`bounces`] | what a message that came back changes |
//! | [`purge`] | deletes what is over |
//! | [`latest`] | the latest instant that was seen |
//! | [`transfer`] | all of it, to be moved to another ledger |
//! | [`lock`] | one server for a data directory |
//! | [`backup`], [`restore`] | a copy of it, and back |
//! | [`source`], [`verify`], [`part`] | what is copied, whether it is whole, the copy while it grows |
//! | [`replaced`] | the ledger that a restore replaces |
//! | [`summary`] | what a ledger holds, without opening it for work |
//! | [`owner`], [`files`] | root in the service's directory; files that are private, and on the disk |
//! | [`error`] | SQLite's errors in the ledger's words |

mod aliases;
mod backup;
mod bounces;
mod checkpointer;
mod error;
mod files;
mod latest;
mod lock;
mod names;
mod open;
mod owner;
mod part;
mod purge;
mod readers;
mod repeats;
mod replaced;
mod restore;
mod source;
mod summary;
mod targets;
mod transfer;
mod uses;
mod verify;
mod writer;

pub use backup::{Phase, back_up};
pub use error::BackupError;
pub use lock::DataDirLock;
pub use part::part_of;
pub use restore::{BackupLog, CarriedOver, Restored, Revoked, restore};
pub use summary::{Summary, summary};

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::counters::Counters;
use super::error::{LedgerError, OpenError, Result};
use crate::clock::Timestamp;
use checkpointer::Checkpointer;
use open::Opened;
use readers::Readers;
use writer::Writer;

/// For the rare moment when `tempalias alias` and the server write at once.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The database's name inside the data directory.
pub const FILE_NAME: &str = "tempalias.db";

/// An open database. Its requests are durable when they are answered; a caller that stops waiting may have
/// changed the database all the same.
pub(super) struct Engine {
    writer: Writer,
    /// Closed first: the writer has to be the last connection, only then does SQLite fold the write-ahead log
    /// into the database and delete it.
    readers: Readers,
}

impl Engine {
    /// Opens or makes the database in `data_dir`; the engine, the ledger's secret, and the latest instant that
    /// was noted.
    pub(super) fn open(
        data_dir: &Path,
        initial_length: usize,
        counters: Arc<Counters>,
    ) -> Result<(Self, Vec<u8>, Option<Timestamp>), OpenError> {
        owner::acting_in(data_dir, || {
            let Opened { write, checkpoint, readers, secret, latest } =
                open::open(&data_dir.join(FILE_NAME), initial_length)?;
            let writer = Writer::start(write, Checkpointer::start(checkpoint), counters);
            Ok((Engine { writer, readers }, secret, latest))
        })
    }

    /// Waits until nothing can be changed any more: the writer thread has ended.
    pub(super) async fn closed(&self) {
        self.writer.closed().await;
    }

    /// Answers what is queued, then closes the database.
    pub(super) async fn close(&self) {
        self.readers.close();
        self.writer.close().await;
    }
}

/// Runs `work`, which takes its time, where it blocks no worker.
///
/// # Errors
/// Those of `work`, and when it panicked.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(LedgerError::Panicked))
}
