//! Names, handed out by many writers at once.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tempalias::ledger::Ledger;
use tempfile::TempDir;

use super::support::*;

/// Of these half have a ledger of their own on the same file, as `tempalias alias add` has beside
/// a server.
const WRITERS: usize = 16;
const EACH: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_writers_never_get_the_same_name_and_lengthen_the_names_one_step_at_a_time() {
    let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
    let ledgers = [(); 2].map(|()| Arc::new(Ledger::open(dir.path(), 4).unwrap()));
    let writers = (0..WRITERS).map(|number| {
        let ledger = ledgers[number % 2].clone();
        tokio::spawn(async move {
            let mut lengths = Vec::with_capacity(EACH);
            for _ in 0..EACH {
                lengths.push(with_uses(&ledger, 1).await);
            }
            lengths
        })
    });
    let mut names = HashSet::new();
    for writer in writers.collect::<Vec<_>>() {
        let own = writer.await.unwrap();
        assert!(own.is_sorted_by_key(|name| name.as_str().len()), "names became shorter again");
        names.extend(own);
    }
    assert_eq!(names.len(), WRITERS * EACH, "a name was handed out twice");

    let mut lengths = BTreeMap::<usize, usize>::new();
    for name in &names {
        *lengths.entry(name.as_str().len()).or_default() += 1;
    }
    // 32^4 / 10,000 and 32^5 / 10,000: no collision makes them more, and none skips a length.
    assert!(lengths[&4] <= 104 && lengths[&5] <= 3355, "{lengths:?}");
    assert!(lengths.keys().copied().eq(4..4 + lengths.len()), "{lengths:?}");
}
