//! Host names to addresses, without the C library: it would load shared objects into the static
//! binary.

use std::net::IpAddr;

use hickory_resolver::TokioResolver;
use tokio::sync::OnceCell;

use super::RelayError;

/// Asks the servers of `/etc/resolv.conf`, after `/etc/hosts`; made when first needed, so that a
/// machine without DNS can still reach a smarthost by its address.
#[derive(Default)]
pub(super) struct Resolver {
    dns: OnceCell<TokioResolver>,
}

impl Resolver {
    /// All addresses of `host`, which may be an address itself.
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, RelayError> {
        if let Ok(address) = host.trim_matches(['[', ']']).parse() {
            return Ok(vec![address]);
        }
        let failed = |cause| RelayError::Failed(format!("resolving {host}: {cause}"));
        let dns = self
            .dns
            .get_or_try_init(async || TokioResolver::builder_tokio()?.build())
            .await
            .map_err(failed)?;
        Ok(dns.lookup_ip(host).await.map_err(failed)?.iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_needs_no_resolver() {
        let resolver = Resolver::default();
        for (host, address) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("[::1]", "::1")] {
            assert_eq!(resolver.addresses(host).await.unwrap(), [address.parse::<IpAddr>().unwrap()]);
        }
    }

    #[tokio::test]
    async fn names_of_the_hosts_file_are_known() {
        assert!(Resolver::default().addresses("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
    }
}
