//! Opening: what is not ours, not sound or not writable is refused and left alone.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::sync::{Arc, Barrier};

use rusqlite::Connection;
use tempalias::bounce::BounceOf;
use tempalias::ledger::{FILE_NAME, Ledger, OpenError};
use tempalias::message_id::MessageId;
use tempfile::TempDir;

use super::support::*;

/// Refused, and the file is the same as before.
fn refused(dir: &Path) -> OpenError {
    let file = dir.join(FILE_NAME);
    let before = fs::read(&file).unwrap();
    let error = Ledger::open(dir, 6).err().expect("the ledger is refused");
    assert!(fs::read(&file).unwrap() == before, "the file was touched: {error}");
    assert!(error.to_string().contains(FILE_NAME), "{error}");
    error
}

/// A ledger with `aliases` aliases, cleanly closed; `alter` works on the one file it consists of.
async fn ledger_of(aliases: usize, alter: impl FnOnce(&Path)) -> TempDir {
    let (dir, ledger) = fresh();
    for _ in 0..aliases {
        with_uses(&ledger, 1).await;
    }
    ledger.close().await;
    drop(ledger);
    alter(&dir.path().join(FILE_NAME));
    dir
}

#[tokio::test]
async fn a_ledger_of_a_newer_version_is_refused_with_a_sentence() {
    let dir = ledger_of(1, |file| {
        let newer = "INSERT INTO refinery_schema_history VALUES (99, 'later', '2030-01-01T00:00:00Z', '1');
                     ALTER TABLE aliases ADD COLUMN later TEXT;";
        Connection::open(file).unwrap().execute_batch(newer).unwrap();
    })
    .await;
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::Newer { found: 99, known: 5, .. }), "{error:?}");
    let sentence = "written by a newer version of tempalias (schema 99; this version knows 5)";
    assert!(error.to_string().contains(sentence), "{error}");
}

#[tokio::test]
async fn a_newer_ledger_that_was_not_closed_is_recognised_by_its_log_and_left_alone() {
    let dir = ledger_of(1, |_| ()).await;
    let file = dir.path().join(FILE_NAME);
    let newer = Connection::open(&file).unwrap();
    newer
        .execute_batch("INSERT INTO refinery_schema_history VALUES (6, 'x', '2030-01-01T00:00:00Z', '1')")
        .unwrap();
    let crashed = snapshot(dir.path());
    let log = crashed.path().join(format!("{FILE_NAME}-wal"));
    let before = fs::read(&log).unwrap();
    assert!(!before.is_empty());
    let error = refused(crashed.path());
    assert!(matches!(error, OpenError::Newer { found: 6, .. }), "{error:?}");
    assert!(fs::read(&log).unwrap() == before, "the log was touched");
}

#[tokio::test]
async fn a_log_that_is_a_link_or_somebody_elses_is_not_replayed() {
    let dir = ledger_of(1, |_| ()).await;
    let crashed = {
        let (dir, ledger) = fresh();
        with_uses(&ledger, 1).await;
        snapshot(dir.path())
    };
    let log = crashed.path().join(format!("{FILE_NAME}-wal"));
    for suffix in ["-wal", "-shm", "-journal"] {
        let beside = dir.path().join(format!("{FILE_NAME}{suffix}"));
        symlink(&log, &beside).unwrap();
        let error = refused(dir.path());
        assert!(matches!(error, OpenError::ForeignSidecar { .. }), "{error}");
        fs::remove_file(&beside).unwrap();
        fs::hard_link(&log, &beside).unwrap();
        let error = refused(dir.path());
        assert!(matches!(error, OpenError::ForeignSidecar { .. }), "{error}");
        fs::remove_file(&beside).unwrap();
        fs::copy(&log, &beside).unwrap();
        match chown(&beside, Some(4711), None) {
            Ok(()) => assert!(matches!(refused(dir.path()), OpenError::ForeignSidecar { .. })),
            Err(_) => skip("only root can give a file away"),
        }
        fs::remove_file(&beside).unwrap();
    }
    assert_eq!(all(&Ledger::open(dir.path(), 6).unwrap()).await.len(), 1);
}

