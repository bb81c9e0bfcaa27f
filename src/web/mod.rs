//! The web: page and API.
//!
//! A request goes this way:
//!
//! | file | what it decides |
//! |---|---|
//! | `server` | connections: accepting, TLS, deadlines; `connections` limits how many there may be |
//! | `middleware` | what every answer has: security headers, a limit of time, a limit of the request's head; who the `client` is |
//! | `pages` | the files and pages of `assets/`: `assets` is one of them, `html` fills in templates, with the `messages` of a language (chosen by `negotiation`) and the operator's `branding` |
//! | `routes` | all other paths |
//! | `api`, `form`, `jsonp` | the three ways to ask for an alias; `body` reads what they ask for into the types of `schema` |
//! | `issuer` | whether the client gets an alias |
//! | `problem` | every error |
//!
//! `counters` counts answers, and `exposition` is the operator's site, with the metrics.

mod api;
mod assets;
mod body;
mod branding;
mod client;
mod connections;
mod counters;
mod exposition;
mod form;
mod html;
mod issuer;
mod jsonp;
mod messages;
mod middleware;
mod negotiation;
mod pages;
mod problem;
mod routes;
mod schema;
mod server;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use poem::endpoint::BoxEndpoint;
use poem::{EndpointExt, Request, Response};

use crate::config::{Config, Settings};
use crate::dnsbl::Lists;
use crate::events::Events;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use branding::Branding;
use connections::ConnectionLimits;
use counters::Counters;
pub use exposition::Exposition;
use issuer::Issuer;
use pages::Pages;
pub(crate) use schema::AliasView;
pub use server::{Listeners, Site, serve};

/// Page and API. Made once; [`Web::apply`] brings new settings into force.
pub struct Web {
    shared: Arc<Shared>,
    /// Answers for aliases and health checks, and describes itself.
    api: BoxEndpoint<'static, Response>,
    counters: Counters,
}

/// What all requests share.
struct Shared {
    settings: Settings,
    ledger: Ledger,
    issuer: Issuer,
    pages: ArcSwap<Pages>,
    events: Events,
}

impl Web {
    /// Page and API for the aliases in `ledger`. A request keeps the settings that it began with.
    pub fn new(settings: Settings, ledger: Ledger, events: Events) -> Self {
        let config = settings.load_full();
        let shared = Arc::new(Shared {
            issuer: Issuer::new(&config, ledger.clone(), events.clone()),
            pages: ArcSwap::from_pointee(Pages::assemble(&Branding(&config))),
            settings,
            ledger,
            events,
        });
        Web { api: api::endpoint(shared.clone()).boxed(), shared, counters: Counters::default() }
    }

    /// Brings `config` into force for what is kept from request to request. Clients that have had an alias are
    /// remembered unless the interval changes; pages are made again when what they show changes.
    pub fn apply(&self, config: &Config) {
        self.shared.issuer.apply(config);
        let branding = Branding(config);
        if self.shared.pages.load().branding != branding.document() {
            self.shared.pages.store(Arc::new(Pages::assemble(&branding)));
        }
    }

    /// The lists of abused addresses, to be watched.
    pub fn lists(&self) -> &Lists {
        &self.shared.issuer.lists
    }

    /// Forgets the clients that may have an alias at once.
    pub fn forget_clients(&self) {
        self.shared.issuer.rate.forget();
    }

    /// What is counted here.
    pub fn metrics(&self) -> &Metrics {
        &self.counters.metrics
    }
}

impl Site for Web {
    async fn answer(&self, request: Request) -> Response {
        let start = Instant::now();
        let response = middleware::answer(request, self).await;
        self.counters.count(&response, start.elapsed());
        response
    }

    fn connection_limits(&self) -> ConnectionLimits {
        ConnectionLimits::new(&self.shared.settings.load().http)
    }

    fn is_proxy(&self, peer: IpAddr) -> bool {
        client::is_within(peer, &self.shared.settings.load().http.trusted_proxies)
    }
}

#[cfg(test)]
mod tests {
    use poem::http::{Method, StatusCode, header};

    use super::*;

    /// A web side whose API panics, and so does its issuer: it has no domain.
    fn broken(dir: &tempfile::TempDir) -> Web {
        let config = crate::config::parse(
            "test",
            "hostname = 'mx.demo.test'\ndomains = ['demo.test']\npostmaster = 'a@b.example'\n\
             smarthost.host = 'relay'\nhttp.jsonp = true",
            [],
        );
        let config = Config { domains: Vec::new(), ..config.unwrap() };
        let settings = Arc::new(ArcSwap::from_pointee(config));
        let web = Web::new(settings, Ledger::open(dir.path(), 6).unwrap(), Events::default());
        let panics = poem::endpoint::make_sync(|_| -> Response { panic!("on purpose") });
        Web { api: panics.boxed(), ..web }
    }

    #[tokio::test]
    async fn a_panic_anywhere_is_answered_with_all_headers() {
        let dir = tempfile::tempdir().unwrap();
        let web = broken(&dir);
        let alias = "target=hidden.person@mailbox.example&days=1";
        let to = |path: &str| Request::builder().uri_str(path).header(header::HOST, "demo.test");
        let form = || {
            let form = to("/aliases").method(Method::POST).header(header::CONTENT_LENGTH, alias.len());
            form.content_type("application/x-www-form-urlencoded")
        };
        for (request, kind, said) in [
            (to("/healthz").finish(), "application/json", r#""error":"server-error""#),
            (
                to(&format!("/aliases?callback=f&{alias}")).finish(),
                "application/json",
                r#""error":"server-error""#,
            ),
            (form().body(alias), "application/json", r#""error":"server-error""#),
            (form().header(header::ACCEPT, "text/html").body(alias), "text/html", "<h1"),
        ] {
            let response = web.answer(request).await;
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
            assert!(response.content_type().unwrap().starts_with(kind), "{response:?}");
            let body = response.into_body().into_string().await.unwrap();
            assert!(body.contains(said), "{body}");
        }
    }

    #[tokio::test]
    async fn pages_are_made_again_only_when_what_they_show_changes() {
        let dir = tempfile::tempdir().unwrap();
        let web = broken(&dir);
        let (before, mut config) = (web.shared.pages.load_full(), Config::clone(&web.shared.settings.load()));
        config.http.jsonp = false;
        web.apply(&config);
        assert!(Arc::ptr_eq(&before, &web.shared.pages.load()));
        config.http.name = "Other".into();
        web.apply(&config);
        assert!(!Arc::ptr_eq(&before, &web.shared.pages.load()));
    }
}
