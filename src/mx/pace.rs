//! How fast a message must come.

use std::time::Duration;

/// A message may be slow for so long; then it must have come at the least rate on average
/// (Postfix's `smtpd_min_data_rate`) ...
const SLOW_START: Duration = Duration::from_secs(60);

/// ... and must never stand still for this long.
const MAX_STANDSTILL: Duration = Duration::from_secs(600);

/// When slots are scarce the least rate is so many times as high ...
const HURRY: u64 = 20;

/// ... and so many times the stress time is all there is, however much comes of a message: with the
/// default, 5 minutes, time enough for 25 MiB at 88 KB a second.
const HURRIED_WAITS: u32 = 30;

/// What is asked of a message at the moment. Only the time counts for which it was waited for: a
/// smarthost that takes it slowly is not the client's fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Octets a second, on average; 0 stands for any.
    min_rate: u64,
    /// From when on that counts.
    slow_start: Duration,
    /// The longest wait for the next octet.
    standstill: Duration,
    /// All waits together.
    in_all: Duration,
}

impl Pace {
    /// With time enough for everybody. What keeps to the rate may take as long as it needs: 25 MiB
    /// at 500 octets a second are half a day, and nobody is kept from anything.
    pub(super) fn new(min_rate: u64) -> Self {
        let in_all = Duration::MAX;
        Pace { min_rate, slow_start: SLOW_START, standstill: MAX_STANDSTILL, in_all }
    }

    /// While others wait: `patience` takes the place of the longer times.
    pub(super) fn hurried(min_rate: u64, patience: Duration) -> Self {
        Pace {
            min_rate: min_rate.saturating_mul(HURRY),
            slow_start: patience.min(SLOW_START),
            standstill: patience.min(MAX_STANDSTILL),
            in_all: patience.saturating_mul(HURRIED_WAITS),
        }
    }

    /// How long the next octet may be waited for of a message of which `received` octets have come
    /// so far, and which was waited for `waited` long.
    pub(super) fn patience(&self, received: u64, waited: Duration) -> Duration {
        let on_average = match received.checked_div(self.min_rate) {
            Some(seconds) => self.slow_start.max(Duration::from_secs(seconds)),
            None => Duration::MAX,
        };
        on_average.min(self.in_all).saturating_sub(waited).min(self.standstill)
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::tests::pair;
    use super::*;
    use crate::events::Outcome;
    use tokio::io::AsyncWriteExt;
    use tokio::time::Instant;

    const SECOND: Duration = Duration::from_secs(1);

    /// Seconds until a message is given up of which `octets` come each second.
    async fn patience_with_drip(octets: usize, pace: Pace) -> u64 {
        let (mut wire, mut far) = pair();
        let drip = tokio::spawn(async move {
            while far.write_all(&vec![b'x'; octets]).await.is_ok() {
                tokio::time::sleep(SECOND).await;
            }
        });
        let (start, mut data) = (Instant::now(), wire.data(|| pace, 10_000_000));
        let error = loop {
            if let Err(error) = data.next().await {
                break error;
            }
        };
        let seconds = start.elapsed().as_secs();
        assert!(matches!(error, Outcome::TooSlow), "{error:?} after {seconds} s");
        drop(wire);
        drip.await.unwrap();
        seconds
    }

    #[test]
    fn when_slots_are_scarce_a_message_must_come_twenty_times_as_fast_after_the_stress_time() {
        let [calm, hurried] = [Pace::new(500), Pace::hurried(500, 10 * SECOND)];
        let first = |pace: Pace| pace.patience(0, Duration::ZERO).as_secs();
        assert_eq!((first(calm), first(hurried)), (60, 10));
        let late = |pace: Pace, waited| pace.patience(500_000, Duration::from_secs(waited)).as_secs();
        assert_eq!((late(calm, 0), late(calm, 900), late(calm, 1001)), (600, 100, 0));
        assert_eq!((late(hurried, 0), late(hurried, 45), late(hurried, 51)), (10, 5, 0));
    }

    /// docs/smtp.md §2: ten texts that just keep to the rate must not hold all slots for half an hour.
    #[tokio::test(start_paused = true)]
    async fn when_slots_are_scarce_a_message_is_given_up_after_thirty_times_the_stress_time() {
        let hurried = Pace::hurried(500, 10 * SECOND);
        assert_eq!(patience_with_drip(11_000, hurried).await, 300);
    }

    /// docs/smtp.md §2: 25 MiB at 500 octets a second are half a day.
    #[tokio::test(start_paused = true)]
    async fn a_large_message_may_take_hours_when_it_keeps_to_the_rate() {
        let (mut wire, mut far) = pair();
        let drip = tokio::spawn(async move {
            for _ in 0..4 * 3600 {
                far.write_all(&[b'x'; 600]).await.unwrap();
                tokio::time::sleep(SECOND).await;
            }
            far.write_all(b"\r\n.\r\n").await.unwrap();
        });
        let (start, mut data) = (Instant::now(), wire.data(|| Pace::new(500), u64::MAX));
        while data.next().await.unwrap().is_some() {}
        assert_eq!(start.elapsed().as_secs(), 4 * 3600);
        drip.await.unwrap();
    }

    /// docs/smtp.md §2: what is spent on a slow smarthost is not the client's.
    #[tokio::test(start_paused = true)]
    async fn the_rate_is_that_of_the_client_and_not_of_the_smarthost() {
        let (mut wire, mut far) = pair();
        let sender = tokio::spawn(async move {
            far.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
            far.write_all(b"\r\n.\r\n").await.unwrap();
            far
        });
        let mut data = wire.data(|| Pace::hurried(500, 10 * SECOND), u64::MAX);
        let start = Instant::now();
        while data.next().await.unwrap().is_some() {
            tokio::time::sleep(400 * SECOND).await;
        }
        assert!(start.elapsed().as_secs() > 3600, "{:?}", start.elapsed());
        drop(sender.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_drips_is_given_up_after_a_minute() {
        assert_eq!(patience_with_drip(1, Pace::new(500)).await, 60);
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
        assert!(matches!(data.next().await, Err(Outcome::TooSlow)));
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
        assert!(matches!(error, Outcome::TooSlow));
        drop(sender.await.unwrap());
        start.elapsed().as_secs()
    }
}
