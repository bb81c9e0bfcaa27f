//! What was answered is on the disk, whatever happens to the process in the next instant.

use rusqlite::{Connection, OpenFlags};
use tempalias::ledger::{FILE_NAME, Ledger};
use tempalias::message_id::MessageId;

use super::support::*;

#[tokio::test]
async fn a_use_is_spent_on_the_disk_when_the_answer_comes() {
    let (dir, ledger) = fresh();
    let name = with_uses(&ledger, 2).await;
    for used_there in [1, 2] {
        assert!(spent(&ledger, &name, at(1)).await);
        let copy = snapshot(dir.path());
        assert_eq!(used(&Ledger::open(copy.path(), 6).unwrap(), &name).await, used_there);
    }
    let copy = snapshot(dir.path());
    assert!(!spent(&Ledger::open(copy.path(), 6).unwrap(), &name, at(1)).await);
}

#[tokio::test]
async fn every_other_change_is_on_the_disk_when_the_answer_comes() {
    let (dir, ledger) = fresh();
    let there = async || {
        let copy = snapshot(dir.path());
        let ledger = Ledger::open(copy.path(), 6).unwrap();
        all(&ledger).await.pop()
    };
    let alias = issue(&ledger, limits(0, None, Some(2))).await.alias;
    let name = alias.name.clone();
    assert_eq!(there().await, Some(alias));
    let refused = message(&ledger, &name, at(1)).await;
    ledger.refund(name.clone(), refused).await.unwrap();
    assert_eq!(there().await.unwrap().used, 0);
    spent_on_a_bounce(&ledger, &name).await;
    assert_eq!(there().await.unwrap().bounces, 1);
    pause(&ledger, &name, true).await;
    assert!(there().await.unwrap().paused);
    ledger.revoke(name).await.unwrap();
    assert_eq!(there().await, None);
}

#[tokio::test]
async fn closing_answers_what_is_queued_and_refuses_what_comes_later() {
    let (dir, ledger) = fresh();
    let name = with_uses(&ledger, 500).await;
    let mut queued = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (ledger, name) = (ledger.clone(), name.clone());
        queued.spawn(async move { ledger.spend(name, MessageId::new(at(1)), at(1)).await });
    }
    // Each of them runs up to where it waits for the answer, before this task goes on: on one
    // thread, every yield lets at least one of them run.
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    ledger.close().await;
    for outcome in queued.join_all().await {
        outcome.unwrap();
    }
    let refused = ledger.spend(name.clone(), MessageId::new(at(1)), at(1)).await;
    assert!(matches!(refused, Err(tempalias::ledger::LedgerError::Closed)), "{refused:?}");
    ledger.close().await;

    // Everything is in the one file that an operator would copy.
    let wal = dir.path().join(format!("{}-wal", tempalias::ledger::FILE_NAME));
    assert_eq!(std::fs::metadata(wal).map_or(0, |file| file.len()), 0);
    drop(ledger);
    assert_eq!(used(&Ledger::open(dir.path(), 6).unwrap(), &name).await, 200);
}

#[tokio::test]
async fn closing_empties_the_log_even_while_another_process_has_the_file_open() {
    let (dir, ledger) = fresh();
    let other =
        Connection::open_with_flags(dir.path().join(FILE_NAME), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let aliases = || other.query_row("SELECT count(*) FROM aliases", [], |row| row.get::<_, i64>(0));
    assert_eq!(aliases(), Ok(0));
    with_uses(&ledger, 1).await;
    ledger.close().await;
    assert_eq!(std::fs::metadata(dir.path().join(format!("{FILE_NAME}-wal"))).unwrap().len(), 0);
    assert_eq!(aliases(), Ok(1));
}
