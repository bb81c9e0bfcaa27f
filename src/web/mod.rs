//! The web: page and API.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::ledger::Ledger;

/// What all requests share.
pub struct Web {}

impl Web {
    /// The web side for `config`.
    pub fn new(_config: &Config, _ledger: Ledger) -> Self {
        Web {}
    }
}

/// Answers requests on `listeners` until `shutdown`, and returns when the last answer is out.
pub async fn serve(_listeners: Vec<TcpListener>, _web: Arc<Web>, shutdown: CancellationToken) {
    shutdown.cancelled().await;
}
