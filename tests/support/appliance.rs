//! The real program with a configuration of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempalias::alias::Limits;
use tempalias::clock::Timestamp;
use tempalias::ledger::{Ledger, NewAlias};
use tempfile::TempDir;

use super::process::Process;
use super::smarthost::Smarthost;
use super::{TARGET_DOMAIN, assert_no_leak, wait};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tempalias");

/// Settings for a test whose many sessions all come from one address: no limit for one client.
pub const CROWD: &[(&str, &str)] = &[
    ("smtp.max_connections_per_ip", "0"),
    ("smtp.connections_per_minute", "0"),
    ("smarthost.max_connections", "0"),
];

/// A running appliance; killed when it is dropped.
pub struct Appliance {
    /// Where it speaks SMTP.
    pub smtp: SocketAddr,
    /// Where it speaks HTTP.
    pub http: SocketAddr,
    smarthost: SocketAddr,
    process: Process,
    dir: TempDir,
    data_dir: PathBuf,
}

/// An alias of the appliance's.
#[derive(Clone, Debug)]
pub struct Alias {
    /// `name@domain`.
    pub email: String,
    /// The manage key.
    pub key: String,
}

impl Appliance {
    /// Starts one in front of `smarthost`.
    #[track_caller]
    pub fn start(smarthost: &Smarthost) -> Self {
        Appliance::start_with(smarthost.address(), &[])
    }

    /// Starts one in front of a smarthost at `smarthost`, with further settings: key and value in TOML.
    ///
    /// # Panics
    /// When it does not get ready in time; says what it wrote.
    #[track_caller]
    pub fn start_with(smarthost: SocketAddr, settings: &[(&str, &str)]) -> Self {
        let (dir, data_dir) = prepare(smarthost, settings);
        let (process, smtp, http) = start(&config_file(&dir), &[]);
        Appliance { smtp, http, smarthost, process, dir, data_dir }
    }

    /// As [`Appliance::start_with`], with `log` for its standard error, where nobody reads that it is
    /// ready: it listens on ports that were free a moment ago.
    ///
    /// # Panics
    /// When it does not get ready in time.
    #[track_caller]
    pub fn start_logging_to(log: impl Into<Stdio>, smarthost: SocketAddr, settings: &[(&str, &str)]) -> Self {
        Appliance::start_logging_with(log, &[], smarthost, settings)
    }

    /// The same, with these variables in its environment.
    ///
    /// # Panics
    /// As there.
    #[track_caller]
    pub fn start_logging_with(
        log: impl Into<Stdio>,
        environment: &[(&str, &str)],
        smarthost: SocketAddr,
        settings: &[(&str, &str)],
    ) -> Self {
        let [smtp, http] = free_addresses();
        let listen = [smtp, http].map(|address| format!("[\"{address}\"]"));
        let listen = [("smtp.listen", listen[0].as_str()), ("http.listen", listen[1].as_str())];
        let (dir, data_dir) = prepare(smarthost, &[settings, &listen].concat());
        let mut command = serve(&config_file(&dir));
        let child = command.envs(environment.iter().copied()).stderr(log).spawn();
        let child = child.expect("the program starts");
        let mut process = Process::silent(child);
        wait::until("the appliance listens", || {
            assert!(!process.has_ended(), "it ended");
            [smtp, http].into_iter().all(|address| TcpStream::connect(address).is_ok()).then_some(())
        });
        Appliance { smtp, http, smarthost, process, dir, data_dir }
    }

    /// Starts again what was killed or stopped, on the same ledger.
    #[track_caller]
    pub fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// As [`Appliance::restart`], with these variables in its environment.
    #[track_caller]
    pub fn restart_with(&mut self, environment: &[(&str, &str)]) {
        (self.process, self.smtp, self.http) = start(&config_file(&self.dir), environment);
    }

    /// Hands out an alias for `target`, on the command line.
    #[track_caller]
    pub fn alias(&self, target: &str, uses: u32) -> Alias {
        let uses = uses.to_string();
        let output = self.run(&["alias", "add", "--target", target, "--max-usage", &uses, "--json"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "no alias for {target}: {errors}");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("the answer is JSON");
        let field = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}"));
        Alias { email: field("email").to_owned(), key: field("updatekey").to_owned() }
    }

