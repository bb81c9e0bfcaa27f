//! The form without a script: the same wish as for the API, answered with a plain page.

use poem::http::uri::Authority;
use poem::http::{HeaderValue, Method, StatusCode, Uri, header};
use poem::{IntoResponse, Request, RequestBody, Response};

use super::body::{self, Fields, FromFields};
use super::client::Client;
use super::issuer::Issuer;
use super::pages::{self, Language, Pages};
use super::problem::Problem;
use super::schema::{AliasRequest, AliasView};
use crate::config::Origin;

const CONTENT_TYPE: &str = "application/x-www-form-urlencoded";
const NUMBERS: [&str; 2] = ["days", "max-usage"];

/// An `Origin` that the browser does not tell (RFC 6454 §7.3).
const HIDDEN: &str = "null";

/// Where a limit has no value.
const NONE: &str = "–";

/// Whether `request` comes from our form, rather than from a client of the API. In the path it says
/// which language the visitor has chosen, as for pages.
pub fn is_form(request: &Request) -> bool {
    let essence = request.content_type().and_then(|kind| kind.split(';').next()).map(str::trim);
    request.method() == Method::POST
        && pages::is_place_of("aliases", request.uri().path())
        && essence.is_some_and(|kind| kind.eq_ignore_ascii_case(CONTENT_TYPE))
}

/// The answer to `request`: a page with the alias, or with what is wrong (for programs, which do
/// not ask for a page, as JSON).
pub async fn answer(
    request: Request,
    client: Client,
    issuer: &Issuer,
    pages: &Pages,
    ours: Option<&Origin>,
) -> Response {
    let language = Language::of(&request);
    let wants_page = request.header(header::ACCEPT).is_some_and(|kinds| kinds.contains("text/html"));
    let (request, mut body) = request.split();
    match submit(&request, &mut body, client, issuer, ours).await {
        Ok(alias) => page(StatusCode::CREATED, created(&alias, language, pages)),
        Err(problem) if !wants_page => problem.into_response(),
        Err(problem) => refused(&problem, language, pages),
    }
}

/// A page that says what is wrong, in the visitor's words.
pub fn refused(problem: &Problem, language: Language, pages: &Pages) -> Response {
    let why = problem.phrase().translated(|key| pages.text(language, key));
    let html = pages.answer("refused", language, &[("why", &why)]);
    let mut response = page(problem.status(), html);
    problem.mark(&mut response);
    if let Some(seconds) = problem.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

async fn submit(
    request: &Request,
    body: &mut RequestBody,
    client: Client,
    issuer: &Issuer,
    ours: Option<&Origin>,
) -> Result<AliasView, Problem> {
    if is_foreign(request, ours) {
        return Err(Problem::foreign_form());
    }
    let octets = body::read(request, body).await?;
    if octets.starts_with(b"{") {
        return Err(Problem::request_type()); // JSON, from a client that forgot to say so
    }
    let mut fields = Fields::from_pairs(&octets, AliasRequest::NAMES, &NUMBERS)?;
    issuer.issue(AliasRequest::from_fields(&mut fields)?, client, None).await
}

/// Whether something says that another site's page has sent the form. Browsers say so in
/// `Sec-Fetch-Site`, but over HTTPS only; otherwise in `Origin`, and in `Referer`. What is hidden
/// (`Origin: null`) or missing says nothing, and counts for nothing: our own page looks like that
/// when something between us and the browser has made its policy `no-referrer`. A page of another
/// site can hide itself in the same way, over plain HTTP. All it gets is what the API gives to any site.
fn is_foreign(request: &Request, ours: Option<&Origin>) -> bool {
    if let Some(site) = request.header("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let origin = request.header(header::ORIGIN).filter(|origin| *origin != HIDDEN);
    let Some(page) = origin.or_else(|| request.header(header::REFERER)) else { return false };
    let Some(page) = HostPort::of_url(page) else { return true };
    let public = ours.and_then(|ours| HostPort::of_url(ours.as_str()));
    let asked = request.header(header::HOST).and_then(HostPort::of_host);
    ![public, asked].into_iter().flatten().any(|own| own.is_that_of(&page))
}

/// A host, and its port where that is known.
struct HostPort {
    host: String,
    port: Option<u16>,
}

impl HostPort {
    /// Of an origin, or another URL.
    fn of_url(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let usual = match uri.scheme_str()? {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let authority = uri.authority()?;
        Some(HostPort { port: authority.port_u16().or(Some(usual)), ..HostPort::of_authority(authority) })
    }

    /// Of a `Host` field. Without a port it may be any: proxies leave it out (nginx's `$host`).
    fn of_host(host: &str) -> Option<Self> {
        Some(HostPort::of_authority(&host.parse().ok()?))
    }

    /// The dot at the end of a complete name is no part of it (RFC 3986 §3.2.2).
    fn of_authority(authority: &Authority) -> Self {
        let host = authority.host();
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        HostPort { host, port: authority.port_u16() }
    }

    fn is_that_of(&self, page: &HostPort) -> bool {
        self.host == page.host && self.port.is_none_or(|port| page.port == Some(port))
    }
}

fn created(alias: &AliasView, language: Language, pages: &Pages) -> String {
    let until = alias.valid_until.map(|until| until.0.strftime("%Y-%m-%d %H:%M UTC").to_string());
    let messages = alias.max_usage.map(|most| most.to_string());
    let values = [
        ("email", alias.email.as_str()),
        ("aid", &alias.aid),
        ("key", alias.updatekey.as_deref().unwrap_or_default()),
        ("until", until.as_deref().unwrap_or(NONE)),
        ("messages", messages.as_deref().unwrap_or(NONE)),
    ];
    pages.answer("created", language, &values)
}

fn page(status: StatusCode, html: String) -> Response {
    let mut response = Response::builder().status(status).content_type("text/html; charset=utf-8").body(html);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
