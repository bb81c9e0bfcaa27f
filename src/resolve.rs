//! Names to addresses, without the C library: it would load shared objects into the static binary.
//!
//! `/etc/hosts` is asked before the DNS, as `hosts: files dns` in nsswitch.conf(5) has it. Functions that
//! ask only the DNS say so.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::sync::OnceCell;

use crate::config::Dns;

/// Names that this machine knows without the DNS (hosts(5)).
const HOSTS: &str = "/etc/hosts";

/// Why the DNS gave no answer. "No such name" is an answer.
pub type ResolveError = NetError;

/// Asks the servers of the configuration, or those of `/etc/resolv.conf`, and caches the answers.
///
/// It is made when first needed, so that a machine without DNS can still reach a smarthost by its
/// address.
pub struct Resolver {
    servers: Vec<SocketAddr>,
    tune: fn(&mut ResolverOpts),
    dns: OnceCell<TokioResolver>,
}

impl Resolver {
    /// One for `config`; `tune` changes its default options.
    pub fn new(config: &Dns, tune: fn(&mut ResolverOpts)) -> Self {
        Resolver { servers: config.servers.clone(), tune, dns: OnceCell::new() }
    }

    /// All addresses of `host`, which may be an address itself, or a name in `/etc/hosts`. One that the
    /// file knows, if only for one address family, is not looked up in the DNS.
    ///
    /// # Errors
    /// When it is in neither the file nor the DNS.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Ok(address) = host.trim_matches(['[', ']']).parse() {
            return Ok(vec![address]);
        }
        // Read each time, as the C library does: container platforms change it at any time. Without the
        // file there is still the DNS.
        let hosts = fs::read(HOSTS).unwrap_or_default();
        let known = hosts_addresses(&String::from_utf8_lossy(&hosts), host);
        if !known.is_empty() {
            return Ok(known);
        }
        Ok(self.dns().await?.lookup_ip(host).await?.iter().collect())
    }

    /// The A records of `name`, which ends in a dot; aliases (CNAME) are followed. Without such a name the
    /// list is empty.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn a_records(&self, name: &str) -> Result<Vec<Ipv4Addr>, ResolveError> {
        self.records(name, RecordType::A, |data| if let RData::A(a) = data { Some(a.0) } else { None }).await
    }

    /// The addresses of `name` in the DNS, whatever `/etc/hosts` says.
    ///
    /// # Errors
    /// As [`Resolver::a_records`].
    pub async fn dns_addresses(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let mut found: Vec<IpAddr> = self.a_records(name).await?.into_iter().map(IpAddr::from).collect();
        let aaaa =
            |data: &RData| if let RData::AAAA(aaaa) = data { Some(IpAddr::from(aaaa.0)) } else { None };
        found.extend(self.records(name, RecordType::AAAA, aaaa).await?);
        Ok(found)
    }

    /// The hosts that take mail for `name`, the most preferred first.
    ///
    /// # Errors
    /// As [`Resolver::a_records`].
    pub async fn mail_exchangers(&self, name: &str) -> Result<Vec<String>, ResolveError> {
        let exchanger = |data: &RData| match data {
            RData::MX(mx) => Some((mx.preference, host(&mx.exchange))),
            _ => None,
        };
        let mut found = self.records(name, RecordType::MX, exchanger).await?;
        found.sort();
        Ok(found.into_iter().map(|(_, host)| host).collect())
    }

    /// The texts of `name`, each put together from its pieces (RFC 7208 §3.3).
    ///
    /// # Errors
    /// As [`Resolver::a_records`].
    pub async fn texts(&self, name: &str) -> Result<Vec<String>, ResolveError> {
        let text = |data: &RData| match data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        };
        self.records(name, RecordType::TXT, text).await
    }

    /// The names of `address` (PTR).
    ///
    /// # Errors
    /// As [`Resolver::a_records`].
    pub async fn names(&self, address: IpAddr) -> Result<Vec<String>, ResolveError> {
        let name = |data: &RData| if let RData::PTR(ptr) = data { Some(host(ptr)) } else { None };
        self.records(&Name::from(address).to_string(), RecordType::PTR, name).await
    }

    async fn records<T>(
        &self,
        name: &str,
        kind: RecordType,
        wanted: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, ResolveError> {
        match self.dns().await?.lookup(name, kind).await {
            Ok(lookup) => Ok(lookup.answers().iter().filter_map(|record| wanted(&record.data)).collect()),
            Err(cause) if cause.is_no_records_found() => Ok(Vec::new()),
            Err(cause) => Err(cause),
        }
    }

    /// Forgets the A records of `name`, so that the servers are asked again.
    pub fn forget(&self, name: &str) {
        if let Some(dns) = self.dns.get() {
            dns.clear_lookup_cache(name, RecordType::A);
        }
    }

    async fn dns(&self) -> Result<&TokioResolver, ResolveError> {
        self.dns.get_or_try_init(async || self.build()).await
    }

    fn build(&self) -> Result<TokioResolver, ResolveError> {
        let mut builder = match self.servers.as_slice() {
            [] => TokioResolver::builder_tokio()?,
            servers => {
                let servers = servers.iter().map(name_server).collect();
                let config = ResolverConfig::from_name_servers(servers);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        // hickory would read the file once, and ask the DNS for the address family that the file lacks.
        builder.options_mut().use_hosts_file = ResolveHosts::Never;
        (self.tune)(builder.options_mut());
        builder.build()
    }
}

/// The addresses that `hosts`, in the format of hosts(5), gives `name`, in the order of the file.
fn hosts_addresses(hosts: &str, name: &str) -> Vec<IpAddr> {
    let is_it = |host: &str| host.trim_end_matches('.').eq_ignore_ascii_case(name.trim_end_matches('.'));
    let address = |line: &str| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(is_it).then_some(address)
    };
    hosts.lines().filter_map(address).collect()
}

/// A host name in our form: lower case, without the trailing dot.
fn host(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(at_port);
    NameServerConfig::new(address.ip(), true, connections.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver() -> Resolver {
        Resolver::new(&Dns::default(), |_| {})
    }

    #[tokio::test]
    async fn an_address_needs_no_resolver() {
        for (host, address) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("[::1]", "::1")] {
            assert_eq!(resolver().addresses(host).await.unwrap(), [address.parse::<IpAddr>().unwrap()]);
        }
    }

    #[test]
    fn the_hosts_file_is_read_as_its_manual_says() {
        let hosts = "# 192.0.2.9 relay\n127.0.0.1\tlocalhost\n\n192.0.2.1  relay.test Relay. # other\r\n\
                     2001:db8::1 relay\nfe80::1%eth0 relay\nnonsense relay\n192.0.2.2\n192.0.2.1 relays";
        let addresses = |name| hosts_addresses(hosts, name).iter().map(IpAddr::to_string).collect::<Vec<_>>();
        assert_eq!(addresses("relay"), ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(addresses("RELAY.Test."), ["192.0.2.1"]);
        for unknown in ["other", "relay.test.example", "lay", "192.0.2.2", "#", ""] {
            assert_eq!(addresses(unknown), [""; 0], "{unknown}");
        }
    }

    #[tokio::test]
    async fn names_of_the_hosts_file_are_known() {
        assert!(resolver().addresses("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
    }
}
