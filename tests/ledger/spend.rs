//! Uses: spent when there is one, given back when the smarthost refuses.

use tempalias::alias::{AliasName, SUSPENDED_AFTER_BOUNCES, State};
use tempalias::ledger::SpendOutcome;

use crate::support::*;

#[tokio::test]
async fn a_spend_takes_one_use() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 2).await;
    for used in [1, 2] {
        let outcome = ledger.spend(vec![name.clone()], at(1)).await.unwrap();
        assert_eq!(outcome, SpendOutcome::Spent(vec![name.clone()]));
        assert_eq!(ledger.lookup(&name).unwrap().unwrap().used, used);
    }
}

#[tokio::test]
async fn a_used_up_alias_is_exhausted_and_stays_as_it_is() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 1).await;
    assert!(spent(&ledger, &name, at(1)).await);
    let before = ledger.lookup(&name).unwrap();
    let outcome = ledger.spend(vec![name.clone()], at(2)).await.unwrap();
    assert_eq!(outcome, SpendOutcome::Exhausted(vec![name.clone()]));
    assert_eq!(ledger.lookup(&name).unwrap(), before);
}

#[tokio::test]
async fn an_alias_that_does_not_exist_is_exhausted() {
    let (_dir, ledger) = fresh();
    let name: AliasName = "000000".parse().unwrap();
    let outcome = ledger.spend(vec![name.clone()], at(1)).await.unwrap();
    assert_eq!(outcome, SpendOutcome::Exhausted(vec![name]));
}

#[tokio::test]
async fn with_one_alias_exhausted_nothing_is_taken_from_the_others() {
    let (_dir, ledger) = fresh();
    let mut good = Vec::new();
    for _ in 0..5 {
        good.push(with_uses(&ledger, 5).await);
    }
    let (one, two) = (with_uses(&ledger, 1).await, with_uses(&ledger, 1).await);
    ledger.spend(vec![one.clone(), two.clone()], at(1)).await.unwrap();

    let mut both = vec![one.clone(), two.clone()];
    both.sort();
    let names = [&good[..2], &[one], &good[2..4], &[two], &good[4..]].concat();
    assert_eq!(ledger.spend(names, at(2)).await.unwrap(), SpendOutcome::Exhausted(both));
    for name in &good {
        assert_eq!(used(&ledger, name), 0);
    }
    let SpendOutcome::Spent(names) = ledger.spend(good.clone(), at(3)).await.unwrap() else {
        panic!("all of them have uses left")
    };
    assert_eq!(names.len(), 5);
    for name in &good {
        assert_eq!(used(&ledger, name), 1);
    }
}

#[tokio::test]
async fn an_alias_named_twice_is_counted_once() {
    let (_dir, ledger) = fresh();
    let (one, two) = (with_uses(&ledger, 1).await, with_uses(&ledger, 5).await);
    let names = vec![two.clone(), one.clone(), two.clone(), one.clone()];
    let SpendOutcome::Spent(spent) = ledger.spend(names.clone(), at(1)).await.unwrap() else {
        panic!("each has a use left")
    };
    assert_eq!(spent.len(), 2);
    assert_eq!((used(&ledger, &one), used(&ledger, &two)), (1, 1));
    ledger.refund(names).await.unwrap();
    assert_eq!((used(&ledger, &one), used(&ledger, &two)), (0, 0));
}

#[tokio::test]
async fn the_first_instant_of_the_validity_is_in_and_the_last_is_out() {
    let (_dir, ledger) = fresh();
    let name = with_limits(&ledger, limits(100, Some(200), None)).await;
    let fraction = std::time::Duration::from_nanos(999_999_999);
    for (now, forwards) in [
        (at(99), false),
        (at(99) + fraction, false),
        (at(100), true),
        (at(199) + fraction, true),
        (at(200), false),
    ] {
        assert_eq!(spent(&ledger, &name, now).await, forwards, "{now}");
    }
}

