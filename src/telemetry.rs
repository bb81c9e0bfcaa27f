//! The log: records of `tracing`, on standard error.
//!
//! Records made with the `log` crate (mailin, r2d2) are not collected: mailin writes addresses
//! and message text there. At the default level no record holds the target of an alias. A record
//! that cannot be written, to a full disk or a closed pipe, is lost; the program goes on.

use std::fmt;
use std::fs::File;
use std::io::{IsTerminal, stderr};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{self, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::{EnvFilter, Layer, reload};

use crate::config::{self, Format};

/// The variable that sets the level (`debug`) or `tracing` directives. It overrides everything else.
const VARIABLE: &str = "TEMPALIAS_LOG";

/// For commands at a terminal: only what goes wrong.
pub const WARNINGS: &str = "warn";

/// [`VARIABLE`] cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("environment: {VARIABLE}: {0}")]
pub struct FilterError(#[from] tracing_subscriber::filter::ParseError);

/// The log, whose level can change.
#[derive(Clone)]
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    is_fixed: bool,
}

/// For a service: our own records at `level`, and warnings of libraries.
pub fn service(level: config::Level) -> String {
    let libraries = if level == config::Level::Error { "error" } else { WARNINGS };
    format!("{libraries},tempalias={}", level.as_str())
}

/// Sends records to standard error from now on, filtered by [`VARIABLE`], or else by `usual`. Later
/// calls in the same process change nothing.
///
/// # Errors
/// When [`VARIABLE`] is malformed.
pub fn start(usual: &str, format: Format) -> Result<Log, FilterError> {
    let wanted = std::env::var_os(VARIABLE).filter(|filter| !filter.is_empty());
    let filter = wanted.as_ref().map_or(usual.into(), |filter| filter.to_string_lossy());
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(filter)?);
    let records = tracing_subscriber::fmt::layer()
        .with_writer(stderr)
        // Otherwise a record that cannot be written is reported by `eprintln!`, which panics when that
        // cannot be written either: in the middle of a message, or in the ledger's writer thread.
        .log_internal_errors(false);
    let records: Box<dyn Layer<_> + Send + Sync> = match format {
        Format::Json => records.json().flatten_event(true).with_current_span(false).boxed(),
        Format::Text if is_journal() => records.with_ansi(false).event_format(Journal::default()).boxed(),
        Format::Text => records.with_ansi(stderr().is_terminal()).boxed(),
    };
    // `init` would also collect the records of the `log` crate.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(filter).with(records));
    Ok(Log { filter: handle, is_fixed: wanted.is_some() })
}

impl Log {
    /// From now on logs our own records at `level`, unless [`VARIABLE`] is set.
    pub fn set(&self, level: config::Level) {
        if !self.is_fixed {
            // Fails when another subscriber is the global one; then this log is not in use.
            let _ = self.filter.reload(EnvFilter::new(service(level)));
        }
    }
}

/// As journald expects it: the priority in front (sd-daemon(3)), and neither time nor level, which it
/// shows itself.
struct Journal(format::Format<Full, ()>);

impl Default for Journal {
    fn default() -> Self {
        Journal(format::Format::default().without_time().with_level(false))
    }
}

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// As in syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// Whether standard error is the journal's: `JOURNAL_STREAM` has its device and inode, and is still
/// set when standard error is redirected elsewhere (systemd.exec(5)).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let file = stderr().as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    file.is_ok_and(|file| format!("{}:{}", file.dev(), file.ino()) == stream)
}
