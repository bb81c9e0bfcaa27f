//! Combinations: values that are each well-formed, and yet cannot work together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::{Config, Http, Smarthost, Smtp, Tls};

/// The shortest names: 32^4 are a million, the least that is not guessed by trying.
const SHORTEST_NAME: usize = 4;

/// The longest first names: 80 bits, more than one would type.
const LONGEST_NAME: usize = 16;

/// In characters: more would not fit beside the menu.
const LONGEST_SITE_NAME: usize = 30;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The longest wait for the smarthost. Between the spending of a use and its refund lie a write
/// and the final answer; the purge keeps a used-up alias for an hour, so that no refund is lost.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);

/// The key to change, and why.
pub(super) struct Problem {
    pub(super) key: &'static str,
    pub(super) reason: String,
}

type Verdict = Result<(), Problem>;

/// Reports the first combination that cannot work.
pub(super) fn combinations(config: &Config) -> Verdict {
    domains(config)?;
    data_dir(config)?;
    listeners(config)?;
    http(&config.http)?;
    spans(config)?;
    limits(config)?;
    certificate(&config.smtp)?;
    smarthost(&config.smarthost)?;
    smarthost_is_somebody_else(config)
}

/// Checks the directory that the configuration names.
pub(super) fn surroundings(config: &Config) -> Verdict {
    let dir = &config.data_dir;
    match std::fs::metadata(dir) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => refuse("data_dir", format!("{} is not a directory", dir.display())),
        Err(cause) => refuse("data_dir", format!("{}: {cause}", dir.display())),
    }
}

fn refuse<T>(key: &'static str, reason: impl Into<String>) -> Result<T, Problem> {
    Err(Problem { key, reason: reason.into() })
}

fn domains(config: &Config) -> Verdict {
    if config.domains.is_empty() {
        return refuse("domains", "at least one domain is needed");
    }
    for (nth, domain) in config.domains.iter().enumerate() {
        if config.domains[..nth].contains(domain) {
            return refuse("domains", format!("{domain} is there twice"));
        }
    }
    if config.domains.iter().any(|domain| domain.as_str() == config.postmaster.domain()) {
        return refuse("postmaster", "must be outside our own domains: its mail would come back to us");
    }
    Ok(())
}

fn data_dir(config: &Config) -> Verdict {
    if !config.data_dir.is_absolute() {
        return refuse("data_dir", "must be an absolute path, beginning with /");
    }
    Ok(())
}

fn listeners(config: &Config) -> Verdict {
    let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
    for (key, listen) in [
        ("smtp.listen", &config.smtp.listen),
        ("http.listen", &config.http.listen),
        ("metrics.listen", &config.metrics.listen),
    ] {
        match key {
            "metrics.listen" => {}
            "http.listen" if listen.is_empty() && config.http.socket.is_none() => {
                return refuse(key, "at least one address is needed, or http.socket");
            }
            "smtp.listen" if listen.is_empty() => return refuse(key, "at least one address is needed"),
            _ => {}
        }
        for address in listen {
            match taken.iter().find(|(_, other)| clash(address, other)) {
                None => taken.push((key, *address)),
                Some(&(where_, other)) if (where_, other) == (key, *address) => {
                    return refuse(key, format!("{address} is there twice"));
                }
                Some((where_, other)) => {
                    return refuse(key, format!("{address} clashes with {other} in {where_}"));
                }
            }
        }
    }
    Ok(())
}

