//! What was granted, what was answered, what came: after all the crashes it must add up.

use std::collections::BTreeMap;

use super::load::Told;
use crate::support::appliance::{Alias, Appliance};
use crate::support::smarthost::{Behaviour, Smarthost};

const ALIASES: usize = 40;

/// The aliases, and all that was said about them.
pub struct Books {
    accounts: Vec<Account>,
    told: Told,
}

struct Account {
    alias: Alias,
    target: String,
    granted: u32,
}

impl Books {
    /// Hands out the aliases. Of every other one the last use is fought for; the others last for all of
    /// the `rounds`.
    pub fn open(appliance: &Appliance, rounds: usize) -> Self {
        let plenty = u32::try_from(rounds).expect("these are not so many") * 10;
        let accounts = (0..ALIASES).map(|number| {
            let granted = if number % 2 == 0 { 15 } else { plenty };
            let target = format!("t{number}@mailbox.test");
            Account { alias: appliance.alias(&target, granted), target, granted }
        });
        Books { accounts: accounts.collect(), told: Told::default() }
    }

    pub fn aliases(&self) -> Vec<Alias> {
        self.accounts.iter().map(|account| account.alias.clone()).collect()
    }

    /// Enters what the clients of one life were told.
    pub fn enter(&mut self, told: Told) {
        for (alias, messages) in told.delivered {
            *self.told.delivered.entry(alias).or_default() += messages;
        }
        self.told.created.extend(told.created);
    }

    /// All that was promised is kept, with at most `in_flight` messages at the moments of the crashes.
    pub fn balance(&self, appliance: &Appliance, smarthost: &Smarthost, in_flight: usize) {
        let delivered = delivered(smarthost);
        let mut in_doubt = 0;
        for Account { alias, target, granted } in &self.accounts {
            let granted = u64::from(*granted);
            let left = appliance.uses_left(alias);
            let delivered = delivered.get(target).copied().unwrap_or_default();
            let answered = self.told.delivered.get(&alias.email).copied().unwrap_or_default();
            eprintln!("granted {granted}, left {left}, delivered {delivered}, answered with 250 {answered}");
            assert!(delivered + left <= granted, "one too many was, or could still be, delivered");
            assert!(answered <= delivered, "250 was said to a message that was not delivered");
            in_doubt += granted - left - delivered;
        }
        let all: u64 = delivered.values().sum();
        let created = self.told.created.len();
        eprintln!("{all} delivered, {created} created, {in_doubt} uses in doubt");
        assert!(in_doubt <= in_flight as u64, "{in_doubt} uses lost, by {in_flight} messages in flight");
        assert!(all > ALIASES as u64, "next to nothing happened between the crashes");
        assert!(created > 0);
        for alias in &self.told.created {
            let (status, answer) = appliance.look_at(alias);
            assert_eq!(status, 200, "an alias that was answered with 201 is gone: {answer}");
        }
    }
}

/// Messages that the smarthost has not refused, by target: where its answer was lost, it may have
/// delivered.
fn delivered(smarthost: &Smarthost) -> BTreeMap<String, u64> {
    let mut delivered = BTreeMap::new();
    let messages = smarthost.record().messages.into_iter();
    for message in messages.filter(|message| !matches!(message.behaviour, Behaviour::Answer(_))) {
        for recipient in message.recipients {
            *delivered.entry(recipient).or_default() += 1;
        }
    }
    delivered
}
