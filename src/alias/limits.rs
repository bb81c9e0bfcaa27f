//! Limits: how often an alias forwards, from when, and until when.
//!
//! A client asks for *days* or *uses* ([`LimitRequest`]); an alias has instants and a count
//! ([`Limits`]). Asking for more than the operator's [`Caps`] gives the cap, and says so.

use jiff::SignedDuration;

use crate::clock::{Timestamp, floor};

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// What an alias is limited to. At least one of `valid_until` and `max_usage` is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Forwards from this instant on.
    pub valid_from: Timestamp,
    /// Forwards up to, but not at, this instant.
    pub valid_until: Option<Timestamp>,
    /// Forwards so many messages.
    pub max_usage: Option<u32>,
}

/// The limits that are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitRequest {
    /// So many times 24 hours from `valid_from` on.
    pub days: Option<u32>,
    /// The present, if not given.
    pub valid_from: Option<Timestamp>,
    /// Instead of `days`.
    pub valid_until: Option<Timestamp>,
    /// So many messages.
    pub max_usage: Option<u32>,
}

/// The most an operator grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Days between `valid_from` and `valid_until`, and between now and `valid_from`.
    pub max_days: u32,
    /// Uses of one alias.
    pub max_usage: u32,
}

/// A wish that was cut to the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clamped {
    /// `days`.
    Days,
    /// `valid_from`.
    ValidFrom,
    /// `valid_until`.
    ValidUntil,
    /// `max_usage`.
    MaxUsage,
}

/// Why a wish cannot be granted. The text is fit for the person who wished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Neither time nor count.
    #[error("a limit is needed: days, valid-until or max-usage")]
    NoLimit,
    /// `days` is 0.
    #[error("days must be at least 1")]
    NoDays,
    /// `max_usage` is 0.
    #[error("max-usage must be at least 1")]
    NoUsage,
    /// Both `days` and `valid_until`.
    #[error("give either days or valid-until, not both")]
    DaysAndUntil,
    /// `valid_until` is not after `valid_from`.
    #[error("valid-until must be later than valid-from")]
    EndsBeforeStart,
    /// `valid_until` is not after now.
    #[error("valid-until lies in the past")]
    EndsInPast,
}

impl Limits {
    /// The limits that `request` gets at `now` under `caps`, and which wishes were cut.
    ///
    /// # Errors
    /// When the wish is void or contradicts itself.
    pub fn grant(
        request: LimitRequest,
        caps: Caps,
        now: Timestamp,
    ) -> Result<(Limits, Vec<Clamped>), LimitError> {
        let mut clamped = Vec::new();
        let longest = DAY * i32::try_from(caps.max_days).unwrap_or(i32::MAX);
        let mut cut = |asked: Timestamp, most: Timestamp, what: Clamped| {
            if asked > most {
                clamped.push(what);
            }
            asked.min(most)
        };

        // A start in the past means "from now on".
        let valid_from =
            cut(request.valid_from.unwrap_or(now).max(now), later(now, longest), Clamped::ValidFrom);
        let latest = later(valid_from, longest);
        let valid_until = match (request.days, request.valid_until) {
            (Some(_), Some(_)) => return Err(LimitError::DaysAndUntil),
            (Some(0), None) => return Err(LimitError::NoDays),
            (Some(days), None) => {
                let asked = later(valid_from, DAY * i32::try_from(days).unwrap_or(i32::MAX));
                Some(cut(asked, latest, Clamped::Days))
            }
            (None, Some(until)) if until <= now => return Err(LimitError::EndsInPast),
            (None, Some(until)) if until <= valid_from => return Err(LimitError::EndsBeforeStart),
            (None, Some(until)) => Some(cut(until, latest, Clamped::ValidUntil)),
            (None, None) => None,
        };
        let max_usage = match request.max_usage {
            Some(0) => return Err(LimitError::NoUsage),
            Some(uses) if uses > caps.max_usage => {
                clamped.push(Clamped::MaxUsage);
                Some(caps.max_usage)
            }
            uses => uses,
        };
        if valid_until.is_none() && max_usage.is_none() {
            return Err(LimitError::NoLimit);
        }
        Ok((Limits { valid_from, valid_until, max_usage }, clamped))
    }

