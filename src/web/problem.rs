//! Problems: every way a request can fail, as `{"error": code, "description": sentence}`.
//!
//! The code is stable and for programs, the sentence for people. The cause, where there is more
//! to say than the client may know, goes to the log. Neither ever holds what was sent.

use std::marker::PhantomData;
use std::time::Duration;

use poem::error::ResponseError;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiResponse, Enum, Object};
use serde_json::Value;

use super::phrase::Phrase;
use crate::alias::LimitError;
use crate::ledger::LedgerError;

/// What the client may expect a transient failure to last, in seconds.
const RETRY_AFTER: u64 = 30;

/// Why a request failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", self.body.description)]
pub struct Problem {
    status: StatusCode,
    body: ProblemBody,
    phrase: Phrase,
    allow: Option<&'static str>,
    /// In seconds.
    retry_after: Option<u64>,
}

/// Every error is answered with this.
#[derive(Clone, Debug, Object)]
#[oai(rename = "Problem")]
struct ProblemBody {
    /// For programs.
    error: Code,
    /// For people: a sentence.
    description: String,
}

/// The codes are the original's; `not-found` and `foreign-form` are new.
#[derive(Clone, Copy, Debug, PartialEq, Enum)]
#[oai(rename = "ProblemCode", rename_all = "kebab-case")]
pub(super) enum Code {
    InvalidData,
    InvalidRequestType,
    InvalidContentLength,
    TooMuchData,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    RblCheckFailed,
    ForeignForm,
    ServerError,
}

impl Code {
    /// The codes as they are said, in their order.
    pub(super) const WORDS: [&str; 10] = [
        "invalid-data",
        "invalid-request-type",
        "invalid-content-length",
        "too-much-data",
        "method-not-allowed",
        "not-found",
        "rate-limited",
        "rbl-check-failed",
        "foreign-form",
        "server-error",
    ];
}

