//! Progress of long work, for a person at a terminal.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// Often enough to look alive.
const BEAT: Duration = Duration::from_millis(250);

/// To the line's beginning, and what was on it is gone.
const ERASE: &str = "\r\x1b[K";

/// One line on standard error that is written over and over, and gone when this is dropped. Without
/// a terminal there, nothing.
pub(super) struct Progress {
    thread: Option<(Sender<Describe>, JoinHandle<()>)>,
}

/// Says how far the work is now.
type Describe = Box<dyn Fn() -> String + Send>;

impl Progress {
    /// As [`Progress::start`] and [`Progress::say`].
    pub(super) fn show(describe: impl Fn() -> String + Send + 'static) -> Self {
        let progress = Progress::start();
        progress.say(describe);
        progress
    }

    pub(super) fn start() -> Self {
        if !stderr().is_terminal() {
            return Progress { thread: None };
        }
        let (sender, receiver) = mpsc::channel();
        Progress { thread: Some((sender, std::thread::spawn(move || draw(&receiver)))) }
    }

    /// From here on what `describe` says is shown, now and then. Short work shows nothing.
    pub(super) fn say(&self, describe: impl Fn() -> String + Send + 'static) {
        if let Some((sender, _)) = &self.thread {
            sender.send(Box::new(describe)).expect("who draws listens until this is dropped");
        }
    }
}

/// Until there is nothing more to be said.
fn draw(news: &Receiver<Describe>) {
    let (mut describe, mut is_shown): (Option<Describe>, bool) = (None, false);
    loop {
        match news.recv_timeout(BEAT) {
            Ok(next) => describe = Some(next),
            Err(RecvTimeoutError::Timeout) => is_shown = describe.is_some(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if let Some(describe) = describe.as_ref().filter(|_| is_shown) {
            let _ = write!(stderr(), "{ERASE}{}", describe());
        }
    }
    if is_shown {
        let _ = write!(stderr(), "{ERASE}");
    }
}

/// Progress of what goes line by line.
pub(super) struct Count {
    count: Arc<AtomicU64>,
    _progress: Option<Progress>,
}

impl Count {
    /// As [`Progress::show`], if it `is_seen`; `doing` is what is done with the lines.
    pub(super) fn show(doing: &'static str, is_seen: bool) -> Self {
        let count = Arc::<AtomicU64>::default();
        let shown = count.clone();
        let describe = move || format!("{doing}: {} lines", shown.load(Ordering::Relaxed));
        Count { count, _progress: is_seen.then(|| Progress::show(describe)) }
    }

    /// One more.
    pub(super) fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.thread.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}
