//! Bad days of the machine underneath: each ends in one clear sentence, and nothing is lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempalias::alias::Limits;
use tempalias::clock::{self, Timestamp};
use tempalias::ledger::FILE_NAME;
use tempfile::TempDir;

use crate::support::appliance::{Alias, Appliance};
use crate::support::certificates::{Authority, Validity};
use crate::support::client::Client;
use crate::support::program::{is_root, said};
use crate::support::smarthost::Smarthost;
use crate::support::wait;

/// Runs the program with a configuration whose data directory is `data_dir`, which may not be there.
fn run(arguments: &[&str], data_dir: &Path) -> Output {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("tempalias.toml");
    let text = format!(
        "hostname = 'mx.alias.test'\ndomains = ['alias.test']\npostmaster = 'admin@mailbox.test'\n\
         data_dir = {data_dir:?}\nhttp.listen = ['127.0.0.1:0']\nsmtp.listen = ['127.0.0.1:0']\n\
         smarthost.host = '127.0.0.1'\nsmarthost.port = 9\n"
    );
    fs::write(&file, text).unwrap();
    // Without capabilities root is bound by permissions as well, and needs no other user's way to the program.
    let mut command = match is_root() {
        true => Command::new("setpriv"),
        false => Command::new("env"),
    };
    if is_root() {
        command.args(["--bounding-set=-all", "--inh-caps=-all"]);
    }
    command.arg(env!("CARGO_BIN_EXE_tempalias")).args(arguments).arg("--config").arg(file);
    command.stdin(Stdio::null()).output().unwrap()
}

/// What `serve` says that cannot start on `data_dir`.
#[track_caller]
fn refused(data_dir: &Path, code: i32) -> String {
    let output = run(&["serve"], data_dir);
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    sentence(&output)
}

#[track_caller]
fn sentence(output: &Output) -> String {
    let text = said(output);
    assert_eq!(text.lines().count(), 1, "{text}");
    text.strip_prefix("tempalias: ").unwrap().trim_end().to_owned()
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A file system of its own on `dir`, unmounted when dropped; none where that is not permitted.
struct Mount(PathBuf);

impl Mount {
    fn new(dir: &Path, options: &str) -> Option<Self> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir).output();
        if mount.is_ok_and(|done| done.status.success()) {
            return Some(Mount(dir.to_owned()));
        }
        eprintln!("skipped: no file system can be mounted");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_missing_data_directory_is_a_mistake_in_the_configuration() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("missing");
    let text = refused(&missing, 78);
    assert!(
        text.ends_with(&format!("data_dir: {}: No such file or directory (os error 2)", missing.display())),
        "{text}"
    );
}

#[test]
fn a_data_directory_of_another_user_is_named_with_both_users() {
    if !is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let dir = TempDir::new().unwrap();
    chmod(dir.path(), 0o700);
    std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).unwrap();
    let text = refused(dir.path(), 1);
    assert!(
        text.ends_with(
            "permission denied: it belongs to user id 65534, and this is user id 0 without CAP_SETUID and CAP_SETGID"
        ),
        "{text}"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    let dir = TempDir::new().unwrap();
    chmod(dir.path(), 0o500);
    let text = refused(dir.path(), 1);
    assert!(text.contains(dir.path().to_str().unwrap()) && text.contains("Permission denied"), "{text}");
    chmod(dir.path(), 0o700);
    let Some(_mount) = Mount::new(dir.path(), "ro") else { return };
    let text = refused(dir.path(), 1);
    assert!(text.contains("Read-only file system"), "{text}");
}

#[test]
fn a_ledger_on_a_file_system_that_was_made_read_only_is_said_to_be() {
    let dir = TempDir::new().unwrap();
    let Some(mount) = Mount::new(dir.path(), "rw") else { return };
    assert!(
        run(&["alias", "add", "--target", "me@mailbox.test", "--days", "1"], dir.path()).status.success()
    );
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&mount.0).status().unwrap();
    assert!(remounted.success());
    for arguments in [&["alias", "list"][..], &["backup", "/nowhere/backup.db"]] {
        let output = run(arguments, dir.path());
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(sentence(&output).ends_with("the database or its directory is read-only for this user"));
    }
    assert!(refused(dir.path(), 1).contains("Read-only file system"));
}

