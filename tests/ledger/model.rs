//! Random histories, against a ledger made of a few lines.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tempalias::alias::{Alias, AliasName, LimitError, LimitRequest, Limits, SUSPENDED_AFTER_BOUNCES, State};
use tempalias::ledger::{AmendOutcome, Amendment, Ledger, Purged, SpendOutcome};
use tempfile::TempDir;

use crate::support::*;

/// One step of a history. Numbers stand for the aliases handed out so far, in their order;
/// gone ones included.
#[derive(Clone, Debug)]
enum Step {
    Pass { seconds: i64 },
    Issue { limits: LimitsFromNow },
    Spend { aliases: Vec<usize> },
    Refund { aliases: Vec<usize> },
    Amend { alias: usize, length: Option<i64>, uses: Option<u32>, paused: Option<bool> },
    Bounced { alias: usize },
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
    let aliases = || vec(0..12usize, 1..5);
    prop_oneof![
        3 => prop_oneof![4 => 1..3i64, 1 => 3598..3602i64].prop_map(|seconds| Step::Pass { seconds }),
        4 => limits_from_now().prop_map(|limits| Step::Issue { limits }),
        8 => aliases().prop_map(|aliases| Step::Spend { aliases }),
        3 => aliases().prop_map(|aliases| Step::Refund { aliases }),
        2 => (alias.clone(), option::of(1..6i64), option::of(1..4u32), option::of(any::<bool>()))
            .prop_map(|(alias, length, uses, paused)| Step::Amend { alias, length, uses, paused }),
        4 => (0..3usize).prop_map(|alias| Step::Bounced { alias }),
        1 => alias.prop_map(|alias| Step::Revoke { alias }),
        2 => Just(Step::Purge),
        1 => Just(Step::Reopen),
    ]
}

struct Entry {
    alias: Alias,
    last_spent: Option<i64>,
    /// Uses spent before the row of bounces began.
    row_start: i64,
}

/// The ledger as one would write it without disk, neighbours or haste.
#[derive(Default)]
struct Model {
    alive: BTreeMap<AliasName, Entry>,
}

impl Model {
    fn may_forward(&self, name: &AliasName, now: i64) -> bool {
        let Some(Entry { alias, .. }) = self.alive.get(name) else { return false };
        let Limits { valid_from, valid_until, max_usage } = alias.limits;
        let in_time = valid_from <= at(now) && valid_until.is_none_or(|until| at(now) < until);
        let left = max_usage.is_none_or(|granted| alias.used < granted);
        in_time && left && !alias.paused && alias.bounces < SUSPENDED_AFTER_BOUNCES
    }

    fn spend(&mut self, mut names: Vec<AliasName>, now: i64) -> SpendOutcome {
        names.sort();
        names.dedup();
        let exhausted: Vec<_> = names.iter().filter(|name| !self.may_forward(name, now)).cloned().collect();
        if !exhausted.is_empty() {
            return SpendOutcome::Exhausted(exhausted);
        }
        for name in &names {
            let Entry { alias, last_spent, .. } = self.alive.get_mut(name).expect("it may forward");
            alias.used += 1;
            *last_spent = Some(now);
        }
        SpendOutcome::Spent(names)
    }

    fn refund(&mut self, mut names: Vec<AliasName>) {
        names.sort();
        names.dedup();
        for name in names {
            if let Some(Entry { alias, .. }) = self.alive.get_mut(&name) {
                alias.used = alias.used.saturating_sub(1);
            }
        }
    }

    fn amend(&mut self, name: &AliasName, amendment: &Amendment, now: i64) -> AmendOutcome {
        let Some(Entry { alias, row_start, .. }) = self.alive.get_mut(name) else {
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
            *row_start = i64::from(alias.used);
        }
        AmendOutcome::Amended(alias.clone(), Vec::new())
    }

    fn bounced(&mut self, name: &AliasName) -> Option<u32> {
        let Entry { alias, row_start, .. } = self.alive.get_mut(name)?;
        let used = i64::from(alias.used);
        if used - *row_start <= i64::from(alias.bounces) + 2 {
            alias.bounces += 1;
        } else {
            (alias.bounces, *row_start) = (1, used - 1);
        }
        Some(alias.bounces)
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
}

impl History<'_> {
    fn names(&self, aliases: Vec<usize>) -> Vec<AliasName> {
        aliases.into_iter().map(|alias| self.name(alias)).collect()
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
                self.model.alive.insert(name, Entry { alias, last_spent: None, row_start: 0 });
            }
            Step::Spend { aliases } => {
                let names = self.names(aliases);
                let outcome = self.ledger.spend(names.clone(), at(self.now)).await.unwrap();
                assert_eq!(outcome, self.model.spend(names, self.now));
            }
            Step::Refund { aliases } => {
                let names = self.names(aliases);
                self.ledger.refund(names.clone()).await.unwrap();
                self.model.refund(names);
            }
            Step::Amend { alias, length, uses, paused } => {
                let (name, now) = (self.name(alias), at(self.now));
                let valid_until = length.map(|length| at(self.now + length));
                let limits = LimitRequest { valid_until, max_usage: uses, ..LimitRequest::default() };
                let amendment = Amendment { limits, paused };
                let outcome = self.ledger.amend(name.clone(), amendment.clone(), CAPS, now).await.unwrap();
                assert_eq!(outcome, self.model.amend(&name, &amendment, self.now));
            }
            Step::Bounced { alias } => {
                let name = self.name(alias);
                assert_eq!(self.ledger.bounced(name.clone()).await.unwrap(), self.model.bounced(&name));
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
        self.compare();
    }

    fn compare(&self) {
        let alive: Vec<_> = self.model.alive.values().map(|entry| entry.alias.clone()).collect();
        assert_eq!(all(&self.ledger), alive);
        // `Alias::state` and the ledger's `spend` go by the same rules.
        for alias in alive {
            let forwards = alias.state(at(self.now)) == State::Active;
            assert_eq!(forwards, self.model.may_forward(&alias.name, self.now), "{alias:?}");
        }
    }
}

/// Where writing costs nothing, if there is such a place: the histories are many, and what is
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
            let (dir, names) = (dir.path(), Vec::new());
            let mut history = History { dir, ledger, model: Model::default(), now: 0, names };
            for step in steps {
                history.take(step).await;
            }
        });
    }
}
