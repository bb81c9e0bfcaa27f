//! Backups while messages are delivered and aliases handed out: every alias's uses are right. And what root
//! does in the service's directory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tempalias::alias::Limits;
use tempalias::clock::Timestamp;
use tempalias::ledger::{FILE_NAME, Ledger, NewAlias};
use tempfile::TempDir;

use crate::support::appliance::{Alias, Appliance, CROWD};
use crate::support::client::Client;
use crate::support::program::{is_root, said};
use crate::support::smarthost::Smarthost;
use crate::support::wait;

const ALIASES: usize = 12;
const USES: u32 = 100;
const CLIENTS: usize = 4;
const BACKUPS: usize = 8;

/// Uses spent of each alias.
type Spent = BTreeMap<String, u64>;

fn spent_now(appliance: &Appliance, aliases: &[Alias]) -> Spent {
    let spent = |alias: &Alias| u64::from(USES) - appliance.uses_left(alias);
    aliases.iter().map(|alias| (alias.name().to_owned(), spent(alias))).collect()
}

/// What the ledger in `file` says, opened in a directory of its own.
fn spent_in(appliance: &Appliance, file: &std::path::Path, aliases: &[Alias]) -> Spent {
    let dir = TempDir::new().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let restored =
        appliance.run_with(&["restore", file.to_str().unwrap()], &[("TEMPALIAS_DATA_DIR", data_dir)]);
    assert!(restored.status.success(), "{}", said(&restored));
    assert!(dir.path().join(FILE_NAME).exists());
    let ledger = Ledger::open(dir.path(), 6).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let used = |alias: &Alias| {
        let name = alias.name().parse().unwrap();
        runtime.block_on(ledger.lookup(&name)).unwrap().unwrap().used
    };
    aliases.iter().map(|alias| (alias.name().to_owned(), used(alias).into())).collect()
}

#[test]
fn a_backup_under_load_holds_the_uses_of_one_instant_while_it_was_made() {
    let smarthost = Smarthost::start();
    let mut appliance = Appliance::start_with(smarthost.address(), CROWD);
    let aliases: Vec<_> =
        (0..ALIASES).map(|n| appliance.alias(&format!("t{n}@mailbox.test"), USES)).collect();
    let over = Arc::new(AtomicBool::new(false));
    let mut load: Vec<_> = (0..CLIENTS)
        .map(|nth| {
            let (aliases, over, smtp) = (aliases.clone(), over.clone(), appliance.smtp);
            thread::spawn(move || {
                deliver(&aliases[nth * ALIASES / CLIENTS..][..ALIASES / CLIENTS], smtp, &over)
            })
        })
        .collect();
    load.push(thread::spawn({
        let (over, url) = (over.clone(), format!("http://{}/aliases", appliance.http));
        move || hand_out(&url, &over)
    }));

    let place = TempDir::new().unwrap();
    let mut moved = 0;
    for nth in 0..BACKUPS {
        let file = place.path().join(format!("{nth}.db"));
        let first = spent_now(&appliance, &aliases);
        let output = appliance.run(&["backup", file.to_str().unwrap()]);
        let last = spent_now(&appliance, &aliases);
        assert!(output.status.success(), "{}", said(&output));
        let backup = spent_in(&appliance, &file, &aliases);
        for (name, spent) in &backup {
            assert!((first[name]..=last[name]).contains(spent), "{name}: {first:?} {backup:?} {last:?}");
        }
        moved += last.values().sum::<u64>() - first.values().sum::<u64>();
    }
    over.store(true, Ordering::Relaxed);
    let counts: Vec<usize> = load.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(moved > 0, "nothing was delivered while a backup was made");
    assert!(counts.iter().all(|&count| count > 0), "{counts:?}");

    // Nothing is in flight any more: from here on the figures are exact.
    wait::until_equal("messages", counts[..CLIENTS].iter().sum::<usize>(), || smarthost.accepted());
    let delivered = spent_now(&appliance, &aliases);
    let file = place.path().join("last.db");
    assert!(appliance.run(&["backup", file.to_str().unwrap()]).status.success());
    assert_eq!(spent_in(&appliance, &file, &aliases), delivered);
    assert_eq!(delivered.values().sum::<u64>(), smarthost.accepted() as u64);

    // And an older one, restored: what was spent since stays spent.
    let older = place.path().join("0.db");
    let output = appliance.run(&["restore", older.to_str().unwrap()]);
    assert!(said(&output).contains("is in use by a running tempalias (process "), "{}", said(&output));
    assert_eq!(output.status.code(), Some(1));
    assert!(appliance.stop().success());
    let output = appliance.run(&["restore", older.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    appliance.restart();
    assert_eq!(spent_now(&appliance, &aliases), delivered);
}

/// Delivers to `aliases` until it is `over` or all is used up; how many.
fn deliver(aliases: &[Alias], smtp: std::net::SocketAddr, over: &AtomicBool) -> usize {
    let mut client = Client::hello(smtp);
    for count in 0..aliases.len() * USES as usize {
        if over.load(Ordering::Relaxed) {
            return count;
        }
        if count % 50 == 49 {
            client = Client::hello(smtp);
        }
        assert_eq!(client.deliver(&aliases[count % aliases.len()].email).code(), 250);
    }
    aliases.len() * USES as usize
}

/// Hands out aliases until it is `over`; how many.
fn hand_out(url: &str, over: &AtomicBool) -> usize {
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        let wish = serde_json::json!({ "target": "new@mailbox.test", "max-usage": 1 });
        assert_eq!(ureq::post(url).send_json(wish).unwrap().status(), 201);
        count += 1;
    }
    count
}

/// Some user, who is in no other way known to the machine.
const SERVICE: u32 = 4711;

/// A directory that all may pass, in which one belongs to `owner`.
fn foreign(owner: u32) -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let inner = dir.path().join("inner");
    fs::create_dir(&inner).unwrap();
    fs::set_permissions(&inner, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&inner, Some(owner), Some(owner)).unwrap();
    dir
}

