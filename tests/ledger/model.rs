//! Random histories, against a ledger made of a few lines.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tempalias::alias::{Alias, AliasName, LimitError, LimitRequest, Limits, SUSPENDED_AFTER_BOUNCES, State};
use tempalias::bounce::{Failed, Failure};
use tempalias::ledger::{AmendOutcome, Amendment, Bounced, Ledger, Purged, SpendOutcome};
use tempalias::message_id::MessageId;
use tempfile::TempDir;

use super::support::*;

/// One step of a history. Numbers stand for the aliases handed out so far, in their order;
/// gone ones included.
#[derive(Clone, Debug)]
enum Step {
    Pass { seconds: i64 },
    Issue { limits: LimitsFromNow },
    Spend { alias: usize },
    Refund { message: usize },
    Amend { alias: usize, length: Option<i64>, uses: Option<u32>, paused: Option<bool> },
    Bounced { message: usize, failure: Failure },
    Revoke { alias: usize },
    Purge,
    Reopen,
}

#[derive(Clone, Debug)]
struct LimitsFromNow {
    from: i64,
    length: Option<i64>,
    uses: Option<u32>,
}

fn limits_from_now() -> impl Strategy<Value = LimitsFromNow> {
    (0..3i64, option::of(1..6i64), option::of(1..4u32)).prop_map(|(from, length, uses)| {
        // One of the two there must be.
        LimitsFromNow { from, length: length.or(uses.is_none().then_some(3)), uses }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let alias = 0..12usize;
    // Counted from the latest.
    let message = 0..6usize;
    prop_oneof![
        3 => prop_oneof![6 => 1..3i64, 1 => 58..62i64, 2 => 3598..3602i64, 1 => 604_798..604_802i64].prop_map(|seconds| Step::Pass { seconds }),
        4 => limits_from_now().prop_map(|limits| Step::Issue { limits }),
        12 => prop_oneof![3 => 0..2usize, 1 => alias.clone()].prop_map(|alias| Step::Spend { alias }),
        3 => message.clone().prop_map(|message| Step::Refund { message }),
        2 => (alias.clone(), option::of(1..6i64), option::of(1..4u32), option::of(any::<bool>()))
            .prop_map(|(alias, length, uses, paused)| Step::Amend { alias, length, uses, paused }),
        8 => (message, failure()).prop_map(|(message, failure)| Step::Bounced { message, failure }),
        1 => alias.prop_map(|alias| Step::Revoke { alias }),
        2 => Just(Step::Purge),
        1 => Just(Step::Reopen),
    ]
}

/// By the target, by a mailbox behind it, by one of several or by one that is not named.
fn failure() -> impl Strategy<Value = Failure> {
    let recipient = prop::sample::select(vec![
        Some("someone@example.net"),
        Some("someone@example.net"),
        Some("behind@example.org"),
        None,
    ]);
    let failed = (recipient, prop::bool::weighted(0.8)).prop_map(|(recipient, is_mailbox_fault)| Failed {
        recipient: recipient.map(|recipient| recipient.parse().unwrap()),
        is_mailbox_fault,
    });
    let failed = prop_oneof![4 => vec(failed.clone(), 1), 1 => vec(failed, 2)];
    (failed, prop::bool::weighted(0.9)).prop_map(|(failed, is_all)| Failure { failed, is_all })
}

struct Entry {
    alias: Alias,
    last_spent: Option<i64>,
    /// Messages since the row of bounces began of which none has come back.
    unbounced: i64,
}

/// The ledger as one would write it without disk, neighbours or haste.
#[derive(Default)]
struct Model {
    alive: BTreeMap<AliasName, Entry>,
    /// Messages that may be refunded or bounce, and when their use was spent.
    deliveries: BTreeMap<MessageId, i64>,
}

impl Model {
    fn may_forward(&self, name: &AliasName, now: i64) -> bool {
        let Some(Entry { alias, .. }) = self.alive.get(name) else { return false };
        let Limits { valid_from, valid_until, max_usage } = alias.limits;
        let in_time = valid_from <= at(now) && valid_until.is_none_or(|until| at(now) < until);
        let left = max_usage.is_none_or(|granted| alias.used < granted);
        in_time && left && !alias.paused && alias.bounces < SUSPENDED_AFTER_BOUNCES
    }

    fn spend(&mut self, name: &AliasName, message: MessageId, now: i64) -> SpendOutcome {
        if !self.may_forward(name, now) {
            return SpendOutcome::Exhausted;
        }
        let Entry { alias, last_spent, unbounced } = self.alive.get_mut(name).expect("it may forward");
        (alias.used, *last_spent, *unbounced) = (alias.used + 1, Some(now), *unbounced + 1);
        self.deliveries.insert(message, now);
        SpendOutcome::Spent
    }

    fn refund(&mut self, name: &AliasName, message: MessageId) {
        if self.deliveries.remove(&message).is_some()
            && let Some(entry) = self.alive.get_mut(name)
        {
            entry.alias.used -= 1;
            entry.unbounced -= 1;
        }
    }

    fn amend(&mut self, name: &AliasName, amendment: &Amendment, now: i64) -> AmendOutcome {
        let Some(Entry { alias, unbounced, .. }) = self.alive.get_mut(name) else {
            return AmendOutcome::Missing;
        };
        if alias.limits.valid_until.is_some_and(|until| until <= at(now)) {
            return AmendOutcome::Missing;
        }
        let Limits { valid_from, valid_until, max_usage } = alias.limits;
        if amendment.limits.valid_until.is_some_and(|until| until <= valid_from.max(at(now))) {
            return AmendOutcome::Refused(LimitError::EndsBeforeStart);
        }
        alias.limits = Limits {
            valid_from,
            valid_until: amendment.limits.valid_until.or(valid_until),
            max_usage: amendment.limits.max_usage.or(max_usage),
        };
        alias.paused = amendment.paused.unwrap_or(alias.paused);
        if amendment.paused == Some(false) {
            alias.bounces = 0;
        }
        if alias.bounces == 0 {
            *unbounced = 0;
        }
        AmendOutcome::Amended(alias.clone(), Vec::new())
    }

    fn bounced(&mut self, name: &AliasName, message: MessageId, failure: &Failure, now: i64) -> Bounced {
        let ignored = Bounced { in_a_row: None, is_refunded: false };
        if now - (message.began().as_second() - at(0).as_second()) >= 7 * 24 * 3600 {
            return ignored;
        }
        let Some(spent) = self.deliveries.remove(&message) else { return ignored };
        let Some(Entry { alias, unbounced, .. }) = self.alive.get_mut(name) else { return ignored };
        let is_refunded = now - spent < 60 && failure.is_only_of(&alias.target);
        let counts = failure.is_fault_of(&alias.target);
        if counts {
            if *unbounced > 2 {
                (alias.bounces, *unbounced) = (0, 1);
            }
            alias.bounces += 1;
            *unbounced -= 1;
        } else if is_refunded {
            *unbounced -= 1;
        }
        alias.used -= u32::from(is_refunded);
        Bounced { in_a_row: counts.then_some(alias.bounces), is_refunded }
    }

    fn purge(&mut self, now: i64) -> Purged {
        let mut purged = Purged::default();
        self.alive.retain(|_, Entry { alias, last_spent, .. }| {
            let expired = alias.limits.valid_until.is_some_and(|until| until <= at(now));
            let used_up = alias.uses_left() == Some(0) && last_spent.is_some_and(|last| last + 3600 <= now);
            purged.expired += usize::from(expired);
            purged.used_up += usize::from(used_up && !expired);
            !expired && !used_up
        });
        self.deliveries
            .retain(|message, _| now - (message.began().as_second() - at(0).as_second()) < 7 * 24 * 3600);
        purged
    }
}

/// A history on its way: both ledgers, the time, and all names ever handed out.
struct History<'a> {
    dir: &'a Path,
    ledger: Ledger,
    model: Model,
    now: i64,
    names: Vec<AliasName>,
    /// All for which a use was asked, and of which alias.
    messages: Vec<(AliasName, MessageId)>,
}

impl History<'_> {
    /// The message of this number, counted from the latest; one that never was, while there are not so many.
    fn message(&self, message: usize) -> (AliasName, MessageId) {
        let unknown = || (self.name(0), MessageId::new(at(self.now)));
        self.messages.iter().rev().nth(message).cloned().unwrap_or_else(unknown)
    }

    /// The alias of this number; one that never was, while there are not so many.
    fn name(&self, alias: usize) -> AliasName {
        self.names.get(alias).cloned().unwrap_or_else(|| "00000000000".parse().unwrap())
    }

    fn limits(&self, wish: LimitsFromNow) -> Limits {
        let from = self.now + wish.from;
        limits(from, wish.length.map(|length| from + length), wish.uses)
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Pass { seconds } => self.now += seconds,
            Step::Issue { limits } => {
                let new = new_alias("someone@example.net", self.limits(limits));
                let alias = self.ledger.issue(new, at(self.now)).await.unwrap().alias;
                assert!(!self.names.contains(&alias.name));
                self.names.push(alias.name.clone());
                let name = alias.name.clone();
                self.model.alive.insert(name, Entry { alias, last_spent: None, unbounced: 0 });
            }
            Step::Spend { alias } => {
                let (name, id) = (self.name(alias), MessageId::new(at(self.now)));
                let outcome = self.ledger.spend(name.clone(), id, at(self.now)).await.unwrap();
                assert_eq!(outcome, self.model.spend(&name, id, self.now));
                self.messages.push((name, id));
            }
            Step::Refund { message } => {
                let (name, id) = self.message(message);
                self.ledger.refund(name.clone(), id).await.unwrap();
                self.model.refund(&name, id);
            }
            Step::Amend { alias, length, uses, paused } => {
                let (name, now) = (self.name(alias), at(self.now));
                let valid_until = length.map(|length| at(self.now + length));
                let limits = LimitRequest { valid_until, max_usage: uses, ..LimitRequest::default() };
                let amendment = Amendment { limits, paused };
                let outcome = self.ledger.amend(name.clone(), amendment.clone(), CAPS, now).await.unwrap();
                assert_eq!(outcome, self.model.amend(&name, &amendment, self.now));
            }
            Step::Bounced { message, failure } => {
                let (name, id) = self.message(message);
                let outcome =
                    self.ledger.bounced(name.clone(), id, failure.clone(), at(self.now)).await.unwrap();
                assert_eq!(outcome, self.model.bounced(&name, id, &failure, self.now));
            }
            Step::Revoke { alias } => {
                let name = self.name(alias);
                let existed = self.model.alive.remove(&name).is_some();
                assert_eq!(self.ledger.revoke(name).await.unwrap(), existed);
            }
            Step::Purge => {
                assert_eq!(self.ledger.purge(at(self.now)).await.unwrap(), self.model.purge(self.now));
            }
            Step::Reopen => {
                self.ledger.close().await;
                self.ledger = Ledger::open(self.dir, 1).unwrap();
            }
        }
        self.compare().await;
    }

    async fn compare(&self) {
        let alive: Vec<_> = self.model.alive.values().map(|entry| entry.alias.clone()).collect();
        assert_eq!(all(&self.ledger).await, alive);
        // `Alias::state` and the ledger's `spend` go by the same rules.
        for alias in alive {
            let forwards = alias.state(at(self.now)) == State::Active;
            assert_eq!(forwards, self.model.may_forward(&alias.name, self.now), "{alias:?}");
        }
    }
}

/// In memory, if there is such a directory: the histories are many, and what is
/// on the disk is not asked here.
fn quick_directory() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_ledger_answers_as_its_model_does(steps in vec(step(), 1..60)) {
        let dir = quick_directory();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let ledger = Ledger::open(dir.path(), 1).unwrap();
            let (dir, names, messages) = (dir.path(), Vec::new(), Vec::new());
            let mut history = History { dir, ledger, model: Model::default(), now: 0, names, messages };
            for step in steps {
                history.take(step).await;
            }
        });
    }
}
