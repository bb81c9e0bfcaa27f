//! Backups: whole, checked, private, and never half of one under the name that was asked for.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempalias::ledger::{self, BackupError, FILE_NAME, Ledger, Phase, part_of};
use tempfile::TempDir;

use super::support::*;

/// The ledger in `backup`, opened in a directory of its own.
fn opened(backup: &Path) -> (TempDir, Ledger) {
    let dir = TempDir::new().unwrap();
    fs::copy(backup, dir.path().join(FILE_NAME)).unwrap();
    let ledger = Ledger::open(dir.path(), 6).unwrap();
    (dir, ledger)
}

#[tokio::test]
async fn a_backup_of_an_open_ledger_holds_what_was_answered_before_and_is_private() {
    let (dir, ledger) = fresh();
    let name = with_uses(&ledger, 3).await;
    spent(&ledger, &name, at(1)).await;
    let place = TempDir::new().unwrap();
    let file = place.path().join("backup.db");
    back_up(dir.path(), &file).unwrap();
    spent(&ledger, &name, at(2)).await;

    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(&place).unwrap().count(), 1, "nothing is left beside it");
    let (_dir, copy) = opened(&file);
    assert_eq!((used(&copy, &name).await, used(&ledger, &name).await), (1, 2));
    let domain = "demo.test".parse().unwrap();
    let bounce = |ledger: &Ledger| bounce_key(ledger).address(&tempalias::bounce::BounceOf::Nobody, &domain);
    assert_eq!(bounce(&copy), bounce(&ledger));
}

#[tokio::test]
async fn a_backup_says_what_it_is_at() {
    let (dir, _ledger) = fresh();
    let place = TempDir::new().unwrap();
    let file = place.path().join("backup.db");
    let phases = RefCell::new(Vec::new());
    let report = |phase| phases.borrow_mut().push((phase, part_of(&file).exists()));
    ledger::back_up(dir.path(), &file, report).unwrap();
    assert_eq!(phases.into_inner(), [(Phase::Copying, false), (Phase::CheckingResult, true)]);
}

#[tokio::test]
async fn nothing_of_a_deleted_alias_is_in_a_backup() {
    let (dir, ledger) = fresh();
    let target = |n| format!("secret-{n:03}@example.net");
    let mut names = Vec::new();
    for n in 0..300 {
        let new = new_alias(&target(n), limits(0, None, Some(1)));
        names.push(ledger.issue(new, at(0)).await.unwrap().alias.name);
    }
    for name in &names[..299] {
        ledger.revoke(name.clone()).await.unwrap();
    }
    assert!(occurrences(dir.path(), b"secret-") > 1, "the log still has them: no purge has been");
    let place = TempDir::new().unwrap();
    back_up(dir.path(), &place.path().join("backup.db")).unwrap();
    assert_eq!(occurrences(place.path(), b"secret-"), 1);
    assert_eq!(occurrences(place.path(), target(299).as_bytes()), 1);
}

#[tokio::test]
async fn an_older_backup_is_replaced_and_nothing_else_is() {
    let (dir, ledger) = fresh();
    let place = TempDir::new().unwrap();
    let file = place.path().join("backup.db");
    back_up(dir.path(), &file).unwrap();
    let name = with_uses(&ledger, 1).await;
    back_up(dir.path(), &file).unwrap();
    assert!(opened(&file).1.lookup(&name).await.unwrap().is_some());

    let other = place.path().join("tempalias.toml");
    fs::write(&other, "of another program").unwrap();
    for occupied in [&other, &place.path().to_owned()] {
        let error = back_up(dir.path(), occupied).unwrap_err();
        assert!(matches!(error, BackupError::Occupied(_)), "{error}");
    }
    assert_eq!(fs::read(&other).unwrap(), b"of another program");
    let error = back_up(dir.path(), &dir.path().join(FILE_NAME)).unwrap_err();
    assert!(matches!(error, BackupError::Itself(_)), "{error}");
    assert!(spent(&ledger, &name, at(1)).await);
}

#[tokio::test]
async fn a_backup_without_room_leaves_the_older_one_and_no_half_of_a_new_one() {
    let (dir, ledger) = fresh();
    let place = TempDir::new().unwrap();
    let small = place.path().join("small");
    let Some(_mount) = Mount::tmpfs(&small, "256k") else { return };
    let file = small.join("backup.db");
    back_up(dir.path(), &file).unwrap();
    let before = fs::read(&file).unwrap();
    for _ in 0..2000 {
        with_uses(&ledger, 1).await;
    }
    let error = back_up(dir.path(), &file).unwrap_err();
    assert!(error.to_string().contains("backup.db.part: the disk is full"), "{error}");
    assert!(fs::read(&file).unwrap() == before);
    assert!(!part_of(&file).exists());
}

#[tokio::test]
async fn a_log_that_would_be_taken_for_part_of_the_backup_is_named() {
    let (dir, _ledger) = fresh();
    let place = TempDir::new().unwrap();
    let file = place.path().join("backup.db");
    let log = place.path().join("backup.db-wal");
    fs::write(&log, "of another database").unwrap();
    let error = back_up(dir.path(), &file).unwrap_err();
    assert!(error.to_string().contains("backup.db-wal is there"), "{error}");
    assert!(!file.exists());
    fs::write(&log, "").unwrap();
    back_up(dir.path(), &file).unwrap();
}

#[tokio::test]
async fn what_a_killed_backup_has_left_is_written_over() {
    let (dir, ledger) = fresh();
    let name = with_uses(&ledger, 1).await;
    let place = TempDir::new().unwrap();
    let file = place.path().join("backup.db");
    fs::write(part_of(&file), "half of an older one, ".repeat(10_000)).unwrap();
    back_up(dir.path(), &file).unwrap();
    assert!(opened(&file).1.lookup(&name).await.unwrap().is_some());
    assert!(!part_of(&file).exists());
}

#[tokio::test]
async fn two_backups_to_one_file_do_not_write_at_once() {
    let (dir, _ledger) = fresh();
    let place = TempDir::new().unwrap();
    let file = place.path().join("backup.db");
    let other = fs::File::create(part_of(&file)).unwrap();
    other.lock().unwrap();
    let error = back_up(dir.path(), &file).unwrap_err();
    assert!(matches!(error, BackupError::UnderWay(_)), "{error}");
    assert!(!file.exists());
}

#[test]
fn where_there_is_no_ledger_none_is_made() {
    let dir = TempDir::new().unwrap();
    let error = back_up(dir.path(), &dir.path().join("backup.db")).unwrap_err();
    assert!(matches!(error, BackupError::File { .. }), "{error}");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}
