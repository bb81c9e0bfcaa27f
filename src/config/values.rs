//! How single values are written: `"30s"`, `"25 MiB"`, lists of addresses.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use jiff::SignedDuration;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// RFC 1035 §4.2.
const DNS_PORT: u16 = 53;

/// A list; one string with commas does too, for the environment's sake.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of strings")]
enum Listed {
    Text(String),
    List(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a size like \"25 MiB\" or a number of octets")]
enum Size {
    Octets(u64),
    Text(String),
}

/// Anything that is written as one string.
pub(super) fn parsed<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
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

/// Name servers: with a port or without.
pub(super) fn dns_servers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    each(deserializer, |item| {
        let address = item.parse().map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT)).or_else(|_| item.parse());
        address.map_err(|_| format!("{item:?}: not an address, like 127.0.0.1 or [::1]:5353"))
    })
}

/// A number of octets.
pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match Size::deserialize(deserializer)? {
        Size::Octets(octets) => Ok(octets),
        Size::Text(text) => match text.parse::<ByteSize>() {
            Ok(size) => Ok(size.as_u64()),
            Err(_) => {
                Err(D::Error::custom(format!("{text:?}: not a size like \"25 MiB\" or a number of octets")))
            }
        },
    }
}

/// A count.
pub(super) fn whole<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i64>,
{
    let number = i64::deserialize(deserializer).map_err(|_| D::Error::custom("expected a whole number"))?;
    T::try_from(number).map_err(|_| D::Error::custom(format!("{number} is out of range")))
}

/// A span of time, always with its unit: a bare number would leave open which.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let hint = "expected a duration like \"30s\", \"5m\" or \"1h 30m\"";
    let text = String::deserialize(deserializer).map_err(|_| D::Error::custom(hint))?;
    let duration = text.parse::<SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    duration.ok_or_else(|| D::Error::custom(format!("{text:?}: {hint}")))
}

fn each<'de, D, T>(deserializer: D, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
{
    let items = match Listed::deserialize(deserializer)? {
        Listed::List(items) => items,
        Listed::Text(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
    };
    items.iter().map(|item| parse(item).map_err(D::Error::custom)).collect()
}
