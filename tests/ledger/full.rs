//! A full disk: nothing is spent, nothing is lost, and all goes on when there is space again.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use tempalias::alias::AliasName;
use tempalias::ledger::{Ledger, LedgerError, SpendOutcome};
use tempalias::message_id::MessageId;
use tempfile::TempDir;

use super::support::*;

/// Fills the disk, but for `spare` octets, until dropped.
struct Filler(File);

impl Filler {
    fn new(place: &Path, spare: u64) -> Self {
        let mut file = File::create(place.join("filler")).unwrap();
        while file.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(spare)).unwrap();
        Filler(file)
    }
}

impl Drop for Filler {
    /// Cut, not removed: a child of another test may hold a copy of the descriptor for a moment.
    fn drop(&mut self) {
        self.0.set_len(0).unwrap();
    }
}

/// Spends until the disk is full; how often it could.
async fn spend_until_full(ledger: &Ledger, name: &AliasName) -> u32 {
    for count in 0..10_000 {
        match ledger.spend(name.clone(), MessageId::new(at(1)), at(1)).await {
            Ok(SpendOutcome::Spent) => (),
            Ok(SpendOutcome::Exhausted) => panic!("there are uses enough"),
            Err(cause) => {
                assert!(cause.is_full(), "{cause}");
                return count;
            }
        }
    }
    panic!("the disk never was full")
}

#[tokio::test]
async fn a_full_disk_spends_nothing_and_is_survived_without_reopening() {
    let dir = TempDir::new().unwrap();
    let place = dir.path().join("small");
    let Some(_mount) = Mount::tmpfs(&place, "1m") else { return };
    let ledger = Ledger::open(&place, 6).unwrap();
    let name = with_uses(&ledger, 100_000).await;

    let mut expected = 0;
    for spare in [0, 4096, 40_000, 0, 100_000, 20_000] {
        let filler = Filler::new(&place, spare);
        expected += spend_until_full(&ledger, &name).await;
        assert_eq!(used(&ledger, &name).await, expected, "look-ups work, and a failed spend spends nothing");
        let new = new_alias("someone@example.net", limits(0, None, Some(1)));
        let full = |cause: LedgerError| assert!(cause.is_full(), "{cause}");
        full(ledger.issue(new, at(1)).await.unwrap_err());
        full(ledger.spend(name.clone(), MessageId::new(at(1)), at(1)).await.unwrap_err());
        let aliases = all(&ledger).await.len();

        drop(filler);
        let refused = message(&ledger, &name, at(1)).await;
        assert!(spent(&ledger, &name, at(1)).await);
        expected += 2;
        with_uses(&ledger, 1).await;
        assert_eq!(all(&ledger).await.len(), aliases + 1);
        ledger.refund(name.clone(), refused).await.unwrap();
        expected -= 1;
        ledger.purge(at(1)).await.unwrap();
    }

    ledger.close().await;
    drop(ledger);
    assert_eq!(used(&Ledger::open(&place, 6).unwrap(), &name).await, expected);
}

#[tokio::test]
async fn a_whole_group_fails_on_a_full_disk_and_each_of_it_hears_so() {
    let dir = TempDir::new().unwrap();
    let place = dir.path().join("small");
    let Some(_mount) = Mount::tmpfs(&place, "1m") else { return };
    let ledger = Ledger::open(&place, 6).unwrap();
    let name = with_uses(&ledger, 100_000).await;
    let filler = Filler::new(&place, 0);
    let expected = spend_until_full(&ledger, &name).await;

    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (ledger, name) = (ledger.clone(), name.clone());
        senders.spawn(async move { ledger.spend(name, MessageId::new(at(1)), at(1)).await });
    }
    for outcome in senders.join_all().await {
        assert!(outcome.unwrap_err().is_full());
    }
    assert_eq!(used(&ledger, &name).await, expected);
    drop(filler);
    assert!(spent(&ledger, &name, at(1)).await);
}

#[tokio::test]
async fn when_the_log_cannot_be_moved_into_the_database_what_was_answered_stays_true() {
    let dir = TempDir::new().unwrap();
    let place = dir.path().join("small");
    let Some(_mount) = Mount::tmpfs(&place, "40m") else { return };
    let ledger = Ledger::open(&place, 6).unwrap();
    let one_use = || limits(0, None, Some(1));
    let mut issued = BTreeSet::new();
    // Until SQLite has begun its log anew several times: from here on only the database grows.
    for _ in 0..1000 {
        issued.insert(with_limits(&ledger, one_use()).await);
    }
    let filler = Filler::new(&place, 0);
    loop {
        match ledger.issue(new_alias("someone@example.net", one_use()), at(1)).await {
            Ok(one) => assert!(issued.insert(one.alias.name)),
            Err(cause) => break assert!(cause.is_full(), "{cause}"),
        }
        assert!(issued.len() < 100_000, "the disk never was full");
    }
    let names = async || {
        let aliases = all(&ledger).await.into_iter();
        aliases.map(|alias| alias.name).collect::<BTreeSet<_>>()
    };
    assert!(names().await == issued);
    assert!(ledger.purge(at(1)).await.unwrap_err().is_full());
    drop(filler);
    ledger.purge(at(1)).await.unwrap();
    issued.insert(with_limits(&ledger, one_use()).await);
    assert!(names().await == issued);
}

#[test]
fn a_full_disk_at_the_start_is_an_error_and_harms_nothing() {
    let dir = TempDir::new().unwrap();
    let place = dir.path().join("small");
    let Some(_mount) = Mount::tmpfs(&place, "1m") else { return };
    let filler = Filler::new(&place, 0);
    let error = Ledger::open(&place, 6).err().expect("there is no room");
    assert!(error.to_string().contains("full"), "{error}");
    drop(filler);
    Ledger::open(&place, 6).unwrap();
}
