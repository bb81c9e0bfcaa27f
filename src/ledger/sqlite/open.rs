//! Opening a ledger: recognise the file, migrate its schema, check it.
//!
//! A file that is not ours, damaged or of a newer version is left exactly as it was found.
//! All access goes through SQLite: a second descriptor of this process, once closed, would drop
//! SQLite's locks on the file (POSIX; <https://sqlite.org/howtocorrupt.html> §2.2).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rand::TryRng;
use rand::rngs::SysRng;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::explain;
use super::readers::Readers;
use super::{BUSY_TIMEOUT, files, latest, owner};
use crate::clock::Timestamp;
use crate::ledger::OpenError;

mod embedded {
    refinery::embed_migrations!("migrations/sqlite");
}

/// Marks a database as ours (SQLite's `application_id`): "tmpa".
pub(super) const APPLICATION_ID: i64 = 0x746d_7061;

/// Up to so many octets (some 90,000 aliases) a database is read as a whole at the start, which
/// takes less than a tenth of a second. With ten million aliases it would take many seconds: in
/// a larger one damage is noticed when the damaged page is read. That request fails, which is
/// never mistaken for an alias that does not exist.
const CHECKED_AS_A_WHOLE: i64 = 16 << 20;

pub(super) struct Opened {
    pub(super) write: Connection,
    /// For the checkpointer.
    pub(super) checkpoint: Connection,
    pub(super) readers: Readers,
    /// The ledger's secret, made with it.
    pub(super) secret: Vec<u8>,
    /// The latest instant that was noted.
    pub(super) latest: Option<Timestamp>,
}

pub(super) fn open(path: &Path, initial_length: usize) -> Result<Opened, OpenError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let _openers =
        create_if_missing(directory, path).map_err(|cause| owner::directory_error(directory, cause))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut write = connect(path, flags)?;
    write.busy_timeout(BUSY_TIMEOUT).map_err(explain(path))?;

    // Closing would tidy up a file that is about to be refused.
    write.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(explain(path))?;
    inspect(path, &write)?;
    write.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(explain(path))?;

    configure(&mut write).map_err(explain(path))?;
    migrate(path, &mut write)?;
    let secret = state(&write, initial_length).map_err(explain(path))?;
    let checkpoint = checkpoint_connection(path, flags)?;
    let readers = Readers::open(path)
        .map_err(|cause| OpenError::Backend { path: path.to_owned(), cause: cause.to_string() })?;
    let latest = latest::latest(&write).map_err(explain(path))?;
    Ok(Opened { write, checkpoint, readers, secret, latest })
}

/// A connection to the database at `path`, unless there is a foreign file beside it that SQLite would read.
pub(super) fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, OpenError> {
    // What fails here fails when SQLite opens the file, and it has a sentence for that.
    if let Ok(Some(beside)) = files::foreign_sidecar(path) {
        return Err(OpenError::ForeignSidecar { file: path.to_owned(), beside });
    }
    Connection::open_with_flags(path, flags).map_err(explain(path))
}

/// Makes an empty file, which SQLite takes for an empty database. It will hold real addresses, so only
/// its owner may read it; SQLite gives the same rights to the files beside it.
///
/// Two processes must not make a new ledger at once: the lock that this returns is held until it is open.
fn create_if_missing(directory: &Path, path: &Path) -> io::Result<File> {
    let lock = lock_directory(directory)?;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(lock),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(lock),
        Err(cause) => Err(cause),
    }
}

/// Waits until no other process is opening, or replacing, a ledger in `directory`.
pub(super) fn lock_directory(directory: &Path) -> io::Result<File> {
    let directory = File::open(directory)?;
    directory.lock()?;
    Ok(directory)
}

/// Refuses what must not be touched.
fn inspect(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    if connection.is_readonly("main").map_err(explain(path))? {
        return Err(OpenError::ReadOnly { path: path.to_owned(), us: owner::user() });
    }
    let size = size(connection).map_err(explain(path))?;
    if size == 0 {
        return Ok(());
    }
    recognise(path, connection)?;
    if size <= CHECKED_AS_A_WHOLE {
        let verdict: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(explain(path))?;
        if verdict != "ok" {
            return Err(OpenError::Corrupt { path: path.to_owned(), cause: verdict });
        }
    }
    Ok(())
}

/// Whether it is a ledger, and of a schema that this version knows.
pub(super) fn recognise(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    if application_id(connection).map_err(explain(path))? != APPLICATION_ID {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    let (found, known) = (schema(connection).map_err(explain(path))?, newest_schema());
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    Ok(())
}

/// Octets of the database, those in the write-ahead log included.
fn size(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row(
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
        [],
        |row| row.get(0),
    )
}

fn application_id(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "application_id", |row| row.get(0))
}

/// The number of the last migration made; 0 when the process was stopped before the first.
fn schema(connection: &Connection) -> rusqlite::Result<i64> {
    if !connection.table_exists(None, "refinery_schema_history")? {
        return Ok(0);
    }
    connection
        .query_row("SELECT coalesce(max(version), 0) FROM refinery_schema_history", [], |row| row.get(0))
}

