//! The form without a script: the same wish as for the API, answered with a plain page.

use poem::http::uri::Authority;
use poem::http::{HeaderValue, Method, StatusCode, header};
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
    if !is_from_our_page(request, ours) {
        return Err(Problem::foreign_form());
    }
    let octets = body::read(request, body).await?;
    if octets.starts_with(b"{") {
        return Err(Problem::request_type()); // JSON, from a client that forgot to say so
    }
    let mut fields = Fields::from_pairs(&octets, AliasRequest::NAMES, &NUMBERS)?;
    issuer.issue(AliasRequest::from_fields(&mut fields)?, client, None).await
}

/// Browsers say where a form comes from: in `Sec-Fetch-Site`, the older ones in `Origin`. Who says
/// neither is no browser that could be led here by another site.
fn is_from_our_page(request: &Request, ours: Option<&Origin>) -> bool {
    if let Some(site) = request.header("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = request.header(header::ORIGIN) else { return true };
    let host = request.header(header::HOST).and_then(|host| host.parse::<Authority>().ok());
    let asked = host.as_ref().map(Authority::as_str);
    ours.is_some_and(|ours| ours.as_str() == origin)
        || (asked.is_some() && origin.split_once("://").map(|(_, host)| host) == asked)
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
