//! Restoring: a whole backup takes the ledger's place, anything else changes nothing.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempalias::alias::AliasName;
use tempalias::ledger::{
    BackupError, CarriedOver, DataDirLock, FILE_NAME, Ledger, OpenError, back_up, restore,
};
use tempfile::TempDir;

use crate::support::*;

/// A closed ledger with `aliases` aliases of two uses, one of each spent, and its backup.
async fn backed_up(aliases: usize) -> (TempDir, PathBuf, Vec<AliasName>) {
    let (dir, ledger) = fresh();
    let mut names = Vec::new();
    for _ in 0..aliases {
        let name = with_uses(&ledger, 2).await;
        spent(&ledger, &name, at(1)).await;
        names.push(name);
    }
    let place = dir.path().join("backups");
    fs::create_dir(&place).unwrap();
    let file = place.join("backup.db");
    back_up(dir.path(), &file).unwrap();
    ledger.close().await;
    (dir, file, names)
}

fn names(database: &Path) -> usize {
    let count = "SELECT count(*) FROM names";
    Connection::open(database).unwrap().query_row(count, [], |row| row.get::<_, i64>(0)).unwrap() as usize
}

/// The files in `dir`, with what is in them.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.is_file() && !path.ends_with("tempalias.lock"));
    let mut files: Vec<_> =
        files.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect();
    files.sort();
    files
}

#[tokio::test]
async fn what_was_revoked_is_back_and_what_was_spent_or_handed_out_since_is_not_forgotten() {
    let (dir, file, before) = backed_up(2).await;
    let ledger = Ledger::open(dir.path(), 6).unwrap();
    spent(&ledger, &before[0], at(2)).await;
    ledger.revoke(before[1].clone()).await.unwrap();
    let since = with_uses(&ledger, 1).await;
    ledger.close().await;

    let restored = restore(dir.path(), &file, at(3)).unwrap();
    assert_eq!(restored.aliases, 2);
    assert_eq!(restored.carried_over, Some(CarriedOver { names: 1, spent: 1, back: 1 }));
    let aside = restored.set_aside.unwrap();
    assert!(aside.ends_with("tempalias.db.before-restore-20270115T080003Z"), "{aside:?}");

    let ledger = Ledger::open(dir.path(), 6).unwrap();
    assert_eq!(used(&ledger, &before[0]), 2, "no use is given back");
    assert!(!spent(&ledger, &before[0], at(4)).await);
    assert_eq!(used(&ledger, &before[1]), 1);
    assert!(ledger.lookup(&since).unwrap().is_none());
    ledger.close().await;
    assert_eq!(names(&dir.path().join(FILE_NAME)), 3, "its name is not handed out again");
    assert_eq!(names(&aside), 3);
}

#[tokio::test]
async fn a_backup_is_restored_where_there_was_no_ledger() {
    let (_dir, file, before) = backed_up(1).await;
    let empty = TempDir::new().unwrap();
    let restored = restore(empty.path(), &file, at(3)).unwrap();
    assert_eq!((restored.aliases, restored.set_aside, restored.carried_over), (1, None, None));
    let ledger = Ledger::open(empty.path(), 6).unwrap();
    assert_eq!(used(&ledger, &before[0]), 1);
}

#[tokio::test]
async fn half_a_backup_is_refused_wherever_it_ends_and_the_ledger_is_untouched() {
    let (dir, file, _) = backed_up(400).await;
    let whole = fs::read(&file).unwrap();
    let before = contents(dir.path());
    for pages in [0, 1, 2, 5, whole.len() / 4096 / 2, whole.len() / 4096 - 1] {
        fs::write(&file, &whole[..pages * 4096]).unwrap();
        let error = restore(dir.path(), &file, at(3)).unwrap_err();
        assert!(error.to_string().contains("backup.db"), "{error}");
        assert!(contents(dir.path()) == before, "after {pages} pages: {error}");
    }
    let mut flipped = whole.clone();
    flipped[whole.len() / 2..][..4096].fill(0xa5);
    fs::write(&file, flipped).unwrap();
    restore(dir.path(), &file, at(3)).unwrap_err();
    assert!(contents(dir.path()) == before);
    fs::write(&file, whole).unwrap();
    restore(dir.path(), &file, at(3)).unwrap();
}

#[tokio::test]
async fn what_is_no_ledger_of_ours_or_of_a_newer_version_is_refused() {
    let (dir, file, _) = backed_up(1).await;
    let before = contents(dir.path());
    let foreign = dir.path().join("backups/foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    let error = restore(dir.path(), &foreign, at(3)).unwrap_err();
    assert!(matches!(error, BackupError::Open(OpenError::Foreign { .. })), "{error}");
    let newer = "INSERT INTO refinery_schema_history VALUES (99, 'later', '2030-01-01T00:00:00Z', '1')";
    Connection::open(&file).unwrap().execute_batch(newer).unwrap();
    let error = restore(dir.path(), &file, at(3)).unwrap_err();
    assert!(matches!(error, BackupError::Open(OpenError::Newer { .. })), "{error}");
    let error = restore(dir.path(), &dir.path().join(FILE_NAME), at(3)).unwrap_err();
    assert!(matches!(error, BackupError::Itself(_)), "{error}");
    assert!(contents(dir.path()) == before);
}

#[tokio::test]
async fn while_somebody_works_on_the_ledger_nothing_is_restored() {
    let (dir, file, _) = backed_up(1).await;
    let server = DataDirLock::take(dir.path()).unwrap();
    let error = restore(dir.path(), &file, at(3)).unwrap_err();
    assert!(error.to_string().contains(&format!("(process {})", std::process::id())), "{error}");
    drop(server);

    // Like `tempalias alias`, which does not take the server's lock.
    let command = Ledger::open(dir.path(), 6).unwrap();
    let name = with_uses(&command, 1).await;
    let error = restore(dir.path(), &file, at(3)).unwrap_err();
    assert!(error.to_string().contains("locked"), "{error}");
    assert!(command.lookup(&name).unwrap().is_some());
    command.close().await;
    restore(dir.path(), &file, at(3)).unwrap();
}

#[tokio::test]
async fn a_damaged_ledger_is_set_aside_with_its_log_and_replaced() {
    let (dir, file, before) = backed_up(1).await;
    let ledger = dir.path().join(FILE_NAME);
    let log = dir.path().join(format!("{FILE_NAME}-wal"));
    let damaged = b"damaged".repeat(2000);
    fs::write(&ledger, &damaged).unwrap();
    fs::write(&log, "its log").unwrap();
    let restored = restore(dir.path(), &file, at(3)).unwrap();
    assert_eq!(restored.carried_over, None);
    let aside = restored.set_aside.unwrap();
    assert!(fs::read(&aside).unwrap() == damaged);
    assert_eq!(fs::read(format!("{}-wal", aside.display())).unwrap(), b"its log");
    assert_eq!(used(&Ledger::open(dir.path(), 6).unwrap(), &before[0]), 1);
}

#[tokio::test]
async fn a_copy_of_the_files_of_a_ledger_that_was_not_closed_is_restored_with_its_log() {
    let (dir, ledger) = fresh();
    let name = with_uses(&ledger, 1).await;
    let copy = snapshot(dir.path());
    let empty = TempDir::new().unwrap();
    restore(empty.path(), &copy.path().join(FILE_NAME), at(3)).unwrap();
    assert!(Ledger::open(empty.path(), 6).unwrap().lookup(&name).unwrap().is_some());
}
