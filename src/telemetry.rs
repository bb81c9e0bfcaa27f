//! What the program says about its own work: records of `tracing`, on standard error.
//!
//! Records made with the `log` crate (mailin, r2d2) are not collected: mailin writes addresses
//! and message text there. At the default level no record holds the target of an alias. A record
//! that cannot be written, for a full disk or a closed pipe, is lost, and nothing else is.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Subscriber;

/// The variable that says how much: a level (`debug`) or `tracing` directives.
pub const VARIABLE: &str = "TEMPALIAS_LOG";

/// For a service: our own work, and what goes wrong in libraries.
pub const SERVICE: &str = "warn,tempalias=info";

/// For a person at a terminal: only what goes wrong.
pub const WARNINGS: &str = "warn";

/// [`VARIABLE`] holds what cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("environment: {VARIABLE}: {0}")]
pub struct FilterError(#[from] tracing_subscriber::filter::ParseError);

/// Sends records to standard error from now on, as much as `filter` lets through: the value of
/// [`VARIABLE`], or else [`SERVICE`] or [`WARNINGS`]. Later calls in the same process change nothing.
///
/// # Errors
/// When `filter` is malformed.
pub fn start(filter: &str) -> Result<(), FilterError> {
    let filter = EnvFilter::try_new(filter)?;
    let subscriber = Subscriber::builder()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // Otherwise a record that cannot be written is reported by `eprintln!`, which panics when that
        // cannot be written either: in the middle of a message, or in the ledger's writer thread.
        .log_internal_errors(false)
        .finish();
    // `init` would also collect the records of the `log` crate.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}