#[tokio::test]
async fn a_ledger_from_before_names_were_counted_counts_those_it_has() {
    let dir = ledger_of(5, |file| {
        let older = "ALTER TABLE state DROP COLUMN names_of_length;
                     ALTER TABLE state DROP COLUMN latest;
                     DROP TABLE deliveries;
                     INSERT INTO names VALUES ('0000');
                     DELETE FROM refinery_schema_history WHERE version >= 3;";
        Connection::open(file).unwrap().execute_batch(older).unwrap();
    })
    .await;
    drop(Ledger::open(dir.path(), 6).unwrap());
    let file = Connection::open(dir.path().join(FILE_NAME)).unwrap();
    let counted: i64 = file.query_row("SELECT names_of_length FROM state", [], |row| row.get(0)).unwrap();
    assert_eq!(counted, 5);
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    for garbage in [&b"no"[..], &[0; 4096], "no database at all\n".repeat(1000).as_bytes()] {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join(FILE_NAME), garbage).unwrap();
        let error = refused(dir.path());
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_truncated_ledger_is_refused() {
    for pages in [1, 2, 10] {
        let dir = ledger_of(500, |file| {
            let file = fs::OpenOptions::new().write(true).open(file).unwrap();
            file.set_len(pages * 4096).unwrap();
        })
        .await;
        let error = refused(dir.path());
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_ledger_with_a_page_of_rubbish_is_refused_wherever_that_page_is() {
    let sound = ledger_of(500, |_| ()).await;
    let bytes = fs::read(sound.path().join(FILE_NAME)).unwrap();
    assert!(bytes.len() > 20 * 4096);
    for page in 0..bytes.len() / 4096 {
        let dir = TempDir::new().unwrap();
        let mut damaged = bytes.clone();
        damaged[page * 4096..(page + 1) * 4096].fill(0xa5);
        fs::write(dir.path().join(FILE_NAME), damaged).unwrap();
        let error = refused(dir.path());
        assert!(matches!(error, OpenError::Corrupt { .. }), "page {page}: {error:?}");
    }
}

#[tokio::test]
async fn in_a_large_ledger_damage_is_an_error_when_it_is_met() {
    let dir = ledger_of(0, |file| {
        let fill = "
            WITH RECURSIVE number(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM number WHERE n < 150000)
            INSERT INTO names SELECT format('%06d', n) FROM number;
            INSERT INTO targets SELECT cast(name AS INTEGER), CAST('someone@example.net' AS BLOB), 0 FROM names;
            INSERT INTO aliases (name, domain, target, key_hash, created, valid_from, max_usage)
            SELECT name, 'demo.test', cast(name AS INTEGER), zeroblob(32), 0, 0, 5 FROM names;";
        let database = Connection::open(file).unwrap();
        database.execute_batch(&format!("PRAGMA synchronous = OFF; BEGIN; {fill} COMMIT;")).unwrap();
    })
    .await;
    let name = "077777".parse().unwrap();
    assert!(fs::metadata(dir.path().join(FILE_NAME)).unwrap().len() > 16 << 20);
    let ledger = Ledger::open(dir.path(), 6).unwrap();
    assert!(ledger.lookup(&name).await.unwrap().is_some());
    ledger.close().await;
    drop(ledger);

    // Everything but what the tables begin with.
    let file = dir.path().join(FILE_NAME);
    let mut bytes = fs::read(&file).unwrap();
    bytes[50 * 4096..].fill(0);
    fs::write(&file, bytes).unwrap();
    let ledger = Ledger::open(dir.path(), 6).unwrap();
    assert!(ledger.lookup(&name).await.is_err());
    assert!(ledger.spend(name, MessageId::new(at(0)), at(0)).await.is_err());
}

#[tokio::test]
async fn a_database_of_another_program_is_refused() {
    let dir = TempDir::new().unwrap();
    let other = Connection::open(dir.path().join(FILE_NAME)).unwrap();
    other.execute_batch("CREATE TABLE aliases (name); INSERT INTO aliases VALUES ('theirs')").unwrap();
    other.close().unwrap();
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
}

#[test]
fn a_missing_directory_is_named() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("missing");
    let error = Ledger::open(&missing, 6).err().unwrap();
    assert!(matches!(&error, OpenError::Directory { path, .. } if *path == missing), "{error:?}");
    assert!(!missing.exists());

    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Ledger::open(&file, 6).err().unwrap();
    assert!(matches!(&error, OpenError::Directory { path, .. } if *path == file), "{error:?}");
}

#[test]
fn a_directory_in_place_of_the_file_is_refused() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join(FILE_NAME)).unwrap();
    let error = Ledger::open(dir.path(), 6).err().unwrap();
    assert!(error.to_string().contains("a directory"), "{error}");
}

#[tokio::test]
async fn a_ledger_that_cannot_be_written_is_refused() {
    let dir = ledger_of(1, |_| ()).await;
    let place = dir.path().join("read-only");
    let Some(mount) = Mount::tmpfs(&place, "2m") else { return };
    fs::copy(dir.path().join(FILE_NAME), place.join(FILE_NAME)).unwrap();
    mount.freeze();
    let error = refused(&place);
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error:?}");
}

#[tokio::test]
async fn a_ledger_that_this_user_may_not_write_is_refused() {
    let dir = ledger_of(1, |_| ()).await;
    let file = dir.path().join(FILE_NAME);
    let permit = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    permit(&file, 0o400);
    if fs::OpenOptions::new().write(true).open(&file).is_ok() {
        return skip("permissions do not bind this user");
    }
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error:?}");

    // The file may be written, but none can be made beside it.
    permit(&file, 0o600);
    permit(dir.path(), 0o500);
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error:?}");
    permit(dir.path(), 0o700);
}

