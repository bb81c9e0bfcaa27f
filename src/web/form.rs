//! The form without a script: the same request as for the API, answered with a plain page.

use poem::http::uri::Authority;
use poem::http::{Method, StatusCode, Uri, header};
use poem::web::Html;
use poem::{IntoResponse, Request, RequestBody, Response};

use super::client::Context;
use super::issuer::Issuer;
use super::messages::Language;
use super::pages::Pages;
use super::problem::Problem;
use super::schema::AliasView;
use super::{Shared, body};
use crate::config::Origin;

const CONTENT_TYPE: &str = "application/x-www-form-urlencoded";

/// An `Origin` that the browser does not tell (RFC 6454 §7.3).
const HIDDEN: &str = "null";

/// Where a limit has no value.
const NONE: &str = "–";

/// The language of the page that says what is wrong with `request`; none: JSON says it, to programs.
pub fn error_language(request: &Request) -> Option<Language> {
    (is_form(request) && prefers_html(request)).then(|| Language::of(request))
}

/// The answer that tells `problem`, on a page in `language` or else in JSON.
pub fn error(problem: Problem, language: Option<Language>, pages: &Pages) -> Response {
    let Some(language) = language else { return problem.into_response() };
    let why = pages.catalogues[language.name].sentence(&problem);
    let mut response = Html(pages.answer("refused", language, &[("why", &why)])).into_response();
    problem.describe(&mut response);
    response
}

/// Whether `request` comes from our form, rather than from a client of the API.
pub fn is_form(request: &Request) -> bool {
    let essence = request.content_type().and_then(|kind| kind.split(';').next()).map(str::trim);
    request.method() == Method::POST && essence.is_some_and(|kind| kind.eq_ignore_ascii_case(CONTENT_TYPE))
}

/// Whether `request` comes from a browser that shows what it gets.
pub fn prefers_html(request: &Request) -> bool {
    request.header(header::ACCEPT).is_some_and(|kinds| kinds.contains("text/html"))
}

/// The answer to `request`: a page with the alias, or what is wrong. The path says which language the visitor
/// has chosen, as for pages.
pub async fn answer(request: Request, shared: &Shared) -> Response {
    let (language, of_error) = (Language::of(&request), error_language(&request));
    let (request, mut body) = request.split();
    match submit(&request, &mut body, &shared.issuer).await {
        Ok(alias) => {
            let html = created(&alias, language, &shared.pages.load());
            Html(html).with_status(StatusCode::CREATED).into_response()
        }
        Err(problem) => error(problem, of_error, &shared.pages.load()),
    }
}

async fn submit(request: &Request, body: &mut RequestBody, issuer: &Issuer) -> Result<AliasView, Problem> {
    let context = Context::of(request);
    if is_foreign(request, context.config.http.public_url.as_ref()) {
        return Err(Problem::ForeignForm);
    }
    let octets = body::read(request, body).await?;
    if octets.starts_with(b"{") {
        return Err(Problem::NotJsonType); // JSON, from a client that forgot to say so
    }
    issuer.issue(body::from_pairs(form_urlencoded::parse(&octets))?, context, None).await
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
    // Without a port it may be any: proxies leave it out (nginx's `$host`).
    let asked =
        request.header(header::HOST).and_then(|host| host.parse().ok()).as_ref().map(HostPort::of_authority);
    let is_that_of_page =
        |own: HostPort| own.host == page.host && own.port.is_none_or(|port| page.port == Some(port));
    ![public, asked].into_iter().flatten().any(is_that_of_page)
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

    /// The dot at the end of a complete name is no part of it (RFC 3986 §3.2.2).
    fn of_authority(authority: &Authority) -> Self {
        let host = authority.host();
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        HostPort { host, port: authority.port_u16() }
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