#[tokio::test]
async fn a_paused_alias_spends_nothing_until_it_is_switched_on() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 5).await;
    pause(&ledger, &name, true).await;
    assert!(!spent(&ledger, &name, at(1)).await);
    pause(&ledger, &name, false).await;
    assert!(spent(&ledger, &name, at(1)).await);
}

#[tokio::test]
async fn five_bounces_suspend_an_alias_and_switching_it_on_forgets_them() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 5).await;
    for bounces in 1..=SUSPENDED_AFTER_BOUNCES {
        assert!(spent(&ledger, &name, at(1)).await, "after {} bounces", bounces - 1);
        ledger.refund(vec![name.clone()]).await.unwrap();
        assert_eq!(ledger.bounced(name.clone()).await.unwrap(), Some(bounces));
    }
    assert!(!spent(&ledger, &name, at(1)).await);
    assert_eq!(ledger.lookup(&name).unwrap().unwrap().state(at(1)), State::Suspended);
    pause(&ledger, &name, true).await;
    assert_eq!(ledger.lookup(&name).unwrap().unwrap().bounces, SUSPENDED_AFTER_BOUNCES);
    pause(&ledger, &name, false).await;
    assert!(spent(&ledger, &name, at(1)).await);
    assert_eq!(ledger.bounced("000000".parse().unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn a_delivery_between_bounces_begins_the_row_anew() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 50).await;
    for _ in 0..10 {
        // Two messages, of which one comes back.
        spent(&ledger, &name, at(1)).await;
        spent(&ledger, &name, at(1)).await;
        assert!(ledger.bounced(name.clone()).await.unwrap() <= Some(2));
    }
    assert!(spent(&ledger, &name, at(1)).await);
}

#[tokio::test]
async fn bounces_that_come_after_a_burst_are_in_a_row() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 50).await;
    for _ in 0..10 {
        spent(&ledger, &name, at(1)).await;
    }
    for _ in 0..SUSPENDED_AFTER_BOUNCES {
        ledger.bounced(name.clone()).await.unwrap();
    }
    assert_eq!(ledger.lookup(&name).unwrap().unwrap().state(at(1)), State::Suspended);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once_get_a_single_use_exactly_once() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 1).await;
    let senders: Vec<_> = (0..1000)
        .map(|_| {
            let (ledger, name) = (ledger.clone(), name.clone());
            tokio::spawn(async move { spent(&ledger, &name, at(1)).await })
        })
        .collect();
    let mut delivered = 0;
    for sender in senders {
        delivered += usize::from(sender.await.unwrap());
    }
    assert_eq!(delivered, 1);
    assert_eq!(used(&ledger, &name), 1);
}

#[tokio::test]
async fn a_refund_gives_back_one_use_and_never_more_than_were_spent() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 1).await;
    assert!(spent(&ledger, &name, at(1)).await);
    assert!(!spent(&ledger, &name, at(1)).await);
    ledger.refund(vec![name.clone()]).await.unwrap();
    assert_eq!(used(&ledger, &name), 0);
    ledger.refund(vec![name.clone()]).await.unwrap();
    assert_eq!(used(&ledger, &name), 0);
    assert!(spent(&ledger, &name, at(1)).await, "exactly one more");
    assert!(!spent(&ledger, &name, at(1)).await);
    // Of an alias that has gone meanwhile there is nothing to give back.
    ledger.revoke(name.clone()).await.unwrap();
    ledger.refund(vec![name]).await.unwrap();
}

#[tokio::test]
async fn without_a_number_of_uses_they_are_only_counted() {
    let (_dir, ledger) = fresh();
    let name = with_limits(&ledger, limits(0, Some(1000), None)).await;
    for used in 1..=50 {
        let outcome = ledger.spend(vec![name.clone()], at(1)).await.unwrap();
        assert_eq!(outcome, SpendOutcome::Spent(vec![name.clone()]));
        assert_eq!(self::used(&ledger, &name), used);
    }
    assert!(!spent(&ledger, &name, at(1000)).await);
}
