//! Progress of long work, for a person at a terminal.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// Often enough to look alive.
const BEAT: Duration = Duration::from_millis(250);

/// One line on standard error that is written over and over, and gone when this is dropped. Without
/// a terminal there, nothing.
pub(super) struct Progress {
    ending: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Shows what `describe` says, now and then. Short work shows nothing.
    pub(super) fn show(describe: impl Fn() -> String + Send + 'static) -> Self {
        if !stderr().is_terminal() {
            return Progress { ending: None };
        }
        let (end, ended) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut shown = false;
            while ended.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                // To the line's beginning, and what was on it is erased.
                let _ = write!(stderr(), "\r\x1b[K{}", describe());
                shown = true;
            }
            if shown {
                let _ = write!(stderr(), "\r\x1b[K");
            }
        });
        Progress { ending: Some((end, thread)) }
    }
}

/// Progress of what goes line by line.
pub(super) struct Count {
    count: Arc<AtomicU64>,
    _progress: Option<Progress>,
}

impl Count {
    /// As [`Progress::show`]; `doing` is what is done with the lines. Nothing when a terminal is where they
    /// come from or go to: then the person sees them.
    pub(super) fn show(doing: &'static str, lines: &impl IsTerminal) -> Self {
        let count = Arc::<AtomicU64>::default();
        let shown = count.clone();
        let describe = move || format!("{doing}: {} lines", shown.load(Ordering::Relaxed));
        Count { count, _progress: (!lines.is_terminal()).then(|| Progress::show(describe)) }
    }

    /// One more.
    pub(super) fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.ending.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}
