//! Request bodies: small JSON objects, and forms that say the same, read strictly.
//!
//! A misspelt or repeated field must not pass for a smaller wish, so unknown and duplicate fields
//! are refused. The texts here name fields and never repeat values: a value may be somebody's
//! address.

use std::fmt;
use std::time::Duration;

use poem::error::ReadBodyError;
use poem::http::header;
use poem::{Request, RequestBody};
use poem_openapi::payload::{ParsePayload, Payload};
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

use super::phrase::Phrase;
use super::problem::Problem;
use crate::clock::{self, Timestamp};

/// Octets of a body: four times what the largest useful one has.
const MAX_BODY: usize = 1024;

/// How long a client may take to send that.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Names of unknown fields are repeated when they look like names, and are no longer than this.
const MAX_FIELD_NAME: usize = 32;

/// A request body that has been read strictly.
pub struct Strict<T>(pub T);

/// What can be read out of [`Fields`]. The schema for the document comes from [`Type`].
pub trait FromFields: Type + Sized {
    /// The fields it may have.
    const NAMES: &'static [&'static str];

    /// Takes what it needs.
    fn from_fields(fields: &mut Fields) -> Result<Self, Problem>;
}

/// The members of a JSON object, each at most once.
pub struct Fields(Vec<(String, Value)>);

impl<T: FromFields> Payload for Strict<T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn check_content_type(given: &str) -> bool {
        let essence = given.split(';').next().unwrap_or(given);
        essence.trim().eq_ignore_ascii_case(Self::CONTENT_TYPE)
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: FromFields> ParsePayload for Strict<T> {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        let octets = read(request, body).await?;
        let mut fields = Fields::parse(&octets, T::NAMES)?;
        Ok(Strict(T::from_fields(&mut fields)?))
    }
}

poem_openapi::impl_apirequest_for_payload!(Strict<T>, T: FromFields);

/// The whole body, if it is small and comes in time.
pub async fn read(request: &Request, body: &mut RequestBody) -> Result<Vec<u8>, Problem> {
    let headers = request.headers();
    match request.header(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length > MAX_BODY as u64 => return Err(Problem::too_much(MAX_BODY)),
        None if !headers.contains_key(header::TRANSFER_ENCODING) => return Err(Problem::no_length()),
        _ => {}
    }
    let body = body.take().map_err(|_| Problem::server_error())?;
    match tokio::time::timeout(BODY_WITHIN, body.into_bytes_limit(MAX_BODY)).await {
        Ok(Ok(octets)) => Ok(octets.into()),
        Ok(Err(ReadBodyError::PayloadTooLarge)) => Err(Problem::too_much(MAX_BODY)),
        Ok(Err(_)) => Err(Problem::cut_short()),
        Err(_) => Err(Problem::too_slow()),
    }
}

impl Fields {
    /// Reads a JSON object with no members but `known`.
    fn parse(octets: &[u8], known: &[&str]) -> Result<Self, Problem> {
        let text = str::from_utf8(octets).map_err(|_| Problem::invalid("the body is not valid UTF-8"))?;
        let fields: Fields = serde_json::from_str(text).map_err(|cause| match cause.classify() {
            Category::Data => Problem::invalid("the body must be a JSON object"),
            _ => {
                let why = Phrase::new("the body is not valid JSON (line {line}, column {column})");
                Problem::invalid(why.with("line", cause.line()).with("column", cause.column()))
            }
        })?;
        fields.check(known)?;
        Ok(fields)
    }

    /// Reads what a form or a query says with no fields but `known`. Their values are all texts:
    /// those of `numbers` are taken for numbers. A field that was left empty is not there.
    pub fn from_pairs(encoded: &[u8], known: &[&str], numbers: &[&str]) -> Result<Self, Problem> {
        let pairs = form_urlencoded::parse(encoded).filter(|(_, text)| !text.is_empty());
        let fields = Fields(
            pairs
                .map(|(name, text)| {
                    let number = text.parse::<i64>().ok().filter(|_| numbers.contains(&name.as_ref()));
                    let value = number.map_or_else(|| Value::String(text.into_owned()), Value::from);
                    (name.into_owned(), value)
                })
                .collect(),
        );
        fields.check(known)?;
        Ok(fields)
    }

    fn check(&self, known: &[&str]) -> Result<(), Problem> {
        for (index, (name, _)) in self.0.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let why = match looks_like_a_name(name) {
                    true => Phrase::new("unknown field {field}; known are {known}").with("field", name),
                    false => Phrase::new("unknown field; known are {known}"),
                };
                return Err(Problem::invalid(why.with("known", known.join(", "))));
            }
            if self.0[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(of_field("{field} is given twice", name));
            }
        }
        Ok(())
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let index = self.0.iter().position(|(field, _)| field == name)?;
        Some(self.0.swap_remove(index).1)
    }

    /// A string.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(of_field("{field} must be a string", name)),
        }
    }

    /// A whole number from 1 to `u32::MAX`.
    pub fn count(&mut self, name: &str) -> Result<Option<u32>, Problem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let integer = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
        match integer.map(u32::try_from) {
            Some(Ok(count)) if count > 0 => Ok(Some(count)),
            Some(Err(_)) if integer > Some(0) => Err(of_field("{field} is far too large", name)),
            Some(_) => Err(of_field("{field} must be at least 1", name)),
            None => {
                Err(of_field("{field} must be a whole number, without quotes, fraction or exponent", name))
            }
        }
    }

    /// An instant as in RFC 3339, cut to whole seconds.
    pub fn instant(&mut self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let instant = value.as_str().and_then(|text| text.parse().ok()).map(clock::floor);
        let wanted = "{field} must be an instant with its offset, like 2030-12-31T18:00:00Z";
        instant.map(Some).ok_or_else(|| of_field(wanted, name))
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(of_field("{field} must be true or false", name)),
        }
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

fn of_field(pattern: &'static str, name: &str) -> Problem {
    Problem::invalid(Phrase::new(pattern).with("field", name))
}

fn looks_like_a_name(text: &str) -> bool {
    (1..=MAX_FIELD_NAME).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
