//! Handing out aliases: what the API, the form without a script and JSONP have in common.

use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::counters::Counters;
use super::phrase::Phrase;
use super::problem::Problem;
use super::schema::{AliasRequest, AliasView};
use crate::address::{Domain, Mailbox, own_domain};
use crate::alias::{Caps, Limits};
use crate::clock;
use crate::config::{Config, Targets};
use crate::dnsbl::Lists;
use crate::events::{Event, Events};
use crate::ledger::{IdempotencyKey, Issuance, Ledger, NewAlias};
use crate::net::limits::Rate;

/// Aliases that a client gets at once, after a rest: one was mistyped, one for a friend.
const BURST: u32 = 3;

/// Characters of an `Idempotency-Key`. A UUID has 36.
const MAX_ONCE: usize = 255;

/// Hands out aliases.
pub struct Issuer {
    ledger: Ledger,
    domains: Vec<Domain>,
    targets: Targets,
    caps: Caps,
    rate: Arc<Rate>,
    interval: Duration,
    lists: Lists,
    counters: Arc<Counters>,
    events: Events,
}

impl Issuer {
    /// For the domains and within the limits of `config`.
    pub fn new(config: &Config, ledger: Ledger, events: Events) -> Self {
        let http = &config.http;
        Issuer {
            ledger,
            domains: config.domains.clone(),
            targets: config.targets(),
            caps: config.aliases.caps(),
            rate: Arc::new(Rate::every(http.create_interval, BURST)),
            interval: http.create_interval,
            lists: Lists::new(&http.rbls, &config.dns),
            counters: Arc::default(),
            events,
        }
    }

    /// The same with another configuration. Who has had an alias is remembered unless the interval
    /// is another.
    pub fn renewed(&self, config: &Config) -> Self {
        let fresh = Issuer::new(config, self.ledger.clone(), self.events.clone());
        let rate = if fresh.interval == self.interval { self.rate.clone() } else { fresh.rate };
        self.lists.set(&config.http.rbls, &config.dns);
        Issuer { rate, lists: self.lists.clone(), counters: self.counters.clone(), ..fresh }
    }

    /// Where aliases are kept.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The lists of abused addresses, to be watched.
    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    /// Forgets whoever may have an alias at once.
    pub fn forget_clients(&self) {
        self.rate.forget();
    }

    /// What is counted, here and in the rest of the web.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The alias that `client` asks for, with its key. With `once`, a key of the client's own, the
    /// same request gives the same alias for a day.
    pub async fn issue(
        &self,
        request: AliasRequest,
        client: Client,
        once: Option<&str>,
    ) -> Result<AliasView, Problem> {
        let once = once.map(|key| self.idempotency_key(key, &request)).transpose()?;
        let target = self.target(&request.target)?;
        let domain = self.domain(request.domain.as_deref())?;
        let now = clock::now();
        let (limits, clamped) = Limits::grant(request.limits(), self.caps, now)?;
        let known = match &once {
            Some(key) => self.ledger.repeated(key, now).await?,
            None => None,
        };
        let outcome = match known {
            // What was given before is given again without being counted again.
            Some(replayed @ Issuance::Replayed(_)) => replayed,
            // Another request under a key that has been used is counted: it may be a guess.
            _ => {
                self.admit(client).await?;
                let new = NewAlias { domain, target, limits };
                match once {
                    None => Issuance::New(self.ledger.issue(new, now).await?),
                    Some(key) => self.ledger.issue_once(new, key, now).await?,
                }
            }
        };
        if let Issuance::New(issued) = &outcome {
            self.events.tell(Event::Created(&issued.alias.name));
        }
        let (Issuance::New(issued) | Issuance::Replayed(issued)) = outcome else {
            return Err(Problem::other_request());
        };
        Ok(AliasView::new(&issued.alias, now).clamped(&clamped).with_key(&issued.key))
    }

    /// Whether `client` may have another alias. Asked last, so that a typing mistake costs nothing.
    async fn admit(&self, client: Client) -> Result<(), Problem> {
        self.rate.count(client.net()).map_err(Problem::rate_limited)?;
        let listed_by = match client.0 {
            Some(ip) => self.lists.find(ip).await,
            None => None,
        };
        listed_by.map_or(Ok(()), |list| Err(Problem::listed(&list)))
    }

    fn idempotency_key(&self, key: &str, request: &AliasRequest) -> Result<IdempotencyKey, Problem> {
        if !(1..=MAX_ONCE).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_graphic()) {
            let why = Phrase::new("Idempotency-Key must be 1 to {most} visible ASCII characters");
            return Err(Problem::invalid(why.with("most", MAX_ONCE)));
        }
        Ok(self.ledger.idempotency_key(key, &request.fingerprint()))
    }

    fn target(&self, text: &str) -> Result<Mailbox, Problem> {
        let target: Mailbox = text.parse().map_err(Problem::invalid)?;
        self.targets.check(&target).map_err(Problem::invalid)?;
        Ok(target)
    }

    fn domain(&self, wanted: Option<&str>) -> Result<Domain, Problem> {
        own_domain(&self.domains, wanted).cloned().map_err(Problem::invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_two_requests_at_once_with_one_key_only_the_one_that_gets_an_alias_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let config = crate::config::parse(
            "test",
            "hostname = 'mx.demo.test'\ndomains = ['demo.test']\npostmaster = 'a@b.example'\n\
             smarthost.host = 'relay'\nhttp.create_interval = '0s'",
            [],
        );
        let issuer = Issuer::new(&config.unwrap(), Ledger::open(dir.path(), 6).unwrap(), Events::default());
        let issue = |key: String, max_usage| {
            let wish = AliasRequest {
                target: "hidden.person@mailbox.example".into(),
                days: None,
                max_usage: Some(max_usage),
                valid_from: None,
                valid_until: None,
                domain: None,
            };
            let issuer = &issuer;
            async move { issuer.issue(wish, Client(None), Some(&key)).await }
        };
        for n in 0..10 {
            let key = |of: &str| format!("{of}-{n}");
            let (first, other) = tokio::join!(issue(key("differs"), 1), issue(key("differs"), 2));
            assert!(first.is_ok() && other.is_err());
            let (first, again) = tokio::join!(issue(key("same"), 1), issue(key("same"), 1));
            assert_eq!(first.unwrap().aid, again.unwrap().aid);
        }
        let counted = crate::metrics::text([issuer.events.metrics()]);
        assert!(counted.contains("tempalias_http_aliases_created_total 20"), "{counted}");
    }
}
