//! Bounces: each is good once and for a delivery only, counts when the mailbox is at fault, and gives
//! the use back when no recipient has got the message.

use rusqlite::Connection;
use tempalias::alias::{AliasName, SUSPENDED_AFTER_BOUNCES, State};
use tempalias::bounce::Failure;
use tempalias::ledger::{BackupLog, Bounced, FILE_NAME, Ledger, Revoked, restore};
use tempalias::message_id::MessageId;

use super::support::*;

const DAY: i64 = 24 * 3600;

/// The target of every alias of these tests, whose mailbox is gone.
fn target_is_gone() -> Failure {
    failure(Some("Someone@Example.NET"), true)
}

/// The target's host has refused this one message.
fn target_was_refused() -> Failure {
    failure(Some("Someone@Example.NET"), false)
}

const IGNORED: Bounced = Bounced { in_a_row: None, is_refunded: false };

/// What the bounce of `message` changes, so many `seconds` after the beginning of time.
async fn bounced_at(
    ledger: &Ledger,
    name: &AliasName,
    message: MessageId,
    failure: Failure,
    seconds: i64,
) -> Bounced {
    ledger.bounced(name.clone(), message, failure, at(seconds)).await.unwrap()
}

async fn bounces(ledger: &Ledger, name: &AliasName) -> u32 {
    ledger.lookup(name).await.unwrap().unwrap().bounces
}

fn deliveries(dir: &std::path::Path) -> i64 {
    let file = Connection::open(dir.join(FILE_NAME)).unwrap();
    file.query_row("SELECT count(*) FROM deliveries", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn five_bounces_suspend_an_alias_and_switching_it_on_forgets_them() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 9).await;
    for bounces in 1..=SUSPENDED_AFTER_BOUNCES {
        assert_eq!(spent_on_a_bounce(&ledger, &name).await, Some(bounces));
    }
    assert!(!spent(&ledger, &name, at(1)).await);
    assert_eq!(ledger.lookup(&name).await.unwrap().unwrap().state(at(1)), State::Suspended);
    pause(&ledger, &name, true).await;
    assert_eq!(bounces(&ledger, &name).await, SUSPENDED_AFTER_BOUNCES);
    pause(&ledger, &name, false).await;
    assert!(spent(&ledger, &name, at(1)).await);
}

#[tokio::test]
async fn a_delivery_between_bounces_begins_the_row_anew() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 50).await;
    for _ in 0..10 {
        // Two messages, of which one comes back.
        assert!(spent(&ledger, &name, at(1)).await);
        assert!(spent_on_a_bounce(&ledger, &name).await <= Some(2));
    }
    assert!(spent(&ledger, &name, at(1)).await);
}

#[tokio::test]
async fn a_delivery_between_bounces_that_give_the_use_back_begins_the_row_anew() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 50).await;
    let bounce = async || {
        let id = message(&ledger, &name, at(1)).await;
        bounced_at(&ledger, &name, id, target_is_gone(), 1).await
    };
    for in_a_row in 1..SUSPENDED_AFTER_BOUNCES {
        assert_eq!(bounce().await, Bounced { in_a_row: Some(in_a_row), is_refunded: true });
    }
    assert_eq!(used(&ledger, &name).await, 0);
    assert!(spent(&ledger, &name, at(1)).await && spent(&ledger, &name, at(1)).await);
    for in_a_row in 1..SUSPENDED_AFTER_BOUNCES {
        assert_eq!(bounce().await.in_a_row, Some(in_a_row), "the row begins anew");
    }
    assert!(spent(&ledger, &name, at(1)).await, "one may be missing");
    assert_eq!(bounce().await.in_a_row, Some(SUSPENDED_AFTER_BOUNCES));
    assert_eq!(used(&ledger, &name).await, 3);
    // What is moved to another ledger goes on there.
    let mut moved = Vec::new();
    let push = |one| {
        moved.push(one);
        Ok::<_, tempalias::ledger::LedgerError>(())
    };
    ledger.export(push).await.unwrap();
    let (_dir, other) = fresh();
    assert_eq!(other.import(moved).await.unwrap(), []);
    assert_eq!(bounces(&other, &name).await, SUSPENDED_AFTER_BOUNCES);
}

#[tokio::test]
async fn bounces_that_come_after_a_burst_are_in_a_row() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 50).await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(message(&ledger, &name, at(1)).await);
    }
    for id in ids.into_iter().take(SUSPENDED_AFTER_BOUNCES as usize) {
        bounced(&ledger, &name, id).await;
    }
    assert_eq!(ledger.lookup(&name).await.unwrap().unwrap().state(at(1)), State::Suspended);
}

