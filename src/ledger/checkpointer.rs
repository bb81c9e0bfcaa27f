//! The checkpointer: moves the write-ahead log into the database, in a thread of its own.
//!
//! SQLite does so at the end of a commit whenever the log has become long, and all that wait for
//! the writer wait for that, too: some 30 ms for pages from all over a large ledger
//! (docs/performance.md). A second connection can do it while the writer goes on
//! (<https://sqlite.org/wal.html>, "Checkpointing").

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::LedgerError;
use super::open::BUSY_TIMEOUT;

/// Pages of the log that are worth moving: SQLite's own default (`wal_autocheckpoint`).
const LONG: i64 = 1000;

/// At so many pages, 64 MiB, the writer helps: beside one that never rests the end of the log is
/// never reached, and only at its end does it begin anew.
const TOO_LONG: i64 = 16 * LONG;

/// The thread, and what the writer needs to get on with it.
pub(super) struct Checkpointer {
    wake: SyncSender<()>,
    turn: Arc<Turn>,
    thread: JoinHandle<()>,
}

/// Held while pages are moved: SQLite turns away whoever would do so at the same time.
#[derive(Default)]
struct Turn(Mutex<()>);

/// What [`state`] finds in the log.
struct Log {
    /// Somebody was in the way.
    is_busy: bool,
    pages: i64,
}

impl Checkpointer {
    /// Starts the thread on `connection`.
    pub(super) fn start(connection: Connection) -> Self {
        // One call is enough, however many have been.
        let (wake, calls) = sync_channel(1);
        let turn = Arc::<Turn>::default();
        let for_thread = turn.clone();
        let thread = std::thread::Builder::new()
            .name("checkpointer".into())
            .spawn(move || serve(&connection, &calls, &for_thread))
            .expect("the system can start one more thread at start-up");
        Checkpointer { wake, turn, thread }
    }

    /// After each commit on `write`: has the log moved when it has become long.
    pub(super) fn look(&self, write: &Connection) -> rusqlite::Result<()> {
        let pages = checkpoint(write, "NOOP")?.pages;
        if pages >= TOO_LONG {
            let _turn = self.turn.take();
            checkpoint(write, "PASSIVE")?;
        } else if pages >= LONG {
            // It has been called already, or it is gone, which `stop` will tell.
            let _ = self.wake.try_send(());
        }
        Ok(())
    }

    /// Moves all of the log, by way of `write`, and empties it.
    pub(super) fn empty(&self, write: &Connection) -> Result<(), LedgerError> {
        let _turn = self.turn.take();
        // Readers are not waited for, because spends would wait with us.
        write.busy_timeout(Duration::ZERO)?;
        let log = checkpoint(write, "TRUNCATE");
        write.busy_timeout(BUSY_TIMEOUT)?;
        if log?.is_busy {
            tracing::debug!("a reader kept the write-ahead log from being emptied; the next purge will");
        }
        Ok(())
    }

    /// Waits for the thread's end, and that of its connection.
    pub(super) fn stop(self) {
        drop(self.wake);
        if self.thread.join().is_err() {
            tracing::error!("the ledger's checkpointer has panicked");
        }
    }
}

impl Turn {
    fn take(&self) -> MutexGuard<'_, ()> {
        // Nothing is guarded that a panic could have left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's life: until the [`Checkpointer`] is gone.
fn serve(connection: &Connection, calls: &Receiver<()>, turn: &Turn) {
    let mut is_failing = false;
    while calls.recv().is_ok() {
        let _turn = turn.take();
        let moved = checkpoint(connection, "PASSIVE");
        if let (Err(cause), false) = (&moved, is_failing) {
            tracing::warn!(%cause, "the write-ahead log cannot be moved into the database");
        }
        is_failing = moved.is_err();
    }
}

fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<Log> {
    connection
        .prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?
        .query_row([], |row| Ok(Log { is_busy: row.get::<_, i64>(0)? != 0, pages: row.get(1)? }))
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

        /// Pages in the log, and how many of them are in the database.
        fn log(&self) -> (i64, i64) {
            let figures = |row: &rusqlite::Row<'_>| Ok((row.get(1)?, row.get(2)?));
            self.write.query_row("PRAGMA wal_checkpoint(NOOP)", [], figures).unwrap()
        }
    }

    #[test]
    fn a_long_log_is_moved_beside_the_writer_and_begins_anew() {
        let scene = scene();
        scene.write(LONG / 2);
        scene.checkpointer.look(&scene.write).unwrap();
        scene.write(LONG / 2);
        let (pages, _) = scene.log();
        assert!(pages >= LONG, "{pages}");
        scene.checkpointer.look(&scene.write).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while scene.log() != (pages, pages) {
            assert!(std::time::Instant::now() < deadline, "{:?}", scene.log());
            std::thread::yield_now();
        }
        scene.write(1);
        assert!(scene.log().0 < LONG, "{:?}", scene.log());
        scene.checkpointer.stop();
    }

    #[test]
    fn a_short_log_is_left_alone() {
        let scene = scene();
        scene.write(LONG / 2);
        scene.checkpointer.look(&scene.write).unwrap();
        scene.checkpointer.stop();
        let (_, moved) = {
            let figures = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
            scene.write.query_row("PRAGMA wal_checkpoint(NOOP)", [], figures).unwrap()
        };
        assert_eq!(moved, 0);
    }

    #[test]
    fn a_log_that_grows_too_long_is_moved_by_the_writer_itself() {
        let scene = scene();
        scene.write(TOO_LONG);
        scene.checkpointer.look(&scene.write).unwrap();
        let (pages, moved) = scene.log();
        assert_eq!(pages, moved);
        scene.checkpointer.stop();
    }

    #[test]
    fn emptying_leaves_nothing_in_the_log() {
        let scene = scene();
        scene.write(LONG);
        scene.checkpointer.look(&scene.write).unwrap();
        scene.checkpointer.empty(&scene.write).unwrap();
        assert_eq!(scene.log(), (0, 0));
        scene.checkpointer.stop();
    }
}
