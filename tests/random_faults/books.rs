//! The books: what senders know, what the smarthost got, and what the appliance says it cost.
//!
//! For each alias *spent = delivered + in doubt*, and *delivered ≤ granted*. In doubt is a letter
//! whose sender heard 451 4.4.2, or that was left by its sender while the smarthost gave no sensible
//! answer to its dot. What a 250 says was delivered, and what a refusal says was not.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;

use super::letter::{Fate, Letter, Recipient};
use super::{Account, Conduct};
use crate::support::TARGET_DOMAIN;
use crate::support::appliance::Appliance;
use crate::support::record::{Message, Record};
use crate::support::smarthost::Behaviour;

/// The sums over all letters and aliases.
#[derive(Default)]
pub(crate) struct Books {
    /// By conduct and by fate: how often.
    conducts: BTreeMap<String, usize>,
    fates: BTreeMap<String, usize>,
    connections: usize,
    /// Letters whose final dot was sent.
    ended: usize,
    delivered: usize,
    doubted: usize,
    /// Letters left by their senders that the smarthost did not get, or refused: they may be in doubt
    /// if it was the appliance that heard nothing.
    unknown: usize,
    aliases: usize,
    revoked: usize,
    granted: usize,
    left: usize,
    spent: usize,
    /// Uses that cannot be told to be one of a delivery or of a doubt known here.
    unexplained: usize,
}

/// Of one alias.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    delivered: usize,
    doubted: usize,
    unknown: usize,
}

enum Verdict {
    Delivered,
    Doubted,
    Unknown,
    Nothing,
}

impl Books {
    /// # Panics
    /// When they do not balance.
    pub(crate) fn balance(
        appliance: &Appliance,
        accounts: &[Account],
        letters: &[Letter],
        record: &Record,
    ) -> Self {
        let mut books = Books { connections: record.connections, ..Books::default() };
        let mut messages: BTreeMap<usize, Vec<&Message>> = BTreeMap::new();
        for message in &record.messages {
            messages.entry(number(message)).or_default().push(message);
        }
        let mut sums = vec![Sums::default(); accounts.len()];
        for letter in letters {
            let messages = messages.remove(&letter.plan.number).unwrap_or_default();
            assert!(messages.len() <= 1, "letter {} came {} times", letter.plan.number, messages.len());
            let message = messages.first().copied();
            if let Some(message) = message {
                assert_is_that(message, letter, accounts);
            }
            books.enter(letter, message, &mut sums);
        }
        assert!(messages.is_empty(), "the smarthost has letters that nobody wrote: {:?}", messages.keys());
        books.settle(appliance, accounts, &sums);
        books
    }

    /// # Panics
    /// When so little has happened that balanced books prove nothing.
    pub(crate) fn assert_eventful(&self) {
        let letters: usize = self.conducts.values().sum();
        assert!(self.delivered > letters / 5 && self.doubted > letters / 100, "little has happened\n{self}");
    }

    fn enter(&mut self, letter: &Letter, message: Option<&Message>, sums: &mut [Sums]) {
        let conduct = format!("{:?}", letter.plan.conduct);
        let conduct = conduct.split('(').next().unwrap_or_default().to_owned();
        *self.conducts.entry(conduct).or_default() += 1;
        let fate = match &letter.fate {
            Fate::Answered(text) => text.chars().take(9).collect(),
            fate => format!("{fate:?}"),
        };
        *self.fates.entry(fate).or_default() += 1;
        self.ended += usize::from(letter.fate != Fate::Unsent);
        let verdict = verdict(letter, message);
        match verdict {
            Verdict::Delivered => self.delivered += 1,
            Verdict::Doubted => self.doubted += 1,
            Verdict::Unknown => self.unknown += 1,
            Verdict::Nothing => {}
        }
        if let Some(Recipient::Alias(alias, _)) = letter.recipient {
            match verdict {
                Verdict::Delivered => sums[alias].delivered += 1,
                Verdict::Doubted => sums[alias].doubted += 1,
                Verdict::Unknown => sums[alias].unknown += 1,
                Verdict::Nothing => {}
            }
        }
    }

