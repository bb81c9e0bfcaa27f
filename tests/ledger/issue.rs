//! Handing out: names, lengths, keys.

use std::collections::HashSet;

use data_encoding::BASE32_NOPAD;
use tempalias::alias::{AliasName, ManageKey};
use tempalias::ledger::{Issued, Ledger};
use tempfile::TempDir;

use super::support::*;

#[tokio::test]
async fn a_new_alias_is_what_was_asked_for_under_a_name_of_the_configured_length() {
    for length in [4, 6, 9] {
        let dir = TempDir::new().unwrap();
        let ledger = Ledger::open(dir.path(), length).unwrap();
        let new = new_alias("John.Doe+x@example.net", limits(5, Some(100), Some(3)));
        let alias = ledger.issue(new.clone(), at(0)).await.unwrap().alias;
        assert_eq!(alias.name.as_str().len(), length);
        assert_eq!(alias.name.as_str().parse::<AliasName>().unwrap(), alias.name);
        assert_eq!((&alias.domain, &alias.target, alias.limits), (&new.domain, &new.target, new.limits));
        assert_eq!((alias.created, alias.used, alias.paused, alias.bounces), (at(0), 0, false, 0));
        assert_eq!(ledger.lookup(&alias.name).await.unwrap(), Some(alias));
    }
}

#[tokio::test]
async fn a_fraction_of_a_second_is_cut_off_in_the_answer_too() {
    let (_dir, ledger) = fresh();
    let half = |instant: tempalias::clock::Timestamp| instant + std::time::Duration::from_millis(500);
    let mut wish = limits(5, Some(100), None);
    wish.valid_from = half(wish.valid_from);
    wish.valid_until = wish.valid_until.map(half);
    let issued = ledger.issue(new_alias("a@example.net", wish), half(at(0))).await.unwrap();
    assert_eq!(issued.alias.limits, limits(5, Some(100), None));
    assert_eq!(ledger.lookup(&issued.alias.name).await.unwrap(), Some(issued.alias));
}

#[tokio::test]
async fn addresses_of_every_length_come_back_whole() {
    let (_dir, ledger) = fresh();
    for length in 1..=64 {
        let target = format!("{}@example.net", "x".repeat(length));
        let new = new_alias(&target, limits(0, None, Some(1)));
        let name = ledger.issue(new, at(0)).await.unwrap().alias.name;
        assert_eq!(ledger.lookup(&name).await.unwrap().unwrap().target.as_str(), target);
        // Its slot is used again, now and then.
        if length % 3 == 0 {
            ledger.revoke(name).await.unwrap();
        }
    }
}

#[tokio::test]
async fn its_own_key_opens_an_alias_and_no_other_does() {
    let (_dir, ledger) = fresh();
    let (one, two) =
        (issue(&ledger, limits(0, None, Some(1))).await, issue(&ledger, limits(0, None, Some(2))).await);
    let opens = async |name: &AliasName, key: &ManageKey| ledger.lookup_with_key(name, key).await.unwrap();
    assert_eq!(opens(&one.alias.name, &one.key).await, Some(one.alias.clone()));
    assert_eq!(opens(&two.alias.name, &two.key).await, Some(two.alias.clone()));
    assert_eq!(opens(&one.alias.name, &two.key).await, None);
    assert_eq!(opens(&one.alias.name, &ManageKey::random().unwrap()).await, None);
    assert_eq!(opens(&"000000000".parse().unwrap(), &one.key).await, None);
    ledger.revoke(one.alias.name.clone()).await.unwrap();
    assert_eq!(opens(&one.alias.name, &one.key).await, None);
}

#[tokio::test]
async fn the_key_is_in_no_file() {
    let (dir, ledger) = fresh();
    let Issued { alias, key } = issue(&ledger, limits(0, None, Some(1))).await;
    let lower = key.to_string();
    let upper = lower.to_uppercase();
    let bits = BASE32_NOPAD.decode(upper.as_bytes()).unwrap();
    for _ in 0..2 {
        assert!(occurrences(dir.path(), alias.name.as_str().as_bytes()) > 0, "the alias is");
        for text in [lower.as_bytes(), upper.as_bytes(), &bits] {
            assert_eq!(occurrences(dir.path(), text), 0);
        }
        ledger.close().await;
    }
}

#[tokio::test]
async fn a_name_is_never_handed_out_again_and_names_grow_as_they_get_crowded() {
    let dir = TempDir::new().unwrap();
    let ledger = Ledger::open(dir.path(), 1).unwrap();
    let mut names = HashSet::new();
    let mut lengths = Vec::new();
    for i in 0..100 {
        let name = with_limits(&ledger, limits(0, Some(10), None)).await;
        lengths.push(name.as_str().len());
        assert!(names.insert(name.clone()), "{name} was handed out twice");
        if i % 2 == 0 {
            assert!(ledger.revoke(name).await.unwrap());
        } else {
            assert_eq!(ledger.purge(at(10)).await.unwrap().expired, 1);
        }
    }
    assert_eq!(lengths[0], 3, "one of 32 or of 1,024 is guessed too easily");
    assert!(lengths.is_sorted(), "{lengths:?}");
    assert!(lengths[99] > 3);

    // The length is stored: a fresh start with short names would only collide again.
    ledger.close().await;
    let ledger = Ledger::open(dir.path(), 1).unwrap();
    let name = with_uses(&ledger, 1).await;
    assert!(name.as_str().len() >= lengths[99]);
    assert!(!names.contains(&name));
}
