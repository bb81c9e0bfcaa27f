//! DNS lists (RFC 5782): which clients others have found to send junk.
//!
//! A list is a DNS zone that has an A record in 127.0.0.0/8 for the reversed address of each client
//! that it lists ([`list`]). We fail open: without an answer, or with one that
//! means nothing, nobody is listed. Each list must prove that it works before its answers count ([`self_test`]).

mod list;
mod self_test;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ResolveHosts, ResolverOpts};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::address::Domain;
use crate::config::Dns;
use crate::resolve::Resolver;
use list::{List, is_public};

/// All lists together have so long to answer for a client.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A query without an answer is sent again after so long.
const RESEND_AFTER: Duration = Duration::from_secs(2);

/// Answers are kept for their TTL, within these bounds.
const SHORTEST_TTL: Duration = Duration::from_secs(60);
const LONGEST_TTL: Duration = Duration::from_secs(3600);

/// Answers in the cache; the least recently used go first.
const CACHE_SIZE: u64 = 10_000;

/// Some lists, all queried together. Clones are cheap, and are the same lists.
#[derive(Clone)]
pub struct Lists {
    current: watch::Sender<Current>,
}

/// The lists for now.
#[derive(Clone)]
struct Current {
    lists: Arc<[Arc<List>]>,
    dns: Dns,
    resolver: Arc<Resolver>,
}

/// A query whether a client is listed.
pub struct Listing {
    answer: Option<oneshot::Receiver<Option<Arc<str>>>>,
    listed_by: Option<Arc<str>>,
}

impl Lists {
    /// The lists at `zones`, queried through the servers of `dns`. None is in use before it has
    /// been tested: see [`Lists::watch`].
    pub fn new(zones: &[Domain], dns: &Dns) -> Self {
        let resolver = Arc::new(Resolver::new(dns, tune));
        let unset = Current { lists: Arc::default(), dns: dns.clone(), resolver };
        let lists = Lists { current: watch::Sender::new(unset) };
        lists.set(zones, dns);
        lists
    }

    /// From now on the lists at `zones`, queried through the servers of `dns`. One that stays keeps the
    /// result of its test, unless the servers are others.
    pub fn set(&self, zones: &[Domain], dns: &Dns) {
        self.current.send_if_modified(|current| {
            let is_same = current.lists.iter().map(|list| list.zone()).eq(zones) && current.dns == *dns;
            if current.dns != *dns {
                let resolver = Arc::new(Resolver::new(dns, tune));
                *current = Current { lists: Arc::default(), dns: dns.clone(), resolver };
            }
            let known = |zone: &Domain| current.lists.iter().find(|list| list.zone() == zone).cloned();
            let made = |zone| Arc::new(List::new(zone, current.resolver.clone()));
            current.lists = zones.iter().map(|zone| known(zone).unwrap_or_else(|| made(zone))).collect();
            !is_same
        });
    }

    /// The first list to say that it lists `client`: its name. It takes 5 seconds at most.
    pub async fn find(&self, client: IpAddr) -> Option<Arc<str>> {
        let client = client.to_canonical();
        if !is_public(client) {
            return None;
        }
        let mut answers = JoinSet::new();
        let lists = self.current.borrow().lists.clone();
        for list in lists.iter().filter(|list| list.is_in_use(client)) {
            let list = Arc::clone(list);
            answers.spawn(async move { list.has(client).await.then(|| list.name().clone()) });
        }
        // Those that are not waited for end with the set.
        let first = timeout(TIMEOUT, async {
            while let Some(answer) = answers.join_next().await {
                if let Ok(Some(name)) = answer {
                    return Some(name);
                }
            }
            None
        });
        first.await.unwrap_or_else(|_| {
            tracing::debug!("a DNS list did not answer in time");
            None
        })
    }

    /// Starts a query for `client`, which runs by itself and ends with the [`Listing`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn ask(&self, client: IpAddr) -> Listing {
        if self.current.borrow().lists.is_empty() || !is_public(client.to_canonical()) {
            return Listing { answer: None, listed_by: None };
        }
        let (mut answered, answer) = oneshot::channel();
        let lists = self.clone();
        tokio::spawn(async move {
            let listed_by = tokio::select! {
                () = answered.closed() => return,
                listed_by = lists.find(client) => listed_by,
            };
            let _ = answered.send(listed_by); // the session may have ended
        });
        Listing { answer: Some(answer), listed_by: None }
    }
}

impl Listing {
    /// Waits for the answer: the name of a list that lists the client.
    pub async fn listed_by(&mut self) -> Option<&str> {
        if let Some(answer) = &mut self.answer {
            self.listed_by = answer.await.unwrap_or(None);
            self.answer = None;
        }
        self.listed_by.as_deref()
    }
}

/// The options of a resolver that queries lists.
fn tune(options: &mut ResolverOpts) {
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = RESEND_AFTER;
    options.cache_size = CACHE_SIZE;
    (options.positive_min_ttl, options.positive_max_ttl) = (Some(SHORTEST_TTL), Some(LONGEST_TTL));
    (options.negative_min_ttl, options.negative_max_ttl) = (Some(SHORTEST_TTL), Some(LONGEST_TTL));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(names: &[&str]) -> Vec<Domain> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_list_that_stays_keeps_the_result_of_its_test_unless_the_servers_are_others() {
        let client = "192.0.2.1".parse().unwrap();
        let lists = Lists::new(&zones(&["a.test", "b.test"]), &Dns::default());
        let changes = lists.current.subscribe();
        let in_use =
            || -> Vec<_> { lists.current.borrow().lists.iter().map(|list| list.is_in_use(client)).collect() };
        lists.current.borrow().lists.iter().for_each(|list| assert!(list.v4.set(true)));
        lists.set(&zones(&["a.test", "b.test"]), &Dns::default());
        assert!(!changes.has_changed().unwrap());
        lists.set(&zones(&["b.test", "c.test"]), &Dns::default());
        assert!(changes.has_changed().unwrap());
        assert_eq!(in_use(), [true, false]);
        lists.set(&zones(&["b.test"]), &Dns { servers: vec!["127.0.0.1:53".parse().unwrap()] });
        assert_eq!(in_use(), [false]);
    }
}
