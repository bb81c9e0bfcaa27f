//! The words of the API: what goes in and what comes out, as the OpenAPI document describes it.
//!
//! The original took `max-usage` and answered `max_usage`; its clients rely on both.

use std::borrow::Cow;

use poem_openapi::Object;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::alias::{Alias, Clamped, LimitRequest};
use crate::clock::{self, Timestamp};

/// What somebody who wants an alias asks for. At least one of `days`, `valid-until` and `max-usage`
/// is needed; more than the operator grants is cut to that.
#[derive(Object, Deserialize)]
#[oai(deny_unknown_fields, rename_all = "kebab-case")]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AliasRequest {
    /// The real address, where messages go. Must not be in one of this service's domains, nor forbidden by the
    /// operator.
    #[oai(validator(max_length = 254))]
    pub target: String,
    /// How many days it forwards, counted from `valid-from`; the operator usually grants 60.
    #[oai(validator(minimum(value = "1")))]
    pub days: Option<u32>,
    /// How many messages it forwards; the operator usually grants 100.
    #[oai(validator(minimum(value = "1")))]
    pub max_usage: Option<u32>,
    /// When it starts to forward; at once, if not given or past.
    pub valid_from: Option<Instant>,
    /// When it stops, instead of `days`.
    pub valid_until: Option<Instant>,
    /// One of our domains; the first, if not given.
    pub domain: Option<String>,
}

/// What its holder wants to change about an alias; what is not named stays as it is.
#[derive(Object, Deserialize)]
#[oai(deny_unknown_fields, rename_all = "kebab-case")]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AliasChange {
    /// It stops so many days from now (or from `valid_from`, while that lies ahead).
    #[oai(validator(minimum(value = "1")))]
    pub days: Option<u32>,
    /// It stops at this instant; instead of `days`.
    pub valid_until: Option<Instant>,
    /// So many messages in all, those already forwarded included.
    #[oai(validator(minimum(value = "1")))]
    pub max_usage: Option<u32>,
    /// `true`: refuse all messages until further notice. `false`: forward again, also after
    /// the alias has been suspended because its target bounced.
    pub paused: Option<bool>,
}

/// An alias, for its holder.
#[derive(Object)]
#[oai(rename = "Alias")]
pub struct AliasView {
    /// Its name: the part before the @.
    pub aid: String,
    /// The whole address, to be given away.
    pub email: String,
    /// The part after the @.
    pub domain: String,
    /// The real address.
    pub target: String,
    /// `active`, `pending` (has not started), `used-up`, `paused` (by its holder) or `suspended`
    /// (by us: its target bounced several times in a row).
    pub state: String,
    /// When it starts to forward.
    pub valid_from: Instant,
    /// When it stops; `null`: not limited in time.
    #[oai(nullable)]
    pub valid_until: Option<Instant>,
    /// Days between the two, rounded up.
    #[oai(nullable)]
    pub days: Option<u32>,
    /// How many messages it forwards in all; `null`: not limited in number.
    #[oai(nullable)]
    pub max_usage: Option<u32>,
    /// Messages forwarded so far.
    pub used: u32,
    /// Messages it will still forward; `null`: not limited in number.
    #[oai(nullable)]
    pub usage_left: Option<u32>,
    /// Switched off by its holder.
    pub paused: bool,
    /// Messages in a row that its target has bounced.
    pub bounces: u32,
    /// The server's clock.
    #[oai(rename = "currentDate")]
    pub current_date: Instant,
    /// Fields of the request that were cut to what the operator grants.
    pub clamped: Vec<String>,
    /// The key to look at, change and revoke the alias. Only in the answer to its creation:
    /// it is not stored.
    #[oai(skip_serializing_if_is_none)]
    pub updatekey: Option<String>,
}

/// An instant; in JSON as in RFC 3339, read to the whole second and answered in UTC.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Instant(#[serde(deserialize_with = "to_the_second")] pub Timestamp);

impl AliasRequest {
    /// The limits that are asked for.
    pub fn limits(&self) -> LimitRequest {
        LimitRequest {
            days: self.days,
            valid_from: self.valid_from.map(|instant| instant.0),
            valid_until: self.valid_until.map(|instant| instant.0),
            max_usage: self.max_usage,
        }
    }

    /// All that is asked for: the same for the same request, and another for any other.
    pub fn fingerprint(&self) -> String {
        let AliasRequest { target, days, max_usage, valid_from, valid_until, domain } = self;
        let instants = [valid_from, valid_until].map(|instant| instant.map(|instant| instant.0));
        format!("{target:?} {domain:?} {days:?} {max_usage:?} {instants:?}")
    }
}

impl AliasChange {
    /// The limits that are asked for.
    pub fn limits(&self) -> LimitRequest {
        LimitRequest {
            days: self.days,
            valid_from: None,
            valid_until: self.valid_until.map(|instant| instant.0),
            max_usage: self.max_usage,
        }
    }
}

impl AliasView {
    /// `alias` at `now`, as its holder may see it; `clamped` are the fields of the request that were cut.
    pub fn new(alias: &Alias, now: Timestamp, clamped: &[Clamped]) -> Self {
        AliasView {
            aid: alias.name.to_string(),
            email: alias.address(),
            domain: alias.domain.to_string(),
            target: alias.target.as_str().to_owned(),
            state: alias.state(now).as_str().to_owned(),
            valid_from: Instant(alias.limits.valid_from),
            valid_until: alias.limits.valid_until.map(Instant),
            days: alias.limits.days(),
            max_usage: alias.limits.max_usage,
            used: alias.used,
            usage_left: alias.uses_left(),
            paused: alias.paused,
            bounces: alias.bounces,
            current_date: Instant(now),
            clamped: clamped.iter().map(|field| field.field().to_owned()).collect(),
            updatekey: None,
        }
    }
}

impl Type for Instant {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "string_date-time".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", "date-time")))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ToJSON for Instant {
    fn to_json(&self) -> Option<Value> {
        Some(Value::String(self.0.to_string()))
    }
}

impl ParseFromJSON for Instant {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        Instant::deserialize(value.unwrap_or_default()).map_err(ParseError::custom)
    }
}

fn to_the_second<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    Timestamp::deserialize(deserializer).map(clock::floor)
}
