//! The checkpointer: moves the write-ahead log into the database, in a thread of its own.
//!
//! SQLite does so at the end of a commit whenever the log has become long, and all that wait for
//! the writer wait for that, too (docs/performance.md). A second connection can do it while the
//! writer goes on (<https://sqlite.org/wal.html>, "Checkpointing"). Only at its end does the log
//! begin anew, and beside a busy writer the thread does not get there: the writer moves the last pages.
//!
//! Needs SQLite 3.51.3, whose predecessors could take a log that had just begun anew for moved
//! (<https://sqlite.org/wal.html>, "The WAL-reset bug").

use std::cell::Cell;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::BUSY_TIMEOUT;
use crate::ledger::{LedgerError, Result};

/// Pages that are worth moving: SQLite's own default (`wal_autocheckpoint`).
const LONG: i64 = 1000;

/// At so many pages in all the writer moves those that are left, if they are few: 16 MB.
const TOO_LONG: i64 = 4 * LONG;

/// The thread, and what the writer needs to get on with it.
pub(super) struct Checkpointer {
    wake: SyncSender<()>,
    lock: Arc<Lock>,
    thread: JoinHandle<()>,
    warnings: Warnings,
}

/// Held while pages are moved: SQLite refuses a second checkpoint at the same time.
#[derive(Default)]
struct Lock(Mutex<()>);

/// Whether the last checkpoint failed, which has been logged.
#[derive(Default)]
struct Warnings(Cell<bool>);

/// SQLite's modes of a checkpoint.
#[derive(Clone, Copy)]
enum Mode {
    /// Moves nothing, and answers with the figures.
    Noop,
    /// Moves what can be moved without waiting.
    Passive,
    /// Moves all, and then empties the file.
    Truncate,
}

/// What a checkpoint has found.
struct Log {
    /// A reader or a writer kept it from its end.
    is_busy: bool,
    /// In the log.
    pages: i64,
    /// Of these in the database.
    moved: i64,
}

impl Checkpointer {
    /// Starts the thread on `connection`.
    pub(super) fn start(connection: Connection) -> Self {
        // One wake-up is enough, however many were sent.
        let (wake, wakeups) = sync_channel(1);
        let lock = Arc::<Lock>::default();
        let for_thread = lock.clone();
        let thread = std::thread::Builder::new()
            .name("checkpointer".into())
            .spawn(move || serve(&connection, &wakeups, &for_thread))
            .expect("the system can start one more thread at start-up");
        Checkpointer { wake, lock, thread, warnings: Warnings::default() }
    }

    /// Has the log moved when the commit on `write` has made it long.
    pub(super) fn after_commit(&self, write: &Connection) {
        self.warnings.note(self.wake_if_long(write));
    }

    fn wake_if_long(&self, write: &Connection) -> Result<()> {
        let Log { pages, moved, .. } = checkpoint(write, Mode::Noop)?;
        let are_many = pages - moved >= LONG;
        let is_alone = are_many && matches!(self.wake.try_send(()), Err(TrySendError::Disconnected(())));
        if pages >= TOO_LONG && (is_alone || !are_many) {
            let _lock = self.lock.take();
            checkpoint(write, Mode::Passive)?;
        }
        if is_alone { Err(LedgerError::Panicked) } else { Ok(()) }
    }

    /// Moves all of the log, by way of `write`, and empties it; false when a reader kept it from its end.
    pub(super) fn empty(&self, write: &Connection) -> Result<bool> {
        let _lock = self.lock.take();
        // Not waiting for readers: spends would wait, too.
        write.busy_timeout(Duration::ZERO)?;
        let log = checkpoint(write, Mode::Truncate);
        write.busy_timeout(BUSY_TIMEOUT)?;
        Ok(!log?.is_busy)
    }

    /// Waits for the thread's end, and that of its connection.
    pub(super) fn stop(self) {
        drop(self.wake);
        if self.thread.join().is_err() {
            tracing::error!("the ledger's checkpointer has panicked");
        }
    }
}

impl Warnings {
    /// Warns of a failure, but not of those that follow it.
    fn note(&self, result: Result<()>) {
        let was_logged = self.0.replace(result.is_err());
        if let (Err(cause), false) = (result, was_logged) {
            tracing::warn!(%cause, "the write-ahead log cannot be moved into the database");
        }
    }
}