    /// Hands out an alias for `target` with `limits`, as if it were `now`.
    pub fn alias_issued_at(&self, now: Timestamp, target: &str, limits: Limits) -> Alias {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be built");
        let domain = "alias.test".parse().expect("this is a domain");
        let target = target.parse().expect("this is a mailbox");
        let issued = runtime.block_on(async {
            let ledger = Ledger::open(&self.data_dir, 6).expect("the ledger opens beside the appliance");
            let issued = ledger.issue(NewAlias { domain, target, limits }, now).await;
            ledger.close().await;
            issued.expect("an alias is issued")
        });
        Alias { email: issued.alias.address(), key: issued.key.to_string() }
    }

    /// Deletes an alias, on the command line.
    #[track_caller]
    pub fn revoke(&self, alias: &Alias) {
        let output = self.run(&["alias", "revoke", alias.name()]);
        assert!(output.status.success(), "not revoked: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Switches an alias off, by the API.
    #[track_caller]
    pub fn pause(&self, alias: &Alias) {
        let request = ureq::patch(format!("http://{}/aliases/{}", self.http, alias.name()))
            .header("Authorization", format!("Bearer {}", alias.key));
        request.send_json(serde_json::json!({"paused": true})).expect("the API switches it off");
    }

    /// The uses an alias has left, by the API.
    #[track_caller]
    pub fn uses_left(&self, alias: &Alias) -> u64 {
        let (status, answer) = self.look_at(alias);
        assert_eq!(status, 200, "{answer}");
        answer["usage_left"].as_u64().unwrap_or_else(|| panic!("no usage_left in {answer}"))
    }

    /// What the API says about an alias: status and body.
    #[track_caller]
    pub fn look_at(&self, alias: &Alias) -> (u16, Value) {
        let request = ureq::get(format!("http://{}/aliases/{}", self.http, alias.name()))
            .header("Authorization", format!("Bearer {}", alias.key))
            .config()
            .http_status_as_error(false)
            .timeout_global(Some(wait::PATIENCE))
            .build();
        let mut response = request.call().expect("the API answers");
        let status = response.status().as_u16();
        (status, response.body_mut().read_json().unwrap_or_default())
    }

    /// Changes an alias by the API, as its holder: status and body.
    #[track_caller]
    pub fn amend(&self, alias: &Alias, change: &Value) -> (u16, Value) {
        let request = ureq::patch(format!("http://{}/aliases/{}", self.http, alias.name()))
            .header("Authorization", format!("Bearer {}", alias.key))
            .config()
            .http_status_as_error(false)
            .timeout_global(Some(wait::PATIENCE))
            .build();
        let mut response = request.send_json(change).expect("the API answers");
        let status = response.status().as_u16();
        (status, response.body_mut().read_json().unwrap_or_default())
    }

    /// Runs the program with `arguments` and this appliance's configuration.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, &[])
    }

    /// As [`Appliance::run`], with these variables in its environment.
    pub fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).arg("--config").arg(config_file(&self.dir)).stdin(Stdio::null());
        command.envs(environment.iter().copied());
        command.output().expect("the program runs")
    }

    /// Writes its configuration anew, with these settings instead of those it was started with.
    pub fn configure(&self, settings: &[(&str, &str)]) {
        write_config(&self.dir, self.smarthost, settings);
    }

    /// The file of its configuration.
    pub fn config_file(&self) -> PathBuf {
        config_file(&self.dir)
    }

    /// Where its metrics are, when `metrics.listen` is set.
    #[track_caller]
    pub fn metrics(&self) -> SocketAddr {
        self.process.address("metrics on ")
    }

    /// Where its ledger is.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What it has written on standard error since its last start.
    pub fn stderr(&self) -> Vec<String> {
        self.process.stderr()
    }

    /// Open file descriptors.
    pub fn descriptors(&self) -> usize {
        let listing = fs::read_dir(format!("/proc/{}/fd", self.process.id()));
        listing.expect("/proc shows the process").count()
    }

    /// Open sockets.
    pub fn sockets(&self) -> usize {
        let listing = fs::read_dir(format!("/proc/{}/fd", self.process.id()));
        let links = listing.expect("/proc shows the process").flatten().map(|fd| fs::read_link(fd.path()));
        links.flatten().filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    }

    /// Its threads.
    pub fn threads(&self) -> usize {
        let listing = fs::read_dir(format!("/proc/{}/task", self.process.id()));
        listing.expect("/proc shows the process").count()
    }

    /// The memory it has now, in KiB.
    pub fn memory(&self) -> u64 {
        self.memory_figure("VmRSS:")
    }

    /// The most memory it has ever had, in KiB.
    pub fn peak_memory(&self) -> u64 {
        self.memory_figure("VmHWM:")
    }

    fn memory_figure(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.expect("/proc shows the process");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let figure = line.and_then(|line| line.trim().strip_suffix("kB")).expect("memory is in kB");
        figure.trim().parse().expect("memory is a number")
    }

    /// SIGTERM, without waiting for what becomes of it.
    pub fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        self.process.signal(Signal::HUP);
    }

    /// SIGSTOP: it does nothing until [`Appliance::release`].
    pub fn hold(&self) {
        self.process.signal(Signal::STOP);
        let status = format!("/proc/{}/status", self.process.id());
        wait::until("the appliance is held", || {
            fs::read_to_string(&status).expect("/proc shows the process").contains("State:\tT").then_some(())
        });
    }

    /// SIGCONT.
    pub fn release(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Lines on standard error that hold `words`.
    pub fn logged(&self, words: &str) -> usize {
        self.stderr().iter().filter(|line| line.contains(words)).count()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Whether it ends by itself within `patience`; waits no longer than that.
    pub fn ends_within(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            if self.process.has_ended() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Panics
    /// As [`Appliance::end`].
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.end()
    }

    /// Waits for its end; how it ended.
    ///
    /// # Panics
    /// When it does not end in time, or has logged what it must not.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        let status = self.process.wait();
        for line in self.stderr() {
            assert_no_leak("the log", &line);
        }
        status
    }
}

