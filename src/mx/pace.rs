//! How fast a message must come.

use std::time::Duration;

use tokio::time::Instant;

/// A message may be slow for so long; then it must have come at the least rate on average
/// (Postfix's `smtpd_min_data_rate`) ...
const SLOW_START: Duration = Duration::from_secs(60);

/// ... and must never stand still for this long.
const MAX_STANDSTILL: Duration = Duration::from_secs(600);

/// When slots are scarce the least rate is so many times as high.
const HURRY: u64 = 20;

/// No text takes longer, however much of it has come: for 25 MiB it is enough at 15 KB a second.
pub(super) const MAX_TIME: Duration = Duration::from_secs(30 * 60);

/// What is asked of a message at the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Octets a second, on average since the start; 0 stands for any.
    min_rate: u64,
    /// From when on that counts.
    slow_start: Duration,
    /// The longest wait for the next octet.
    standstill: Duration,
}

impl Pace {
    /// With time enough for everybody.
    pub(super) fn new(min_rate: u64) -> Self {
        Pace { min_rate, slow_start: SLOW_START, standstill: MAX_STANDSTILL }
    }

    /// While others wait: `patience` takes the place of the longer times.
    pub(super) fn hurried(min_rate: u64, patience: Duration) -> Self {
        Pace {
            min_rate: min_rate.saturating_mul(HURRY),
            slow_start: patience.min(SLOW_START),
            standstill: patience.min(MAX_STANDSTILL),
        }
    }

    /// By when the next octet must be here of a message that began at `start`, and of which
    /// `received` octets had come at `last`.
    pub(super) fn deadline(&self, start: Instant, received: u64, last: Instant) -> Instant {
        let end = (last + self.standstill).min(start + MAX_TIME);
        match received.checked_div(self.min_rate) {
            Some(seconds) => end.min(start + self.slow_start.max(Duration::from_secs(seconds))),
            None => end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{DataError, Wire};
    use super::*;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    const SECOND: Duration = Duration::from_secs(1);

    fn pair() -> (Wire<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(64 * 1024);
        (Wire::new(near, SECOND), far)
    }

    #[test]
    fn when_slots_are_scarce_a_message_must_come_twenty_times_as_fast_after_the_stress_time() {
        let (start, patience) = (Instant::now(), Duration::from_secs(10));
        let [calm, hurried] = [Pace::new(500), Pace::hurried(500, patience)];
        let seconds = |pace: Pace, received| (pace.deadline(start, received, start) - start).as_secs();
        assert_eq!((seconds(calm, 0), seconds(hurried, 0)), (60, 10));
        let late = |pace: Pace, received| {
            let last = start + Duration::from_secs(1000);
            (pace.deadline(start, received, last) - start).as_secs()
        };
        assert_eq!((late(calm, 500_000), late(hurried, 500_000)), (1000, 50));
        assert_eq!((late(calm, 1 << 30), late(hurried, 1 << 30)), (1600, 1010));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_drips_is_given_up_after_a_minute() {
        let (mut wire, mut far) = pair();
        let drip = tokio::spawn(async move {
            while far.write_all(b"x").await.is_ok() {
                tokio::time::sleep(SECOND).await;
            }
        });
        let (start, mut data) = (Instant::now(), wire.data(|| Pace::new(500), u64::MAX));
        let error = loop {
            if let Err(error) = data.next().await {
                break error;
            }
        };
        assert!(matches!(error, DataError::Slow));
        assert_eq!(start.elapsed().as_secs(), 60);
        drop(wire);
        drip.await.unwrap();
    }

    /// docs/smtp.md §2: 500 octets a second on average, counted from the start.
    #[tokio::test(start_paused = true)]
    async fn a_message_may_be_slow_for_as_long_as_it_was_fast_before() {
        assert_eq!(patience_with(100 * 500, 500).await, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_stands_still_is_given_up_after_ten_minutes_at_any_rate() {
        assert_eq!(patience_with(2 * 600 * 500, 500).await, 600);
        assert_eq!(patience_with(1, 0).await, 600);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_goes_on_and_on_is_given_up_after_half_an_hour() {
        let (mut wire, mut far) = pair();
        let drip = tokio::spawn(async move {
            while far.write_all(&[b'x'; 1000]).await.is_ok() {
                tokio::time::sleep(SECOND).await;
            }
        });
        let (start, mut data) = (Instant::now(), wire.data(|| Pace::new(500), u64::MAX));
        let error = loop {
            if let Err(error) = data.next().await {
                break error;
            }
        };
        assert!(matches!(error, DataError::Slow));
        assert_eq!(start.elapsed().as_secs(), 1800);
        drop(wire);
        drip.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_stands_still_is_given_up_soon_when_slots_become_scarce() {
        let (mut wire, mut far) = pair();
        far.write_all(&[b'x'; 1000]).await.unwrap();
        let start = Instant::now();
        let pace = || match start.elapsed().as_secs() {
            ..90 => Pace::new(0),
            90.. => Pace::hurried(0, 10 * SECOND),
        };
        let mut data = wire.data(pace, u64::MAX);
        assert!(data.next().await.unwrap().is_some());
        assert!(matches!(data.next().await, Err(DataError::Slow)));
        assert_eq!(start.elapsed().as_secs(), 90);
    }

    /// Seconds until a message is given up of which `octets` came at once, and no more.
    async fn patience_with(octets: usize, min_rate: u64) -> u64 {
        let (mut wire, mut far) = pair();
        let sender = tokio::spawn(async move {
            far.write_all(&vec![b'x'; octets]).await.unwrap();
            far // not dropped: the client is still there
        });
        let (start, mut data) = (Instant::now(), wire.data(|| Pace::new(min_rate), u64::MAX));
        let error = loop {
            if let Err(error) = data.next().await {
                break error;
            }
        };
        assert!(matches!(error, DataError::Slow));
        drop(sender.await.unwrap());
        start.elapsed().as_secs()
    }
}
