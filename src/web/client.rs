//! Who asks: the peer itself, or the client that a trusted proxy forwards for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use poem::http::{HeaderMap, HeaderName, header};
use poem::web::RemoteAddr;
use poem::{Addr, Request};

use crate::config::{Config, Network};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What a request has with it, put there by `middleware`.
#[derive(Clone)]
pub struct Context {
    /// Who asks; no address when the request came through a Unix socket from a proxy that does not say for whom.
    pub client: Option<IpAddr>,
    /// The settings in force when it began; they hold to its end.
    pub config: Arc<Config>,
}

impl Context {
    /// That of `request`.
    ///
    /// # Panics
    /// Outside the middleware.
    pub fn of(request: &Request) -> &Self {
        request.data().expect("the middleware has put it there")
    }
}

/// The peer of a request, and what its header fields say of those it forwards for.
pub struct Forwarding<'a> {
    peer: &'a RemoteAddr,
    headers: &'a HeaderMap,
    trusted: &'a [Network],
}

impl<'a> Forwarding<'a> {
    /// Of `request`; the networks in `trusted` are our proxies.
    pub fn of(request: &'a Request, trusted: &'a [Network]) -> Self {
        Forwarding { peer: request.remote_addr(), headers: request.headers(), trusted }
    }

    /// The right-most address that is not one of our proxies: anything further left may have been
    /// written by anybody. The header fields of a client that is no proxy mean nothing.
    ///
    /// Proxies add to `X-Forwarded-For`; `Forwarded` (RFC 7239) counts when there is none.
    pub fn client(&self) -> Option<IpAddr> {
        let mut nearest = self.peer_ip();
        if !self.is_from_proxy() {
            return nearest;
        }
        for hop in self.hops().iter().rev() {
            match address(hop) {
                Some(ip) if is_within(ip, self.trusted) => nearest = Some(ip),
                Some(ip) => return Some(ip),
                // Hidden or malformed: the chain is known as far as here.
                None => break,
            }
        }
        nearest
    }

    /// Whether the client has used TLS towards one of our proxies.
    pub fn is_secure(&self) -> bool {
        let scheme = self.headers.get("x-forwarded-proto");
        self.is_from_proxy() && scheme.is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"))
    }

    /// The peer of a Unix socket was let in by the file's permissions.
    fn is_from_proxy(&self) -> bool {
        self.peer_ip().is_none_or(|ip| is_within(ip, self.trusted))
    }

    fn peer_ip(&self) -> Option<IpAddr> {
        match &self.peer.0 {
            Addr::SocketAddr(peer) => Some(peer.ip().to_canonical()),
            _ => None,
        }
    }

    /// From the left to the right. Elements that are empty are ignored (RFC 9110 §5.6.1.2).
    fn hops(&self) -> Vec<String> {
        if self.headers.contains_key(X_FORWARDED_FOR) {
            self.elements(X_FORWARDED_FOR).collect()
        } else {
            self.elements(header::FORWARDED).map(|element| forwarded_for(&element)).collect()
        }
    }

    /// The elements of a field that is a list, on however many lines. An element that is no text spoils only
    /// itself: those beside it may be the proxy's.
    fn elements(&self, name: HeaderName) -> impl Iterator<Item = String> {
        let lines =
            self.headers.get_all(name).into_iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
        let elements =
            lines.flat_map(|line| line.split(',').map(|one| one.trim().to_owned()).collect::<Vec<_>>());
        elements.filter(|element| !element.is_empty())
    }
}

/// Whether `ip` is in one of `networks`.
pub fn is_within(ip: IpAddr, networks: &[Network]) -> bool {
    networks.iter().any(|network| network.contains(ip))
}

