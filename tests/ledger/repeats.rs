//! Requests that come twice: one alias, and nothing kept that would give it away.

use rusqlite::Connection;
use tempalias::ledger::{FILE_NAME, Issuance, Issued, Ledger};

use super::support::*;

const DAY: i64 = 24 * 3600;

async fn ask(ledger: &Ledger, key: &str, request: &str, now: i64) -> Option<Issued> {
    let once = ledger.idempotency_key(key, request);
    match ledger
        .issue_once(new_alias("hidden@mailbox.example", limits(0, None, Some(5))), once, at(now))
        .await
        .unwrap()
    {
        Issuance::New(issued) | Issuance::Replayed(issued) => Some(issued),
        Issuance::Conflict => None,
    }
}

#[tokio::test]
async fn the_same_request_gives_the_same_alias_for_a_day_also_after_a_restart() {
    let (dir, ledger) = fresh();
    let first = ask(&ledger, "client's key", "request", 0).await.unwrap();
    ledger.close().await;
    let ledger = Ledger::open(dir.path(), 6).unwrap();
    let again = ask(&ledger, "client's key", "request", DAY - 1).await.unwrap();
    assert_eq!((again.alias.name, again.key.to_string()), (first.alias.name.clone(), first.key.to_string()));
    assert!(ask(&ledger, "client's key", "another request", 1).await.is_none());
    let next_day = ask(&ledger, "client's key", "request", DAY).await.unwrap();
    assert_ne!(next_day.alias.name, first.alias.name);
}

#[tokio::test]
async fn keys_of_two_ledgers_differ_for_the_same_request() {
    let ((_one, first), (_two, second)) = (fresh(), fresh());
    let (first, second) = (ask(&first, "1", "request", 0).await, ask(&second, "1", "request", 0).await);
    assert_ne!(first.unwrap().key.to_string(), second.unwrap().key.to_string());
}

#[tokio::test]
async fn a_purge_forgets_requests_after_a_day_and_with_their_alias() {
    let (dir, ledger) = fresh();
    let gone = ask(&ledger, "one", "request", 0).await.unwrap();
    ask(&ledger, "two", "request", 0).await.unwrap();
    ask(&ledger, "three", "request", DAY).await.unwrap();
    let count = || -> i64 {
        let file = Connection::open(dir.path().join(FILE_NAME)).unwrap();
        file.query_row("SELECT count(*) FROM repeats", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count(), 3);
    ledger.revoke(gone.alias.name).await.unwrap();
    assert_eq!(count(), 2);
    ledger.purge(at(DAY)).await.unwrap();
    assert_eq!(count(), 1);
}

#[tokio::test]
async fn neither_the_clients_key_nor_the_manage_key_is_in_the_ledger() {
    let (dir, ledger) = fresh();
    let key = "a-key-that-only-the-client-knows";
    let issued = ask(&ledger, key, "a-request-for-an-alias", 0).await.unwrap();
    ledger.close().await;
    for secret in [key, "a-request-for-an-alias", &issued.key.to_string()] {
        assert_eq!(occurrences(dir.path(), secret.as_bytes()), 0, "{secret}");
    }
}
