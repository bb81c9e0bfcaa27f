//! The rules of the ledger, the same for every engine. An engine reads, locks and writes; what it writes
//! is decided here.
//!
//! One rule has a second form: an engine spends by one conditional `UPDATE`, whose condition is that of
//! [`Alias::state`](crate::alias::Alias::state).

use super::record::Record;
use super::request::{AmendOutcome, Amendment, Bounced, NewAlias};
use crate::alias::{Alias, AliasName, Caps, KeyHash, State};
use crate::bounce::Failure;
use crate::clock::{Timestamp, floor};
use crate::message_id::MessageId;

/// Seconds, a week, in which a message may bounce: senders give up after four or five days
/// (RFC 5321 §4.5.4.1).
pub(super) const BOUNCE_RETENTION: i64 = 7 * 24 * 3600;

/// Seconds after its use was spent in which the bounce of a message may give it back. What the next
/// host refuses comes back at once; a mailbox that reads its mail and bounces it then has had it.
const BOUNCE_REFUND_WINDOW: i64 = 60;

/// Seconds that a used-up alias is kept: its last message may still be in flight and be refused, which
/// gives the use back. The time-outs towards the smarthost add up to less.
pub(super) const USED_UP_RETENTION: i64 = 3600;

/// Seconds in which a repeated request is recognised.
pub(super) const IDEMPOTENCY_RETENTION: i64 = 24 * 3600;

/// At most one in so many possible names of a length is handed out: the chance of a guess
/// (docs/design.md, "Names").
const THINNESS: i64 = 10_000;

/// Messages that may be missing from a row of bounces. The bounce of the latest message may still be on
/// its way, and the one that is being counted is not yet among them; a third is a delivery.
const MISSING_IN_A_ROW: i64 = 2;

/// The length of new names, and how many of that length have been handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keyspace {
    pub(super) length: u32,
    pub(super) handed_out: i64,
}

impl Keyspace {
    /// With one more name; longer, which makes the keyspace 32 times as large, where guessing would begin
    /// to pay.
    pub(super) fn with_one_more(self) -> Self {
        let more = Keyspace { handed_out: self.handed_out.saturating_add(1), ..self };
        if more.is_crowded() { self.lengthened().with_one_more() } else { more }
    }

    /// From here on names are longer: after a collision, and where it has been forgotten which were handed
    /// out. No name of the new length has been handed out.
    pub(super) fn lengthened(self) -> Self {
        Keyspace { length: self.length.saturating_add(1), handed_out: 0 }
    }

    /// Whether a guess would hit more often than 1 in [`THINNESS`].
    fn is_crowded(self) -> bool {
        let keyspace = AliasName::ALPHABET_SIZE.checked_pow(self.length);
        // A ten-thousandth of a keyspace too large for the type is never handed out.
        keyspace.is_some_and(|keyspace| self.handed_out.saturating_mul(THINNESS) > keyspace)
    }
}

/// Whether a bounce of `message` is still awaited.
pub(super) fn may_bounce(message: MessageId, now: Timestamp) -> bool {
    now.as_second() - message.began().as_second() < BOUNCE_RETENTION
}

impl Record {
    /// The record of a new alias.
    pub(super) fn new(new: NewAlias, name: AliasName, key: KeyHash, now: Timestamp) -> Self {
        let NewAlias { domain, target, limits } = new;
        let (created, limits) = (floor(now), limits.in_seconds());
        let alias = Alias { name, domain, target, created, limits, used: 0, paused: false, bounces: 0 };
        Record { alias, key, last_spent: None, row_start: 0 }
    }

    /// Carries out a wish of its holder, under the operator's `caps`.
    pub(super) fn amend(&mut self, amendment: &Amendment, caps: Caps, now: Timestamp) -> AmendOutcome {
        let Record { alias, row_start, .. } = self;
        if alias.state(now) == State::Expired {
            return AmendOutcome::Missing;
        }
        let (limits, clamped) = match alias.limits.amend(amendment.limits, caps, now) {
            Ok(amended) => amended,
            Err(why) => return AmendOutcome::Refused(why),
        };
        alias.limits = limits.in_seconds();
        alias.paused = amendment.paused.unwrap_or(alias.paused);
        if amendment.paused == Some(false) {
            alias.bounces = 0;
        }
        if alias.bounces == 0 {
            *row_start = alias.used.into();
        }
        AmendOutcome::Amended(alias.clone(), clamped)
    }

    /// Counts the bounce, with `failure`, of a message whose use was `spent` at that second.
    ///
    /// Bounces are in a row as long as nearly every message since the row began has bounced
    /// ([`MISSING_IN_A_ROW`]); else the row begins anew with this one. A use that is given back is no longer
    /// in `used`, so it is taken off `row_start` as well.
    pub(super) fn bounce(&mut self, failure: &Failure, spent: i64, now: Timestamp) -> Bounced {
        let Record { alias, row_start, .. } = self;
        let is_recent = now.as_second() - spent < BOUNCE_REFUND_WINDOW;
        let is_refunded = is_recent && failure.is_only_of(&alias.target);
        let counts = failure.is_fault_of(&alias.target);
        if counts {
            let used = i64::from(alias.used);
            if used - *row_start - i64::from(alias.bounces) <= MISSING_IN_A_ROW {
                alias.bounces += 1;
            } else {
                (alias.bounces, *row_start) = (1, used - 1);
            }
            *row_start -= i64::from(is_refunded);
        }
        alias.used = alias.used.saturating_sub(is_refunded.into());
        Bounced { in_a_row: counts.then_some(alias.bounces), is_refunded }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_names_are_never_crowded() {
        let is_crowded = |length, handed_out| Keyspace { length, handed_out }.is_crowded();
        assert!(is_crowded(4, 105) && !is_crowded(4, 104));
        assert!(!is_crowded(13, i64::MAX) && !is_crowded(26, i64::MAX));
    }

    #[test]
    fn a_crowded_length_and_a_collision_make_names_longer() {
        let one = Keyspace { length: 1, handed_out: 0 }.with_one_more();
        assert_eq!(one, Keyspace { length: 3, handed_out: 1 });
        let full = Keyspace { length: 4, handed_out: 104 };
        assert_eq!(full.with_one_more(), Keyspace { length: 5, handed_out: 1 });
        assert_eq!(full.lengthened(), Keyspace { length: 5, handed_out: 0 });
    }
}