/// The `for` of an element of `Forwarded`, without its quotes.
fn forwarded_for(element: &str) -> String {
    let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let node = pairs.filter(|(name, _)| name.eq_ignore_ascii_case("for")).map(|(_, node)| node).next();
    node.unwrap_or_default().trim_matches('"').to_owned()
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop.trim_start_matches('[').trim_end_matches(']');
    let alone = bare.parse().ok();
    let ip = alone.or_else(|| hop.parse().ok().map(|with_port: SocketAddr| with_port.ip()));
    ip.map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> Option<String> {
        let trusted = ["10.0.0.0/8", "::1"].map(|network| network.parse().unwrap());
        let peer = RemoteAddr(match peer.parse::<SocketAddr>() {
            Ok(peer) => Addr::from(peer),
            Err(_) => Addr::custom("unix", ""),
        });
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let forwarding = Forwarding { peer: &peer, headers: &map, trusted: &trusted };
        forwarding.client().map(|ip| ip.to_string())
    }

    const XFF: &str = "x-forwarded-for";

    #[test]
    fn from_anybody_but_a_proxy_the_fields_mean_nothing() {
        let found = client("192.0.2.7:1", &[(XFF, "198.51.100.1"), ("forwarded", "for=198.51.100.1")]);
        assert_eq!(found.unwrap(), "192.0.2.7");
    }

    #[test]
    fn the_right_most_address_that_is_no_proxy_counts() {
        for (fields, found) in [
            (&[(XFF, "198.51.100.1")][..], "198.51.100.1"),
            (&[(XFF, "1.1.1.1, 198.51.100.1")], "198.51.100.1"),
            (&[(XFF, "1.1.1.1, 198.51.100.1, 10.9.9.9")], "198.51.100.1"),
            (&[(XFF, "1.1.1.1"), (XFF, "198.51.100.1, 10.9.9.9")], "198.51.100.1"),
            (&[(XFF, "10.1.1.1, 10.2.2.2")], "10.1.1.1"),
            (&[(XFF, "198.51.100.1:4711")], "198.51.100.1"),
            (&[(XFF, "[2001:db8::1]:4711")], "2001:db8::1"),
            (&[(XFF, "2001:db8::1")], "2001:db8::1"),
            (&[(XFF, "::ffff:198.51.100.1")], "198.51.100.1"),
            (&[(XFF, "198.51.100.1, unknown")], "10.0.0.1"),
            (&[(XFF, "198.51.100.1, unknown, 10.3.3.3")], "10.3.3.3"),
            (&[(XFF, "")], "10.0.0.1"),
            (&[(XFF, ""), ("forwarded", "for=1.1.1.1")], "10.0.0.1"),
            (&[(XFF, "1.1.1.1, 198.51.100.1,")], "198.51.100.1"),
            (&[(XFF, "1.1.1.1,, ,198.51.100.1, ,10.9.9.9,,")], "198.51.100.1"),
            (&[(XFF, ",198.51.100.1"), (XFF, "")], "198.51.100.1"),
            (&[(XFF, "1.1.1.1"), (XFF, "\u{e4}")], "10.0.0.1"),
            (&[(XFF, "1.1.1.1"), (XFF, "\u{e4}, 198.51.100.1")], "198.51.100.1"),
            (&[], "10.0.0.1"),
            (
                &[("forwarded", "for=1.1.1.1, for=\"[2001:db8::1]:80\";proto=https;by=10.0.0.1")],
                "2001:db8::1",
            ),
            (&[("forwarded", "proto=https;For=198.51.100.1")], "198.51.100.1"),
            (&[("forwarded", "for=_hidden")], "10.0.0.1"),
            (&[("forwarded", "for=1.1.1.1,, for=198.51.100.1 ,")], "198.51.100.1"),
            (&[("forwarded", "for=1.1.1.1, proto=https")], "10.0.0.1"),
            (&[("forwarded", "for=1.1.1.1"), (XFF, "198.51.100.1")], "198.51.100.1"),
        ] {
            assert_eq!(client("10.0.0.1:1", fields).unwrap(), found, "{fields:?}");
        }
    }

    #[test]
    fn behind_a_unix_socket_there_is_a_proxy() {
        assert_eq!(client("unix", &[(XFF, "198.51.100.1")]).unwrap(), "198.51.100.1");
        assert_eq!(client("unix", &[]), None);
    }
}
