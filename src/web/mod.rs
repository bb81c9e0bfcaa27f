//! The web: page and API.
//!
//! `server` takes connections and bounds how long they may last, `room` how many there may be; `Web` turns every request into
//! an answer: `pages` (what is in `assets/`, served by `assets`), then `form` and `jsonp`, then `api`
//! (what may be done with aliases, `schema` being its words and `body` its strict reader), then a
//! `problem` (in words, its `phrase`). Nothing is left unanswered, and every answer carries the same security headers.
//! `exposition` is the operator's site, with the metrics.

mod api;
mod assets;
mod body;
mod client;
mod counters;
mod exposition;
mod form;
mod issuer;
mod jsonp;
mod look;
mod negotiation;
mod pages;
mod phrase;
mod problem;
mod room;
mod schema;
mod server;

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use poem::endpoint::BoxEndpoint;
use poem::http::uri::{Authority, Scheme};
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response};

use crate::config::{Config, Http};
use crate::dnsbl::Lists;
use crate::events::Events;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use client::{Client, Way};
pub use exposition::Exposition;
use issuer::Issuer;
use look::Look;
use pages::{Language, Pages};
use problem::Problem;
use room::Room;
pub(crate) use schema::AliasView;
use server::Reserved;
pub use server::{Doors, Site, serve};

/// No answer takes longer than this, whatever the ledger does.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Octets of a request's head; browsers stay below 8 KiB.
const MAX_HEAD: usize = 16 * 1024;

/// Header fields of a request; browsers send some 20.
const MAX_FIELDS: usize = 100;

/// On every answer. The page uses nothing but its own files, and nobody may frame it, open it or
/// load from it (<https://owasp.org/www-project-secure-headers/>).
const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'; form-action 'self'; manifest-src 'self'; base-uri 'none'; \
         frame-ancestors 'none'",
    ),
    // Other sites hear nothing. We have to hear where a form comes from: with `no-referrer` browsers
    // send it with `Origin: null` (<https://fetch.spec.whatwg.org/#append-a-request-origin-header>).
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "browsing-topics=(), camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// A year, as browsers want it before they believe it.
const STRICT_TRANSPORT: &str = "max-age=31536000";

/// What all requests share.
pub struct Web {
    pages: Arc<Pages>,
    /// What the pages were made with.
    look: String,
    issuer: Arc<Issuer>,
    routes: BoxEndpoint<'static, Response>,
    config: Http,
}

impl Web {
    /// The web side for `config`.
    pub fn new(config: &Config, ledger: Ledger, events: Events) -> Self {
        let issuer = Arc::new(Issuer::new(config, ledger.clone(), events));
        let look = Look(config).document();
        let pages = Arc::new(Pages::assemble(&Look(config)));
        Web::over(api::routes(config, ledger, issuer.clone()), config, issuer, (pages, look))
    }

    /// The same with another configuration; what it counts goes on.
    pub fn renewed(&self, config: &Config) -> Self {
        let issuer = Arc::new(self.issuer.renewed(config));
        let look = Look(config).document();
        let pages = match look == self.look {
            true => self.pages.clone(),
            false => Arc::new(Pages::assemble(&Look(config))),
        };
        let routes = api::routes(config, issuer.ledger().clone(), issuer.clone());
        Web::over(routes, config, issuer, (pages, look))
    }

    /// The lists of abused addresses, to be watched.
    pub fn lists(&self) -> &Lists {
        self.issuer.lists()
    }

    /// Forgets the clients of whom there is nothing to know.
    pub fn forget_clients(&self) {
        self.issuer.forget_clients();
    }

    fn over(
        routes: impl Endpoint<Output = Response> + 'static,
        config: &Config,
        issuer: Arc<Issuer>,
        (pages, look): (Arc<Pages>, String),
    ) -> Self {
        Web { pages, look, issuer, routes: routes.boxed(), config: config.http.clone() }
    }

    /// What is counted here.
    pub fn metrics(&self) -> &Metrics {
        &self.issuer.counters().metrics
    }

