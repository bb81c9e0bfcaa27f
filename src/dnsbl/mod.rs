//! DNS lists (RFC 5782): which clients others have found to send junk.
//!
//! A list is a DNS zone that has an A record in 127.0.0.0/8 for the reversed address of each client
//! that it lists ([`list`]). We fail open: a list that gives no answer, or one that makes no sense,
//! lists nobody. Each list must prove that it works before its word counts ([`self_test`]).

mod list;
mod self_test;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ResolveHosts, ResolverOpts};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::address::Domain;
use crate::config::Dns;
use crate::resolve::Resolver;
use list::{List, is_public};

/// All lists together have so long to answer for a client.
const PATIENCE: Duration = Duration::from_secs(5);

/// One question waits so long; then it is sent once more.
const RESEND_AFTER: Duration = Duration::from_secs(2);

/// Answers are kept for their TTL, within these bounds.
const SHORTEST_TTL: Duration = Duration::from_secs(60);
const LONGEST_TTL: Duration = Duration::from_secs(3600);

/// Answers that are kept; those not asked for go first.
const KEPT_ANSWERS: u64 = 10_000;

/// Some lists, all asked together. Clones are cheap, and are the same lists.
#[derive(Clone)]
pub struct Lists {
    lists: Arc<[Arc<List>]>,
    made_of: Arc<(Vec<Domain>, Dns)>,
}

/// What becomes of the question whether a client is listed.
pub struct Listing {
    answer: Option<oneshot::Receiver<Option<Arc<str>>>>,
    listed_by: Option<Arc<str>>,
}

impl Lists {
    /// The lists at `zones`, asked through the servers of `dns`. None is in use before it has
    /// been tested: see [`Lists::watch`].
    pub fn new(zones: &[Domain], dns: &Dns) -> Self {
        let resolver = Arc::new(Resolver::new(dns, tune));
        Lists {
            lists: zones.iter().map(|zone| Arc::new(List::new(zone, resolver.clone()))).collect(),
            made_of: Arc::new((zones.to_vec(), dns.clone())),
        }
    }

    /// As [`Lists::new`]; these lists, tested as they are, when they would be the same.
    pub fn renewed(&self, zones: &[Domain], dns: &Dns) -> Self {
        let (old_zones, old_dns) = &*self.made_of;
        if old_zones == zones && old_dns == dns { self.clone() } else { Lists::new(zones, dns) }
    }

    /// Whether both are the same lists.
    pub fn are(&self, others: &Lists) -> bool {
        Arc::ptr_eq(&self.lists, &others.lists)
    }

    /// The first list to say that it lists `client`: its name. It takes 5 seconds at most.
    pub async fn find(&self, client: IpAddr) -> Option<Arc<str>> {
        let client = client.to_canonical();
        if !is_public(client) {
            return None;
        }
        let mut answers = JoinSet::new();
        for list in self.lists.iter().filter(|list| list.is_in_use(client)) {
            let list = list.clone();
            answers.spawn(async move { list.has(client).await.then(|| list.name().clone()) });
        }
        // Those that are not waited for end with the set.
        let first = timeout(PATIENCE, async {
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

    /// Begins to ask about `client`, beside what else happens. The question ends with the
    /// [`Listing`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn ask(&self, client: IpAddr) -> Listing {
        if self.lists.is_empty() || !is_public(client.to_canonical()) {
            return Listing { answer: None, listed_by: None };
        }
        let (mut asker, answer) = oneshot::channel();
        let lists = self.clone();
        tokio::spawn(async move {
            let listed_by = tokio::select! {
                () = asker.closed() => return,
                listed_by = lists.find(client) => listed_by,
            };
            let _ = asker.send(listed_by); // nobody may want to know any more
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

/// The options of a resolver that asks lists.
fn tune(options: &mut ResolverOpts) {
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = RESEND_AFTER;
    options.cache_size = KEPT_ANSWERS;
    (options.positive_min_ttl, options.positive_max_ttl) = (Some(SHORTEST_TTL), Some(LONGEST_TTL));
    (options.negative_min_ttl, options.negative_max_ttl) = (Some(SHORTEST_TTL), Some(LONGEST_TTL));
}
