//! The test whether a list works: it lists what every list must, and does not list what none may
//! (RFC 5782 §5). It is repeated, because a zone that was given up may list the whole world from one day
//! to the next.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::list::{Answer, List};
use super::{Lists, TIMEOUT};
use crate::resolve::ResolveError;

/// Lists are tested when we start, and then after each such time; sooner when one of them did not
/// answer at all, as happens while a machine starts.
const INTERVAL: Duration = Duration::from_secs(600);
const RETRY_AFTER: Duration = Duration::from_secs(60);

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
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Slow,
    #[error("it refuses our queries")]
    Refused,
    #[error("it does not list {0}, as every list must")]
    ListsNobody(IpAddr),
    #[error("it lists {0}, as no list may")]
    ListsEverybody(IpAddr),
}

impl Lists {
    /// Tests all lists, now, from time to time and when they are [set](Lists::set), until `shutdown`, or
    /// until nobody else holds them: a list that fails is switched off and reported, one that passes again
    /// is switched on.
    pub async fn watch(self, shutdown: CancellationToken) {
        let mut changes = self.current.subscribe();
        drop(self);
        loop {
            let lists = changes.borrow_and_update().lists.clone();
            let round = async {
                sleep(if test(&lists).await { INTERVAL } else { RETRY_AFTER }).await;
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
                () = round => {}
            }
        }
    }

    /// Tests all lists once; whether all have answered, rightly or wrongly.
    pub async fn test(&self) -> bool {
        let lists = self.current.borrow().lists.clone();
        test(&lists).await
    }
}

async fn test(lists: &[Arc<List>]) -> bool {
    let mut tests = JoinSet::new();
    for list in lists {
        let list = Arc::clone(list);
        tests.spawn(async move { list.test().await });
    }
    tests.join_all().await.into_iter().all(|answered| answered)
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
        match self.fresh_answer(listed).await? {
            Answer::Listed => {}
            Answer::NotListed => return Err(Fault::ListsNobody(listed)),
            Answer::Refused => return Err(Fault::Refused),
        }
        match self.fresh_answer(unlisted).await? {
            Answer::Listed => Err(Fault::ListsEverybody(unlisted)),
            Answer::NotListed => Ok(()),
            Answer::Refused => Err(Fault::Refused),
        }
    }

    /// Its answer now, not one from the cache.
    async fn fresh_answer(&self, address: IpAddr) -> Result<Answer, Fault> {
        self.forget(address);
        Ok(timeout(TIMEOUT, self.query(address)).await.map_err(|_| Fault::Slow)??)
    }
}