    async fn find_answer(&self, mut request: Request) -> Response {
        let asked = Asked::from(&request);
        let way = Way::of(&request, &self.config.trusted_proxies);
        let client = way.client();
        let is_secure = *request.scheme() == Scheme::HTTPS || way.is_secure();
        if request.method() == Method::HEAD {
            request.set_method(Method::GET); // the server leaves the body out by itself
        }
        request.set_data(client);
        // Boxed, since it is handed on from one future to the next.
        let work = Box::pin(self.respond(request, &asked, client));
        let mut response = self.in_any_case(&asked, work).await;
        let headers = response.headers_mut();
        if asked.may_come_from_other_sites() {
            allow_other_sites(headers);
        }
        for (name, value) in SECURITY_HEADERS {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
        if asked.is_opened_by_other_sites() {
            let policy = HeaderName::from_static("cross-origin-opener-policy");
            headers.insert(policy, HeaderValue::from_static("unsafe-none"));
        }
        if is_secure {
            let strict = HeaderValue::from_static(STRICT_TRANSPORT);
            headers.insert(header::STRICT_TRANSPORT_SECURITY, strict);
        }
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        response
    }

    /// The answer, without what all answers have in common.
    async fn respond(&self, request: Request, asked: &Asked, client: Client) -> Response {
        if !asked.names_its_host {
            return Problem::invalid("an HTTP/1.1 request has one Host field, with a name and a port")
                .into_response();
        }
        if is_long(&request) {
            return Problem::long_head(MAX_FIELDS, MAX_HEAD).into_response();
        }
        if request.data::<Reserved>().is_some() && !asked.is_health_check() {
            return Problem::unavailable().into_response();
        }
        if let Some(response) = self.pages.find(&request) {
            return response;
        }
        if asked.is_preflight() {
            return StatusCode::NO_CONTENT.into_response();
        }
        let response = self.work(request, asked, client).await;
        self.in_our_words(asked, response)
    }

    /// What `work` answers, or what we say when it panics or takes too long.
    async fn in_any_case(&self, asked: &Asked, work: impl Future<Output = Response>) -> Response {
        let problem = match tokio::time::timeout(ANSWER_WITHIN, AssertUnwindSafe(work).catch_unwind()).await {
            Ok(Ok(response)) => return response,
            Ok(Err(_)) => Problem::server_error(), // the panic itself has been told
            Err(_) => {
                tracing::warn!("a web request took too long and was given up");
                Problem::unavailable()
            }
        };
        match asked.prefers_html && asked.is_form {
            true => form::refused(&problem, asked.language, &self.pages),
            false => problem.into_response(),
        }
    }

    /// What is not a file. Boxed where it is large: most requests need neither, and each would have to
    /// carry the room for them.
    async fn work(&self, request: Request, asked: &Asked, client: Client) -> Response {
        if asked.is_form {
            let ours = self.config.public_url.as_ref();
            Box::pin(form::answer(request, client, &self.issuer, &self.pages, ours)).await
        } else if self.config.jsonp && asked.method == Method::GET && jsonp::is_jsonp(&request) {
            Box::pin(jsonp::answer(request, client, &self.issuer)).await
        } else {
            self.routes.call(request).await.unwrap_or_else(Problem::respond)
        }
    }

    /// `response`, or what we say instead of one that poem made: no route, no such method.
    fn in_our_words(&self, asked: &Asked, response: Response) -> Response {
        let status = response.status();
        let is_ours = response
            .content_type()
            .is_some_and(|kind| kind.starts_with("application/json") || kind.starts_with("text/html"));
        if is_ours || !(status.is_client_error() || status.is_server_error()) {
            return response;
        }
        match status {
            StatusCode::METHOD_NOT_ALLOWED => Problem::method_not_allowed(asked.allowed()).into_response(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::request_type().into_response(),
            StatusCode::BAD_REQUEST if asked.path == "/aliases" => {
                Problem::invalid("the request is malformed").into_response()
            }
            _ if status.is_server_error() => Problem::server_error().into_response(),
            _ if asked.prefers_html => self.pages.not_found(asked.language, asked.accepted.as_deref()),
            _ => Problem::not_found().into_response(),
        }
    }
}

impl Site for Web {
    async fn answer(&self, request: Request) -> Response {
        let start = Instant::now();
        let response = self.find_answer(request).await;
        self.issuer.counters().count(&response, start.elapsed());
        response
    }

    fn room(&self) -> Room {
        Room::new(&self.config)
    }

    fn is_proxy(&self, peer: IpAddr) -> bool {
        client::is_within(peer, &self.config.trusted_proxies)
    }
}

/// Another may take its place; a request keeps the one that it began with.
impl Site for ArcSwap<Web> {
    async fn answer(&self, request: Request) -> Response {
        self.load_full().answer(request).await
    }

    fn room(&self) -> Room {
        self.load().room()
    }

    fn is_proxy(&self, peer: IpAddr) -> bool {
        self.load().is_proxy(peer)
    }
}

/// What has to be known of a request when its answer is there.
struct Asked {
    method: Method,
    path: String,
    language: Language,
    prefers_html: bool,
    is_form: bool,
    /// `Accept-Encoding`.
    accepted: Option<String>,
    names_its_host: bool,
}

impl Asked {
    /// Anybody's page may create an alias: there is no session it could misuse.
    fn may_come_from_other_sites(&self) -> bool {
        self.path == "/aliases" && matches!(self.method, Method::POST | Method::OPTIONS)
    }

    /// The bookmarklet's window hands its alias back to the page that opened it, which a policy of
    /// ours would cut off. It shows nothing without a click of the visitor's.
    fn is_opened_by_other_sites(&self) -> bool {
        pages::is_place_of("fill", &self.path)
    }

    fn is_health_check(&self) -> bool {
        api::HEALTH_CHECKS.contains(&self.path.as_str())
    }

    fn is_preflight(&self) -> bool {
        self.path == "/aliases" && self.method == Method::OPTIONS
    }

    /// The methods of the requested resource (RFC 9110 §10.2.1).
    fn allowed(&self) -> &'static str {
        match self.path.strip_prefix("/aliases") {
            Some("") => "OPTIONS, POST",
            Some(_) => "DELETE, GET, HEAD, PATCH",
            None => "GET, HEAD",
        }
    }
}

impl From<&Request> for Asked {
    fn from(request: &Request) -> Self {
        Asked {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            language: Language::of(request),
            prefers_html: request.header(header::ACCEPT).is_some_and(|kinds| kinds.contains("text/html")),
            is_form: form::is_form(request),
            accepted: request.header(header::ACCEPT_ENCODING).map(str::to_owned),
            names_its_host: names_its_host(request),
        }
    }
}

/// RFC 9112 §3.2: HTTP/1.1 knows no request without its `Host`, and none with two.
fn names_its_host(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version() < Version::HTTP_11,
        (Some(host), None) => host
            .to_str()
            .is_ok_and(|host| host.parse::<Authority>().is_ok_and(|host| !host.as_str().contains('@'))),
        (Some(_), Some(_)) => false,
    }
}

