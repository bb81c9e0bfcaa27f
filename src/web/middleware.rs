//! What all requests and answers have in common, around `routes`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use poem::http::uri::{Authority, Scheme};
use poem::http::{HeaderName, HeaderValue, Version, header};
use poem::{IntoResponse, Request, Response};

use super::Web;
use super::client::{Context, Forwarding};
use super::connections::OnlyHealthCheck;
use super::form;
use super::problem::Problem;
use super::routes::{self, CORS_HEADERS};
use crate::config::Config;

/// No answer takes longer than this, whatever the ledger does.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Octets of a request's head; browsers stay below 8 KiB.
pub const MAX_HEAD: usize = 16 * 1024;

/// Header fields of a request; browsers send some 20.
pub const MAX_FIELDS: usize = 100;

/// On every answer that does not set them itself. The page uses nothing but its own files, and nobody may
/// frame it, open it or load from it (<https://owasp.org/www-project-secure-headers/>).
const SECURITY_HEADERS: [(HeaderName, &str); 7] = [
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
    (header::CACHE_CONTROL, "no-store"),
];

/// A year, as browsers want it before they believe it.
const STRICT_TRANSPORT: &str = "max-age=31536000";

/// The answer to `request`, with the security headers, and those for other sites.
pub async fn answer(request: Request, web: &Web) -> Response {
    let config = web.shared.settings.load_full();
    let is_secure = *request.scheme() == Scheme::HTTPS
        || Forwarding::of(&request, &config.http.trusted_proxies).is_secure();
    let is_for_other_sites = routes::is_for_other_sites(&request);
    let mut response = answer_always(request, web, config).await;
    let headers = response.headers_mut();
    if is_for_other_sites {
        headers.extend(CORS_HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    }
    for (name, value) in SECURITY_HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if is_secure {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(STRICT_TRANSPORT));
    }
    response
}

/// Answers also when the code for it panics or takes too long.
async fn answer_always(request: Request, web: &Web, config: Arc<Config>) -> Response {
    let language = form::error_language(&request);
    // Boxed, since it is handed on from one future to the next.
    let work = Box::pin(AssertUnwindSafe(answer_within_limits(request, web, config)).catch_unwind());
    let problem = match tokio::time::timeout(ANSWER_WITHIN, work).await {
        Ok(Ok(result)) => return result.unwrap_or_else(Problem::into_response),
        Ok(Err(_)) => Problem::ServerError, // the panic itself has been logged
        Err(_) => {
            tracing::warn!("a web request took too long and was given up");
            Problem::Unavailable
        }
    };
    form::error(problem, language, &web.shared.pages.load())
}

/// Refuses a request whose head is too large or names no host, and on a reserved connection all but health
/// checks. Answers any other with the file or page at its path, or else by `routes`, which finds in the request's
/// data who asks and the settings that hold for it.
async fn answer_within_limits(
    mut request: Request,
    web: &Web,
    config: Arc<Config>,
) -> Result<Response, Problem> {
    if !names_its_host(&request) {
        return Err(Problem::BadHost);
    }
    if is_long(&request) {
        return Err(Problem::HeadTooLarge { fields: MAX_FIELDS, most: MAX_HEAD });
    }
    if request.data::<OnlyHealthCheck>().is_some() && !routes::is_health_check(request.uri().path()) {
        return Err(Problem::Unavailable);
    }
    let found = web.shared.pages.load().find(&request);
    if let Some(response) = found {
        return Ok(response);
    }
    let client = Forwarding::of(&request, &config.http.trusted_proxies).client();
    request.set_data(Context { client, config });
    routes::answer(request, web).await
}

/// RFC 9112 §3.2: HTTP/1.1 knows no request without its `Host`, and none with two.
fn names_its_host(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version() < Version::HTTP_11,
        (Some(host), None) => {
            Authority::try_from(host.as_bytes()).is_ok_and(|host| !host.as_str().contains('@'))
        }
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