#[tokio::test]
async fn a_bounce_is_good_once_and_for_a_delivery_only() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 9).await;
    let id = message(&ledger, &name, at(1)).await;
    assert_eq!(bounced(&ledger, &name, id).await.in_a_row, Some(1));
    let refused = message(&ledger, &name, at(1)).await;
    ledger.refund(name.clone(), refused).await.unwrap();
    for id in [id, refused, MessageId::new(at(1))] {
        assert_eq!(bounced_at(&ledger, &name, id, target_is_gone(), 1).await, IGNORED);
    }
    assert_eq!((used(&ledger, &name).await, bounces(&ledger, &name).await), (1, 1));
}

#[tokio::test]
async fn a_use_is_given_back_within_a_minute_when_the_target_has_not_got_the_message() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 9).await;
    let mut spent = 0;
    let among_others = |failure: Failure| Failure { is_all: false, ..failure };
    for (failure, after, is_refunded, counts) in [
        (target_was_refused(), 0, true, false),
        (target_was_refused(), 59, true, false),
        (target_was_refused(), 60, false, false),
        (target_is_gone(), 59, true, true),
        (target_is_gone(), 60, false, true),
        // A recipient not named; a forwarder behind the target, which may have kept a copy; others.
        (gone(), 0, false, true),
        (failure(Some("behind@example.org"), true), 0, false, false),
        (failure(Some("someone@example.org"), false), 0, false, false),
        (among_others(target_is_gone()), 0, false, true),
        (among_others(gone()), 0, false, false),
    ] {
        // The text has taken its time: it counts since its use was spent.
        let id = MessageId::new(at(0));
        ledger.spend(name.clone(), id, at(500)).await.unwrap();
        let outcome = bounced_at(&ledger, &name, id, failure.clone(), 500 + after).await;
        assert_eq!(outcome.is_refunded, is_refunded, "{failure:?} after {after} s");
        assert_eq!(outcome.in_a_row.is_some(), counts, "{failure:?} after {after} s");
        spent += u32::from(!is_refunded);
        assert_eq!(used(&ledger, &name).await, spent, "{failure:?} after {after} s");
        assert_eq!(bounced_at(&ledger, &name, id, target_is_gone(), 500).await, IGNORED, "once");
    }
}

#[tokio::test]
async fn the_fault_of_a_mailbox_behind_the_target_never_suspends() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 20).await;
    let behind = failure(Some("behind@example.org"), true);
    let several = |one: &Failure| Failure {
        failed: [one, &behind].map(|one| one.failed[0].clone()).into(),
        is_all: true,
    };
    for failure in [&behind, &several(&behind), &several(&target_was_refused()), &several(&gone())] {
        for after in [0, 1000] {
            let id = message(&ledger, &name, at(1)).await;
            let outcome = bounced_at(&ledger, &name, id, failure.clone(), after + 1).await;
            assert_eq!(outcome, IGNORED, "{failure:?}");
        }
    }
    assert_eq!((used(&ledger, &name).await, bounces(&ledger, &name).await), (8, 0));
    let id = message(&ledger, &name, at(1)).await;
    let outcome = bounced_at(&ledger, &name, id, several(&target_is_gone()), 1).await;
    assert_eq!(outcome, Bounced { in_a_row: Some(1), is_refunded: false }, "the target is among them");
}

#[tokio::test]
async fn what_this_message_alone_has_caused_never_suspends() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 20).await;
    for after in [0, 1000].repeat(8) {
        let id = message(&ledger, &name, at(1)).await;
        assert_eq!(bounced_at(&ledger, &name, id, target_was_refused(), after + 1).await.in_a_row, None);
    }
    assert_eq!((used(&ledger, &name).await, bounces(&ledger, &name).await), (8, 0));
}

#[tokio::test]
async fn a_use_that_a_bounce_gave_back_is_not_given_back_again() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 9).await;
    assert!(spent(&ledger, &name, at(1)).await);
    let id = message(&ledger, &name, at(1)).await;
    assert!(bounced_at(&ledger, &name, id, target_was_refused(), 1).await.is_refunded);
    ledger.refund(name.clone(), id).await.unwrap();
    assert_eq!(used(&ledger, &name).await, 1);
}

#[tokio::test]
async fn a_used_up_alias_goes_on_with_the_use_that_a_bounce_gives_back() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 1).await;
    let id = message(&ledger, &name, at(1)).await;
    assert!(!spent(&ledger, &name, at(1)).await);
    assert!(bounced_at(&ledger, &name, id, target_was_refused(), 1).await.is_refunded);
    assert!(spent(&ledger, &name, at(1)).await, "exactly one more");
    assert!(!spent(&ledger, &name, at(1)).await);
}

