//! Formats of single values: `"30s"`, `"25 MiB"`, lists of addresses.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use jiff::SignedDuration;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

use crate::address::Mailbox;

/// RFC 1035 §4.2.
const DNS_PORT: u16 = 53;

/// A list, or one string with commas, which the environment needs.
#[derive(Deserialize)]
#[serde(untagged)]
enum Listed {
    Text(String),
    List(Vec<String>),
}

/// Octets, as a number or in words.
struct Size;

impl Visitor<'_> for Size {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size like \"25 MiB\" or a number of octets")
    }

    fn visit_i64<E: Error>(self, octets: i64) -> Result<u64, E> {
        in_range(octets)
    }

    fn visit_i128<E: Error>(self, octets: i128) -> Result<u64, E> {
        in_range(octets)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        let size = text.parse::<ByteSize>().map(|size| size.as_u64());
        size.map_err(|_| E::custom(format!("{text:?}: not a size like \"25 MiB\" or a number of octets")))
    }
}

/// A table only: serde would accept a list as the values in their order.
struct Section<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Section<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// Anything that is written as one string.
pub(super) fn parsed<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// Serializes an address whose `Display` hides it.
pub(super) fn mailbox<S: Serializer>(address: &Mailbox, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(address.as_str())
}

/// Several of them.
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    each(deserializer, |item| item.parse().map_err(|cause| format!("{item:?}: {cause}")))
}

/// Where to listen.
pub(super) fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    each(deserializer, |item| {
        item.parse()
            .map_err(|_| format!("{item:?}: not an address with a port, like 127.0.0.1:8080 or [::1]:8080"))
    })
}

/// A host. Brackets are around an IPv6 address where a port may follow, and in a Postfix's `relayhost` around a name
/// that is not looked up as a mail domain: a name never is, here.
pub(super) fn host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(unbracketed(&text).to_owned())
}

fn unbracketed(text: &str) -> &str {
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text)
}

/// Name servers: with a port or without.
pub(super) fn dns_servers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    each(deserializer, |item| {
        let alone = unbracketed(item).parse().map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT));
        let address = alone.or_else(|_| item.parse());
        address.map_err(|_| format!("{item:?}: not an address, like 127.0.0.1 or [::1]:5353"))
    })
}

/// A number of octets.
pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_any(Size)
}

/// A section.
pub(super) fn section<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_map(Section(PhantomData))
}

/// A count.
pub(super) fn whole<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i128>,
{
    let number = i128::deserialize(deserializer).map_err(|_| D::Error::custom("expected a whole number"))?;
    in_range(number)
}

/// A span of time, always with its unit.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let hint = "expected a duration like \"30s\", \"5m\" or \"1h 30m\"";
    let text = String::deserialize(deserializer).map_err(|_| D::Error::custom(hint))?;
    let duration = text.parse::<SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    duration.ok_or_else(|| D::Error::custom(format!("{text:?}: {hint}")))
}

fn in_range<N: Copy + Display, T: TryFrom<N>, E: Error>(number: N) -> Result<T, E> {
    T::try_from(number).map_err(|_| E::custom(format!("{number} is out of range")))
}

fn each<'de, D, T>(deserializer: D, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
{
    let listed = Listed::deserialize(deserializer);
    let items = match listed.map_err(|_| D::Error::custom("expected a list of strings"))? {
        Listed::List(items) => items,
        Listed::Text(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
    };
    items.iter().map(|item| parse(item).map_err(D::Error::custom)).collect()
}