#[test]
fn a_directory_in_which_no_ledger_can_be_made_is_refused() {
    let dir = TempDir::new().unwrap();
    let place = dir.path().join("read-only");
    let Some(mount) = Mount::tmpfs(&place, "2m") else { return };
    mount.freeze();
    let error = Ledger::open(&place, 6).err().unwrap();
    assert!(matches!(&error, OpenError::Directory { path, .. } if *path == place), "{error:?}");
}

#[tokio::test]
async fn an_empty_file_is_taken_for_a_new_ledger() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join(FILE_NAME), "").unwrap();
    let ledger = Ledger::open(dir.path(), 6).unwrap();
    with_uses(&ledger, 1).await;
}

#[tokio::test]
async fn a_ledger_whose_making_was_stopped_is_made_to_the_end() {
    for made in [
        "PRAGMA application_id = 0x746d7061",
        "PRAGMA application_id = 0x746d7061; PRAGMA journal_mode = WAL",
        "PRAGMA application_id = 0x746d7061; PRAGMA journal_mode = WAL;
         CREATE TABLE refinery_schema_history (version int4 PRIMARY KEY, name VARCHAR(255),
                                               applied_on VARCHAR(255), checksum VARCHAR(255))",
    ] {
        let dir = TempDir::new().unwrap();
        Connection::open(dir.path().join(FILE_NAME)).unwrap().execute_batch(made).unwrap();
        let ledger = Ledger::open(dir.path(), 6).unwrap();
        with_uses(&ledger, 1).await;
    }
}

#[tokio::test]
async fn nobody_else_may_read_the_files() {
    let (dir, ledger) = fresh();
    with_uses(&ledger, 1).await;
    let mut files = 0;
    for file in fs::read_dir(dir.path()).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        files += 1;
    }
    assert_eq!(files, 3, "the database, its log and the log's index");
}

#[tokio::test]
async fn reopening_finds_the_aliases_and_the_bounce_secret() {
    let (dir, ledger) = fresh();
    let name = with_uses(&ledger, 2).await;
    spent(&ledger, &name, at(1)).await;
    let domain = "demo.test".parse().unwrap();
    let of = BounceOf::Message(name.clone(), MessageId::new(at(1)));
    let bounce = bounce_key(&ledger).address(&of, &domain);
    let before = ledger.lookup(&name).await.unwrap();
    ledger.close().await;
    drop(ledger);
    let again = Ledger::open(dir.path(), 6).unwrap();
    assert_eq!(again.lookup(&name).await.unwrap(), before);
    let (local, _) = bounce.split_once('@').unwrap();
    assert_eq!(bounce_key(&again).verify(local, &domain), Some(of));
    let rows = Connection::open(dir.path().join(FILE_NAME)).unwrap().query_row(
        "SELECT count(*) FROM state",
        [],
        |row| row.get::<_, i64>(0),
    );
    assert_eq!(rows, Ok(1));
    let other = fresh().1;
    assert_eq!(bounce_key(&other).verify(local, &domain), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_ledger_may_be_opened_by_several_at_once() {
    for _ in 0..40 {
        let dir = TempDir::new().unwrap();
        let start = Arc::new(Barrier::new(8));
        let openers: Vec<_> = (0..8)
            .map(|_| {
                let (path, start) = (dir.path().to_owned(), start.clone());
                std::thread::spawn(move || {
                    start.wait();
                    Ledger::open(&path, 6)
                })
            })
            .collect();
        let ledgers: Vec<_> = openers.into_iter().map(|opener| opener.join().unwrap().unwrap()).collect();
        let name = with_uses(&ledgers[0], 1).await;
        let domain = "demo.test".parse().unwrap();
        let bounce = bounce_key(&ledgers[0]).address(&BounceOf::Nobody, &domain);
        for ledger in &ledgers {
            assert!(ledger.lookup(&name).await.unwrap().is_some());
            assert_eq!(bounce_key(ledger).address(&BounceOf::Nobody, &domain), bounce);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_ledgers_on_one_file_write_side_by_side() {
    let (dir, server) = fresh();
    let command_line = Ledger::open(dir.path(), 6).unwrap();
    let name = with_uses(&server, 300).await;
    let mut senders = tokio::task::JoinSet::new();
    for i in 0..400 {
        let (ledger, name) = (if i % 2 == 0 { &server } else { &command_line }.clone(), name.clone());
        senders.spawn(async move { spent(&ledger, &name, at(1)).await });
    }
    let delivered = senders.join_all().await.into_iter().filter(|spent| *spent).count();
    assert_eq!(delivered, 300);
    assert_eq!(used(&command_line, &name).await, 300);
}
