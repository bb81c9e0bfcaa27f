//! All paths but those of pages and files, and what becomes of a request to `/aliases`.
//!
//! Every body is limited to 1 KiB, by `body`. Errors are told as JSON; to a browser that has sent a form, or
//! that has gone to a path that does not exist, as a page; to JSONP as a script.

use poem::http::{HeaderName, Method, StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response};

use super::messages::LANGUAGES;
use super::problem::Problem;
use super::{Web, form, jsonp};

/// Methods, as in `Allow` (RFC 9110 §10.2.1).
const READ_ONLY: &str = "GET, HEAD";
const OF_ALIASES: &str = "OPTIONS, POST";
const OF_ALIAS: &str = "DELETE, GET, HEAD, PATCH";

/// CORS (<https://fetch.spec.whatwg.org/#http-cors-protocol>), without credentials: there are none.
pub const CORS_HEADERS: [(HeaderName, &str); 5] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type, idempotency-key"),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "location, retry-after"),
    (header::ACCESS_CONTROL_MAX_AGE, "86400"),
];

/// The answer to `request`, whatever its path.
pub async fn answer(request: Request, web: &Web) -> Result<Response, Problem> {
    match request.uri().path() {
        "/aliases" => aliases(request, web).await,
        "/openapi.json" => call(request, web, READ_ONLY).await,
        path if is_health_check(path) => call(request, web, READ_ONLY).await,
        path if is_alias(path) => call(request, web, OF_ALIAS).await,
        // Where the form is sent by those who have chosen a language.
        path if is_localized_form(path) && form::is_form(&request) => {
            Ok(Box::pin(form::answer(request, &web.shared)).await)
        }
        // A page for browsers, a problem for programs.
        _ if form::prefers_html(&request) => Ok(web.shared.pages.load().not_found(&request)),
        _ => Err(Problem::NotFound),
    }
}

/// Whether it is answered also on a reserved connection.
pub fn is_health_check(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// Whether the answer has the [`CORS_HEADERS`]. Any page may ask for an alias: there is no session that it could
/// misuse.
pub fn is_for_other_sites(request: &Request) -> bool {
    request.uri().path() == "/aliases" && matches!(*request.method(), Method::POST | Method::OPTIONS)
}

/// `/aliases/AID`
fn is_alias(path: &str) -> bool {
    path.strip_prefix("/aliases/").is_some_and(|aid| !aid.is_empty() && !aid.contains('/'))
}

/// `/LANGUAGE/aliases`
fn is_localized_form(path: &str) -> bool {
    LANGUAGES.iter().any(|language| path == format!("/{language}/aliases"))
}

/// What the API answers; the resource has `methods`. The server leaves out the body of an answer to HEAD.
async fn call(mut request: Request, web: &Web, methods: &'static str) -> Result<Response, Problem> {
    if request.method() == Method::HEAD {
        request.set_method(Method::GET);
    }
    web.api.call(request).await.map_err(|error| Problem::from_poem(error, methods))
}

/// `/aliases`: an alias for the API, a form or JSONP.
async fn aliases(request: Request, web: &Web) -> Result<Response, Problem> {
    match *request.method() {
        Method::OPTIONS => Ok(StatusCode::NO_CONTENT.into_response()),
        // Boxed where it is large: most requests need neither.
        Method::POST if form::is_form(&request) => Ok(Box::pin(form::answer(request, &web.shared)).await),
        Method::POST => call(request, web, OF_ALIASES).await,
        Method::GET if jsonp::is_jsonp(&request) => Ok(Box::pin(jsonp::answer(request, &web.shared)).await),
        _ => Err(Problem::MethodNotAllowed { methods: OF_ALIASES }),
    }
}
