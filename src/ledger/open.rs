//! Opening a ledger: whose file is it, which schema, and is it sound.
//!
//! Everything is looked at read-only first, so that a file that is not ours, damaged or of a
//! newer version is left exactly as it was found.

use std::path::Path;
use std::time::Duration;

use r2d2::Pool;
use r2d2_sqlite::SqliteConnectionManager;
use rand::TryRng;
use rand::rngs::SysRng;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::OpenError;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Marks a database as ours (SQLite's `application_id`): "tmpa".
const APPLICATION_ID: i64 = 0x746d_7061;

/// For the rare moment when `tempalias alias` and the server write at once.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Look-ups run to their end without waiting, so more readers than threads would never be used;
/// tokio starts one thread a core.
const READERS: u32 = 16;

pub(super) struct Opened {
    pub(super) write: Connection,
    pub(super) readers: Pool<SqliteConnectionManager>,
    pub(super) bounce_secret: Vec<u8>,
}

pub(super) fn open(path: &Path, initial_length: usize) -> Result<Opened, OpenError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::read_dir(directory)
        .map_err(|cause| OpenError::Directory { path: directory.to_owned(), cause })?;
    if path.exists() {
        inspect(path)?;
    }
    let explain = |cause: rusqlite::Error| explain(path, &cause);
    let mut write = Connection::open(path).map_err(explain)?;
    configure(&write).map_err(explain)?;
    embedded::migrations::runner()
        .run(&mut write)
        .map_err(|cause| OpenError::Sqlite { path: path.to_owned(), cause: cause.to_string() })?;
    let bounce_secret = state(&write, initial_length).map_err(explain)?;
    let readers = readers(path)
        .map_err(|cause| OpenError::Sqlite { path: path.to_owned(), cause: cause.to_string() })?;
    Ok(Opened { write, readers, bounce_secret })
}

/// Refuses what we must not touch.
fn inspect(path: &Path) -> Result<(), OpenError> {
    let explain = |cause: rusqlite::Error| explain(path, &cause);
    if std::fs::metadata(path).is_ok_and(|file| file.len() == 0) {
        return Ok(()); // nothing in it yet
    }
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(|_| OpenError::ReadOnly { path: path.to_owned() })?;
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(explain)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(explain)?;
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(explain)?;
    if verdict != "ok" {
        return Err(OpenError::Corrupt { path: path.to_owned(), cause: verdict });
    }
    let id: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(explain)?;
    if id != APPLICATION_ID {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    let known = embedded::migrations::runner().get_migrations().iter().map(|m| i64::from(m.version())).max();
    let known = known.expect("there is at least one migration");
    let found: i64 = connection
        .query_row("SELECT coalesce(max(version), 0) FROM refinery_schema_history", [], |row| row.get(0))
        .unwrap_or(0); // made, but stopped before its first migration
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    Ok(())
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "secure_delete", "ON")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

/// Makes the one row of `state` in a new ledger; the bounce secret.
fn state(connection: &Connection, initial_length: usize) -> rusqlite::Result<Vec<u8>> {
    let mut secret = [0u8; 32];
    SysRng
        .try_fill_bytes(&mut secret)
        .map_err(|cause| rusqlite::Error::ToSqlConversionFailure(Box::new(cause)))?;
    connection.execute(
        "INSERT INTO state (name_length, bounce_secret) SELECT ?1, ?2 WHERE NOT EXISTS (SELECT * FROM state)",
        (i64::try_from(initial_length).unwrap_or(i64::MAX), &secret[..]),
    )?;
    connection.query_row("SELECT bounce_secret FROM state", [], |row| row.get(0))
}

fn readers(path: &Path) -> Result<Pool<SqliteConnectionManager>, r2d2::Error> {
    let manager = SqliteConnectionManager::file(path)
        .with_flags(OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .with_init(|connection| connection.busy_timeout(BUSY_TIMEOUT));
    Pool::builder().max_size(READERS).min_idle(Some(1)).test_on_check_out(false).build(manager)
}

fn explain(path: &Path, cause: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match cause.sqlite_error_code() {
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            OpenError::ReadOnly { path }
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            OpenError::Corrupt { path, cause: cause.to_string() }
        }
        _ => OpenError::Sqlite { path, cause: cause.to_string() },
    }
}
