//! `/metrics`: what is counted, for Prometheus. On a listener of its own, because it is the
//! operator's business alone.

use std::net::IpAddr;
use std::sync::Arc;

use poem::http::{Method, StatusCode, header};
use poem::{IntoResponse, Request, Response};

use super::connections::ConnectionLimits;
use super::server::Site;
use crate::config::Http;
use crate::metrics::{self, Metrics};

/// Shows metrics.
pub struct Exposition {
    metrics: Vec<Metrics>,
    measure: Arc<dyn Fn() + Send + Sync>,
}

impl Exposition {
    /// Shows `metrics`; before that `measure` brings gauges up to date. It may block.
    pub fn new(metrics: Vec<Metrics>, measure: impl Fn() + Send + Sync + 'static) -> Self {
        Exposition { metrics, measure: Arc::new(measure) }
    }
}

impl Site for Exposition {
    async fn answer(&self, request: Request) -> Response {
        if request.uri().path() != "/metrics" {
            return StatusCode::NOT_FOUND.into();
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return StatusCode::METHOD_NOT_ALLOWED.with_header(header::ALLOW, "GET, HEAD").into_response();
        }
        let measure = self.measure.clone();
        // Figures a little old are better than none.
        let _ = tokio::task::spawn_blocking(move || measure()).await;
        Response::builder().content_type(metrics::TEXT_FORMAT).body(metrics::text(&self.metrics))
    }

    fn connection_limits(&self) -> ConnectionLimits {
        ConnectionLimits::new(&Http::default())
    }

    fn is_proxy(&self, _: IpAddr) -> bool {
        false
    }
}
