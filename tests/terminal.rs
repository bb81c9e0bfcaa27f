//! What a person at a terminal sees, and a script in its place.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::program::{said, succeed};
use crate::support::wait;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tempalias");

/// Their lines are more than a pipe takes in.
const MANY: usize = 400;

/// Erases what is on the line: the last that is seen of any progress.
const ERASE: &str = "\r\x1b[K";

/// A configuration, and a place for files.
struct Setup {
    dir: TempDir,
}

impl Setup {
    fn new() -> Self {
        let setup = Setup { dir: TempDir::new().unwrap() };
        fs::create_dir(setup.path("data")).unwrap();
        let text = format!(
            "hostname = 'mx.alias.test'\ndomains = ['alias.test']\npostmaster = 'admin@mailbox.test'\n\
             data_dir = {:?}\nsmarthost.host = '127.0.0.1'\nsmarthost.port = 9\n",
            setup.path("data")
        );
        fs::write(setup.path("tempalias.toml"), text).unwrap();
        setup
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).arg("--config").arg(self.path("tempalias.toml"));
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// The one JSON object that a command prints.
    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Makes a pipe that has a name.
    fn pipe(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        succeed("mkfifo", [&path], b"");
        path
    }
}

/// The program at a terminal (pty(7)) of 80 columns; killed when it is dropped.
struct Terminal {
    child: Child,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    /// Runs a line of the shell's, in which `tempalias` is the program with the configuration of `setup`.
    fn run(setup: &Setup, line: &str) -> Self {
        let config = setup.path("tempalias.toml");
        let line = format!("tempalias() {{ {PROGRAM} \"$@\" --config {}; }}; {line}", config.display());
        let line = format!("stty rows 24 cols 80; {line}");
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let shown = Arc::<Mutex<String>>::default();
        let for_thread = shown.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                for_thread.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        Terminal { child, shown }
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    #[track_caller]
    fn shows(&self, words: &str) {
        wait::until(&format!("{words:?} is shown"), || self.shown().contains(words).then_some(()));
    }

    /// Waits for its end; what was on the screen after the last progress.
    #[track_caller]
    fn ends_with(mut self, code: i32) -> String {
        let status = wait::until("it ends", || self.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(code), "{}", self.shown());
        let shown = self.shown();
        shown.rsplit_once(ERASE).map_or(shown.as_str(), |(_, rest)| rest).trim().to_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What `alias export` would print of [`MANY`] aliases.
fn exported() -> String {
    // Digits and letters that a name may have.
    let name = |number: usize| format!("{number:06}").replace('0', "k").replace('1', "m");
    (0..MANY)
        .map(|number| {
            let name = name(number);
            format!(
                "{{\"name\":\"{name}\",\"domain\":\"alias.test\",\"target\":\"me@mailbox.test\",\"key_hash\":\"{}\",\
                 \"created\":\"2026-01-01T00:00:00Z\",\"valid_from\":\"2026-01-01T00:00:00Z\",\"valid_until\":null,\
                 \"max_usage\":5,\"used\":0,\"last_spent\":null,\"paused\":false,\"bounces\":0,\"row_start\":0}}\n",
                "0".repeat(64)
            )
        })
        .collect()
}

fn sorted(lines: &str) -> Vec<&str> {
    let mut lines: Vec<_> = lines.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn an_import_shows_how_far_it_is_and_an_export_draws_nothing_over_a_pager() {
    let setup = Setup::new();
    let pipe = setup.pipe("pipe");
    let import = Terminal::run(&setup, &format!("tempalias alias import {}", pipe.display()));
    let mut file = File::create(&pipe).unwrap();
    file.write_all(exported().as_bytes()).unwrap();
    import.shows(&format!("reading: {MANY} lines"));
    drop(file);
    assert_eq!(import.ends_with(0), format!("imported: {MANY} aliases, and 0 names whose alias is gone"));

    let export = Terminal::run(&setup, &format!("umask 077; tempalias alias export > {}", pipe.display()));
    let mut file = File::open(&pipe).unwrap();
    // It is at it, and waits for somebody to read on …
    let mut lines = vec![0];
    file.read_exact(&mut lines).unwrap();
    // … for longer than it takes another one to show something.
    let other = setup.pipe("other");
    let import = Terminal::run(&setup, &format!("tempalias alias import {}", other.display()));
    let _nothing = File::create(&other).unwrap();
    import.shows("reading: 0 lines");
    assert_eq!(export.shown(), "");
    file.read_to_end(&mut lines).unwrap();
    let lines = String::from_utf8(lines).unwrap();
    assert!(sorted(&lines) == sorted(&exported()), "{} octets", lines.len());
    assert_eq!(export.ends_with(0), "");
}

#[test]
fn backup_and_restore_show_what_they_are_at() {
    let setup = Setup::new();
    let add = ["alias", "add", "--target", "me@mailbox.test", "--days", "1"];
    assert!(setup.run(&add).status.success());
    let (data_dir, ledger, file) =
        (setup.path("data"), setup.path("data/tempalias.db"), setup.path("backup.db"));
    // Something else keeps them waiting until there is something to be seen.
    let other = rusqlite::Connection::open(ledger).unwrap();
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE").unwrap();
    let backup = Terminal::run(&setup, &format!("tempalias backup {}", file.display()));
    backup.shows("copying: 0 B of about ");
    drop(other);
    backup.shows(&format!("{ERASE}checking the result"));
    assert!(backup.ends_with(0).contains(": backed up and checked, "));

    let turn = File::open(data_dir).unwrap();
    turn.lock().unwrap();
    let restore = Terminal::run(&setup, &format!("tempalias restore {}", file.display()));
    restore.shows("checking the backup");
    drop(turn);
    restore.shows(&format!("{ERASE}checking the result"));
    let shown = restore.shown();
    let places =
        ["copying: ", "carrying over what is newer", "checking the result"].map(|words| shown.find(words));
    assert!(places.is_sorted() && places[0].is_some(), "{shown}");
    assert!(restore.ends_with(0).contains(": restored, 1 alias"));
}

#[test]
fn an_import_from_the_keyboard_says_how_to_end_it() {
    let setup = Setup::new();
    let import = Terminal::run(&setup, "tempalias alias import");
    import.shows("tempalias: reading from standard input; Ctrl-D ends it");
}

#[test]
fn backup_and_restore_speak_json() {
    let setup = Setup::new();
    assert!(setup.run(&["alias", "add", "--target", "me@mailbox.test", "--days", "1"]).status.success());
    let file = setup.path("backup.db");
    let file = file.to_str().unwrap();
    let made = setup.json(&["backup", file]);
    assert_eq!(made["file"], file);
    assert_eq!(made["size"], fs::metadata(file).unwrap().len());

    assert!(setup.run(&["alias", "add", "--target", "me@mailbox.test", "--days", "1"]).status.success());
    let restored = setup.json(&["restore", file]);
    assert_eq!((&restored["file"], &restored["aliases"]), (&file.into(), &1.into()));
    assert_eq!(restored["carried_over"], serde_json::json!({ "names": 1, "spent": 0, "revoked": 0 }));
    assert_eq!((&restored["has_forgotten"], &restored["with_revoked"]), (&false.into(), &false.into()));
    let aside = Path::new(restored["set_aside"].as_str().unwrap());
    assert!(aside.exists(), "{restored}");

    fs::remove_file(setup.path("data/tempalias.db")).unwrap();
    let restored = setup.json(&["restore", file]);
    assert_eq!((&restored["set_aside"], &restored["carried_over"]), (&Value::Null, &Value::Null));
    assert_eq!(restored["has_forgotten"], true);
}

#[test]
fn what_was_typed_wrong_is_named_with_what_would_be_right() {
    let setup = Setup::new();
    for (arguments, words) in [
        (&["--days", "-1"][..], "not a whole number"),
        (&["--max-usage", "many"], "not a whole number"),
        (&["--valid-until", "tomorrow"], "not an instant like 2026-"),
    ] {
        let output = setup.run(&[&["alias", "add", "--target", "me@mailbox.test"], arguments].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains(words), "{arguments:?}: {}", said(&output));
    }
    let config = setup.path("tempalias.toml");
    let output = setup.run(&["restore", config.to_str().unwrap()]);
    let words = format!("tempalias: {}: not a whole ledger: file is not a database\n", config.display());
    assert_eq!(said(&output), words);
}

#[test]
fn the_help_of_every_command_fits_the_terminal() {
    let setup = Setup::new();
    let manual = succeed(PROGRAM, ["man"], b"");
    let commands = manual.lines().filter_map(|line| line.strip_prefix(".SS \""));
    let commands: Vec<_> = commands.map(|heading| heading.trim_end_matches('"')).collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        let words = command.strip_prefix("tempalias ").unwrap();
        let help = Terminal::run(&setup, &format!("{PROGRAM} {words} --help")).ends_with(0);
        for line in help.lines() {
            let plain = strip(line.trim_end());
            assert!(plain.chars().count() <= 80, "{command}: {plain}");
        }
    }
}

/// Without the terminal's escape sequences for colours.
fn strip(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}
