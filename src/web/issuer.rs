//! Handing out aliases: what the API, the form without a script and JSONP have in common.

use std::net::{IpAddr, Ipv4Addr};

use super::client::Context;
use super::problem::Problem;
use super::schema::{AliasRequest, AliasView};
use crate::address::{Mailbox, own_domain};
use crate::alias::Limits;
use crate::clock;
use crate::config::Config;
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
    pub rate: Rate,
    /// Of abused addresses.
    pub lists: Lists,
    events: Events,
}

impl Issuer {
    /// Hands out those of `ledger`, within the limits of `config`.
    pub fn new(config: &Config, ledger: Ledger, events: Events) -> Self {
        let http = &config.http;
        Issuer {
            ledger,
            rate: Rate::every(http.create_interval, BURST),
            lists: Lists::new(&http.rbls, &config.dns),
            events,
        }
    }

    /// From now on within the limits of `config`. Clients that have had an alias are remembered unless the
    /// interval changes.
    pub fn apply(&self, config: &Config) {
        self.rate.set_interval(config.http.create_interval, BURST);
        self.lists.set(&config.http.rbls, &config.dns);
    }

    /// The alias that the client asks for, with its key. With `once`, its `Idempotency-Key`, the
    /// same request gives the same alias for a day.
    pub async fn issue(
        &self,
        request: AliasRequest,
        Context { client, config }: &Context,
        once: Option<&str>,
    ) -> Result<AliasView, Problem> {
        let once = once.map(|key| self.idempotency_key(key, &request)).transpose()?;
        let target: Mailbox = request.target.parse().map_err(Problem::Address)?;
        config.targets().check(&target)?;
        let domain = own_domain(&config.domains, request.domain.as_deref())?.clone();
        let now = clock::now();
        let (limits, clamped) = Limits::grant(request.limits(), config.aliases.caps(), now)?;
        let known = match &once {
            Some(key) => self.ledger.repeated(key, now).await?,
            None => None,
        };
        let outcome = match known {
            // What was given before is given again without being counted again.
            Some(replayed @ Issuance::Replayed(_)) => replayed,
            // Another request under a key that has been used is counted: it may be a guess.
            _ => {
                self.admit(*client).await?;
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
            return Err(Problem::IdempotencyKeyUsed);
        };
        let view = AliasView::new(&issued.alias, now, &clamped);
        Ok(AliasView { updatekey: Some(issued.key.to_string()), ..view })
    }

    /// Whether `client` may have another alias. Asked last, so that a typing mistake costs nothing.
    async fn admit(&self, client: Option<IpAddr>) -> Result<(), Problem> {
        // Clients without an address share one.
        let counted = client.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        self.rate.count(counted.into()).map_err(Problem::rate_limited)?;
        if let Some(ip) = client
            && let Some(list) = self.lists.find(ip).await
        {
            return Err(Problem::Listed { list: list.to_string() });
        }
        Ok(())
    }

    fn idempotency_key(&self, key: &str, request: &AliasRequest) -> Result<IdempotencyKey, Problem> {
        if !(1..=MAX_ONCE).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Problem::BadIdempotencyKey { most: MAX_ONCE });
        }
        Ok(self.ledger.idempotency_key(key, &request.fingerprint()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
        let config = Arc::new(config.unwrap());
        let issuer = Issuer::new(&config, Ledger::open(dir.path(), 6).unwrap(), Events::default());
        let context = Context { client: None, config };
        let issue = |key: String, max_usage| {
            let request = AliasRequest {
                target: "hidden.person@mailbox.example".into(),
                days: None,
                max_usage: Some(max_usage),
                valid_from: None,
                valid_until: None,
                domain: None,
            };
            let (issuer, context) = (&issuer, &context);
            async move { issuer.issue(request, context, Some(&key)).await }
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