fn newest_schema() -> i64 {
    let runner = embedded::migrations::runner();
    let versions = runner.get_migrations().iter().map(|migration| i64::from(migration.version()));
    versions.max().expect("there is at least one migration")
}

fn configure(connection: &mut Connection) -> rusqlite::Result<()> {
    // First of all: a ledger whose making is stopped in the middle is recognised.
    if application_id(connection)? != APPLICATION_ID {
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "secure_delete", "ON")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    // What a savepoint may have to undo holds addresses, too: not into a file in /tmp.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cell_size_check", "ON")?;
    // The checkpointer does that.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

/// A connection that only moves the log into the database, as durably as it was written.
fn checkpoint_connection(path: &Path, flags: OpenFlags) -> Result<Connection, OpenError> {
    let connection = connect(path, flags)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(explain(path))?;
    // The first statement opens the write-ahead log: now, while there are descriptors.
    connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |_| Ok(())).map_err(explain(path))?;
    Ok(connection)
}

/// All missing migrations in one transaction, so that a stop in the middle leaves none half done.
pub(super) fn migrate(path: &Path, connection: &mut Connection) -> Result<(), OpenError> {
    match embedded::migrations::runner().set_grouped(true).run(connection) {
        Ok(_) => Ok(()),
        Err(cause) => Err(OpenError::Backend { path: path.to_owned(), cause: cause.to_string() }),
    }
}

/// Makes the one row of `state` in a new ledger; the secret.
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

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::ledger::sqlite::{aliases, bounces, purge, targets, uses};

    fn opened() -> (TempDir, Opened) {
        let dir = TempDir::new().unwrap();
        let opened = open(&dir.path().join("tempalias.db"), 6).unwrap();
        (dir, opened)
    }

    fn pragma(connection: &Connection, name: &str) -> String {
        let value = |row: &rusqlite::Row<'_>| row.get(0);
        match connection.pragma_query_value(None, name, value).unwrap() {
            rusqlite::types::Value::Text(text) => text,
            rusqlite::types::Value::Integer(number) => number.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_write_connection_is_durable_forgets_and_checks() {
        let (_dir, opened) = opened();
        for (name, value) in [
            ("journal_mode", "wal"),
            ("synchronous", "2"),
            ("secure_delete", "1"),
            ("foreign_keys", "1"),
            ("temp_store", "2"),
            ("cell_size_check", "1"),
            ("wal_autocheckpoint", "0"),
            ("busy_timeout", "10000"),
            ("application_id", "1953329249"),
        ] {
            assert_eq!(pragma(&opened.write, name), value, "{name}");
        }
    }

    #[test]
    fn a_migration_is_made_as_a_whole_or_not_at_all() {
        let (dir, opened) = opened();
        let path = dir.path().join("again.db");
        let history = "SELECT sql FROM sqlite_schema WHERE name = 'refinery_schema_history'";
        let history: String = opened.write.query_row(history, [], |row| row.get(0)).unwrap();
        // A ledger in which the migration can be made, but not be noted.
        let half = Connection::open(&path).unwrap();
        half.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        half.execute_batch(&format!(
            "{history}; CREATE TRIGGER stop BEFORE INSERT ON refinery_schema_history
                        BEGIN SELECT raise(ABORT, 'stopped'); END"
        ))
        .unwrap();
        let stopped = open(&path, 6).err().unwrap();
        assert!(stopped.to_string().contains("stopped"), "{stopped}");
        half.execute_batch("DROP TRIGGER stop").unwrap();
        open(&path, 6).unwrap();
    }

    #[test]
    fn no_statement_reads_a_whole_table() {
        let (_dir, opened) = opened();
        let select = |condition| format!("{} {condition}", aliases::SELECT);
        for statement in [
            &select(aliases::AT_OR_AFTER),
            &select(aliases::AT_OR_BEFORE),
            &select(aliases::NEXT_PAGE),
            &format!("{} {}", aliases::SELECT_RECORD, aliases::BY_NAME),
            uses::SPEND,
            uses::REFUND,
            uses::UNDELIVER,
            bounces::BOUNCE,
            aliases::UPDATE,
            purge::EXPIRED,
            purge::USED_UP,
            purge::REPEATS,
            purge::DELIVERIES,
            targets::FREE,
        ] {
            let plan = plan(&opened.write, statement);
            assert!(plan.contains("SEARCH") && !plan.contains("SCAN"), "{statement}: {plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{statement}: {plan}");
        }
    }

    fn plan(connection: &Connection, statement: &str) -> String {
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let parameters = vec![rusqlite::types::Value::Null; explain.parameter_count()];
        let steps =
            explain.query_map(rusqlite::params_from_iter(parameters), |row| row.get::<_, String>(3)).unwrap();
        steps.collect::<Result<Vec<_>, _>>().unwrap().join("; ")
    }
}
