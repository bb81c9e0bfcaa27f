//! Changing, revoking and listing.

use std::cell::Cell;

use tempalias::ledger::{Amendment, LedgerError};

use crate::support::*;

#[tokio::test]
async fn amending_the_limits_leaves_what_was_used_and_the_switch_alone() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 2).await;
    spent(&ledger, &name, at(1)).await;
    spent(&ledger, &name, at(1)).await;
    let more = limits(0, Some(100), Some(3));
    let amendment = Amendment { limits: Some(more), paused: None };
    let alias = ledger.amend(name.clone(), amendment).await.unwrap().unwrap();
    assert_eq!((alias.limits, alias.used, alias.paused), (more, 2, false));
    assert_eq!(ledger.lookup(&name).unwrap(), Some(alias));
    assert!(spent(&ledger, &name, at(1)).await);
    assert!(!spent(&ledger, &name, at(1)).await);
}

#[tokio::test]
async fn amending_down_to_less_than_was_used_ends_an_alias() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 5).await;
    for _ in 0..3 {
        spent(&ledger, &name, at(1)).await;
    }
    let amendment = Amendment { limits: Some(limits(0, None, Some(2))), paused: None };
    let alias = ledger.amend(name.clone(), amendment).await.unwrap().unwrap();
    assert_eq!(alias.uses_left(), Some(0));
    assert!(!spent(&ledger, &name, at(1)).await);
}

#[tokio::test]
async fn an_amendment_without_any_limit_is_refused_and_changes_nothing() {
    let (_dir, ledger) = fresh();
    let name = with_uses(&ledger, 5).await;
    let before = ledger.lookup(&name).unwrap();
    let amendment = Amendment { limits: Some(limits(0, None, None)), paused: Some(true) };
    assert!(ledger.amend(name.clone(), amendment).await.is_err());
    assert_eq!(ledger.lookup(&name).unwrap(), before);
}

#[tokio::test]
async fn what_does_not_exist_cannot_be_amended_or_revoked() {
    let (_dir, ledger) = fresh();
    let amendment = Amendment { limits: Some(limits(0, None, Some(1))), paused: Some(false) };
    assert_eq!(ledger.amend("000000".parse().unwrap(), amendment).await.unwrap(), None);
    assert!(!ledger.revoke("000000".parse().unwrap()).await.unwrap());
}

#[tokio::test]
async fn a_revoked_alias_is_gone_at_once() {
    let (_dir, ledger) = fresh();
    let (name, other) = (with_uses(&ledger, 5).await, with_uses(&ledger, 5).await);
    assert!(ledger.revoke(name.clone()).await.unwrap());
    assert_eq!(ledger.lookup(&name).unwrap(), None);
    assert!(!spent(&ledger, &name, at(1)).await);
    assert!(!ledger.revoke(name).await.unwrap());
    assert!(ledger.lookup(&other).unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alias_is_listed_once_in_the_order_of_their_names() {
    let (_dir, ledger) = fresh();
    assert_eq!(all(&ledger), []);
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
    let listed: Vec<_> = all(&ledger).into_iter().map(|alias| alias.name).collect();
    assert_eq!(listed, names);

    // Whoever has seen enough says so by an error.
    let seen = Cell::new(0);
    let stopped = ledger.for_each(|_| {
        seen.set(seen.get() + 1);
        if seen.get() == 700 { Err(LedgerError::Closed) } else { Ok(()) }
    });
    assert!(matches!(stopped, Err(LedgerError::Closed)));
    assert_eq!(seen.get(), 700);
}