#[test]
fn a_disk_too_full_for_a_ledger_is_said_and_does_no_harm() {
    let dir = TempDir::new().unwrap();
    let Some(_mount) = Mount::new(dir.path(), "size=512k") else { return };
    let filler = dir.path().join("filler");
    let mut zeros = fs::File::open("/dev/zero").unwrap();
    std::io::copy(&mut zeros, &mut fs::File::create(&filler).unwrap()).unwrap_err();
    let text = refused(dir.path(), 1);
    assert!(text.contains("full") || text.contains("No space left"), "{text}");
    fs::remove_file(&filler).unwrap();
    let added = run(&["alias", "add", "--target", "me@mailbox.test", "--days", "1"], dir.path());
    assert!(added.status.success(), "{}", said(&added));
    // And where there is a ledger already.
    std::io::copy(&mut zeros, &mut fs::File::create(&filler).unwrap()).unwrap_err();
    let text = refused(dir.path(), 1);
    assert!(
        text.ends_with("tempalias.db: the disk is full; make room, then try again: nothing is lost"),
        "{text}"
    );
    fs::remove_file(filler).unwrap();
    let listed = run(&["alias", "list", "--json"], dir.path());
    assert_eq!(said(&listed).lines().count(), 1, "{}", said(&listed));
}

#[test]
fn half_a_backup_is_refused_in_a_sentence_and_the_ledger_stays() {
    let dir = TempDir::new().unwrap();
    let add = ["alias", "add", "--target", "me@mailbox.test", "--days", "1"];
    assert!(run(&add, dir.path()).status.success());
    let backup = dir.path().join("backup.db");
    let restore = ["restore", backup.to_str().unwrap()];
    assert!(run(&["backup", restore[1]], dir.path()).status.success());
    let whole = fs::read(&backup).unwrap();
    for (octets, words) in [
        (0, "it is empty"),
        (whole.len() / 2 / 4096 * 4096, "database disk image is malformed"),
        (whole.len() - 100, "its last page is cut off"),
    ] {
        fs::write(&backup, &whole[..octets]).unwrap();
        let output = run(&restore, dir.path());
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert_eq!(sentence(&output), format!("{}: not a whole ledger: {words}", backup.display()));
    }
    let listed = run(&["alias", "list", "--json"], dir.path());
    assert_eq!(said(&listed).lines().count(), 1, "{}", said(&listed));
    fs::write(&backup, whole).unwrap();
    assert!(run(&restore, dir.path()).status.success());
}

#[test]
fn a_second_server_is_refused_by_the_first_ones_process_id_and_the_first_goes_on() {
    let smarthost = Smarthost::start();
    let appliance = Appliance::start(&smarthost);
    let alias = appliance.alias("me@mailbox.test", 1);
    let output = appliance.run(&["serve"]);
    assert_eq!(output.status.code(), Some(1));
    let text = sentence(&output);
    let id = fs::read_to_string(appliance.data_dir().join("tempalias.lock")).unwrap();
    assert!(Path::new("/proc").join(id.trim()).exists(), "{id}");
    let end = format!("is in use by a running tempalias (process {}); stop that one first", id.trim());
    assert!(text.ends_with(&end), "{text}");
    assert_eq!(Client::hello(appliance.smtp).deliver(&alias.email).code(), 250);
}

#[test]
fn a_killed_server_leaves_no_lock() {
    let smarthost = Smarthost::start();
    let mut appliance = Appliance::start(&smarthost);
    appliance.kill();
    appliance.restart();
}

#[test]
fn a_ledger_that_another_program_keeps_locked_is_said_to_be() {
    let dir = TempDir::new().unwrap();
    let other = rusqlite::Connection::open(dir.path().join(FILE_NAME)).unwrap();
    other.execute_batch("PRAGMA application_id = 0x746d7061; BEGIN EXCLUSIVE").unwrap();
    let text = refused(dir.path(), 1);
    assert!(text.ends_with("another program keeps it locked"), "{text}");
}

#[test]
fn an_expired_certificate_is_said_at_the_start_and_used() {
    let files = Authority::new().certify_when(&["mx.alias.test"], Validity::Past).files();
    let settings = files.settings();
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let appliance = Appliance::start_with(Smarthost::start().address(), &settings);
    assert_eq!(appliance.logged("the certificate has expired"), 1);
    let mut client = Client::hello(appliance.smtp);
    client.command("STARTTLS", "220");
}

