//! Crashes to order: a test has the program killed at a certain step of a message's life.
//!
//! `CRASH_AT=spent:3` kills it, as `kill -9` does, when it comes to the step `spent` for the third time.
//! In a release there is nothing of this.
//!
//! | step | what has just happened |
//! |---|---|
//! | `envelope` | a recipient is somebody; the smarthost has heard nothing of it |
//! | `rcpt` | it has taken MAIL and RCPT |
//! | `data` | it waits for the text |
//! | `text` | it has all but the final dot; nothing is spent |
//! | `spent` | the uses are taken, durably; the dot is not sent |
//! | `dot` | the dot is sent, its answer not read |
//! | `answered` | the smarthost has taken the message; the client has not been told |
//! | `refused` | it has refused the message; nothing is given back |
//! | `refunded` | the uses are given back; the client has not been told |

/// Comes to `step`.
#[cfg(debug_assertions)]
pub(crate) fn point(step: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static ORDER: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();
    let order = ORDER.get_or_init(|| {
        let order = std::env::var("CRASH_AT").ok()?;
        let (step, times) = order.split_once(':')?;
        Some((step.to_owned(), AtomicU32::new(times.parse().ok()?)))
    });
    if let Some((wanted, times)) = order
        && wanted == step
        && times.fetch_sub(1, Ordering::Relaxed) == 1
    {
        // It cannot fail for this process; if it did, the test would miss the crash.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Comes to `step`, in a release.
#[cfg(not(debug_assertions))]
pub(crate) fn point(_step: &str) {}