#[tokio::test]
async fn the_bounce_of_an_alias_that_is_gone_changes_nothing() {
    let (dir, ledger) = fresh();
    let (revoked, expired) =
        (with_uses(&ledger, 1).await, with_limits(&ledger, limits(0, Some(10), None)).await);
    let ids = [message(&ledger, &revoked, at(1)).await, message(&ledger, &expired, at(1)).await];
    ledger.revoke(revoked.clone()).await.unwrap();
    ledger.purge(at(10)).await.unwrap();
    assert_eq!(deliveries(dir.path()), 2, "they do not say which alias they were for");
    for (name, id) in [&revoked, &expired].into_iter().zip(ids) {
        assert_eq!(bounced_at(&ledger, name, id, target_is_gone(), 10).await, IGNORED);
    }
    assert_eq!(deliveries(dir.path()), 0);
}

#[tokio::test]
async fn a_week_after_its_message_a_bounce_is_ignored_and_the_purge_forgets_it() {
    let (dir, ledger) = fresh();
    let name = with_uses(&ledger, 2000).await;
    let late = message(&ledger, &name, at(1)).await;
    let last = message(&ledger, &name, at(1)).await;
    assert_eq!(bounced_at(&ledger, &name, late, gone(), 7 * DAY + 1).await, IGNORED);
    assert_eq!(bounced_at(&ledger, &name, last, gone(), 7 * DAY).await.in_a_row, Some(1));
    // More than a portion, and one that is still awaited.
    for _ in 0..600 {
        message(&ledger, &name, at(2)).await;
    }
    message(&ledger, &name, at(3)).await;
    ledger.purge(at(7 * DAY + 1)).await.unwrap();
    assert_eq!(deliveries(dir.path()), 601);
    ledger.purge(at(7 * DAY + 2)).await.unwrap();
    assert_eq!(deliveries(dir.path()), 1);
}

#[tokio::test]
async fn a_bounce_is_on_the_disk_when_it_is_answered() {
    let (dir, ledger) = fresh();
    let name = with_uses(&ledger, 2).await;
    let id = message(&ledger, &name, at(1)).await;
    bounced_at(&ledger, &name, id, target_is_gone(), 1).await;
    let copy = snapshot(dir.path());
    let there = Ledger::open(copy.path(), 6).unwrap();
    assert_eq!((used(&there, &name).await, bounces(&there, &name).await), (0, 1));
    assert_eq!(bounced_at(&there, &name, id, target_is_gone(), 1).await, IGNORED);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_bounces_of_one_message_at_once_one_counts() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 9).await;
    let id = message(&ledger, &name, at(1)).await;
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let (ledger, name) = (ledger.clone(), name.clone());
        senders.spawn(async move { ledger.bounced(name, id, target_is_gone(), at(1)).await });
    }
    let counted =
        senders.join_all().await.into_iter().filter(|one| one.as_ref().unwrap().is_refunded).count();
    assert_eq!((counted, used(&ledger, &name).await, bounces(&ledger, &name).await), (1, 0, 1));
}

#[tokio::test]
async fn a_restore_brings_no_bounce_back_and_keeps_those_that_are_still_awaited() {
    let (dir, ledger) = fresh();
    let name = with_uses(&ledger, 9).await;
    let before = message(&ledger, &name, at(1)).await;
    let awaited = message(&ledger, &name, at(1)).await;
    let place = tempfile::TempDir::new().unwrap();
    let file = place.path().join("backup.db");
    back_up(dir.path(), &file).unwrap();
    bounced(&ledger, &name, before).await;
    let since = message(&ledger, &name, at(1)).await;
    ledger.close().await;
    drop(ledger);

    restore(dir.path(), &file, BackupLog::Refused, Revoked::StayGone, at(3), |_| ()).unwrap();
    let ledger = Ledger::open(dir.path(), 6).unwrap();
    assert_eq!(bounced(&ledger, &name, before).await, IGNORED);
    for (id, in_a_row) in [(awaited, 2), (since, 3)] {
        assert_eq!(bounced(&ledger, &name, id).await.in_a_row, Some(in_a_row));
    }
    // Where the ledger is lost, which have come is not known.
    let empty = tempfile::TempDir::new().unwrap();
    restore(empty.path(), &file, BackupLog::Refused, Revoked::StayGone, at(3), |_| ()).unwrap();
    let ledger = Ledger::open(empty.path(), 6).unwrap();
    assert_eq!(bounced(&ledger, &name, awaited).await, IGNORED);
}
