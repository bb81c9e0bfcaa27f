//! The pool of connections that read.

use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, RwLock};

use r2d2::{Pool, PooledConnection};
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::timeout;

use super::BUSY_TIMEOUT;
use crate::ledger::{LedgerError, Result};

/// Look-ups run to their end without waiting, so only long reads use more readers than there are threads;
/// tokio starts one thread a core.
const READERS: u32 = 16;

const UNPOISONED: &str = "nobody panics while holding this lock";

pub(super) struct Readers {
    /// A permit for each connection: r2d2 itself would block the thread while all are taken.
    permits: Arc<Semaphore>,
    /// Taken out when they are closed.
    pool: RwLock<Option<Pool<SqliteConnectionManager>>>,
}

/// A connection that reads, until it is dropped. It is back in the pool before its permit is.
pub(super) struct Reader {
    connection: PooledConnection<SqliteConnectionManager>,
    _permit: OwnedSemaphorePermit,
}

impl Readers {
    /// All of them are opened now and kept, so that no look-up ever has to wait for a descriptor.
    pub(super) fn open(path: &Path) -> Result<Self, r2d2::Error> {
        let manager = SqliteConnectionManager::file(path)
            .with_flags(OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .with_init(|connection| {
                connection.busy_timeout(BUSY_TIMEOUT)?;
                connection.pragma_update(None, "cell_size_check", "ON")?;
                // The first read opens the write-ahead log: now, while there are descriptors.
                connection.query_row("SELECT count(*) FROM state", [], |_| Ok(()))
            });
        let pool = Pool::builder()
            .max_size(READERS)
            .max_lifetime(None)
            .idle_timeout(None)
            .test_on_check_out(false) // a file does not hang up
            .connection_timeout(BUSY_TIMEOUT)
            .build(manager)?;
        let permits = Arc::new(Semaphore::new(READERS as usize));
        Ok(Readers { permits, pool: RwLock::new(Some(pool)) })
    }

    /// A free connection: at once, or when one is given back.
    ///
    /// # Errors
    /// When all stay taken for [`BUSY_TIMEOUT`], or they are closed.
    pub(super) async fn get(&self) -> Result<Reader> {
        let permit = match self.permits.clone().try_acquire_owned() {
            Err(TryAcquireError::NoPermits) => {
                // Boxed: it is rare, and large for the futures that look an alias up.
                let wait = Box::pin(timeout(BUSY_TIMEOUT, self.permits.clone().acquire_owned()));
                wait.await.map_err(|_| LedgerError::NoReader)?.ok()
            }
            permit => permit.ok(),
        };
        let pool = self.pool.read().expect(UNPOISONED).clone();
        let (Some(permit), Some(pool)) = (permit, pool) else { return Err(LedgerError::Closed) };
        let connection = pool.get().map_err(|_| LedgerError::NoReader)?;
        Ok(Reader { connection, _permit: permit })
    }

    /// From here on there is none; those that are taken close when they are given back.
    pub(super) fn close(&self) {
        self.permits.close();
        self.pool.write().expect(UNPOISONED).take();
    }
}

impl Deref for Reader {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ledger::sqlite::open;

    fn readers() -> (tempfile::TempDir, Readers) {
        let dir = tempfile::tempdir().unwrap();
        let readers = open::open(&dir.path().join("tempalias.db"), 6).unwrap().readers;
        (dir, readers)
    }

    async fn all(readers: &Readers) -> Vec<Reader> {
        let mut taken = Vec::new();
        for _ in 0..READERS {
            taken.push(readers.get().await.unwrap());
        }
        taken
    }

    #[tokio::test]
    async fn all_readers_are_there_from_the_start_and_cannot_write() {
        let (_dir, readers) = readers();
        for reader in all(&readers).await {
            let value = |name| reader.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
            assert_eq!((value("cell_size_check"), value("busy_timeout")), (1, 10_000));
            assert!(reader.execute("DELETE FROM names", []).is_err());
        }
    }

    /// On a single thread: a wait that blocked it would last for ever.
    #[tokio::test]
    async fn while_all_readers_are_taken_a_look_up_waits_without_blocking_its_thread() {
        let (_dir, readers) = readers();
        let mut taken = all(&readers).await;
        let give_back = async {
            tokio::task::yield_now().await;
            taken.pop();
        };
        let (reader, ()) = tokio::join!(readers.get(), give_back);
        reader.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_for_a_reader_ends_after_a_while_or_when_they_are_closed() {
        let (_dir, readers) = readers();
        let _taken = all(&readers).await;
        assert!(matches!(readers.get().await, Err(LedgerError::NoReader)));
        let close = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            readers.close();
        };
        let (waiting, ()) = tokio::join!(readers.get(), close);
        assert!(matches!(waiting, Err(LedgerError::Closed)));
        assert!(matches!(readers.get().await, Err(LedgerError::Closed)));
    }
}
