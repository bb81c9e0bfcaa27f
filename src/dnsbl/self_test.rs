//! The proof that a list works: it lists what every list must, and does not list what none may
//! (RFC 5782 §5). It is asked for again and again, because a zone that was given up may list the
//! whole world from one day to the next.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::list::{List, Word};
use super::{Lists, PATIENCE};
use crate::resolve::ResolveError;

/// Lists are tested when we start, and then after each such time; sooner when one of them did not
/// answer at all, as happens while a machine starts.
const INTERVAL: Duration = Duration::from_secs(600);
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// An entry that every list has, and one that none may have.
const LISTED_V4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const UNLISTED_V4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);

/// The same for lists of IPv6 clients: `::FFFF:7F00:2` and `::FFFF:7F00:1`.
const LISTED_V6: Ipv6Addr = LISTED_V4.to_ipv6_mapped();
const UNLISTED_V6: Ipv6Addr = UNLISTED_V4.to_ipv6_mapped();

/// What is wrong with a list.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("no answer: {0}")]
    Silent(#[from] ResolveError),
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Slow,
    #[error("it refuses to answer us")]
    Refused,
    #[error("it does not list {0}, as every list must")]
    ListsNobody(IpAddr),
    #[error("it lists {0}, as no list may")]
    ListsEverybody(IpAddr),
}

impl Lists {
    /// Tests all lists, now and from time to time, until `shutdown` or until nobody else holds them: a
    /// list that fails is switched off and reported, one that passes again is switched on.
    pub async fn watch(self, shutdown: CancellationToken) {
        let Lists { lists, made_of } = self;
        let watched = Arc::downgrade(&lists);
        drop(lists);
        while let Some(lists) = watched.upgrade().filter(|lists| !lists.is_empty()) {
            let lists = Lists { lists, made_of: made_of.clone() };
            let round = async {
                let all_answered = lists.test().await;
                drop(lists);
                sleep(if all_answered { INTERVAL } else { AGAIN_AFTER }).await;
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = round => {}
            }
        }
    }

    /// Tests all lists once; whether all have answered, rightly or wrongly.
    pub async fn test(&self) -> bool {
        let mut tests = JoinSet::new();
        for list in self.lists.iter() {
            let list = Arc::clone(list);
            tests.spawn(async move { list.test().await });
        }
        tests.join_all().await.into_iter().all(|answered| answered)
    }
}

impl List {
    async fn test(&self) -> bool {
        let (v4, v6) = tokio::join!(
            self.test_entries(LISTED_V4.into(), UNLISTED_V4.into()),
            self.test_entries(LISTED_V6.into(), UNLISTED_V6.into()),
        );
        let is_silent = [&v4, &v6].iter().any(|result| matches!(result, Err(Fault::Silent(_) | Fault::Slow)));
        // Most lists have no IPv6 clients: not to have them is no fault.
        let lacks_v6 = v4.is_ok() && matches!(v6, Err(Fault::ListsNobody(_)));
        for (standing, family, result) in [(&self.v4, "IPv4", v4), (&self.v6, "IPv6", v6)] {
            let (is_news, list) = (standing.set(result.is_ok()), self.name());
            match result {
                Ok(()) if is_news => tracing::info!(%list, family, "DNS list in use"),
                Err(_) if is_news && lacks_v6 => {
                    tracing::info!(%list, family, "DNS list has no such clients")
                }
                Err(cause) if is_news => tracing::warn!(%list, family, %cause, "DNS list switched off"),
                _ => {}
            }
        }
        !is_silent
    }

    async fn test_entries(&self, listed: IpAddr, unlisted: IpAddr) -> Result<(), Fault> {
        match self.fresh_word(listed).await? {
            Word::Listed => {}
            Word::NotListed => return Err(Fault::ListsNobody(listed)),
            Word::Refused => return Err(Fault::Refused),
        }
        match self.fresh_word(unlisted).await? {
            Word::Listed => Err(Fault::ListsEverybody(unlisted)),
            Word::NotListed => Ok(()),
            Word::Refused => Err(Fault::Refused),
        }
    }

    /// What it says now, not what it said within the hour.
    async fn fresh_word(&self, address: IpAddr) -> Result<Word, Fault> {
        self.forget(address);
        Ok(timeout(PATIENCE, self.word(address)).await.map_err(|_| Fault::Slow)??)
    }
}
