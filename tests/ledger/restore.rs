//! Restoring: a whole backup replaces the ledger, anything else changes nothing.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempalias::alias::{AliasName, LimitRequest};
use tempalias::clock::Timestamp;
use tempalias::ledger::{
    self, Amendment, BackupError, BackupLog, CarriedOver, DataDirLock, FILE_NAME, Ledger, OpenError, Phase,
    Restored, Revoked, part_of,
};
use tempfile::TempDir;

use super::support::*;

fn restore(data_dir: &Path, file: &Path, now: Timestamp) -> Result<Restored, BackupError> {
    ledger::restore(data_dir, file, BackupLog::Refused, Revoked::StayGone, now, |_| ())
}

/// The same, with the log beside `file`.
fn restore_with_log(data_dir: &Path, file: &Path) -> Result<Restored, BackupError> {
    ledger::restore(data_dir, file, BackupLog::Counts, Revoked::StayGone, at(3), |_| ())
}

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

/// How many characters the next name will have.
fn name_length(database: &Path) -> i64 {
    let length = "SELECT name_length FROM state";
    Connection::open(database).unwrap().query_row(length, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn what_was_spent_handed_out_or_revoked_since_is_not_forgotten() {
    let (dir, file, before) = backed_up(2).await;
    let ledger = Ledger::open(dir.path(), 6).unwrap();
    spent(&ledger, &before[0], at(2)).await;
    ledger.revoke(before[1].clone()).await.unwrap();
    let since = with_uses(&ledger, 1).await;
    ledger.close().await;

    let restored = restore(dir.path(), &file, at(3)).unwrap();
    assert_eq!(restored.aliases, 1);
    assert_eq!(restored.carried_over, Some(CarriedOver { names: 1, spent: 1, revoked: 1, is_all: true }));
    assert!(!restored.has_forgotten());
    let aside = restored.set_aside.unwrap();
    assert!(aside.ends_with("tempalias.db.before-restore-20270115T080003Z"), "{aside:?}");

    let ledger = Ledger::open(dir.path(), 6).unwrap();
    assert_eq!(used(&ledger, &before[0]).await, 2, "no use is given back");
    assert!(!spent(&ledger, &before[0], at(4)).await);
    assert!(ledger.lookup(&before[1]).await.unwrap().is_none(), "it stays revoked");
    assert!(ledger.lookup(&since).await.unwrap().is_none());
    ledger.close().await;
    assert_eq!(names(&dir.path().join(FILE_NAME)), 3, "its name is not handed out again");
    assert_eq!(names(&aside), 3);
    assert_eq!(name_length(&dir.path().join(FILE_NAME)), 6);
}

#[tokio::test]
async fn a_restore_says_what_it_is_at() {
    let (dir, file, _) = backed_up(1).await;
    let (part, whole) = (part_of(&dir.path().join(FILE_NAME)), fs::metadata(&file).unwrap().len());
    let phases = RefCell::new(Vec::new());
    let report = |phase| phases.borrow_mut().push((phase, fs::metadata(&part).ok().map(|part| part.len())));
    ledger::restore(dir.path(), &file, BackupLog::Refused, Revoked::StayGone, at(3), report).unwrap();
    let phases: Vec<_> = phases.into_inner();
    assert_eq!(phases[..2], [(Phase::CheckingBackup, None), (Phase::Copying, Some(0))]);
    assert_eq!(phases[2..], [(Phase::CarryingOver, Some(whole)), (Phase::CheckingResult, Some(whole))]);
}

#[tokio::test]
async fn of_two_restores_in_one_second_each_keeps_what_it_replaces() {
    let (dir, file, _) = backed_up(1).await;
    let aside = |nth: &str| dir.path().join(format!("{FILE_NAME}.before-restore-20270115T080003Z{nth}"));
    let restored = |nth: &str| {
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let was = inode(&dir.path().join(FILE_NAME));
        assert_eq!(restore(dir.path(), &file, at(3)).unwrap().set_aside, Some(aside(nth)));
        assert_eq!(inode(&aside(nth)), was);
    };
    restored("");
    restored("-2");
    // A name is taken as well where only a log has it.
    fs::write(aside("-3-wal"), "of a ledger that was gone").unwrap();
    restored("-4");
    assert_eq!(fs::read(aside("-3-wal")).unwrap(), b"of a ledger that was gone");
}

#[tokio::test]
async fn what_was_revoked_comes_back_when_that_is_asked_for() {
    let (dir, file, before) = backed_up(1).await;
    let ledger = Ledger::open(dir.path(), 6).unwrap();
    ledger.revoke(before[0].clone()).await.unwrap();
    ledger.close().await;
    let restored =
        ledger::restore(dir.path(), &file, BackupLog::Refused, Revoked::ComeBack, at(3), |_| ()).unwrap();
    assert_eq!((restored.aliases, restored.carried_over.unwrap().revoked), (1, 1));
    assert_eq!(used(&Ledger::open(dir.path(), 6).unwrap(), &before[0]).await, 1);
}

#[tokio::test]
async fn an_alias_that_was_switched_off_or_cut_short_since_stays_so() {
    let (dir, file, before) = backed_up(3).await;
    let ledger = Ledger::open(dir.path(), 6).unwrap();
    pause(&ledger, &before[0], true).await;
    amend(&ledger, &before[1], uses(1)).await;
    amend(&ledger, &before[2], uses(50)).await;
    for _ in 0..3 {
        spent_on_a_bounce(&ledger, &before[2]).await;
    }
    let cut = Amendment { limits: LimitRequest { valid_until: Some(at(500)), ..uses(2) }, paused: None };
    ledger.amend(before[0].clone(), cut, CAPS, at(1)).await.unwrap();
    ledger.close().await;

    restore(dir.path(), &file, at(3)).unwrap();
    let ledger = Ledger::open(dir.path(), 6).unwrap();
    let alias = async |nth: usize| ledger.lookup(&before[nth]).await.unwrap().unwrap();
    assert!(alias(0).await.paused);
    assert_eq!(
        (alias(0).await.limits.valid_until, alias(0).await.limits.max_usage),
        (Some(at(500)), Some(2))
    );
    assert_eq!(alias(1).await.limits.max_usage, Some(1));
    assert_eq!(
        (alias(2).await.limits.max_usage, alias(2).await.bounces),
        (Some(2), 3),
        "no limit is loosened"
    );
}

#[tokio::test]
async fn a_backup_is_restored_where_there_was_no_ledger_and_later_names_are_longer() {
    let (_dir, file, before) = backed_up(1).await;
    let empty = TempDir::new().unwrap();
    let restored = restore(empty.path(), &file, at(3)).unwrap();
    assert!(restored.has_forgotten());
    assert_eq!((restored.aliases, restored.set_aside, restored.carried_over), (1, None, None));
    assert_eq!(name_length(&empty.path().join(FILE_NAME)), 7);
    let ledger = Ledger::open(empty.path(), 6).unwrap();
    assert_eq!(used(&ledger, &before[0]).await, 1);
    assert_eq!(with_uses(&ledger, 1).await.as_str().len(), 7);
}

#[tokio::test]
async fn after_a_ledger_that_was_begun_anew_nothing_counts_as_revoked_and_names_are_longer() {
    let (_dir, file, before) = backed_up(2).await;
    let (other, ledger) = fresh();
    with_uses(&ledger, 1).await;
    ledger.close().await;
    let restored = restore(other.path(), &file, at(3)).unwrap();
    assert!(restored.has_forgotten());
    let since = restored.carried_over.unwrap();
    assert_eq!(since, CarriedOver { names: 1, spent: 0, revoked: 0, is_all: false });
    assert_eq!(name_length(&other.path().join(FILE_NAME)), 7);
    assert_eq!(used(&Ledger::open(other.path(), 6).unwrap(), &before[1]).await, 1);
}

#[tokio::test]
async fn a_log_of_a_ledger_that_is_gone_is_not_replayed_over_the_backup() {
    let (dir, ledger) = fresh();
    for _ in 0..50 {
        with_uses(&ledger, 1).await;
    }
    let stray = snapshot(dir.path());
    fs::remove_file(stray.path().join(FILE_NAME)).unwrap();
    let (_backed_up, file, before) = backed_up(1).await;
    let restored = restore(stray.path(), &file, at(3)).unwrap();
    assert_eq!(restored.aliases, 1);
    let ledger = Ledger::open(stray.path(), 6).unwrap();
    assert_eq!(all(&ledger).await.len(), 1);
    assert_eq!(used(&ledger, &before[0]).await, 1);
    let aside = stray.path().join("tempalias.db.before-restore-20270115T080003Z-wal");
    assert!(fs::metadata(aside).unwrap().len() > 0, "nothing is thrown away");
}

#[tokio::test]
async fn a_ledger_of_a_newer_version_is_set_aside_and_replaced() {
    let (dir, file, before) = backed_up(1).await;
    let newer = "INSERT INTO refinery_schema_history VALUES (99, 'later', '2030-01-01T00:00:00Z', '1')";
    Connection::open(dir.path().join(FILE_NAME)).unwrap().execute_batch(newer).unwrap();
    let restored = restore(dir.path(), &file, at(3)).unwrap();
    assert!(restored.set_aside.is_some() && restored.has_forgotten());
    assert_eq!(used(&Ledger::open(dir.path(), 6).unwrap(), &before[0]).await, 1);
}

#[tokio::test]
async fn a_link_in_the_place_of_a_lock_or_a_part_is_not_followed() {
    let (dir, file, _) = backed_up(1).await;
    let elsewhere = TempDir::new().unwrap();
    let precious = elsewhere.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    for name in ["tempalias.lock", "tempalias.db.part"] {
        let link = dir.path().join(name);
        let _ = fs::remove_file(&link);
        symlink(&precious, &link).unwrap();
        let error = restore(dir.path(), &file, at(3)).unwrap_err();
        assert!(error.to_string().contains("a link, or not an ordinary file"), "{error}");
        fs::remove_file(&link).unwrap();
        fs::hard_link(&precious, &link).unwrap();
        let error = restore(dir.path(), &file, at(3)).unwrap_err();
        assert!(error.to_string().contains("a link, or not an ordinary file"), "{error}");
        fs::remove_file(&link).unwrap();
        assert_eq!(fs::read(&precious).unwrap(), b"precious", "{name}");
    }
    restore(dir.path(), &file, at(3)).unwrap();
}

#[tokio::test]
async fn what_is_left_of_a_killed_run_lends_no_rights_to_the_ledger() {
    let (dir, file, _) = backed_up(1).await;
    let ledger = dir.path().join(FILE_NAME);
    fs::write(part_of(&ledger), "half").unwrap();
    fs::set_permissions(part_of(&ledger), fs::Permissions::from_mode(0o644)).unwrap();
    restore(dir.path(), &file, at(3)).unwrap();
    assert_eq!(fs::metadata(&ledger).unwrap().permissions().mode() & 0o777, 0o600);
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
    for octets in [whole.len() - 1, whole.len() - 4000] {
        fs::write(&file, &whole[..octets]).unwrap();
        let error = restore(dir.path(), &file, at(3)).unwrap_err();
        assert!(error.to_string().contains("not a whole ledger"), "{error}");
        assert!(contents(dir.path()) == before, "after {octets} octets: {error}");
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
    assert!(command.lookup(&name).await.unwrap().is_some());
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
    assert_eq!(used(&Ledger::open(dir.path(), 6).unwrap(), &before[0]).await, 1);
}

#[tokio::test]
async fn a_copy_of_the_files_of_a_ledger_that_was_not_closed_is_restored_with_its_log_when_that_is_asked_for()
{
    let (dir, ledger) = fresh();
    let name = with_uses(&ledger, 1).await;
    let copy = snapshot(dir.path());
    let file = copy.path().join(FILE_NAME);
    let before = contents(copy.path());
    assert_eq!(before.len(), 2, "the ledger and its log");
    let empty = TempDir::new().unwrap();
    let error = restore(empty.path(), &file, at(3)).unwrap_err();
    assert!(error.to_string().contains("tempalias.db-wal is beside the backup"), "{error}");
    assert!(error.to_string().ends_with("restore them --with-log"), "{error}");
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
    restore_with_log(empty.path(), &file).unwrap();
    assert!(contents(copy.path()) == before);
    assert!(Ledger::open(empty.path(), 6).unwrap().lookup(&name).await.unwrap().is_some());
}

/// A write-ahead log in which all pages of another ledger are.
async fn log_of_another_ledger() -> Vec<u8> {
    let (dir, ledger) = fresh();
    with_uses(&ledger, 1).await;
    ledger.close().await;
    let other = Connection::open(dir.path().join(FILE_NAME)).unwrap();
    other.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; VACUUM").unwrap();
    let log = snapshot(dir.path());
    fs::read(log.path().join(format!("{FILE_NAME}-wal"))).unwrap()
}

#[tokio::test]
async fn what_somebody_has_put_beside_a_backup_does_not_decide_what_is_restored() {
    let (dir, file, _) = backed_up(3).await;
    let before = contents(dir.path());
    let beside = |suffix: &str| PathBuf::from(format!("{}{suffix}", file.display()));
    let log = log_of_another_ledger().await;
    let elsewhere = dir.path().join("backups/elsewhere");
    fs::write(&elsewhere, &log).unwrap();
    for suffix in ["-wal", "-shm", "-journal"] {
        fs::write(beside(suffix), &log).unwrap();
        let error = restore(dir.path(), &file, at(3)).unwrap_err();
        let words = format!("{} is beside the backup", beside(suffix).display());
        assert!(error.to_string().starts_with(&words), "{error}");
        fs::remove_file(beside(suffix)).unwrap();
    }
    // By a link to the backup, too: SQLite opens the files beside its target.
    let link = dir.path().join("backups/latest.db");
    symlink(&file, &link).unwrap();
    fs::write(beside("-wal"), &log).unwrap();
    restore(dir.path(), &link, at(3)).unwrap_err();
    fs::remove_file(beside("-wal")).unwrap();

    // Nor when a log is expected: it must be an ordinary file of the backup's owner.
    let refused = || {
        let error = restore_with_log(dir.path(), &file).unwrap_err();
        assert!(
            error.to_string().contains("backup.db-wal: a link, or not a file of the owner of"),
            "{error}"
        );
        fs::remove_file(beside("-wal")).unwrap();
    };
    symlink(&elsewhere, beside("-wal")).unwrap();
    refused();
    fs::hard_link(&elsewhere, beside("-wal")).unwrap();
    refused();
    fs::write(beside("-wal"), &log).unwrap();
    match chown(beside("-wal"), Some(4711), None) {
        Ok(()) => refused(),
        Err(_) => skip("only root can give a file away"),
    }
    assert!(contents(dir.path()) == before);
    let _ = fs::remove_file(beside("-wal"));
    assert_eq!(restore(dir.path(), &file, at(3)).unwrap().aliases, 3);
}

#[tokio::test]
async fn an_empty_file_beside_a_backup_is_in_nobodys_way() {
    let (dir, file, _) = backed_up(1).await;
    for suffix in ["-wal", "-shm"] {
        fs::write(format!("{}{suffix}", file.display()), "").unwrap();
    }
    assert_eq!(restore(dir.path(), &file, at(3)).unwrap().aliases, 1);
}

#[tokio::test]
async fn what_lies_beside_a_copy_in_the_making_is_removed() {
    let (dir, file, _) = backed_up(3).await;
    let log = log_of_another_ledger().await;
    let beside = |of: &Path, suffix: &str| PathBuf::from(format!("{}{suffix}", part_of(of).display()));
    for of in [file.clone(), dir.path().join(FILE_NAME)] {
        for suffix in ["-wal", "-shm", "-journal"] {
            fs::write(beside(&of, suffix), &log).unwrap();
        }
    }
    back_up(dir.path(), &file).unwrap();
    assert_eq!(restore(dir.path(), &file, at(3)).unwrap().aliases, 3);
    assert_eq!(all(&Ledger::open(dir.path(), 6).unwrap()).await.len(), 3);
    for of in [file.clone(), dir.path().join(FILE_NAME)] {
        for suffix in ["-wal", "-shm", "-journal"] {
            assert!(!beside(&of, suffix).exists(), "{of:?} {suffix}");
        }
    }
}

#[tokio::test]
async fn a_log_of_a_strangers_beside_the_replaced_ledger_is_looked_at_first() {
    let (dir, file, _) = backed_up(1).await;
    let log = dir.path().join(format!("{FILE_NAME}-wal"));
    symlink("/dev/null", &log).unwrap();
    let before = contents(dir.path());
    let error = restore(dir.path(), &file, at(3)).unwrap_err();
    assert!(matches!(error, BackupError::Open(OpenError::ForeignSidecar { .. })), "{error}");
    assert!(contents(dir.path()) == before);
    fs::remove_file(&log).unwrap();
    restore(dir.path(), &file, at(3)).unwrap();
}

#[tokio::test]
async fn what_the_schema_of_a_backup_says_may_do_nothing_but_read_it() {
    let (dir, file, _) = backed_up(1).await;
    let before = contents(dir.path());
    // Reading the aliases would do what only the program's own SQL may.
    Connection::open(&file)
        .unwrap()
        .execute_batch(
            "ALTER TABLE aliases RENAME TO real;
             CREATE VIEW aliases AS SELECT * FROM real WHERE NOT EXISTS (SELECT * FROM pragma_database_list WHERE file = '')",
        )
        .unwrap();
    let error = restore(dir.path(), &file, at(3)).unwrap_err();
    assert!(error.to_string().contains("unsafe use of virtual table"), "{error}");
    assert!(contents(dir.path()) == before);
}