/// Whether only one of the two could be bound. Port 0 is a free one, another each time; an IPv6
/// listener takes no IPv4 (see [`crate::daemon`]).
fn clash(one: &SocketAddr, other: &SocketAddr) -> bool {
    one.port() == other.port()
        && one.port() != 0
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

fn http(http: &Http) -> Verdict {
    match (&http.tls_cert, &http.tls_key) {
        (Some(_), None) => return refuse("http.tls_cert", "needs http.tls_key"),
        (None, Some(_)) => return refuse("http.tls_key", "needs http.tls_cert"),
        _ => {}
    }
    if http.create_interval > DAY {
        return refuse("http.create_interval", "must be 24h at most");
    }
    if http.socket.as_ref().is_some_and(|path| !path.is_absolute()) {
        return refuse("http.socket", "must be an absolute path, beginning with /");
    }
    if http.name.trim().is_empty() || http.name.chars().count() > LONGEST_SITE_NAME {
        return refuse("http.name", format!("must have 1 to {LONGEST_SITE_NAME} characters"));
    }
    Ok(())
}

fn spans(config: &Config) -> Verdict {
    for (key, span) in [
        ("smtp.idle_timeout", config.smtp.idle_timeout),
        ("smtp.stress_timeout", config.smtp.stress_timeout),
        ("aliases.purge_interval", config.aliases.purge_interval),
    ] {
        if !(SECOND..=DAY).contains(&span) {
            return refuse(key, "must be 1s to 24h");
        }
    }
    let smarthost = &config.smarthost;
    for (key, span) in [
        ("smarthost.connect_timeout", smarthost.connect_timeout),
        ("smarthost.command_timeout", smarthost.command_timeout),
        ("smarthost.write_timeout", smarthost.write_timeout),
        ("smarthost.final_timeout", smarthost.final_timeout),
    ] {
        if !(SECOND..=LONGEST_WAIT).contains(&span) {
            return refuse(key, "must be 1s to 30m");
        }
    }
    Ok(())
}

fn limits(config: &Config) -> Verdict {
    let aliases = &config.aliases;
    if aliases.max_days == 0 {
        return refuse("aliases.max_days", "must be at least 1");
    }
    if aliases.max_usage == 0 {
        return refuse("aliases.max_usage", "must be at least 1");
    }
    if !(SHORTEST_NAME..=LONGEST_NAME).contains(&aliases.initial_length) {
        return refuse("aliases.initial_length", format!("must be {SHORTEST_NAME} to {LONGEST_NAME}"));
    }
    Ok(())
}

fn certificate(smtp: &Smtp) -> Verdict {
    match (&smtp.tls_cert, &smtp.tls_key) {
        (Some(_), None) => refuse("smtp.tls_cert", "needs smtp.tls_key"),
        (None, Some(_)) => refuse("smtp.tls_key", "needs smtp.tls_cert"),
        _ => Ok(()),
    }
}

fn smarthost(smarthost: &Smarthost) -> Verdict {
    if smarthost.host.is_empty() {
        return refuse("smarthost.host", "required, but missing");
    }
    if !is_host(&smarthost.host) {
        return refuse(
            "smarthost.host",
            format!("{:?}: not a host name or address (the port has its own key)", smarthost.host),
        );
    }
    if smarthost.port == 0 {
        return refuse("smarthost.port", "must be 1 to 65535");
    }
    match (&smarthost.username, &smarthost.password_file) {
        (Some(_), None) => return refuse("smarthost.username", "needs smarthost.password_file"),
        (None, Some(_)) => return refuse("smarthost.password_file", "needs smarthost.username"),
        (Some(username), _) if username.is_empty() => {
            return refuse("smarthost.username", "must not be empty");
        }
        _ => {}
    }
    let is_verified = matches!(smarthost.tls, Tls::Starttls | Tls::Implicit);
    if smarthost.username.is_some() && !is_verified && !is_loopback(&smarthost.host) {
        return refuse(
            "smarthost.tls",
            "must be \"starttls\" or \"implicit\" to send a password to another host",
        );
    }
    if smarthost.ca_file.is_some() && !is_verified {
        return refuse(
            "smarthost.ca_file",
            "has no effect unless smarthost.tls is \"starttls\" or \"implicit\"",
        );
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// An address, or what the DNS or a hosts file could know; a single label is fine.
fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    host.parse::<IpAddr>().is_ok()
        || (host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(is_label))
}

/// A message passed to our own MX would loop.
fn smarthost_is_somebody_else(config: &Config) -> Verdict {
    let Smarthost { host, port, .. } = &config.smarthost;
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let ips: Vec<IpAddr> = match host.as_str() {
        "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        host => host.parse().map(|ip: IpAddr| ip.to_canonical()).into_iter().collect(),
    };
    let is_us = |listener: &&SocketAddr| {
        let at_listener = |ip: &IpAddr| {
            let is_everywhere = listener.ip().is_unspecified() && listener.is_ipv4() == ip.is_ipv4();
            *ip == listener.ip() || is_everywhere && ip.is_loopback()
        };
        listener.port() == *port && (host == config.hostname.as_str() || ips.iter().any(at_listener))
    };
    match config.smtp.listen.iter().find(is_us) {
        Some(listener) => refuse(
            "smarthost.host",
            format!("{host} port {port} is our own smtp.listen {listener}: mail would loop"),
        ),
        None => Ok(()),
    }
}
