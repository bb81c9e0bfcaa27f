//! How many connections there may be at once. Each takes a descriptor, and the MX must not run out
//! of them because of the page.

use std::collections::VecDeque;
use std::future::pending;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::config::Http;
use crate::net::limits::{Full, Slot, Slots};

/// Connections beyond all limits at the same time. A health check needs one for milliseconds.
const RESERVED: usize = 32;

/// Limits of the number of connections.
pub struct ConnectionLimits {
    all: Arc<Slots>,
    of_clients: Arc<Slots>,
    /// The last that were reserved.
    reserved: Mutex<VecDeque<CancellationToken>>,
}

/// Lets one connection be; given back when it is dropped.
pub enum Permit {
    /// One that the configuration grants.
    Granted { _among_all: Slot, _of_client: Option<Slot> },
    /// One beyond all limits, for a health check. There is always one: [`RESERVED`] later ones displace it,
    /// so clients that take one and stay silent cannot keep it from those that ask at once.
    Reserved { displaced: CancellationToken },
}

/// Among the data of a request on a connection with a reserved permit: only a health check is answered, and the
/// connection ends with that.
#[derive(Clone, Copy)]
pub struct OnlyHealthCheck;

impl ConnectionLimits {
    /// Those of `config`.
    pub fn new(config: &Http) -> Self {
        ConnectionLimits {
            all: Slots::new(config.max_connections, 0),
            of_clients: Slots::new(0, config.max_connections_per_ip),
            reserved: Mutex::default(),
        }
    }

    /// A permit for a connection from `client`; `None`: from a proxy, which has no share because many
    /// clients are behind it.
    ///
    /// # Errors
    /// When there is none left.
    pub fn take(&self, client: Option<IpAddr>) -> Result<Permit, Full> {
        // The client's own limit comes first, so that the error names it also when all permits are taken.
        let of_client = client.map(|ip| self.of_clients.take(ip.into())).transpose()?;
        let among_all = self.all.take(client.unwrap_or(IpAddr::from([0, 0, 0, 0])).into())?;
        Ok(Permit::Granted { _among_all: among_all, _of_client: of_client })
    }

    /// A reserved permit, when there is no other.
    pub fn reserve(&self) -> Permit {
        // The list is whole whatever happened to the thread that held it.
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        if reserved.len() >= RESERVED
            && let Some(earliest) = reserved.pop_front()
        {
            earliest.cancel();
        }
        let displaced = CancellationToken::new();
        reserved.push_back(displaced.clone());
        Permit::Reserved { displaced }
    }
}

impl Permit {
    /// Whether the connection is beyond all limits.
    pub fn is_reserved(&self) -> bool {
        matches!(self, Permit::Reserved { .. })
    }

    /// Waits until a later reserved one has displaced it.
    pub async fn displaced(&self) {
        match self {
            Permit::Granted { .. } => pending().await,
            Permit::Reserved { displaced } => displaced.cancelled().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn limits(max_connections: usize, max_connections_per_ip: usize) -> ConnectionLimits {
        ConnectionLimits::new(&Http { max_connections, max_connections_per_ip, ..Http::default() })
    }

    fn take(limits: &ConnectionLimits, client: &str) -> Result<Permit, Full> {
        limits.take(Some(client.parse().unwrap()))
    }

    #[test]
    fn a_client_has_its_share_and_all_have_theirs() {
        let limits = limits(3, 2);
        let first = take(&limits, "192.0.2.1").unwrap();
        let _second = take(&limits, "::ffff:192.0.2.1").unwrap();
        assert_eq!(take(&limits, "192.0.2.1").err(), Some(Full::ForClient));
        let _other = take(&limits, "192.0.2.2").unwrap();
        assert_eq!(take(&limits, "192.0.2.2").err(), Some(Full::ForAll));
        assert_eq!(take(&limits, "192.0.2.3").err(), Some(Full::ForAll), "what was refused holds nothing");
        drop(first);
        assert!(take(&limits, "192.0.2.3").is_ok());
    }

    #[test]
    fn proxies_have_no_share_but_count_among_all() {
        let limits = limits(4, 1);
        let _proxies: Vec<_> = (0..4).map(|_| limits.take(None).unwrap()).collect();
        assert_eq!(limits.take(None).err(), Some(Full::ForAll));
    }

    #[test]
    fn a_reserved_permit_is_displaced_by_later_ones_only() {
        let limits = limits(1, 1);
        let is_displaced = |permit: &Permit| permit.displaced().now_or_never().is_some();
        let first = limits.reserve();
        let mut later: Vec<_> = (1..RESERVED).map(|_| limits.reserve()).collect();
        assert!(!is_displaced(&first));
        later.push(limits.reserve());
        assert!(is_displaced(&first) && !later.iter().any(is_displaced));
    }

    #[test]
    fn a_limit_of_0_is_none() {
        let limits = limits(0, 0);
        let permits: Vec<_> = (0..2000).map(|_| take(&limits, "192.0.2.1").unwrap()).collect();
        assert_eq!(permits.len(), 2000);
    }
}
