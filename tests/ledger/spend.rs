//! Uses: spent when there is one, given back when the smarthost refuses.

use tempalias::alias::AliasName;
use tempalias::ledger::SpendOutcome;
use tempalias::message_id::MessageId;

use super::support::*;

#[tokio::test]
async fn a_spend_takes_one_use() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 2).await;
    for used in [1, 2] {
        message(&ledger, &name, at(1)).await;
        assert_eq!(ledger.lookup(&name).await.unwrap().unwrap().used, used);
    }
}

#[tokio::test]
async fn a_used_up_alias_is_exhausted_and_stays_as_it_is() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 1).await;
    assert!(spent(&ledger, &name, at(1)).await);
    let before = ledger.lookup(&name).await.unwrap();
    let outcome = ledger.spend(name.clone(), MessageId::new(at(2)), at(2)).await.unwrap();
    assert_eq!(outcome, SpendOutcome::Exhausted);
    assert_eq!(ledger.lookup(&name).await.unwrap(), before);
}

#[tokio::test]
async fn an_alias_that_does_not_exist_is_exhausted() {
    let (_dir, ledger) = fresh();
    let name: AliasName = "000000".parse().unwrap();
    let outcome = ledger.spend(name, MessageId::new(at(1)), at(1)).await.unwrap();
    assert_eq!(outcome, SpendOutcome::Exhausted);
}

#[tokio::test]
async fn a_message_takes_no_second_use_of_any_alias() {
    let (_dir, ledger) = fresh();
    let (one, two) = (with_uses(&ledger, 5).await, with_uses(&ledger, 5).await);
    let id = message(&ledger, &one, at(1)).await;
    for name in [&one, &two] {
        ledger.spend(name.clone(), id, at(1)).await.unwrap_err();
    }
    assert_eq!((used(&ledger, &one).await, used(&ledger, &two).await), (1, 0));
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
    assert_eq!(used(&ledger, &name).await, 1);
}

#[tokio::test]
async fn a_refund_gives_back_one_use_and_never_more_than_were_spent() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 1).await;
    let first = message(&ledger, &name, at(1)).await;
    assert!(!spent(&ledger, &name, at(1)).await);
    ledger.refund(name.clone(), first).await.unwrap();
    assert_eq!(used(&ledger, &name).await, 0);
    let second = message(&ledger, &name, at(1)).await;
    for id in [first, MessageId::new(at(1))] {
        ledger.refund(name.clone(), id).await.unwrap();
        assert_eq!(used(&ledger, &name).await, 1, "given back before, or never spent");
    }
    assert!(!spent(&ledger, &name, at(1)).await);
    // Of an alias that has gone meanwhile there is nothing to give back.
    ledger.revoke(name.clone()).await.unwrap();
    ledger.refund(name, second).await.unwrap();
}

#[tokio::test]
async fn without_a_number_of_uses_they_are_only_counted() {
    let (_dir, ledger) = fresh();
    let name = with_limits(&ledger, limits(0, Some(1000), None)).await;
    for used in 1..=50 {
        message(&ledger, &name, at(1)).await;
        assert_eq!(self::used(&ledger, &name).await, used);
    }
    assert!(!spent(&ledger, &name, at(1000)).await);
}
