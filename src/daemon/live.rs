//! What a reload changes: the configuration and the files that it names.
//!
//! A reload is all or nothing: what may fail comes before the first change. Sessions and requests
//! keep what they began with.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Files;
use super::certificate::{Certificate, http_certificate, load_identity, smtp_certificate};
use crate::config::{Changes, Config, FileError, Settings};
use crate::events::Events;
use crate::ledger::Ledger;
use crate::mx::Mx;
use crate::web::Web;

/// The parts of a running daemon that follow its configuration.
pub(super) struct Live {
    settings: Settings,
    pub(super) mx: Arc<Mx>,
    pub(super) web: Arc<Web>,
    pub(super) certificates: [Certificate; 2],
    pub(super) purge_interval: watch::Sender<Duration>,
}

impl Live {
    /// The parts for `config`. What they do behind the scenes ends at `shutdown`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(super) fn new(
        config: &Config,
        ledger: &Ledger,
        files: Files,
        events: &Events,
        shutdown: CancellationToken,
    ) -> Self {
        let Files { smarthost, smtp, http } = files;
        let settings = Arc::new(ArcSwap::from_pointee(config.clone()));
        let mx = Mx::new(settings.load_full(), ledger.clone(), smarthost, smtp.clone(), events.clone());
        let web = Web::new(settings.clone(), ledger.clone(), events.clone());
        for lists in [mx.lists(), web.lists()] {
            tokio::spawn(lists.clone().watch(shutdown.clone()));
        }
        Live {
            settings,
            mx: Arc::new(mx),
            web: Arc::new(web),
            certificates: [Certificate::new("smtp", smtp), Certificate::new("http", http)],
            purge_interval: watch::Sender::new(config.aliases.purge_interval),
        }
    }

    /// The configuration in force.
    pub(super) fn config(&self) -> Arc<Config> {
        self.settings.load_full()
    }

    /// Takes over as much of `new` as a running program can, and tells what has changed.
    ///
    /// # Errors
    /// When a file that it names cannot be used. Then nothing has changed.
    pub(super) fn reload(&mut self, new: Config) -> Result<Changes, FileError> {
        let old = self.settings.load_full();
        let changes = Changes::between(&old, &new);
        let new = Arc::new(new.beside(&old));
        // Files that go by the same names as before are read when they change.
        let smtp = match smtp_certificate(&new) {
            same if same == smtp_certificate(&old) => None,
            files => Some(load_identity(files)?),
        };
        let http = match http_certificate(&new) {
            same if same == http_certificate(&old) => None,
            files => Some(load_identity(files)?),
        };
        let smarthost = self.mx.smarthost().replaced_by(&new)?;
        for (certificate, other) in self.certificates.iter_mut().zip([smtp, http]) {
            if let Some(other) = other {
                certificate.replace(other);
            }
        }
        self.settings.store(new.clone());
        self.mx.apply(new.clone(), smarthost, self.certificates[0].identity().cloned());
        self.web.apply(&new);
        let interval = new.aliases.purge_interval;
        self.purge_interval.send_if_modified(|old| std::mem::replace(old, interval) != interval);
        Ok(changes)
    }
}