impl Alias {
    /// The local part.
    pub fn name(&self) -> &str {
        self.email.split_once('@').map_or(&self.email, |(name, _)| name)
    }
}

/// A directory with a configuration and a data directory in it, unless `settings` has another.
fn prepare(smarthost: SocketAddr, settings: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let data_dir = write_config(&dir, smarthost, settings);
    fs::create_dir_all(&data_dir).expect("the data directory can be made");
    (dir, data_dir)
}

/// Writes the configuration; where its data directory is.
fn write_config(dir: &TempDir, smarthost: SocketAddr, settings: &[(&str, &str)]) -> PathBuf {
    let mut data_dir = dir.path().join("data");
    let mut all = vec![
        ("hostname", "\"mx.alias.test\"".to_owned()),
        ("domains", "[\"alias.test\", \"second.test\"]".to_owned()),
        ("postmaster", format!("\"admin@{TARGET_DOMAIN}\"")),
        ("data_dir", format!("{data_dir:?}")),
        ("http.listen", "[\"127.0.0.1:0\"]".to_owned()),
        ("http.create_interval", "\"0s\"".to_owned()),
        ("smtp.listen", "[\"127.0.0.1:0\"]".to_owned()),
        ("smarthost.host", format!("\"{}\"", smarthost.ip())),
        ("smarthost.port", smarthost.port().to_string()),
        ("smarthost.tls", "\"none\"".to_owned()),
    ];
    for &(key, value) in settings {
        all.retain(|(known, _)| *known != key);
        all.push((key, value.to_owned()));
        if key == "data_dir" {
            data_dir = PathBuf::from(value.trim_matches('"'));
        }
    }
    let lines = all.iter().map(|(key, value)| format!("{key} = {value}\n"));
    fs::write(config_file(dir), lines.collect::<String>()).expect("the configuration can be written");
    data_dir
}

/// The program with this configuration; where SMTP is, where HTTP is.
#[track_caller]
fn start(config: &Path, environment: &[(&str, &str)]) -> (Process, SocketAddr, SocketAddr) {
    let process = Process::start(serve(config).envs(environment.iter().copied()));
    let (smtp, http) = (process.address("SMTP on "), process.address("HTTP on "));
    (process, smtp, http)
}

fn serve(config: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--config"]).arg(config).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Two different addresses that nobody listens at.
fn free_addresses() -> [SocketAddr; 2] {
    let listen = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    [0, 1].map(listen).map(|listener| listener.local_addr().expect("a bound listener has an address"))
}

fn config_file(dir: &TempDir) -> PathBuf {
    dir.path().join("tempalias.toml")
}
