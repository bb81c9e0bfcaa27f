//! The real program while it serves: until it is ready, and until it has ended.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};

use super::wait;

/// A running `serve` or `demo`; killed when it is dropped.
pub struct Process {
    child: Child,
    /// Empty when its log goes elsewhere.
    stderr: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts `command`, and waits until it says that it is ready.
    ///
    /// # Panics
    /// When it does not in time; says what it wrote.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not run: {error}"));
        let stderr = child.stderr.take().expect("standard error is a pipe");
        let lines = Arc::default();
        let reader = Some(thread::spawn({
            let lines = Arc::clone(&lines);
            move || collect(stderr, &lines)
        }));
        let mut process = Process { child, stderr: lines, reader };
        wait::until("the program is ready", || {
            let ready = process.find_ready();
            assert!(ready.is_some() || !process.has_ended(), "it ended: {:#?}", process.stderr());
            ready
        });
        process
    }

    /// One that writes its log elsewhere.
    pub fn silent(child: Child) -> Self {
        Process { child, stderr: Arc::default(), reader: None }
    }

    /// What it has said of where it listens.
    ///
    /// # Panics
    /// When it is not ready yet.
    #[track_caller]
    pub fn ready(&self) -> String {
        self.find_ready().expect("it has said that it is ready").1
    }

    /// The number of the ready line, and what follows in it.
    fn find_ready(&self) -> Option<(usize, String)> {
        self.stderr().iter().enumerate().find_map(|(number, line)| {
            let json = line.split_once("\"ready, ").and_then(|(_, rest)| rest.split('"').next());
            let ready = line.strip_prefix("tempalias: ready, ").or(json)?;
            Some((number, ready.to_owned()))
        })
    }

    /// The address that it has said after `label`, as in `SMTP on `.
    #[track_caller]
    pub fn address(&self, label: &str) -> SocketAddr {
        let ready = self.ready();
        let rest = ready.split_once(label).unwrap_or_else(|| panic!("no {label:?} in {ready:?}")).1;
        let end = rest.find([',', ' ']).unwrap_or(rest.len());
        rest[..end].parse().unwrap_or_else(|_| panic!("no address after {label:?} in {ready:?}"))
    }

    /// All lines it has written on standard error.
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those after the ready line.
    #[track_caller]
    pub fn said_since(&self) -> Vec<String> {
        let (number, _) = self.find_ready().expect("it has said that it is ready");
        self.stderr().split_off(number + 1)
    }

    /// Its standard output, where that is a pipe; once.
    pub fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("standard output is a pipe, and nobody's yet")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        // Its id is ours until it has been waited for; a signal to one that has ended is no harm.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Waits for its end, and for the last of its words.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let status = wait::until("the program has ended", || self.child.try_wait().expect("it is our child"));
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader of standard error does not panic");
        }
        status
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the program wrote: {:#?}", self.stderr());
        }
        self.kill();
    }
}

fn collect(stderr: ChildStderr, lines: &Mutex<Vec<String>>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}
