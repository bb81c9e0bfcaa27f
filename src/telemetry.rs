//! What the program says about its own work: records of `tracing`, on standard error.
//!
//! Records made with the `log` crate (mailin, r2d2) are not collected: mailin writes addresses
//! and message text there. At the default level no record holds the target of an alias.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Subscriber;

/// The variable that says how much: a level (`debug`) or `tracing` directives.
pub const VARIABLE: &str = "TEMPALIAS_LOG";

/// Our own work, and what goes wrong in libraries.
const DEFAULT: &str = "warn,tempalias=info";

/// [`VARIABLE`] holds what cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("environment: {VARIABLE}: {0}")]
pub struct FilterError(#[from] tracing_subscriber::filter::ParseError);

/// Sends records to standard error from now on, as much as `filter` (the value of [`VARIABLE`])
/// lets through. Later calls in the same process change nothing.
///
/// # Errors
/// When `filter` is malformed.
pub fn start(filter: Option<&str>) -> Result<(), FilterError> {
    let filter = EnvFilter::try_new(filter.filter(|filter| !filter.is_empty()).unwrap_or(DEFAULT))?;
    let subscriber = Subscriber::builder()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .finish();
    // `init` would also collect the records of the `log` crate.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}
