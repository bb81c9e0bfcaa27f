//! Progress of long operations, shown at a terminal.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two updates.
const INTERVAL: Duration = Duration::from_millis(250);

/// Returns to the beginning of the line and clears it.
const ERASE: &str = "\r\x1b[K";

/// One line on standard error that is rewritten, and cleared when this is dropped. Without a terminal there it
/// does nothing.
pub(super) struct Progress {
    thread: Option<(Sender<Describe>, JoinHandle<()>)>,
}

/// Describes the present state of the work.
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

    /// From now on shows what `describe` returns, at intervals. Short operations show nothing.
    pub(super) fn say(&self, describe: impl Fn() -> String + Send + 'static) {
        if let Some((sender, _)) = &self.thread {
            sender.send(Box::new(describe)).expect("the drawing thread ends when this is dropped");
        }
    }
}

/// Draws until the sender is dropped.
fn draw(news: &Receiver<Describe>) {
    let (mut describe, mut is_shown): (Option<Describe>, bool) = (None, false);
    loop {
        match news.recv_timeout(INTERVAL) {
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

/// Progress of work on lines.
pub(super) struct Count {
    count: Arc<AtomicU64>,
    _progress: Option<Progress>,
}

impl Count {
    /// As [`Progress::show`], if it `is_seen`; `doing` names the work.
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
