//! What time it is. Everything below the MX and the web takes the time as an argument.
//!
//! Time never goes back here, whatever is done to the system's clock: an alias that is over must not
//! come back to life. While the clock is behind the latest instant that was seen, in this run or,
//! by way of [`has_been`], in an earlier one, time stands still. Only a clock that is behind by more
//! than a day is believed: then it was wrong before, and to wait for it would keep every new alias
//! from ending.

use std::sync::atomic::{AtomicI64, Ordering};

pub use jiff::Timestamp;

/// A clock that is set back by more seconds than these is right now and was wrong before.
const LONGEST_STANDSTILL: i64 = 24 * 3600;

/// The latest instant that was seen.
static LATEST: AtomicI64 = AtomicI64::new(i64::MIN);

/// The present instant, cut to whole seconds: the ledger's unit, so that what was written is
/// what is read back.
pub fn now() -> Timestamp {
    let clock = Timestamp::now().as_second();
    let now = standing_still(LATEST.fetch_max(clock, Ordering::Relaxed), clock);
    if now == clock {
        LATEST.store(clock, Ordering::Relaxed);
    }
    Timestamp::from_second(now).expect("either came from an instant")
}

/// It has been `instant` before: [`now`] will not be earlier.
pub fn has_been(instant: Timestamp) {
    LATEST.fetch_max(instant.as_second(), Ordering::Relaxed);
}

/// Seconds for which time will stand still, because the clock was set back.
pub fn behind() -> Option<i64> {
    let behind = now().as_second() - Timestamp::now().as_second();
    (behind > 0).then_some(behind)
}

/// `instant` without its fraction of a second.
pub fn floor(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).expect("a second of a valid instant is valid")
}

/// The present second, when the clock shows `clock` and has shown `latest`.
fn standing_still(latest: i64, clock: i64) -> i64 {
    if latest.saturating_sub(clock) <= LONGEST_STANDSTILL { latest.max(clock) } else { clock }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_by_an_hour_or_a_day_is_waited_for() {
        assert_eq!(standing_still(1_000_000, 1_000_001), 1_000_001);
        assert_eq!(standing_still(1_000_000, 1_000_000 - 3600), 1_000_000);
        assert_eq!(standing_still(1_000_000, 1_000_000 - 86_400), 1_000_000);
    }

    #[test]
    fn a_clock_that_is_set_back_by_more_was_wrong_before() {
        assert_eq!(standing_still(1_000_000, 1_000_000 - 86_401), 1_000_000 - 86_401);
        assert_eq!(standing_still(i64::MIN, 5), 5);
    }
}
