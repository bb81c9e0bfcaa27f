//! The program that all this is about, in the same build profile as the bench.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_tempalias");

/// A running appliance; killed when it is dropped.
pub struct Appliance {
    pub smtp: SocketAddr,
    pub http: SocketAddr,
    /// From the start of the program to its word that it is ready.
    pub start: Duration,
    child: Child,
    /// Ends with the program.
    profiler: Option<Child>,
    /// Removed at the end.
    dir: Option<PathBuf>,
}

/// An alias, and the key it is looked at with.
pub struct Alias {
    pub email: String,
    pub aid: String,
    pub key: String,
}

impl Appliance {
    /// Starts one with its files in `dir`, which it takes with it, before a smarthost at `smarthost`.
    pub fn start(dir: &Path, smarthost: SocketAddr) -> Self {
        Appliance::start_of(Path::new(PROGRAM), dir, smarthost)
    }

    /// As [`Appliance::start`], of another build of the program.
    pub fn start_of(program: &Path, dir: &Path, smarthost: SocketAddr) -> Self {
        let mut appliance = Appliance::run(program, dir, smarthost);
        appliance.dir = Some(dir.to_owned());
        appliance
    }

    /// As [`Appliance::start`], with files that may be there already, and stay.
    pub fn start_on(dir: &Path, smarthost: SocketAddr) -> Self {
        Appliance::run(Path::new(PROGRAM), dir, smarthost)
    }

    fn run(program: &Path, dir: &Path, smarthost: SocketAddr) -> Self {
        let data = dir.join("data");
        fs::create_dir_all(&data).expect("a directory can be made");
        let config = format!(
            r#"hostname = "mx.bench.test"
domains = ["bench.test"]
postmaster = "admin@mailbox.test"
data_dir = "{}"
[http]
listen = ["127.0.0.1:0"]
create_interval = "0s"
max_connections_per_ip = 0
[smtp]
listen = ["127.0.0.1:0"]
max_size = "30 MiB"
max_connections = 12000
max_connections_per_ip = 0
connections_per_minute = 0
unknown_recipients_per_hour = 0
[smarthost]
host = "127.0.0.1"
port = {}
tls = "none"
max_connections = 0
"#,
            data.display(),
            smarthost.port()
        );
        let file = dir.join("tempalias.toml");
        fs::write(&file, config).expect("a file can be written");
        let log = dir.join("log");
        let begin = Instant::now();
        let mut child = Command::new(program)
            .args(["serve", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(fs::File::create(&log).expect("a file can be made"))
            .spawn()
            .expect("the program starts");
        let ready = loop {
            let text = fs::read_to_string(&log).expect("it is our file");
            if let Some(line) = text.lines().find(|line| line.starts_with("tempalias: ready, ")) {
                break line.to_owned();
            }
            assert!(child.try_wait().expect("it is our child").is_none(), "it does not get ready: {text}");
            thread::sleep(Duration::from_millis(1));
        };
        let start = begin.elapsed();
        let address = |before: &str| {
            let (_, rest) = ready.split_once(before).expect("the line names its addresses");
            let address = rest.split([',', ' ']).next().unwrap_or_default();
            address.trim_start_matches("http://").trim_end_matches('/').parse().expect("this is an address")
        };
        let profiler = env::var_os("BENCH_PROFILE").map(|file| profile(child.id(), &file));
        Appliance { profiler, smtp: address("SMTP on "), http: address("HTTP on "), start, child, dir: None }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// A new alias for 60 days.
    pub fn alias(&self) -> Alias {
        let request = serde_json::json!({"target": "someone@mailbox.test", "days": 60});
        let mut response =
            ureq::post(self.url("/aliases")).send_json(request).expect("the API hands out an alias");
        let answer: Value = response.body_mut().read_json().expect("the answer is JSON");
        let field = |name: &str| answer[name].as_str().expect("the answer has this field").to_owned();
        let email = field("email");
        let aid = email.split('@').next().unwrap_or_default().to_owned();
        Alias { email, aid, key: field("updatekey") }
    }

    /// Uses of `alias` so far.
    pub fn used(&self, alias: &Alias) -> u64 {
        let url = self.url(&format!("/aliases/{}", alias.aid));
        let mut response = ureq::get(url)
            .header("Authorization", format!("Bearer {}", alias.key))
            .call()
            .expect("the API shows the alias");
        let answer: Value = response.body_mut().read_json().expect("the answer is JSON");
        answer["used"].as_u64().unwrap_or_else(|| panic!("no used in {answer}"))
    }

    /// A figure of `/proc/…/status`, in MiB: `VmRSS`, or `VmHWM`, its highest.
    pub fn memory(&self, figure: &str) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).expect("memory is in kB");
        kib.parse::<f64>().expect("memory is a number") / 1024.0
    }

    /// Forgets the highest memory so far (proc(5), clear_refs).
    pub fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").expect("it is our process");
    }

    /// Processor time of all its threads so far, in its own code and in the kernel (proc(5), stat: in
    /// hundredths of a second).
    pub fn processor_time(&self) -> Duration {
        let stat = self.proc("stat");
        // The name, which is in brackets, may contain anything.
        let (_, after) = stat.rsplit_once(") ").expect("stat has a name in brackets");
        let ticks =
            after.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks are numbers"));
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    /// How often its threads have been woken so far.
    pub fn wake_ups(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("/proc shows its threads");
        let status =
            tasks.flatten().map(|task| fs::read_to_string(task.path().join("status")).unwrap_or_default());
        let switches = status.filter_map(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            line.trim().parse::<u64>().ok()
        });
        switches.sum()
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("/proc shows the process")
    }
}

/// Watches the program until its end.
fn profile(program: u32, file: &OsStr) -> Child {
    let mut perf = Command::new("perf");
    perf.args(["record", "--quiet", "--freq", "499", "--call-graph", "dwarf,16384", "--pid"]);
    // A row may have several of them at once.
    let file = Path::new(file).with_extension(program.to_string());
    perf.arg(program.to_string()).arg("--output").arg(file).spawn().expect("perf is installed")
}

impl Drop for Appliance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(profiler) = &mut self.profiler {
            let _ = profiler.wait();
        }
        if let Some(dir) = &self.dir {
            let _ = fs::remove_dir_all(dir);
        }
    }
}
