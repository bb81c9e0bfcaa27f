//! Random histories of many writers at once. Their order is not known, but whatever
//! the order, the books balance.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use tempalias::alias::AliasName;
use tempalias::ledger::{Ledger, SpendOutcome};
use tempalias::message_id::MessageId;
use tempfile::TempDir;

use super::support::*;

/// Writers; every other one has a ledger of its own on the same file.
const WRITERS: usize = 8;
const ALIASES: usize = 5;

/// A message to the alias of this number, and whether it arrives: if not, the use is given back, by a
/// refund, by a bounce or by both at once.
#[derive(Clone, Debug)]
struct Message {
    alias: usize,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Delivered,
    Refused,
    Bounced,
    RefusedAndBounced,
}

#[derive(Clone, Debug)]
struct History {
    granted: Vec<u32>,
    writers: Vec<Vec<Message>>,
}

fn message(refusals: f64) -> impl Strategy<Value = Message> {
    let failed = prop::sample::select(vec![End::Refused, End::Bounced, End::RefusedAndBounced]);
    (0..ALIASES, prop::bool::weighted(refusals), failed).prop_map(|(alias, has_failed, failed)| Message {
        alias,
        end: if has_failed { failed } else { End::Delivered },
    })
}

fn history(refusals: f64) -> impl Strategy<Value = History> {
    (vec(1..20u32, ALIASES), vec(vec(message(refusals), 1..8), WRITERS))
        .prop_map(|(granted, writers)| History { granted, writers })
}

/// What came of a history.
struct Books {
    names: Vec<AliasName>,
    /// Spent and not given back, by alias.
    delivered: BTreeMap<AliasName, u32>,
    /// Aliases that were answered to have no use left.
    exhausted: Vec<AliasName>,
    used: BTreeMap<AliasName, u32>,
}

async fn take_place(history: &History) -> Books {
    let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
    let ledgers = [(); 2].map(|()| Arc::new(Ledger::open(dir.path(), 6).unwrap()));
    let mut names = Vec::new();
    for &granted in &history.granted {
        names.push(with_uses(&ledgers[0], granted).await);
    }
    let mut writers = Vec::new();
    for (messages, number) in history.writers.clone().into_iter().zip(0..) {
        let (ledger, names): (_, Vec<AliasName>) = (ledgers[number % 2].clone(), names.clone());
        writers.push(tokio::spawn(async move { deliver(&ledger, &names, messages).await }));
    }
    let (mut delivered, mut exhausted) = (BTreeMap::<_, u32>::new(), Vec::new());
    for writer in writers {
        let own = writer.await.unwrap();
        own.0.into_iter().for_each(|name| *delivered.entry(name).or_default() += 1);
        exhausted.extend(own.1);
    }
    let mut uses = BTreeMap::new();
    for name in &names {
        uses.insert(name.clone(), used(&ledgers[0], name).await);
    }
    for ledger in ledgers {
        ledger.close().await;
    }
    Books { names, delivered, exhausted, used: uses }
}

/// Aliases delivered to, once for each message; aliases that had no use left.
async fn deliver(
    ledger: &Ledger,
    names: &[AliasName],
    messages: Vec<Message>,
) -> (Vec<AliasName>, Vec<AliasName>) {
    let (mut delivered, mut exhausted) = (Vec::new(), Vec::new());
    for message in messages {
        let (name, id) = (&names[message.alias], MessageId::new(at(1)));
        if ledger.spend(name.clone(), id, at(1)).await.unwrap() == SpendOutcome::Exhausted {
            exhausted.push(name.clone());
            continue;
        }
        // Not the mailbox's fault: nothing is suspended.
        let failure = failure(Some("someone@example.net"), false);
        let (refund, bounce) =
            (ledger.refund(name.clone(), id), ledger.bounced(name.clone(), id, failure, at(1)));
        match message.end {
            End::Delivered => delivered.push(name.clone()),
            End::Refused => assert!(refund.await.unwrap()),
            End::Bounced => assert!(bounce.await.unwrap().is_refunded),
            End::RefusedAndBounced => {
                let (refunded, bounced) = tokio::join!(refund, bounce);
                assert!(refunded.is_ok() && bounced.is_ok());
            }
        }
    }
    (delivered, exhausted)
}

fn in_a_runtime(history: &History) -> Books {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    runtime.block_on(take_place(history))
}

fn delivered_is_used_and_no_more_than_granted(history: &History, books: &Books) {
    for (name, granted) in books.names.iter().zip(&history.granted) {
        let delivered = books.delivered.get(name).copied().unwrap_or_default();
        assert_eq!(books.used[name], delivered, "of {granted}");
        assert!(delivered <= *granted, "{delivered} of {granted}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn messages_at_once_take_every_use_once(history in history(0.0)) {
        let books = in_a_runtime(&history);
        delivered_is_used_and_no_more_than_granted(&history, &books);
        // Nothing is given back here, so what was said to be used up is so still.
        for name in &books.exhausted {
            let (_, granted) = books.names.iter().zip(&history.granted).find(|(other, _)| *other == name).unwrap();
            assert_eq!(books.used[name], *granted, "refused while there was a use");
        }
    }

    #[test]
    fn uses_given_back_among_others_are_given_back_once(history in history(0.4)) {
        let books = in_a_runtime(&history);
        delivered_is_used_and_no_more_than_granted(&history, &books);
    }
}
