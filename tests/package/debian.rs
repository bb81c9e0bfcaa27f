//! A package of the program under test, and a Debian to boot.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::time::SystemTime;

use tempfile::TempDir;

use crate::support::program::{is_root, said, succeed};

/// What runs inside ends the machine, with its own exit code.
const UNIT: &str = "\
[Unit]
Description=The test
SuccessAction=exit
FailureAction=exit
After=network-online.target postfix.service postfix@-.service

[Service]
Type=oneshot
Environment=HOME=/root LC_ALL=C.UTF-8
WorkingDirectory=/test
ExecStart=/bin/bash -eu /test/script
StandardOutput=file:/test/output
StandardError=inherit
TimeoutStartSec=200
";

/// The variable that names a package to test instead of one of the program under test: a release.
const READY: &str = "TEMPALIAS_DEB";

/// A `.deb`.
pub struct Deb(PathBuf);

impl Deb {
    /// Packages the program under test as `version`; `None`, and a word about it, where that cannot be.
    pub fn build(version: &str) -> Option<Self> {
        if !is_root() {
            eprintln!("SKIPPED: needs root's rights");
            return None;
        }
        let dir = target().join("package-tests");
        fs::create_dir_all(&dir).expect("a directory can be made");
        // Tests are processes of their own: the first of them builds for all.
        let lock = File::create(dir.join(format!("{version}.lock"))).expect("a file can be made");
        lock.lock().expect("a file can be locked");
        if let Some(ready) = env::var_os(READY) {
            return Some(Deb::ready(ready.into(), version, &dir));
        }
        let program = Path::new(env!("CARGO_BIN_EXE_tempalias"));
        let deb = dir.join(format!("tempalias_{version}_amd64.deb"));
        if modified(&deb) < last_change(program) {
            let built = dir.join(format!("{version}.new"));
            let output = built.to_string_lossy();
            succeed("scripts/build-deb", ["--dev", "--deb-version", version, "--output", &output], b"");
            fs::rename(&built, &deb).expect("a file can be renamed");
        }
        Some(Deb(deb))
    }

    /// The package `ready` as `version`; when that is another one than its own, a copy in `dir`.
    fn ready(ready: PathBuf, version: &str, dir: &Path) -> Self {
        let ready = Deb(ready);
        if succeed("dpkg-deb", ["--field", ready.path(), "Version"], b"").trim() == version {
            return ready;
        }
        let unpacked = TempDir::new().expect("a temporary directory can be made");
        let root = unpacked.path().to_str().expect("the path is UTF-8");
        succeed("dpkg-deb", ["--raw-extract", ready.path(), root], b"");
        let control = unpacked.path().join("DEBIAN/control");
        let text = fs::read_to_string(&control).expect("a package has a control file");
        let lines = text.lines().map(|line| match line.starts_with("Version: ") {
            true => format!("Version: {version}\n"),
            false => format!("{line}\n"),
        });
        fs::write(control, lines.collect::<String>()).expect("a file can be written");
        let renumbered = dir.join("ready").join(format!("tempalias_{version}_amd64.deb"));
        let built = dir.join(format!("{version}.ready"));
        fs::create_dir_all(dir.join("ready")).expect("a directory can be made");
        let output = built.to_string_lossy();
        succeed("dpkg-deb", ["-Zgzip", "--root-owner-group", "--build", root, &output], b"");
        fs::rename(&built, &renumbered).expect("a file can be renamed");
        Deb(renumbered)
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        self.0.to_str().expect("the path is UTF-8")
    }
}

/// Boots a Debian 12 with these `versions` of the package in /test, and runs `script` there. What it
/// changes is forgotten. Only the loopback interface is there.
///
/// # Panics
/// When the script fails; says what it wrote.
#[track_caller]
pub fn boot(name: &str, script: &str, versions: &[&str]) {
    let Some(debs) = versions.iter().map(|version| Deb::build(version)).collect::<Option<Vec<_>>>() else {
        return;
    };
    let root = target().join("debian-root");
    assert!(root.join("complete").exists(), "there is no Debian to boot: ./scripts/install-test-deps");
    let dir = TempDir::new().expect("a temporary directory can be made");
    for deb in &debs {
        let name = deb.0.file_name().expect("it is a file");
        fs::copy(&deb.0, dir.path().join(name)).expect("a file can be copied");
    }
    let script = format!("{}\n{script}", include_str!("kit.sh"));
    fs::write(dir.path().join("script"), script).expect("a file can be written");
    fs::write(dir.path().join("unit"), UNIT).expect("a file can be written");

    let mut machine = Command::new("systemd-nspawn");
    machine.arg("--directory").arg(&root);
    machine.arg(format!("--machine=tempalias-{}", process::id()));
    machine.arg(format!("--bind={}:/test", dir.path().display()));
    machine.arg(format!("--bind-ro={}/unit:/etc/systemd/system/test.service", dir.path().display()));
    machine.args(["--volatile=overlay", "--private-network", "--register=no", "--keep-unit"]);
    machine.args(["--console=read-only", "--boot", "systemd.unit=multi-user.target"]);
    machine.arg("systemd.wants=test.service");
    let output = machine.output().expect("systemd-nspawn runs");
    let Ok(wrote) = fs::read_to_string(dir.path().join("output")) else {
        // A container without the right to make containers is no failure; everything else is.
        let said = said(&output);
        let lacks_rights = ["Operation not permitted", "Permission denied"];
        assert!(lacks_rights.iter().any(|words| said.contains(words)), "{name} did not boot:\n{said}");
        eprintln!("SKIPPED: systemd-nspawn boots nothing here: {said}");
        return;
    };
    assert!(output.status.success(), "{name} ended with {}:\n{wrote}", output.status);
}

fn target() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_tempalias"));
    program.ancestors().nth(3).expect("it is in target/TUPLE/PROFILE").to_owned()
}

/// When anything that goes into a package was changed.
fn last_change(program: &Path) -> Option<SystemTime> {
    let dirs = ["packaging", "packaging/debian", "systemd", "scripts"];
    let files = dirs.iter().flat_map(|dir| fs::read_dir(dir).expect("it is a directory"));
    let files = files.map(|file| file.expect("a directory can be listed").path());
    files.chain([program.to_owned(), "Cargo.toml".into()]).filter_map(|file| modified(&file)).max()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}
