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

/// Room for connections.
pub struct Room {
    all: Arc<Slots>,
    of_clients: Arc<Slots>,
    /// The last that were reserved.
    reserved: Mutex<VecDeque<CancellationToken>>,
}

/// The place of a connection; free again when it is dropped.
pub enum Place {
    /// One that the configuration grants.
    Granted { _among_all: Slot, _of_client: Option<Slot> },
    /// One beyond all limits, for a health check. There is always one: [`RESERVED`] later ones displace it,
    /// so those who take one and say nothing cannot keep it from those who ask at once.
    Reserved { displaced: CancellationToken },
}

impl Room {
    /// As much as `config` grants.
    pub fn new(config: &Http) -> Self {
        Room {
            all: Slots::new(config.max_connections, 0),
            of_clients: Slots::new(0, config.max_connections_per_ip),
            reserved: Mutex::default(),
        }
    }

    /// A place for a connection from `client`; none: from a proxy, which has no share because many
    /// clients are behind it.
    ///
    /// # Errors
    /// When there is none left.
    pub fn take(&self, client: Option<IpAddr>) -> Result<Place, Full> {
        // A client that has its share is told so also when there is no room for anybody.
        let of_client = client.map(|ip| self.of_clients.take(ip.into())).transpose()?;
        let among_all = self.all.take(client.unwrap_or(IpAddr::from([0, 0, 0, 0])).into())?;
        Ok(Place::Granted { _among_all: among_all, _of_client: of_client })
    }

    /// A reserved place, when there is no other.
    pub fn reserve(&self) -> Place {
        // The list is whole whatever happened to the thread that held it.
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        if reserved.len() >= RESERVED
            && let Some(earliest) = reserved.pop_front()
        {
            earliest.cancel();
        }
        let displaced = CancellationToken::new();
        reserved.push_back(displaced.clone());
        Place::Reserved { displaced }
    }
}

impl Place {
    /// Whether it is for a health check only.
    pub fn is_reserved(&self) -> bool {
        matches!(self, Place::Reserved { .. })
    }

    /// Waits until others have taken it.
    pub async fn lost(&self) {
        match self {
            Place::Granted { .. } => pending().await,
            Place::Reserved { displaced } => displaced.cancelled().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn room(max_connections: usize, max_connections_per_ip: usize) -> Room {
        Room::new(&Http { max_connections, max_connections_per_ip, ..Http::default() })
    }

    fn take(room: &Room, client: &str) -> Result<Place, Full> {
        room.take(Some(client.parse().unwrap()))
    }

    #[test]
    fn a_client_has_its_share_and_all_have_theirs() {
        let room = room(3, 2);
        let first = take(&room, "192.0.2.1").unwrap();
        let _second = take(&room, "::ffff:192.0.2.1").unwrap();
        assert_eq!(take(&room, "192.0.2.1").err(), Some(Full::ForClient));
        let _other = take(&room, "192.0.2.2").unwrap();
        assert_eq!(take(&room, "192.0.2.2").err(), Some(Full::ForAll));
        assert_eq!(take(&room, "192.0.2.3").err(), Some(Full::ForAll), "what was refused holds nothing");
        drop(first);
        assert!(take(&room, "192.0.2.3").is_ok());
    }

    #[test]
    fn proxies_have_no_share_but_count_among_all() {
        let room = room(4, 1);
        let _proxies: Vec<_> = (0..4).map(|_| room.take(None).unwrap()).collect();
        assert_eq!(room.take(None).err(), Some(Full::ForAll));
    }

    #[test]
    fn a_reserved_place_is_lost_to_later_ones_only() {
        let room = room(1, 1);
        let is_lost = |place: &Place| place.lost().now_or_never().is_some();
        let first = room.reserve();
        let mut later: Vec<_> = (1..RESERVED).map(|_| room.reserve()).collect();
        assert!(!is_lost(&first));
        later.push(room.reserve());
        assert!(is_lost(&first) && !later.iter().any(is_lost));
    }

    #[test]
    fn a_limit_of_0_is_none() {
        let room = room(0, 0);
        let places: Vec<_> = (0..2000).map(|_| take(&room, "192.0.2.1").unwrap()).collect();
        assert_eq!(places.len(), 2000);
    }
}
