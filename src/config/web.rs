//! Values of `[http]`: networks, origins, colours and links.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use poem::http::Uri;
use serde::{Deserialize, Serialize, Serializer};

use crate::address::Mailbox;

/// One address, or a network like `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

/// Scheme and host of a web site, with its port unless it is the usual one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct Origin(String);

/// `#rrggbb`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct Colour(String);

/// The address of a page: `https://example.com/imprint`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct Url(String);

/// A web address, or a mail address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct Link(String);

impl Network {
    /// Whether `ip` is in it; an IPv4 address may come in its IPv6 form.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip.to_canonical())
    }
}

impl Origin {
    /// As in the `Origin` header field (RFC 6454 §6.2).
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host alone, without its port.
    pub fn host(&self) -> &str {
        let (_, authority) = self.0.split_once("://").expect("it was read from a URL with a scheme");
        match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => host,
            _ => authority,
        }
    }
}

impl Colour {
    /// As in CSS.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Url {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Link {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let alone = || text.parse().map(|ip: IpAddr| IpNet::from(ip));
        let network = text.parse().or_else(|_| alone());
        network.map(Network).map_err(|_| "not an address or network, like 10.0.0.1 or 10.0.0.0/8")
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wanted = || format!("{text:?}: not a scheme and host, like https://alias.example.com");
        let uri: Uri = text.parse().map_err(|_| wanted())?;
        let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
        let host = uri.authority().filter(|host| !host.as_str().contains('@'));
        let (Some(scheme), Some(host)) = (scheme, host) else { return Err(wanted()) };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wanted());
        }
        let usual = if scheme == "https" { ":443" } else { ":80" };
        let host = host.as_str().to_ascii_lowercase();
        Ok(Origin(format!("{scheme}://{}", host.strip_suffix(usual).unwrap_or(&host))))
    }
}

impl TryFrom<String> for Colour {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.strip_prefix('#').unwrap_or_default();
        match digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            true => Ok(Colour(text)),
            false => Err(format!("{text:?}: not a colour like #c2410c")),
        }
    }
}

impl TryFrom<String> for Url {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match is_web(&text) {
            true => Ok(Url(text)),
            false => Err(format!("{text:?}: not a web address, like https://example.com/")),
        }
    }
}

impl TryFrom<String> for Link {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_mail = text.parse::<Mailbox>().is_ok();
        match is_mail || is_web(&text) {
            true => Ok(Link(text)),
            false => Err(format!("{text:?}: not a web or mail address")),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// It becomes a link on our page, so it must not be a script.
fn is_web(text: &str) -> bool {
    let has_scheme = text.starts_with("https://") || text.starts_with("http://");
    has_scheme && text.parse::<Uri>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_or_has_a_length() {
        let contains =
            |network: &str, ip: &str| network.parse::<Network>().unwrap().contains(ip.parse().unwrap());
        assert!(contains("10.0.0.0/8", "10.1.2.3") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("192.0.2.1", "192.0.2.1") && !contains("192.0.2.1", "192.0.2.2"));
        assert!(contains("127.0.0.1", "::ffff:127.0.0.1"));
        assert!(contains("2001:db8::/32", "2001:db8:1::1"));
        for text in ["", "10.0.0.0/33", "localhost", "10.0.0"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_nothing_else() {
        let origin = |text: &str| Origin::try_from(text.to_owned()).map(|origin| origin.0);
        assert_eq!(origin("https://Alias.Example.com/").unwrap(), "https://alias.example.com");
        assert_eq!(origin("https://a.example:443").unwrap(), "https://a.example");
        assert_eq!(origin("http://a.example:8080").unwrap(), "http://a.example:8080");
        for text in ["a.example", "https://", "https://a.example/x", "ftp://a.example", "https://u@a.example"]
        {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn colours_and_links_cannot_smuggle_anything_into_the_page() {
        for text in ["red", "#12", "#12345g", "#c2410c;"] {
            assert!(Colour::try_from(text.to_owned()).is_err(), "{text}");
        }
        for text in ["javascript:alert(1)", "//else.example", "data:text/html,x", "https://a b"] {
            assert!(Link::try_from(text.to_owned()).is_err(), "{text}");
            assert!(Url::try_from(text.to_owned()).is_err(), "{text}");
        }
        for text in ["https://example.com/imprint", "abuse@example.com"] {
            assert!(Link::try_from(text.to_owned()).is_ok(), "{text}");
        }
        assert!(Url::try_from("http://example.com/imprint".to_owned()).is_ok());
        assert!(Url::try_from("abuse@example.com".to_owned()).is_err());
    }
}
