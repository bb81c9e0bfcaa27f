//! What can be put in place of what was there, while we serve: the configuration and what it names.
//!
//! A reload is all or nothing: what may fail comes before the first change. Sessions and requests
//! keep what they began with.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::certificate::Certificate;
use super::{Files, http_certificate, identity, smtp_certificate};
use crate::config::{Changes, Config, FileError, Settings};
use crate::events::Events;
use crate::ledger::Ledger;
use crate::mx::Mx;
use crate::web::Web;

/// The parts of a running daemon that follow its configuration.
pub(super) struct Live {
    pub(super) config: Config,
    pub(super) mx: Arc<ArcSwap<Mx>>,
    pub(super) web: Arc<Web>,
    settings: Settings,
    pub(super) certificates: [Certificate; 2],
    pub(super) purge_interval: watch::Sender<Duration>,
    shutdown: CancellationToken,
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
        let mx = Mx::new(config, ledger.clone(), smarthost, smtp.clone());
        let settings = Settings::new(ArcSwap::from_pointee(config.clone()));
        let web = Web::new(settings.clone(), ledger.clone(), events.clone());
        for lists in [mx.lists().clone(), web.lists()] {
            tokio::spawn(lists.watch(shutdown.clone()));
        }
        Live {
            config: config.clone(),
            mx: Arc::new(ArcSwap::from_pointee(mx)),
            web: Arc::new(web),
            settings,
            certificates: [Certificate::new("smtp", smtp), Certificate::new("http", http)],
            purge_interval: watch::Sender::new(config.aliases.purge_interval),
            shutdown,
        }
    }

    /// Takes over as much of `new` as a running program can, and tells what has changed.
    ///
    /// # Errors
    /// When a file that it names cannot be used. Then nothing has changed.
    pub(super) fn reload(&mut self, new: Config) -> Result<Changes, FileError> {
        let changes = Changes::between(&self.config, &new);
        let new = new.beside(&self.config);
        let (old_mx, old_web_lists) = (self.mx.load_full(), self.web.lists());
        let smarthost = old_mx.smarthost().renewed(&new.smarthost, &new.dns, new.hostname.as_str())?;
        // Files that go by the same names as before are read when they change.
        let smtp = match smtp_certificate(&new) {
            same if same == smtp_certificate(&self.config) => None,
            files => Some(identity(files)?),
        };
        let http = match http_certificate(&new) {
            same if same == http_certificate(&self.config) => None,
            files => Some(identity(files)?),
        };
        for (certificate, other) in self.certificates.iter_mut().zip([smtp, http]) {
            if let Some(other) = other {
                certificate.replace(other);
            }
        }
        let mx = old_mx.renewed(&new, smarthost, self.certificates[0].identity().cloned());
        self.settings.store(Arc::new(new.clone()));
        self.web.apply(&new);
        for (old, new) in [(old_mx.lists(), mx.lists()), (&old_web_lists, &self.web.lists())] {
            if !old.are(new) {
                tokio::spawn(new.clone().watch(self.shutdown.clone()));
            }
        }
        self.mx.store(Arc::new(mx));
        let interval = new.aliases.purge_interval;
        self.purge_interval.send_if_modified(|old| std::mem::replace(old, interval) != interval);
        self.config = new;
        Ok(changes)
    }
}