    /// These limits after `wish`, which an alias's holder makes at `now`: what it does not name
    /// stays, even above caps that have been lowered since. `days` count from `now`, or from
    /// `valid_from` while that lies ahead; `valid_from` itself never changes.
    ///
    /// # Errors
    /// As [`Limits::grant`].
    pub fn amend(
        self,
        wish: LimitRequest,
        caps: Caps,
        now: Timestamp,
    ) -> Result<(Limits, Vec<Clamped>), LimitError> {
        let wish = LimitRequest { valid_from: None, ..wish };
        if wish == LimitRequest::default() {
            return Ok((self, Vec::new()));
        }
        let start = self.valid_from.max(now);
        let (granted, mut clamped) =
            Limits::grant(LimitRequest { valid_from: Some(start), ..wish }, caps, now)?;
        clamped.retain(|&field| field != Clamped::ValidFrom);
        let limits = Limits {
            valid_from: self.valid_from,
            valid_until: granted.valid_until.or(self.valid_until),
            max_usage: granted.max_usage.or(self.max_usage),
        };
        Ok((limits, clamped))
    }

    /// Without fractions of a second: the ledger's unit, so that what was written is what is read back.
    pub fn in_seconds(self) -> Self {
        Limits { valid_from: floor(self.valid_from), valid_until: self.valid_until.map(floor), ..self }
    }

    /// Days between start and end, rounded up.
    pub fn days(&self) -> Option<u32> {
        let seconds = self.valid_until?.duration_since(self.valid_from).as_secs();
        u32::try_from((seconds + DAY.as_secs() - 1) / DAY.as_secs()).ok()
    }
}

impl Clamped {
    /// The name of the field in the API.
    pub fn field(self) -> &'static str {
        match self {
            Clamped::Days => "days",
            Clamped::ValidFrom => "valid-from",
            Clamped::ValidUntil => "valid-until",
            Clamped::MaxUsage => "max-usage",
        }
    }
}

