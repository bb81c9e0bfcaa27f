//! Purging: what is over goes for good, and nothing else does.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use tempalias::ledger::{FILE_NAME, Ledger, Purged};
use tempalias::message_id::MessageId;

use super::support::*;

const HOUR: i64 = 3600;

#[tokio::test]
async fn an_alias_is_purged_at_its_end_and_not_before() {
    let (_dir, ledger) = fresh();
    let ends = with_limits(&ledger, limits(0, Some(100), Some(5))).await;
    let endless = with_uses(&ledger, 5).await;
    assert_eq!(ledger.purge(at(99)).await.unwrap(), Purged::default());
    assert_eq!(ledger.purge(at(100)).await.unwrap(), Purged { expired: 1, used_up: 0 });
    assert_eq!(ledger.lookup(&ends).await.unwrap(), None);
    assert!(ledger.lookup(&endless).await.unwrap().is_some());
}

#[tokio::test]
async fn a_used_up_alias_waits_an_hour_for_a_refund() {
    let (_dir, ledger) = fresh();
    let (name, refunded) = (with_uses(&ledger, 1).await, with_uses(&ledger, 1).await);
    assert!(spent(&ledger, &name, at(10)).await);
    let refused = message(&ledger, &refunded, at(10)).await;
    assert_eq!(ledger.purge(at(10 + HOUR - 1)).await.unwrap(), Purged::default());
    ledger.refund(refunded.clone(), refused).await.unwrap();
    assert_eq!(ledger.purge(at(10 + HOUR)).await.unwrap(), Purged { expired: 0, used_up: 1 });
    assert_eq!(ledger.lookup(&name).await.unwrap(), None);
    assert!(spent(&ledger, &refunded, at(10 + HOUR)).await);
}

#[tokio::test]
async fn what_may_yet_forward_is_never_purged() {
    let (_dir, ledger) = fresh();
    let name = with_limits(&ledger, limits(0, Some(1000), Some(2))).await;
    with_limits(&ledger, limits(500, Some(1000), None)).await;
    spent(&ledger, &name, at(1)).await;
    pause(&ledger, &with_uses(&ledger, 1).await, true).await;
    let suspended = with_uses(&ledger, 6).await;
    for _ in 0..5 {
        spent_on_a_bounce(&ledger, &suspended).await;
    }
    assert_eq!(ledger.purge(at(999)).await.unwrap(), Purged::default());
    assert_eq!(all(&ledger).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_one_portion_goes_at_once_and_leaves_no_address_behind() {
    let (dir, ledger) = fresh();
    let mut issuers = tokio::task::JoinSet::new();
    for i in 0..2400 {
        let ledger = ledger.clone();
        // Every second one ends. Rows come and go between others, and pages split and merge.
        let (address, until) = if i % 2 == 0 { ("gone", 100) } else { ("kept", 1000) };
        let address = format!("{address}.{i:05}@example.net");
        issuers.spawn(async move {
            let name =
                ledger.issue(new_alias(&address, limits(0, Some(until), None)), at(0)).await?.alias.name;
            ledger.spend(name, MessageId::new(at(1)), at(1)).await
        });
    }
    for outcome in issuers.join_all().await {
        outcome.unwrap();
    }
    assert!(occurrences(dir.path(), b"gone.") >= 1200);
    assert_eq!(ledger.purge(at(100)).await.unwrap(), Purged { expired: 1200, used_up: 0 });
    assert_eq!(occurrences(dir.path(), b"gone."), 0);
    assert_eq!(occurrences(dir.path(), b"kept."), 1200);
    assert_eq!(ledger.purge(at(1000)).await.unwrap(), Purged { expired: 1200, used_up: 0 });
    assert_eq!(occurrences(dir.path(), b"@example.net"), 0);
}

#[tokio::test]
async fn a_revoked_address_is_gone_from_the_files_with_the_next_purge() {
    let (dir, ledger) = fresh();
    let new = new_alias("secret@example.net", limits(0, None, Some(1)));
    let name = ledger.issue(new, at(0)).await.unwrap().alias.name;
    assert!(occurrences(dir.path(), b"secret@") > 0);
    ledger.revoke(name.clone()).await.unwrap();
    assert_eq!(ledger.purge(at(1)).await.unwrap(), Purged::default());
    assert_eq!(occurrences(dir.path(), b"secret@"), 0);
    assert!(occurrences(dir.path(), name.as_str().as_bytes()) > 0, "the name stays reserved");
}

#[tokio::test]
async fn a_reader_delays_the_clearing_of_the_log_but_no_spend() {
    let (dir, ledger) = fresh();
    let new = new_alias("secret@example.net", limits(0, Some(100), None));
    ledger.issue(new, at(0)).await.unwrap();
    let other = with_uses(&ledger, 5).await;
    let reader =
        Connection::open_with_flags(dir.path().join(FILE_NAME), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM aliases").unwrap();

    let start = Instant::now();
    assert_eq!(ledger.purge(at(100)).await.unwrap(), Purged { expired: 1, used_up: 0 });
    assert!(spent(&ledger, &other, at(1)).await);
    assert!(start.elapsed() < Duration::from_secs(5), "the purge waited for the reader");
    let seen: i64 = reader.query_row("SELECT count(*) FROM aliases", [], |row| row.get(0)).unwrap();
    assert_eq!(seen, 2, "the reader sees what it saw");
    assert!(occurrences(dir.path(), b"secret@") > 0);

    reader.execute_batch("COMMIT").unwrap();
    ledger.purge(at(100)).await.unwrap();
    assert_eq!(occurrences(dir.path(), b"secret@"), 0);
}

#[tokio::test]
async fn a_ledger_that_was_looked_at_knows_what_time_it_has_been() {
    let (dir, ledger) = fresh();
    assert_eq!(ledger.latest(), None);
    ledger.check(at(7)).await.unwrap();
    ledger.close().await;
    assert_eq!(Ledger::open(dir.path(), 6).unwrap().latest(), Some(at(7)));
}
