//! Changing, revoking and listing.

use std::cell::Cell;

use tempalias::alias::{LimitError, LimitRequest};
use tempalias::ledger::{AmendOutcome, LedgerError};

use super::support::*;

#[tokio::test]
async fn amending_the_limits_leaves_what_was_used_and_the_switch_alone() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 2).await;
    spent(&ledger, &name, at(1)).await;
    spent(&ledger, &name, at(1)).await;
    let AmendOutcome::Amended(alias, clamped) = amend(&ledger, &name, uses(3)).await else {
        panic!("the alias exists");
    };
    assert_eq!((alias.limits, alias.used, alias.paused), (limits(0, None, Some(3)), 2, false));
    assert_eq!(clamped, []);
    assert_eq!(ledger.lookup(&name).await.unwrap(), Some(alias));
    assert!(spent(&ledger, &name, at(1)).await);
    assert!(!spent(&ledger, &name, at(1)).await);
}

#[tokio::test]
async fn a_fraction_of_a_second_is_cut_off_an_amended_end_too() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 2).await;
    let end = at(100) + std::time::Duration::from_millis(500);
    let wish = LimitRequest { valid_until: Some(end), ..Default::default() };
    let AmendOutcome::Amended(alias, _) = amend(&ledger, &name, wish).await else {
        panic!("the alias exists");
    };
    assert_eq!(alias.limits, limits(0, Some(100), Some(2)));
    assert_eq!(ledger.lookup(&name).await.unwrap(), Some(alias));
}

#[tokio::test]
async fn amending_down_to_less_than_was_used_ends_an_alias() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 5).await;
    for _ in 0..3 {
        spent(&ledger, &name, at(1)).await;
    }
    assert!(
        matches!(amend(&ledger, &name, uses(2)).await, AmendOutcome::Amended(alias, _) if alias.uses_left() == Some(0))
    );
    assert!(!spent(&ledger, &name, at(1)).await);
}

#[tokio::test]
async fn a_void_wish_is_refused_and_changes_nothing() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 5).await;
    let before = ledger.lookup(&name).await.unwrap();
    assert_eq!(amend(&ledger, &name, uses(0)).await, AmendOutcome::Refused(LimitError::NoUsage));
    assert_eq!(ledger.lookup(&name).await.unwrap(), before);
}

#[tokio::test]
async fn what_does_not_exist_or_is_past_its_end_cannot_be_amended() {
    let (_dir, ledger) = fresh();
    assert_eq!(amend(&ledger, &"000000".parse().unwrap(), uses(1)).await, AmendOutcome::Missing);
    let over = with_limits(&ledger, limits(0, Some(1), None)).await;
    assert_eq!(amend(&ledger, &over, uses(1)).await, AmendOutcome::Missing);
}

#[tokio::test]
async fn what_does_not_exist_cannot_be_revoked() {
    let (_dir, ledger) = fresh();
    assert!(!ledger.revoke("000000".parse().unwrap()).await.unwrap());
}

#[tokio::test]
async fn a_revoked_alias_is_gone_at_once() {
    let (_dir, ledger) = fresh();
    let (name, other) = (with_uses(&ledger, 5).await, with_uses(&ledger, 5).await);
    assert!(ledger.revoke(name.clone()).await.unwrap());
    assert_eq!(ledger.lookup(&name).await.unwrap(), None);
    assert!(!spent(&ledger, &name, at(1)).await);
    assert!(!ledger.revoke(name).await.unwrap());
    assert!(ledger.lookup(&other).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alias_is_listed_once_in_the_order_of_their_names() {
    let (_dir, ledger) = fresh();
    assert_eq!(all(&ledger).await, []);
    let issuers: Vec<_> = (0..1201)
        .map(|_| {
            let ledger = ledger.clone();
            tokio::spawn(async move { with_uses(&ledger, 1).await })
        })
        .collect();
    let mut names = Vec::new();
    for issuer in issuers {
        names.push(issuer.await.unwrap());
    }
    names.sort();
    let listed: Vec<_> = all(&ledger).await.into_iter().map(|alias| alias.name).collect();
    assert_eq!(listed, names);

    // An error of the visitor ends it.
    let seen = Cell::new(0);
    let see = |_| {
        seen.set(seen.get() + 1);
        if seen.get() == 700 { Err(LedgerError::Closed) } else { Ok(()) }
    };
    let stopped = ledger.for_each(see).await;
    assert!(matches!(stopped, Err(LedgerError::Closed)));
    assert_eq!(seen.get(), 700);
}