#[track_caller]
fn assert_all_belong_to(owner: u32, dir: &Path) {
    for file in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let found = file.metadata().unwrap();
        assert_eq!((found.uid(), found.gid()), (owner, owner), "{}", file.path().display());
    }
}

/// An appliance whose data directory belongs to [`SERVICE`], though root runs all of it; stopped.
fn service_run_by_root() -> Option<(Appliance, TempDir)> {
    if !is_root() {
        eprintln!("SKIPPED: needs root's rights");
        return None;
    }
    let dir = foreign(SERVICE);
    let data_dir = format!("{:?}", dir.path().join("inner"));
    let smarthost = Smarthost::start();
    let mut appliance = Appliance::start_with(smarthost.address(), &[("data_dir", &data_dir)]);
    let alias = appliance.alias("me@mailbox.test", 2);
    assert_eq!(Client::hello(appliance.smtp).deliver(&alias.email).code(), 250);
    assert!(fs::read_dir(appliance.data_dir()).unwrap().count() >= 3, "the lock, the ledger and its log");
    assert_all_belong_to(SERVICE, appliance.data_dir());
    assert!(appliance.stop().success());
    Some((appliance, dir))
}

#[test]
fn what_root_does_in_the_services_directory_is_done_as_its_owner() {
    let Some((appliance, dir)) = service_run_by_root() else { return };
    let data_dir = dir.path().join("inner");
    // For root alone, as it lies in /root.
    let place = TempDir::new().unwrap();
    let file = place.path().join("backup.db");
    for arguments in [&["backup", file.to_str().unwrap()][..], &["restore", file.to_str().unwrap()]] {
        let output = appliance.run(arguments);
        assert!(output.status.success(), "{}", said(&output));
        assert_all_belong_to(SERVICE, &data_dir);
    }
    assert_eq!(fs::metadata(&file).unwrap().uid(), 0, "whoever owns the place owns the backup");
    for arguments in [&["alias", "list"][..], &["alias", "export"], &["check", "--offline"]] {
        appliance.run(arguments);
        assert_all_belong_to(SERVICE, &data_dir);
    }
    let elsewhere = foreign(SERVICE + 1);
    let file = elsewhere.path().join("inner/backup.db");
    let output = appliance.run(&["backup", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    assert_all_belong_to(SERVICE + 1, file.parent().unwrap());
}

/// A write-ahead log in which all pages of a ledger are, whose one alias forwards to the attacker.
fn log_of_an_attacker() -> Vec<u8> {
    let dir = TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let ledger = Ledger::open(dir.path(), 6).unwrap();
        let limits = Limits { valid_from: Timestamp::MIN, valid_until: None, max_usage: Some(9) };
        let [domain, target] = ["alias.test", "attacker@evil.test"];
        let new = NewAlias { domain: domain.parse().unwrap(), target: target.parse().unwrap(), limits };
        ledger.issue(new, Timestamp::now()).await.unwrap();
        ledger.close().await;
    });
    let ledger = rusqlite::Connection::open(dir.path().join(FILE_NAME)).unwrap();
    ledger.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; VACUUM").unwrap();
    fs::read(dir.path().join(format!("{FILE_NAME}-wal"))).unwrap()
}