    fn settle(&mut self, appliance: &Appliance, accounts: &[Account], sums: &[Sums]) {
        for (account, sums) in accounts.iter().zip(sums) {
            let Account { alias, granted, revoked, .. } = account;
            let granted = granted.load(Ordering::Relaxed);
            assert!(sums.delivered <= granted, "{}: {granted} granted, {sums:?}", alias.email);
            self.aliases += 1;
            let (status, answer) = appliance.look_at(alias);
            if revoked.load(Ordering::Relaxed) {
                assert_eq!(status, 404, "{answer}");
                self.revoked += 1;
                continue;
            }
            let figure = |name: &str| answer[name].as_u64().expect("the API answers with figures") as usize;
            let (spent, left) = (figure("used"), figure("usage_left"));
            let known = sums.delivered + sums.doubted;
            assert!(
                (known..=known + sums.unknown).contains(&spent),
                "{}: {spent} spent, {sums:?}",
                alias.email
            );
            // Uses may have been taken away again that were spent already.
            assert_eq!(left, figure("max_usage").saturating_sub(spent), "{answer}");
            self.granted += figure("max_usage");
            self.left += left;
            self.spent += spent;
            self.unexplained += spent - known;
        }
        // The appliance's own count leaves no room for more.
        let logged = appliance.logged(" in doubt id=");
        assert!((self.doubted..=self.doubted + self.unknown).contains(&logged), "{logged} in doubt\n{self}");
        assert!(self.unexplained == 0 || logged > self.doubted, "{} uses are lost\n{self}", self.unexplained);
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "senders: {:?}", self.conducts)?;
        writeln!(f, "fates: {:?}", self.fates)?;
        writeln!(f, "connections to the smarthost: {}", self.connections)?;
        let Books { ended, delivered, doubted, unknown, .. } = self;
        writeln!(
            f,
            "letters up to their final dot: {ended}; {delivered} delivered, {doubted} in doubt, {unknown} left and not accepted"
        )?;
        let Books { aliases, revoked, granted, left, spent, unexplained, .. } = self;
        writeln!(f, "aliases: {aliases}, {revoked} of them revoked")?;
        write!(f, "uses of the others: {granted} granted, {left} left, {spent} spent; ")?;
        write!(f, "{unexplained} of these on letters left and not accepted")
    }
}

fn verdict(letter: &Letter, message: Option<&Message>) -> Verdict {
    let number = letter.plan.number;
    let accepted = message.is_some_and(|message| message.accepted);
    let in_doubt = message.is_some_and(|message| match message.behaviour {
        Behaviour::Answer(code) => !(400..600).contains(&code),
        _ => !message.accepted,
    });
    match &letter.fate {
        Fate::Unsent => {
            assert!(message.is_none(), "letter {number} had no end, and came: {message:?}");
            Verdict::Nothing
        }
        Fate::Answered(answer) if answer.starts_with("250 ") => {
            assert!(accepted, "letter {number}: {answer}, but {message:?}");
            Verdict::Delivered
        }
        Fate::Answered(answer) if answer.starts_with("451 4.4.2") => Verdict::Doubted,
        Fate::Answered(answer) => {
            assert!(!accepted && !in_doubt, "letter {number}: {answer}, but {message:?}");
            Verdict::Nothing
        }
        Fate::Unheard if accepted => Verdict::Delivered,
        Fate::Unheard if in_doubt => Verdict::Doubted,
        Fate::Unheard => Verdict::Unknown,
    }
}

/// The letter's number, out of its subject.
fn number(message: &Message) -> usize {
    let text = String::from_utf8_lossy(&message.raw);
    let subject = text.lines().find_map(|line| line.strip_prefix("Subject: letter "));
    subject.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no letter of ours: {text}"))
}

/// The text is the sender's, and the recipient is the one that was taken.
fn assert_is_that(message: &Message, letter: &Letter, accounts: &[Account]) {
    let Letter { plan, recipient, .. } = letter;
    assert!(message.body().ends_with(plan.text.as_bytes()), "letter {} was changed", plan.number);
    assert!(
        ![Conduct::BareLf, Conduct::Oversize].contains(&plan.conduct),
        "letter {} is not fit",
        plan.number
    );
    let target = match recipient {
        Some(Recipient::Alias(alias, _)) => accounts[*alias].target.clone(),
        _ => format!("admin@{TARGET_DOMAIN}"),
    };
    assert_eq!(message.recipients, [target], "letter {}", plan.number);
}