/// `span` after `instant`, or the end of time.
fn later(instant: Timestamp, span: SignedDuration) -> Timestamp {
    instant.checked_add(span).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPS: Caps = Caps { max_days: 60, max_usage: 100 };

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn now() -> Timestamp {
        at("2026-06-12T14:00:00Z")
    }

    fn grant(request: LimitRequest) -> Result<(Limits, Vec<Clamped>), LimitError> {
        Limits::grant(request, CAPS, now())
    }

    #[test]
    fn days_are_counted_from_the_start() {
        let (limits, clamped) = grant(LimitRequest { days: Some(3), ..Default::default() }).unwrap();
        assert_eq!(limits.valid_until, Some(at("2026-06-15T14:00:00Z")));
        assert_eq!(limits.days(), Some(3));
        assert_eq!(clamped, []);
        let valid_from = Some(at("2026-06-20T00:00:00Z"));
        let (limits, _) = grant(LimitRequest { days: Some(3), valid_from, ..Default::default() }).unwrap();
        assert_eq!(limits.valid_until, Some(at("2026-06-23T00:00:00Z")));
    }

    #[test]
    fn days_of_an_explicit_end_are_rounded_up() {
        let valid_until = Some(at("2026-06-13T14:00:01Z"));
        let (limits, _) = grant(LimitRequest { valid_until, ..Default::default() }).unwrap();
        assert_eq!(limits.days(), Some(2));
    }

    #[test]
    fn too_much_is_cut_to_the_cap_and_named() {
        let request = LimitRequest { days: Some(61), max_usage: Some(101), ..Default::default() };
        let (limits, clamped) = grant(request).unwrap();
        assert_eq!((limits.days(), limits.max_usage), (Some(60), Some(100)));
        assert_eq!(clamped, [Clamped::Days, Clamped::MaxUsage]);
        let request = LimitRequest { days: Some(u32::MAX), ..Default::default() };
        assert_eq!(grant(request).unwrap().0.days(), Some(60));
        let valid_until = Some(at("2036-01-01T00:00:00Z"));
        let (limits, clamped) = grant(LimitRequest { valid_until, ..Default::default() }).unwrap();
        assert_eq!((limits.days(), clamped), (Some(60), vec![Clamped::ValidUntil]));
    }

    fn amend(limits: Limits, wish: LimitRequest) -> Result<(Limits, Vec<Clamped>), LimitError> {
        limits.amend(wish, CAPS, now())
    }

    fn a_week_old() -> Limits {
        Limits {
            valid_from: at("2026-06-05T14:00:00Z"),
            valid_until: Some(at("2026-06-13T14:00:00Z")),
            max_usage: Some(5),
        }
    }

    #[test]
    fn amended_days_count_from_now_and_leave_the_rest_alone() {
        let (limits, clamped) =
            amend(a_week_old(), LimitRequest { days: Some(3), ..Default::default() }).unwrap();
        assert_eq!(limits, Limits { valid_until: Some(at("2026-06-15T14:00:00Z")), ..a_week_old() });
        assert_eq!(clamped, []);
        let (limits, clamped) =
            amend(a_week_old(), LimitRequest { days: Some(61), ..Default::default() }).unwrap();
        assert_eq!(limits.valid_until, Some(at("2026-08-11T14:00:00Z")));
        assert_eq!(clamped, [Clamped::Days]);
    }

    #[test]
    fn amended_days_of_an_alias_that_has_not_started_count_from_its_start() {
        let ahead = Limits { valid_from: at("2026-06-20T00:00:00Z"), ..a_week_old() };
        let (limits, _) = amend(ahead, LimitRequest { days: Some(1), ..Default::default() }).unwrap();
        assert_eq!(limits.valid_from, ahead.valid_from);
        assert_eq!(limits.valid_until, Some(at("2026-06-21T00:00:00Z")));
    }

    #[test]
    fn what_was_granted_before_the_caps_were_lowered_stays() {
        let generous = Limits { max_usage: Some(500), ..a_week_old() };
        let wish = LimitRequest { days: Some(1), ..Default::default() };
        assert_eq!(amend(generous, wish).unwrap().0.max_usage, Some(500));
        assert_eq!(amend(generous, LimitRequest::default()).unwrap(), (generous, vec![]));
    }

    #[test]
    fn a_void_wish_amends_nothing() {
        let wish = LimitRequest::default();
        assert_eq!(amend(a_week_old(), LimitRequest { days: Some(0), ..wish }), Err(LimitError::NoDays));
        assert_eq!(
            amend(a_week_old(), LimitRequest { max_usage: Some(0), ..wish }),
            Err(LimitError::NoUsage)
        );
    }

    #[test]
    fn a_void_or_contradictory_wish_is_refused() {
        let wish = LimitRequest::default();
        let past = Some(at("2026-06-12T13:59:59Z"));
        let soon = Some(at("2026-06-14T00:00:00Z"));
        assert_eq!(grant(wish), Err(LimitError::NoLimit));
        assert_eq!(grant(LimitRequest { days: Some(0), ..wish }), Err(LimitError::NoDays));
        assert_eq!(grant(LimitRequest { max_usage: Some(0), ..wish }), Err(LimitError::NoUsage));
        assert_eq!(
            grant(LimitRequest { days: Some(1), valid_until: soon, ..wish }),
            Err(LimitError::DaysAndUntil)
        );
        assert_eq!(grant(LimitRequest { valid_until: past, ..wish }), Err(LimitError::EndsInPast));
        assert_eq!(
            grant(LimitRequest { valid_from: soon, valid_until: soon, ..wish }),
            Err(LimitError::EndsBeforeStart)
        );
    }
}