#[test]
fn in_a_shared_directory_a_stranger_does_not_decide_what_root_restores() {
    if !is_root() {
        eprintln!("SKIPPED: needs root's rights");
        return;
    }
    let smarthost = Smarthost::start();
    let mut appliance = Appliance::start(&smarthost);
    appliance.alias("me@mailbox.test", 2);
    let shared = TempDir::new().unwrap();
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let file = shared.path().join("backup.db").display().to_string();
    let log = format!("{file}-wal");
    // There before the backup is made, it is refused as well.
    fs::write(&log, log_of_an_attacker()).unwrap();
    chown(&log, Some(SERVICE), Some(SERVICE)).unwrap();
    let output = appliance.run(&["backup", &file]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    fs::rename(&log, shared.path().join("kept")).unwrap();
    assert!(appliance.run(&["backup", &file]).status.success());
    fs::rename(shared.path().join("kept"), &log).unwrap();
    assert!(appliance.stop().success());
    for arguments in [&["restore", &file][..], &["restore", &file, "--with-log"]] {
        let output = appliance.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(&log), "{}", said(&output));
        let list = said(&appliance.run(&["alias", "list"]));
        assert!(list.contains("me@mailbox.test") && !list.contains("evil"), "{list}");
    }
    // The same beside the ledger, should others be able to make files there.
    let beside = appliance.data_dir().join(format!("{FILE_NAME}-wal"));
    fs::rename(&log, &beside).unwrap();
    for arguments in [&["alias", "list"][..], &["alias", "export"], &["check", "--offline"], &["serve"]] {
        let output = appliance.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", said(&output));
        assert!(
            !said(&output).contains("evil") && said(&output).contains("look at it, and remove it"),
            "{}",
            said(&output)
        );
    }
    fs::remove_file(&beside).unwrap();
    assert!(appliance.run(&["restore", &file]).status.success());
    assert!(said(&appliance.run(&["alias", "list"])).contains("me@mailbox.test"));
}

/// The commands that work in the data directory while no server runs.
fn commands(file: &str) -> [Vec<&str>; 5] {
    [
        vec!["backup", file],
        vec!["restore", file],
        vec!["alias", "list"],
        vec!["alias", "add", "--target", "me@mailbox.test", "--days", "1"],
        vec!["check", "--offline"],
    ]
}

/// A backup, and the directory that it is in.
fn backed_up(appliance: &Appliance) -> (TempDir, String) {
    let place = TempDir::new().unwrap();
    let file = place.path().join("backup.db").display().to_string();
    assert!(appliance.run(&["backup", &file]).status.success());
    (place, file)
}

#[test]
fn root_that_is_refused_something_in_the_services_directory_is_told_as_whom() {
    let Some((appliance, dir)) = service_run_by_root() else { return };
    let (_place, file) = backed_up(&appliance);
    let owner = "as user id 4711, whom the directory belongs to";
    let refused = |words: &str| {
        for arguments in commands(&file) {
            let output = appliance.run(&arguments);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", said(&output));
            assert!(said(&output).contains(words), "{arguments:?}: {}", said(&output));
        }
    };
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    refused(&format!("Permission denied (os error 13), {owner}"));
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    chown(dir.path().join("inner").join(FILE_NAME), Some(0), Some(0)).unwrap();
    refused(&format!("read-only for {}", owner.trim_start_matches("as ")));
}

#[test]
fn root_that_may_not_act_for_others_is_told_so() {
    let Some((appliance, _dir)) = service_run_by_root() else { return };
    let (_place, file) = backed_up(&appliance);
    for arguments in commands(&file) {
        let output = Command::new("setpriv")
            .arg("--bounding-set=-setuid,-setgid")
            .arg(env!("CARGO_BIN_EXE_tempalias"))
            .args(&arguments)
            .arg("--config")
            .arg(appliance.config_file())
            .output()
            .unwrap();
        let words = "it belongs to user id 4711, and this is user id 0 without CAP_SETUID and CAP_SETGID";
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(words), "{arguments:?}: {}", said(&output));
    }
}

#[test]
fn a_link_of_the_services_leads_root_nowhere() {
    let Some((appliance, dir)) = service_run_by_root() else { return };
    let data_dir = dir.path().join("inner");
    let place = TempDir::new().unwrap();
    let [backup, precious] = ["backup.db", "precious.db"].map(|name| place.path().join(name));
    for file in [&backup, &precious] {
        assert!(appliance.run(&["backup", file.to_str().unwrap()]).status.success());
    }
    let before = fs::read(&precious).unwrap();
    let [backup, stolen] = [backup, place.path().join("stolen.db")].map(|file| file.display().to_string());
    fs::remove_file(data_dir.join(FILE_NAME)).unwrap();
    symlink(&precious, data_dir.join(FILE_NAME)).unwrap();
    for arguments in [
        &["restore", &backup][..],
        &["backup", &stolen],
        &["alias", "list"],
        &["alias", "export"],
        &["alias", "add", "--target", "me@mailbox.test", "--days", "1"],
        &["check", "--offline"],
    ] {
        let output = appliance.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", said(&output));
        assert!(!said(&output).contains("me@mailbox.test"), "{arguments:?}: {}", said(&output));
    }
    assert!(fs::read(&precious).unwrap() == before);
    assert_eq!(fs::read_dir(&place).unwrap().count(), 2, "nothing was made beside it");
}