#[test]
fn a_key_or_password_that_everybody_may_read_is_said_at_the_start_and_at_each_reload_until_it_is_not() {
    let files = Authority::new().certify(&["mx.alias.test"]).files();
    let [(cert_is, cert), (key_is, key)] = files.settings();
    let dir = TempDir::new().unwrap();
    let password = dir.path().join("password");
    fs::write(&password, "secret").unwrap();
    let settings = [
        (cert_is, cert.clone()),
        (key_is, key.clone()),
        ("http.tls_cert", cert),
        ("http.tls_key", key),
        ("smarthost.username", "'us'".into()),
        ("smarthost.password_file", format!("{password:?}")),
    ];
    chmod(&files.key, 0o644);
    chmod(&password, 0o604);
    let settings = settings.each_ref().map(|(key, value)| (*key, value.as_str()));
    let appliance = Appliance::start_with(Smarthost::start().address(), &settings);
    let told = |key: &str, path: &Path| {
        let path = path.display();
        appliance.logged(&format!(
            "{key}: {path}: every user on this machine may read or change it; chmod o= {path}"
        ))
    };
    let counts = || {
        [
            told("smtp.tls_key", &files.key),
            told("http.tls_key", &files.key),
            told("smarthost.password_file", &password),
        ]
    };
    assert_eq!(counts(), [1, 1, 1]);
    chmod(&files.key, 0o640);
    appliance.hang_up();
    wait::until_equal("what is told after a reload", [1, 1, 2], counts);
    assert_eq!(appliance.logged("secret"), 0);
}

/// What RCPT says of `alias`.
fn asked(appliance: &Appliance, alias: &Alias) -> u16 {
    let mut client = Client::hello(appliance.smtp);
    client.command("MAIL FROM:<a@client.test>", "250");
    client.send(format!("RCPT TO:<{}>\r\n", alias.email));
    client.reply().code()
}

/// The program is static, so nothing can stand between it and the clock: instead of setting that back,
/// the ledger is made to remember a later time.
#[test]
fn an_alias_that_was_over_stays_so_when_the_clock_goes_back() {
    const MINUTE: i64 = 60;
    let smarthost = Smarthost::start();
    let mut appliance = Appliance::start(&smarthost);
    let at = |minutes| Timestamp::from_second(clock::now().as_second() + minutes * MINUTE).unwrap();
    let limits = Limits { valid_from: at(0), valid_until: Some(at(30)), max_usage: None };
    let short = appliance.alias_issued_at(at(0), "short@mailbox.test", limits);
    let long = appliance.alias("long@mailbox.test", 10);
    assert_eq!((asked(&appliance, &short), asked(&appliance, &long)), (250, 250));

    assert!(appliance.stop().success());
    let ledger = rusqlite::Connection::open(appliance.data_dir().join(FILE_NAME)).unwrap();
    let later = at(45);
    ledger.execute("UPDATE state SET latest = ?1", [later.as_second()]).unwrap();
    ledger.close().unwrap();
    appliance.restart();
    wait::until_equal("warnings", 1, || appliance.logged("the system's clock was set back"));
    assert_eq!((asked(&appliance, &short), asked(&appliance, &long)), (550, 250));
    assert_eq!(appliance.look_at(&short).0, 404);
    assert_eq!(Client::hello(appliance.smtp).deliver(&long.email).code(), 250);
    let (_, view) = appliance.look_at(&long);
    assert_eq!(view["currentDate"], later.to_string(), "time stands still");

    // A clock that was days ahead was wrong, and is not waited for.
    assert!(appliance.stop().success());
    let ledger = rusqlite::Connection::open(appliance.data_dir().join(FILE_NAME)).unwrap();
    ledger.execute("UPDATE state SET latest = ?1", [at(3 * 24 * 60).as_second()]).unwrap();
    ledger.close().unwrap();
    appliance.restart();
    let (_, view) = appliance.look_at(&long);
    let now: Timestamp = view["currentDate"].as_str().unwrap().parse().unwrap();
    assert!(now < later, "{view}");
}
