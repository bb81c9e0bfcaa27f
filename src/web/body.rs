//! Request bodies: small JSON objects, and forms and queries that say the same, read strictly.
//!
//! serde reads them into the types of `schema`. A misspelt or repeated field must not pass for a smaller
//! request, so unknown and duplicate fields are refused. No problem repeats a value: it may be an address.
//!
//! serde's own errors, and the path that `serde_path_to_error` adds, are no answer: they repeat values and
//! unknown names as they came. So the deserializer here, for one [`Field`], fails with a [`Problem`] that names the field; it also
//! reads the same types from a form, where a number is text.

use std::borrow::Cow;
use std::time::Duration;
use std::{fmt, iter};

use poem::error::ReadBodyError;
use poem::http::header;
use poem::{Request, RequestBody};
use poem_openapi::payload::{ParsePayload, Payload};
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use serde::de::value::MapDeserializer;
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;
use serde_json::error::Category;

use super::problem::Problem;

/// Octets of a body: four times what the largest useful one has.
const MAX_BODY: usize = 1024;

/// How long a client may take to send that.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Names of unknown fields are repeated when they look like names, and are no longer than this.
const MAX_FIELD_NAME: usize = 32;

/// A JSON body that has been read strictly. The schema for the document comes from [`Type`].
pub struct Strict<T>(pub T);

/// Reads the members of a JSON object, in their order, whether or not their names are different.
struct Members;

/// A field's name and value, for serde.
struct Field {
    name: String,
    value: Value,
    encoding: Encoding,
}

/// How a field has come.
#[derive(Clone, Copy)]
enum Encoding {
    Json,
    /// As in forms and queries: every value is text.
    Form,
}

impl<T: Type + DeserializeOwned> Payload for Strict<T> {
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

impl<T: Type + DeserializeOwned> ParsePayload for Strict<T> {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        Ok(Strict(from_json(&read(request, body).await?)?))
    }
}

poem_openapi::impl_apirequest_for_payload!(Strict<T>, T: Type + DeserializeOwned);

/// The whole body, if it is small and comes in time.
pub async fn read(request: &Request, body: &mut RequestBody) -> Result<Vec<u8>, Problem> {
    let too_large = Problem::BodyTooLarge { most: MAX_BODY };
    let headers = request.headers();
    match request.header(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length > MAX_BODY as u64 => return Err(too_large),
        None if !headers.contains_key(header::TRANSFER_ENCODING) => return Err(Problem::NoLength),
        _ => {}
    }
    let body = body.take().map_err(|_| Problem::ServerError)?;
    match tokio::time::timeout(BODY_WITHIN, body.into_bytes_limit(MAX_BODY)).await {
        Ok(Ok(octets)) => Ok(octets.into()),
        Ok(Err(ReadBodyError::PayloadTooLarge)) => Err(too_large),
        Ok(Err(_)) => Err(Problem::CutShort),
        Err(_) => Err(Problem::TooSlow),
    }
}

/// What a JSON object says.
fn from_json<T: DeserializeOwned>(octets: &[u8]) -> Result<T, Problem> {
    let text = str::from_utf8(octets).map_err(|_| Problem::NotUtf8)?;
    let mut json = serde_json::Deserializer::from_str(text);
    let members = json.deserialize_map(Members).and_then(|members| json.end().map(|()| members));
    let members = members.map_err(|cause| match cause.classify() {
        Category::Data => Problem::NotAnObject,
        _ => Problem::NotJson { line: cause.line(), column: cause.column() },
    })?;
    from_fields(members.into_iter(), Encoding::Json)
}

/// What a form or a query says. A field that was left empty is not there.
pub fn from_pairs<'a, T: DeserializeOwned>(
    pairs: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
) -> Result<T, Problem> {
    let given = pairs.filter(|(_, text)| !text.is_empty());
    from_fields(given.map(|(name, text)| (name.into(), Value::String(text.into()))), Encoding::Form)
}

fn from_fields<T: DeserializeOwned>(
    fields: impl Iterator<Item = (String, Value)>,
    encoding: Encoding,
) -> Result<T, Problem> {
    T::deserialize(MapDeserializer::new(
        fields.map(|(name, value)| (name.clone(), Field { name, value, encoding })),
    ))
}

impl Field {
    /// A whole number from 1 to `u32::MAX`.
    fn count(self) -> Result<u32, Problem> {
        let integer = match (self.encoding, &self.value) {
            (Encoding::Form, Value::String(text)) => text.parse::<i64>().ok().map(i128::from),
            (_, value) => value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from)),
        };
        let field = self.name;
        match integer.map(|integer| (integer, u32::try_from(integer))) {
            None => Err(Problem::NotWhole { field }),
            Some((..=0, _)) => Err(Problem::TooSmall { field }),
            Some((_, Err(_))) => Err(Problem::TooLarge { field }),
            Some((_, Ok(count))) => Ok(count),
        }
    }
}

impl<'de> Deserializer<'de> for Field {
    type Error = Problem;

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_u32(self.count()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.value.deserialize_string(visitor).map_err(|_| Problem::NotAString { field: self.name })
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.value.deserialize_bool(visitor).map_err(|_| Problem::NotABool { field: self.name })
    }

    /// The one newtype of the schema is `Instant`.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self.value).map_err(|_| Problem::NotAnInstant { field: self.name })
    }

    /// A field that is there has a value: `null` is none.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_some(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Problem> {
        Err(Problem::Malformed)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u64 u128 f32 f64 char str bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

impl IntoDeserializer<'_, Problem> for Field {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl de::Error for Problem {
    /// Not called: every type of the schema is read by a method above.
    fn custom<M: fmt::Display>(_: M) -> Self {
        Problem::Malformed
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        let known = known.join(", ");
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if (1..=MAX_FIELD_NAME).contains(&field.len()) && field.bytes().all(is_plain) {
            Problem::UnknownField { field: field.to_owned(), known }
        } else {
            Problem::UnnamedField { known }
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Problem::Missing { field: field.to_owned() }
    }

    fn duplicate_field(field: &'static str) -> Self {
        Problem::GivenTwice { field: field.to_owned() }
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        iter::from_fn(|| map.next_entry().transpose()).collect()
    }
}