impl Lock {
    fn take(&self) -> MutexGuard<'_, ()> {
        // It guards no data that a panic could have left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread: until the [`Checkpointer`] is dropped.
fn serve(connection: &Connection, wakeups: &Receiver<()>, lock: &Lock) {
    let warnings = Warnings::default();
    while wakeups.recv().is_ok() {
        let _lock = lock.take();
        warnings.note(checkpoint(connection, Mode::Passive).map(drop).map_err(LedgerError::from));
    }
}

fn checkpoint(connection: &Connection, mode: Mode) -> rusqlite::Result<Log> {
    let pragma = match mode {
        Mode::Noop => "PRAGMA wal_checkpoint(NOOP)",
        Mode::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
        Mode::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    connection.prepare_cached(pragma)?.query_row([], |row| {
        Ok(Log { is_busy: row.get::<_, i64>(0)? != 0, pages: row.get(1)?, moved: row.get(2)? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        _dir: tempfile::TempDir,
        write: Connection,
        checkpointer: Checkpointer,
    }

    /// A database with one table, and nothing but the checkpointer to move its log.
    fn scene() -> Scene {
        let dir = tempfile::TempDir::new().unwrap();
        let open = || Connection::open(dir.path().join("t.db")).unwrap();
        let write = open();
        write.pragma_update(None, "journal_mode", "WAL").unwrap();
        write.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        write.execute_batch("CREATE TABLE t (octets BLOB) STRICT").unwrap();
        let checkpointer = Checkpointer::start(open());
        Scene { write, checkpointer, _dir: dir }
    }

    impl Scene {
        /// Commits so many pages.
        fn write(&self, pages: i64) {
            self.write.execute("INSERT INTO t VALUES (zeroblob(?1 * 4096))", [pages]).unwrap();
        }

        fn after_commit(&self) {
            self.checkpointer.wake_if_long(&self.write).unwrap();
        }

        /// Pages in the log, and how many of them are in the database.
        fn log(&self) -> (i64, i64) {
            let Log { pages, moved, .. } = checkpoint(&self.write, Mode::Noop).unwrap();
            (pages, moved)
        }

        /// Waits until all of the log has been moved.
        fn wait(&self) {
            let deadline = std::time::Instant::now() + Duration::from_secs(20);
            while self.log().0 != self.log().1 {
                assert!(std::time::Instant::now() < deadline, "{:?}", self.log());
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_long_log_is_moved_beside_the_writer_and_begins_anew() {
        let scene = scene();
        scene.write(LONG);
        scene.after_commit();
        scene.wait();
        scene.write(1);
        assert!(scene.log().0 < LONG, "{:?}", scene.log());
        scene.checkpointer.stop();
    }

    #[test]
    fn a_short_log_is_left_alone() {
        let Scene { write, checkpointer, _dir } = scene();
        write.execute("INSERT INTO t VALUES (x'00')", []).unwrap();
        checkpointer.after_commit(&write);
        checkpointer.stop();
        assert_eq!(checkpoint(&write, Mode::Noop).unwrap().moved, 0);
    }

    #[test]
    fn the_last_pages_of_a_log_that_has_grown_too_long_are_moved_by_the_writer() {
        let scene = scene();
        scene.write(TOO_LONG);
        // A reader keeps the log from beginning anew.
        let reader = Connection::open(scene._dir.path().join("t.db")).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
        scene.after_commit();
        scene.wait();
        scene.write(1);
        let (pages, moved) = scene.log();
        assert!(pages >= TOO_LONG && moved < pages && pages - moved < LONG, "{pages} {moved}");
        reader.execute_batch("COMMIT").unwrap();
        scene.after_commit();
        assert_eq!(scene.log().0, scene.log().1);
        scene.checkpointer.stop();
    }

    #[test]
    fn a_reader_keeps_the_log_from_being_emptied_and_is_told_of() {
        let scene = scene();
        scene.write(1);
        let reader = Connection::open(scene._dir.path().join("t.db")).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
        assert!(!scene.checkpointer.empty(&scene.write).unwrap());
        reader.execute_batch("COMMIT").unwrap();
        assert!(scene.checkpointer.empty(&scene.write).unwrap());
        assert_eq!(scene.log(), (0, 0));
        scene.checkpointer.stop();
    }

    #[test]
    fn sqlite_is_new_enough_and_has_nothing_that_is_not_needed() {
        assert!(rusqlite::version_number() >= 3_051_003, "{}", rusqlite::version());
        let connection = Connection::open_in_memory().unwrap();
        let mut options = connection.prepare("PRAGMA compile_options").unwrap();
        let options = options.query_map([], |row| row.get(0)).unwrap();
        let options: Vec<String> = options.collect::<Result<_, _>>().unwrap();
        let has = |option: &str| options.iter().any(|one| one == option);
        for option in ["DEFAULT_MEMSTATUS=0", "OMIT_LOAD_EXTENSION", "OMIT_JSON"] {
            assert!(has(option), "{option}: {options:?}");
        }
        for option in ["ENABLE_FTS3", "ENABLE_FTS5", "ENABLE_RTREE", "ENABLE_MEMORY_MANAGEMENT"] {
            assert!(!has(option), "{option}");
        }
    }
}
