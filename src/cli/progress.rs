//! Progress of long work, for a person at a terminal.

use std::io::{IsTerminal, Write, stderr};
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

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.ending.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}
