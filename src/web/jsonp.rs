//! JSONP, for pages of 2010: an alias by GET, as a script that calls back. Off unless the operator
//! switches it on: the real address is in a URL, and any page can create an alias by showing an
//! image.

use poem::http::HeaderValue;
use poem::{IntoResponse, Request, Response};
use poem_openapi::types::ToJSON;
use serde_json::Value;

use super::client::Context;
use super::issuer::Issuer;
use super::problem::Problem;
use super::{Shared, body};

/// Characters of a callback's name.
const MAX_CALLBACK: usize = 64;

/// Whether `request`, a GET of `/aliases`, asks for a script that calls back.
pub fn is_jsonp(request: &Request) -> bool {
    Context::of(request).config.http.jsonp && request.uri().query().is_some()
}

/// A script with the alias or the error. Its status is always 200: browsers run no other.
pub async fn answer(request: Request, shared: &Shared) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let pairs = form_urlencoded::parse(query.as_bytes());
    let mut callbacks = pairs.filter(|(name, _)| name == "callback").map(|(_, name)| name.into_owned());
    let callback = match (callbacks.next(), callbacks.next()) {
        (Some(callback), None) if is_callback(&callback) => callback,
        (_, Some(_)) => return Problem::GivenTwice { field: "callback".into() }.into_response(),
        _ => return Problem::BadCallback.into_response(),
    };
    let (answer, problem) = match create(query, Context::of(&request), &shared.issuer).await {
        Ok(alias) => (alias, None),
        Err(problem) => (problem.to_json(), Some(problem)),
    };
    // The comment keeps the name from being the first octets of the answer, where it could make
    // it look like another kind of file.
    let script = format!("/**/{callback}({});\n", harmless(&answer));
    let mut response = Response::builder().content_type("text/javascript; charset=utf-8").body(script);
    let policy = HeaderValue::from_static("cross-origin");
    response.headers_mut().insert("cross-origin-resource-policy", policy);
    if let Some(problem) = problem {
        problem.mark(&mut response);
    }
    response
}

async fn create(query: &str, context: &Context, issuer: &Issuer) -> Result<Value, Problem> {
    // `_` is what libraries add so that nothing is taken from a cache.
    let fields =
        form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "callback" && name != "_");
    let alias = issuer.issue(body::from_pairs(fields)?, context, None).await?;
    Ok(alias.to_json().unwrap_or_default())
}

/// A name, or names with dots between, and nothing that could be more than that.
fn is_callback(name: &str) -> bool {
    let is_name = |part: &str| {
        !part.is_empty()
            && !part.starts_with(|first: char| first.is_ascii_digit())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'$')
    };
    name.len() <= MAX_CALLBACK && name.split('.').all(is_name)
}

/// JSON that is also a script, wherever it stands.
fn harmless(answer: &Value) -> String {
    let json = answer.to_string();
    json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_is_a_name_and_nothing_else() {
        for name in ["f", "jQuery1234_5", "$", "a.b._c"] {
            assert!(is_callback(name), "{name}");
        }
        for name in ["", "1a", "a.", ".a", "a..b", "a(b", "alert(1)//", "a;b", "ä", "a b", &"a".repeat(65)] {
            assert!(!is_callback(name), "{name}");
        }
    }
}