impl Problem {
    /// The request says something we cannot do; `why` becomes a sentence.
    pub fn invalid(why: impl Into<Phrase>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, Code::InvalidData, why)
    }

    /// The body is not said to be JSON.
    pub fn request_type() -> Self {
        let why = "the body must be JSON, with Content-Type: application/json";
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidRequestType, why)
    }

    /// Neither a length nor a chunked body.
    pub fn no_length() -> Self {
        let why = "the request needs a body, with its Content-Length";
        Problem::new(StatusCode::LENGTH_REQUIRED, Code::InvalidContentLength, why)
    }

    /// The body ended before its announced length.
    pub fn cut_short() -> Self {
        let why = "the body ended before its Content-Length";
        Problem::new(StatusCode::BAD_REQUEST, Code::InvalidContentLength, why)
    }

    /// The body did not arrive in time.
    pub fn too_slow() -> Self {
        let why = "the body did not arrive in time";
        Problem::new(StatusCode::REQUEST_TIMEOUT, Code::InvalidContentLength, why)
    }

    /// The body is larger than `most` octets.
    pub fn too_much(most: usize) -> Self {
        let why = Phrase::new("the body must not be larger than {most} bytes").with("most", most);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TooMuchData, why)
    }

    /// The request's head has more than `fields` header fields, or more than `most` octets.
    pub fn long_head(fields: usize, most: usize) -> Self {
        let why = Phrase::new("the header fields must be no more than {fields}, and {most} bytes");
        let why = why.with("fields", fields).with("most", most);
        Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Code::TooMuchData, why)
    }

    /// The resource has only the methods in `allow`.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let why = Phrase::new("possible methods here: {methods}").with("methods", allow);
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, Code::MethodNotAllowed, why);
        Problem { allow: Some(allow), ..problem }
    }

    /// No such page or alias, or not with this key: whoever guesses learns nothing.
    pub fn not_found() -> Self {
        let why = "there is no such page or alias, or the key does not fit";
        Problem::new(StatusCode::NOT_FOUND, Code::NotFound, why)
    }

    /// The client's key for repeated requests has come with another one.
    pub fn other_request() -> Self {
        let why = "this Idempotency-Key has been used for another request";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, Code::InvalidData, why)
    }

    /// The client had its share, and gets the next alias after `wait`.
    pub fn rate_limited(wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let why = Phrase::new("you have had an alias just now; the next one is possible in {seconds} s");
        let why = why.with("seconds", seconds);
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, Code::RateLimited, why);
        Problem { retry_after: Some(seconds), ..problem }
    }

    /// The client is on the DNS list `list`.
    pub fn listed(list: &str) -> Self {
        let why = Phrase::new("your network is on {list}, a list of abused addresses").with("list", list);
        Problem::new(StatusCode::FORBIDDEN, Code::RblCheckFailed, why)
    }

    /// The form was sent from somebody else's page.
    pub fn foreign_form() -> Self {
        let why = "this form can only be sent from our own page";
        Problem::new(StatusCode::FORBIDDEN, Code::ForeignForm, why)
    }

    /// It is our fault, and trying again will not help.
    pub fn server_error() -> Self {
        let why = "something went wrong on the server; it has been noted";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, Code::ServerError, why)
    }

    /// It is our fault, and will pass.
    pub fn unavailable() -> Self {
        let why = "the server cannot do this right now; please try again in a moment";
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, Code::ServerError, why);
        Problem { retry_after: Some(RETRY_AFTER), ..problem }
    }

    /// The HTTP status that goes with it.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The words of its description.
    pub fn phrase(&self) -> &Phrase {
        &self.phrase
    }

    /// Seconds to wait before another try, if that may help.
    pub fn retry_after(&self) -> Option<u64> {
        self.retry_after
    }

    /// Puts the code on a `response` that says it in other words, so that it is counted.
    pub fn mark(&self, response: &mut Response) {
        response.set_data(self.body.error);
    }

    /// The answer to what a route has failed with; poem's own conversion would lose the code.
    pub fn respond(error: poem::Error) -> Response {
        match error.downcast::<Problem>() {
            Ok(problem) => problem.into_response(),
            Err(other) => other.into_response(),
        }
    }

    /// What is in the answer's body.
    pub fn to_json(&self) -> Value {
        self.body.to_json().unwrap_or_default()
    }

    fn new(status: StatusCode, error: Code, why: impl Into<Phrase>) -> Self {
        let phrase = why.into();
        let body = ProblemBody { error, description: phrase.sentence() };
        Problem { status, body, phrase, allow: None, retry_after: None }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Json(self.to_json()).into_response();
        response.set_status(self.status);
        self.mark(&mut response);
        let headers = response.headers_mut();
        if let Some(methods) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl ResponseError for Problem {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn as_response(&self) -> Response {
        self.clone().into_response()
    }
}

impl From<LimitError> for Problem {
    fn from(why: LimitError) -> Self {
        Problem::invalid(why)
    }
}

impl From<LedgerError> for Problem {
    fn from(cause: LedgerError) -> Self {
        if cause.is_transient() {
            tracing::warn!(%cause, "a web request was put off");
            Problem::unavailable()
        } else {
            tracing::error!(%cause, "a web request failed");
            Problem::server_error()
        }
    }
}

/// A [`Problem`] of the operations `S`: the OpenAPI document lists the statuses of `S` for them.
pub struct Refused<S>(Problem, PhantomData<S>);

/// Which problems a kind of operation can have.
pub trait Statuses: Send + Sync + 'static {
    /// Status and when it is answered.
    const LIST: &'static [(u16, &'static str)];
}

impl<S: Statuses> ApiResponse for Refused<S> {
    fn meta() -> MetaResponses {
        let response = |&(status, description)| MetaResponse {
            description,
            status: Some(status),
            status_range: None,
            content: vec![MetaMediaType {
                content_type: Json::<ProblemBody>::CONTENT_TYPE,
                schema: ProblemBody::schema_ref(),
            }],
            headers: vec![],
        };
        MetaResponses { responses: S::LIST.iter().map(response).collect() }
    }

    fn register(registry: &mut Registry) {
        ProblemBody::register(registry);
    }
}

impl<S, E: Into<Problem>> From<E> for Refused<S> {
    fn from(problem: E) -> Self {
        Refused(problem.into(), PhantomData)
    }
}

impl<S> From<Refused<S>> for poem::Error {
    fn from(refused: Refused<S>) -> Self {
        refused.0.into()
    }
}

#[cfg(test)]
mod tests {
    use poem_openapi::types::ParseFromJSON;

    use super::*;

    #[test]
    fn every_code_is_counted_under_its_own_word() {
        let codes = Code::WORDS.map(|word| Code::parse_from_json(Some(word.into())).ok());
        for (index, code) in codes.into_iter().enumerate() {
            assert_eq!(code.map(|code| code as usize), Some(index), "{}", Code::WORDS[index]);
        }
        assert_eq!(Code::ServerError as usize + 1, Code::WORDS.len());
    }
}
