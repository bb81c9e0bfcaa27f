//! The table of all paths but those of pages and files, and what becomes of a request to `/aliases`.
//!
//! Every body is limited to 1 KiB, by `body`. Errors are told as JSON; to a browser that has sent a form, or
//! that has gone to a path that does not exist, as a page; to JSONP as a script.

use std::sync::Arc;

use poem::http::{HeaderName, Method, StatusCode, header};
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response, Route};

use super::messages::LANGUAGES;
use super::problem::Problem;
use super::{Shared, form, jsonp};

/// Methods, as in `Allow` (RFC 9110 §10.2.1).
pub const READ_ONLY: &str = "GET, HEAD";
const OF_ALIASES: &str = "OPTIONS, POST";
const OF_ALIAS: &str = "DELETE, GET, HEAD, PATCH";

/// What is answered also on a reserved connection.
const HEALTH_CHECKS: [&str; 2] = ["/healthz", "/readyz"];

/// CORS (<https://fetch.spec.whatwg.org/#http-cors-protocol>), without credentials: there are none.
pub const CORS_HEADERS: [(HeaderName, &str); 5] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type, idempotency-key"),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "location, retry-after"),
    (header::ACCESS_CONTROL_MAX_AGE, "86400"),
];

/// Every path; `api` answers for the aliases and health checks, and `document` describes it.
pub fn table(
    shared: Arc<Shared>,
    api: impl Endpoint<Output = Response> + 'static,
    document: String,
) -> impl Endpoint<Output = Response> {
    let api = Arc::new(api);
    let of_api = |methods| api.clone().around(move |api, request| call(api, request, methods));
    let of_aliases = shared.clone();
    let document = poem::endpoint::make_sync(move |_| {
        Response::builder().content_type("application/json").body(document.clone())
    });
    let mut table = Route::new()
        .at("/aliases", api.clone().around(move |api, request| aliases(api, request, of_aliases.clone())))
        .at("/aliases/:aid", of_api(OF_ALIAS))
        .at(HEALTH_CHECKS[0], of_api(READ_ONLY))
        .at(HEALTH_CHECKS[1], of_api(READ_ONLY))
        .at("/openapi.json", poem::get(document).around(|next, request| call(next, request, READ_ONLY)));
    for language in LANGUAGES {
        let shared = shared.clone();
        table = table.at(
            format!("/{language}/aliases"),
            poem::endpoint::make(move |request| localized_form(request, shared.clone())),
        );
    }
    let not_found = poem::endpoint::make_sync(move |request| not_found(&request, &shared));
    table.at("/*path", not_found)
}

/// Whether it is answered also on a reserved connection.
pub fn is_health_check(path: &str) -> bool {
    HEALTH_CHECKS.contains(&path)
}

/// Whether the answer has the [`CORS_HEADERS`]. Any page may ask for an alias: there is no session that it could
/// misuse.
pub fn is_for_other_sites(request: &Request) -> bool {
    request.uri().path() == "/aliases" && matches!(*request.method(), Method::POST | Method::OPTIONS)
}

/// What `next` answers; it has `methods`. The server leaves out the body of an answer to HEAD.
async fn call(
    next: Arc<impl Endpoint<Output = Response>>,
    mut request: Request,
    methods: &'static str,
) -> poem::Result<Response> {
    if request.method() == Method::HEAD {
        request.set_method(Method::GET);
    }
    next.call(request).await.map_err(|error| Problem::from_poem(error, methods).into())
}

/// `/aliases`: an alias for the API, a form or JSONP.
async fn aliases(
    api: Arc<impl Endpoint<Output = Response>>,
    request: Request,
    shared: Arc<Shared>,
) -> poem::Result<Response> {
    match *request.method() {
        Method::OPTIONS => Ok(StatusCode::NO_CONTENT.into_response()),
        // Boxed where it is large: most requests need neither.
        Method::POST if form::is_form(&request) => Ok(Box::pin(form::answer(request, &shared)).await),
        Method::POST => call(api, request, OF_ALIASES).await,
        Method::GET if jsonp::is_jsonp(&request) => Ok(Box::pin(jsonp::answer(request, &shared)).await),
        _ => Err(Problem::MethodNotAllowed { methods: OF_ALIASES }.into()),
    }
}

/// `/LANGUAGE/aliases`: where the form is sent by those who have chosen a language.
async fn localized_form(request: Request, shared: Arc<Shared>) -> Response {
    if form::is_form(&request) { form::answer(request, &shared).await } else { not_found(&request, &shared) }
}

/// A page for browsers, a problem for programs.
fn not_found(request: &Request, shared: &Shared) -> Response {
    if form::prefers_html(request) {
        shared.pages.load().not_found(request)
    } else {
        Problem::NotFound.into_response()
    }
}
