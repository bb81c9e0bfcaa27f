//! The MX: what arrives for our aliases, and goes on to the smarthost.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::ledger::Ledger;
use crate::relay::Smarthost;

/// What all sessions share.
pub struct Mx {}

impl Mx {
    /// The MX for `config`.
    pub fn new(_config: &Config, _ledger: Ledger, _smarthost: Smarthost) -> Self {
        Mx {}
    }
}

/// Takes sessions on `listeners` until `shutdown`, and returns when the last of them has ended.
///
/// After `shutdown` sessions in the middle of a message may finish it, all others hear 421. The
/// caller bounds how long that may take.
pub async fn serve(_listeners: Vec<TcpListener>, _mx: Arc<Mx>, shutdown: CancellationToken) {
    shutdown.cancelled().await;
}
