//! Problems: every way a request can fail, as `{"error": code, "description": sentence}`.
//!
//! The code is stable and for programs, the sentence for people; the page has sentences of its own
//! for them, in each language (`messages`). The cause, where there is more to say than the client may know,
//! goes to the log. Neither ever holds what was sent.

use std::marker::PhantomData;
use std::time::Duration;

use poem::error::ResponseError;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::error::ParsePathError;
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiResponse, Enum, Object};
use serde_json::Value;

use crate::address::{AddressError, NotOurs};
use crate::alias::LimitError;
use crate::config::TargetError;
use crate::ledger::LedgerError;
use crate::metrics::labels;

/// What the client may expect a transient failure to last, in seconds.
const RETRY_AFTER: u64 = 30;

/// Why a request failed. Its text is the API's sentence, without its capital and full stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    // The body.
    /// It is not said to be JSON.
    #[error("the body must be JSON, with Content-Type: application/json")]
    NotJsonType,
    /// Neither a length nor a chunked body.
    #[error("the request needs a body, with its Content-Length")]
    NoLength,
    /// It ended before its announced length.
    #[error("the body ended before its Content-Length")]
    CutShort,
    /// It did not arrive in time.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// It has more than `most` octets.
    #[error("the body must not be larger than {most} bytes")]
    BodyTooLarge { most: usize },
    #[error("the body is not valid UTF-8")]
    NotUtf8,
    #[error("the body is not valid JSON (line {line}, column {column})")]
    NotJson { line: usize, column: usize },
    #[error("the body must be a JSON object")]
    NotAnObject,

    // Its fields, and those of a form or a query.
    #[error("unknown field {field}; known are {known}")]
    UnknownField { field: String, known: String },
    /// Its name does not look like one, and is not repeated.
    #[error("unknown field; known are {known}")]
    UnnamedField { known: String },
    #[error("{field} is given twice")]
    GivenTwice { field: String },
    #[error("{field} is missing")]
    Missing { field: String },
    #[error("{field} must be a string")]
    NotAString { field: String },
    #[error("{field} must be true or false")]
    NotABool { field: String },
    #[error("{field} must be an instant with its offset, like 2030-12-31T18:00:00Z")]
    NotAnInstant { field: String },
    #[error("{field} must be a whole number, without quotes, fraction or exponent")]
    NotWhole { field: String },
    #[error("{field} must be at least 1")]
    TooSmall { field: String },
    #[error("{field} is far too large")]
    TooLarge { field: String },

    // What the fields say.
    /// The target is not an address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The target is an address that no alias may have.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The alias cannot have these limits.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The alias cannot have this domain.
    #[error(transparent)]
    Domain(#[from] NotOurs),

    // The rest of the request.
    #[error("an HTTP/1.1 request has one Host field, with a name and a port")]
    BadHost,
    /// More than `fields` header fields, or more than `most` octets.
    #[error("the header fields must be no more than {fields}, and {most} bytes")]
    HeadTooLarge { fields: usize, most: usize },
    #[error("the request is malformed")]
    Malformed,
    /// The resource has only the methods in `methods`.
    #[error("possible methods here: {methods}")]
    MethodNotAllowed { methods: &'static str },
    /// No such page or alias, or not with this key: one answer, so that guessing teaches nothing.
    #[error("there is no such page or alias, or the key does not fit")]
    NotFound,
    #[error("callback must be the name of a function")]
    BadCallback,
    #[error("Idempotency-Key must be 1 to {most} visible ASCII characters")]
    BadIdempotencyKey { most: usize },
    /// The `Idempotency-Key` has come with another request.
    #[error("this Idempotency-Key has been used for another request")]
    IdempotencyKeyUsed,

    // The client.
    /// It has had its share, and gets the next alias after this time.
    #[error("you have had an alias just now; the next one is possible in {seconds} s")]
    RateLimited { seconds: u64 },
    /// It is on the DNS list `list`.
    #[error("your network is on {list}, a list of abused addresses")]
    Listed { list: String },
    /// The form was sent from another site's page.
    #[error("this form can only be sent from our own page")]
    ForeignForm,

    // The server.
    /// It is our fault, and trying again will not help.
    #[error("something went wrong on the server; it has been noted")]
    ServerError,
    /// It is our fault, and will pass.
    #[error("the server cannot do this right now; please try again in a moment")]
    Unavailable,
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

labels! {
    /// The codes are the original's; `not-found` and `foreign-form` are new.
    #[derive(Clone, Copy, Debug, PartialEq, Enum)]
    #[oai(rename = "ProblemCode", rename_all = "kebab-case")]
    pub enum Code {
        InvalidData => "invalid-data",
        InvalidRequestType => "invalid-request-type",
        InvalidContentLength => "invalid-content-length",
        TooMuchData => "too-much-data",
        MethodNotAllowed => "method-not-allowed",
        NotFound => "not-found",
        RateLimited => "rate-limited",
        RblCheckFailed => "rbl-check-failed",
        ForeignForm => "foreign-form",
        ServerError => "server-error",
    }
}

impl Problem {
    /// The client has had its share, and gets the next alias after `wait`.
    pub fn rate_limited(wait: Duration) -> Self {
        Problem::RateLimited { seconds: wait.as_secs() + u64::from(wait.subsec_nanos() > 0) }
    }

    /// The problem in `error`, which poem or a handler returned; the resource has `methods`.
    pub fn from_poem(error: poem::Error, methods: &'static str) -> Self {
        match error.downcast::<Problem>() {
            Ok(problem) => problem,
            Err(other) => match other.status() {
                StatusCode::METHOD_NOT_ALLOWED => Problem::MethodNotAllowed { methods },
                StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::NotJsonType,
                StatusCode::BAD_REQUEST if !other.is::<ParsePathError>() => Problem::Malformed,
                status if status.is_client_error() => Problem::NotFound,
                _ => Problem::ServerError,
            },
        }
    }

    /// The HTTP status, and the code.
    fn class(&self) -> (StatusCode, Code) {
        match self {
            Problem::NotJsonType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidRequestType),
            Problem::NoLength => (StatusCode::LENGTH_REQUIRED, Code::InvalidContentLength),
            Problem::CutShort => (StatusCode::BAD_REQUEST, Code::InvalidContentLength),
            Problem::TooSlow => (StatusCode::REQUEST_TIMEOUT, Code::InvalidContentLength),
            Problem::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, Code::TooMuchData),
            Problem::HeadTooLarge { .. } => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Code::TooMuchData),
            Problem::MethodNotAllowed { .. } => (StatusCode::METHOD_NOT_ALLOWED, Code::MethodNotAllowed),
            Problem::NotFound => (StatusCode::NOT_FOUND, Code::NotFound),
            Problem::IdempotencyKeyUsed => (StatusCode::UNPROCESSABLE_ENTITY, Code::InvalidData),
            Problem::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, Code::RateLimited),
            Problem::Listed { .. } => (StatusCode::FORBIDDEN, Code::RblCheckFailed),
            Problem::ForeignForm => (StatusCode::FORBIDDEN, Code::ForeignForm),
            Problem::ServerError => (StatusCode::INTERNAL_SERVER_ERROR, Code::ServerError),
            Problem::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, Code::ServerError),
            Problem::NotUtf8
            | Problem::NotJson { .. }
            | Problem::NotAnObject
            | Problem::UnknownField { .. }
            | Problem::UnnamedField { .. }
            | Problem::GivenTwice { .. }
            | Problem::Missing { .. }
            | Problem::NotAString { .. }
            | Problem::NotABool { .. }
            | Problem::NotAnInstant { .. }
            | Problem::NotWhole { .. }
            | Problem::TooSmall { .. }
            | Problem::TooLarge { .. }
            | Problem::Address(_)
            | Problem::Target(_)
            | Problem::Limit(_)
            | Problem::Domain(_)
            | Problem::BadHost
            | Problem::Malformed
            | Problem::BadCallback
            | Problem::BadIdempotencyKey { .. } => (StatusCode::BAD_REQUEST, Code::InvalidData),
        }
    }

    /// The sentence, as the API says it.
    pub fn sentence(&self) -> String {
        let phrase = self.to_string();
        let mut letters = phrase.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).chain(['.']).collect()
    }

    /// What is in the body of the API's answer.
    pub fn to_json(&self) -> Value {
        let body = ProblemBody { error: self.class().1, description: self.sentence() };
        body.to_json().unwrap_or_default()
    }

    /// Puts the code on a `response` that says it in other words, so that it is counted.
    pub fn mark(&self, response: &mut Response) {
        response.set_data(self.class().1);
    }

    /// Makes a `response` with any body the answer to this problem: its status, its header fields, and its code.
    pub fn describe(&self, response: &mut Response) {
        response.set_status(self.class().0);
        self.mark(response);
        let headers = response.headers_mut();
        match self {
            Problem::MethodNotAllowed { methods } => {
                headers.insert(header::ALLOW, HeaderValue::from_static(methods))
            }
            Problem::RateLimited { seconds } => headers.insert(header::RETRY_AFTER, (*seconds).into()),
            Problem::Unavailable => headers.insert(header::RETRY_AFTER, RETRY_AFTER.into()),
            _ => None,
        };
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Json(self.to_json()).into_response();
        self.describe(&mut response);
        response
    }
}

impl ResponseError for Problem {
    fn status(&self) -> StatusCode {
        self.class().0
    }

    fn as_response(&self) -> Response {
        self.clone().into_response()
    }
}

impl From<LedgerError> for Problem {
    fn from(cause: LedgerError) -> Self {
        if cause.is_transient() {
            tracing::warn!(%cause, "a web request was put off");
            Problem::Unavailable
        } else {
            tracing::error!(%cause, "a web request failed");
            Problem::ServerError
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
    use crate::metrics::Label;

    #[test]
    fn every_code_is_counted_under_its_own_word() {
        for word in Code::VALUES {
            let code = Code::parse_from_json(Some((*word).into())).ok();
            assert_eq!(code.map(|code| code.as_str()), Some(*word));
        }
    }
}
