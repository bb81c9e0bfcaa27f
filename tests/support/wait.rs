//! Waiting for a condition: as short as possible, never for ever.

use std::thread;
use std::time::{Duration, Instant};

/// The longest wait for anything that should be a matter of milliseconds; generous, because tests
/// share few cores.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The first value that `probe` finds.
///
/// # Panics
/// When it has found none after [`PATIENCE`]; says `what` was waited for.
#[track_caller]
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "still not so after {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `read` gives `wanted`.
///
/// # Panics
/// When it has not after [`PATIENCE`]; says what it gives instead.
#[track_caller]
pub fn until_equal<T: PartialEq + std::fmt::Debug>(what: &str, wanted: T, mut read: impl FnMut() -> T) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = read();
        if now == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{what} is {now:?}, not {wanted:?}, after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}