/// Whether the head of `request` has more octets or fields than anybody needs.
fn is_long(request: &Request) -> bool {
    let fields = request.headers();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let octets = fields.iter().map(|(name, value)| name.as_str().len() + ": \r\n".len() + value.len());
    fields.len() > MAX_FIELDS || target + octets.sum::<usize>() > MAX_HEAD
}

/// CORS (<https://fetch.spec.whatwg.org/#http-cors-protocol>), without credentials: we have none.
fn allow_other_sites(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type, idempotency-key"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "location, retry-after"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A web side whose routes panic, and so does whatever hands out aliases: it has no domain.
    fn broken(dir: &tempfile::TempDir) -> Web {
        let config = crate::config::parse(
            "test",
            "hostname = 'mx.demo.test'\ndomains = ['demo.test']\npostmaster = 'a@b.example'\n\
             smarthost.host = 'relay'\nhttp.jsonp = true",
            [],
        );
        let config = Config { domains: Vec::new(), ..config.unwrap() };
        let issuer = Arc::new(Issuer::new(&config, Ledger::open(dir.path(), 6).unwrap(), Events::default()));
        let panics = poem::endpoint::make_sync(|_| -> Response { panic!("on purpose") });
        let pages = Arc::new(Pages::assemble(&Look(&config)));
        Web::over(panics, &config, issuer, (pages, String::new()))
    }

    #[tokio::test]
    async fn a_panic_anywhere_is_answered_with_all_headers() {
        let dir = tempfile::tempdir().unwrap();
        let web = broken(&dir);
        let wish = "target=hidden.person@mailbox.example&days=1";
        let to = |place: &str| Request::builder().uri_str(place).header(header::HOST, "demo.test");
        let form = || {
            let form = to("/aliases").method(Method::POST).header(header::CONTENT_LENGTH, wish.len());
            form.content_type("application/x-www-form-urlencoded")
        };
        for (request, kind, said) in [
            (to("/aliases").finish(), "application/json", r#""error":"server-error""#),
            (
                to(&format!("/aliases?callback=f&{wish}")).finish(),
                "application/json",
                r#""error":"server-error""#,
            ),
            (form().body(wish), "application/json", r#""error":"server-error""#),
            (form().header(header::ACCEPT, "text/html").body(wish), "text/html", "<h1"),
        ] {
            let response = web.answer(request).await;
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
            assert!(response.content_type().unwrap().starts_with(kind), "{response:?}");
            let body = response.into_body().into_string().await.unwrap();
            assert!(body.contains(said), "{body}");
        }
    }
}
