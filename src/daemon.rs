//! The daemon: listeners, ledger, servers and the purge timer, from the start to the orderly stop.
//!
//! | file | what is in it |
//! |---|---|
//! | [`listeners`] | addresses, the Unix socket, sockets from systemd |
//! | [`certificate`] | the certificates of MX and web |
//! | [`live`] | what a reload changes |
//! | [`purge`], [`watchdog`] | the timers |
//! | [`stop`] | signals |
//! | [`counters`] | metrics of the process |
//! | [`error`] | why a daemon did not start, or ended |
//!
//! The caller supplies the configuration and a [`Stop`], so that tests can run one on free ports
//! and end it when they like.

mod certificate;
mod counters;
mod error;
mod listeners;
mod live;
mod purge;
mod stop;
mod watchdog;

pub use error::{Died, StartError};
pub use stop::{Hangup, Stop};

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

use crate::clock;
use crate::config::{Changes, Config, ConfigError, FileError, Places, is_open_to_everybody};
use crate::descriptors;
use crate::events::Events;
use crate::ledger::{DataDirLock, Ledger};
use crate::metrics::Metrics;
use crate::mx;
use crate::net::tls::Identity;
use crate::relay::Smarthost;
use crate::systemd::{self, Sockets};
use crate::telemetry::Log;
use crate::web::{self, Exposition, Listeners};
use certificate::{Certificate, http_certificate, load_identity, smtp_certificate};
use counters::Counters;
use listeners::{bind_unix, listen, local_addresses};
use live::Live;
use purge::purge;
use watchdog::watchdog;

/// How long an orderly stop waits for messages and requests in flight.
const GRACE: Duration = Duration::from_secs(60);

/// How often the certificates' files are checked for changes.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(10);

/// How a part ended that did not panic.
const BY_ITSELF: &str = "ended by itself";

/// A running tempalias.
pub struct Daemon {
    /// Taken before the ledger is opened, released after it was closed.
    _lock: DataDirLock,
    ledger: Ledger,
    smtp: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
    socket: Option<PathBuf>,
    metrics: Vec<SocketAddr>,
    /// The MX, the web and the purge timer: none of them ends before `shutdown`.
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
    live: Live,
    reloading: Option<Reloading>,
    counters: Counters,
    events: Events,
    shutdown: CancellationToken,
}

/// Where a new configuration comes from, and the log whose level is in it.
struct Reloading {
    read: Box<dyn Fn() -> Result<(Config, Places), ConfigError> + Send>,
    log: Log,
}

/// The key or option that sets each address, for the error when it cannot be listened on.
#[derive(Clone, Copy, Debug)]
pub struct AddressSettings {
    /// For the MX.
    pub smtp: &'static str,
    /// For page and API.
    pub http: &'static str,
}

/// What the configuration names outside itself.
pub struct Files {
    /// With its authorities and password.
    pub smarthost: Smarthost,
    /// The MX's certificate, if it has one.
    pub smtp: Option<Identity>,
    /// The web's.
    pub http: Option<Identity>,
}

impl Daemon {
    /// Binds, opens the ledger and starts serving. `sockets` from systemd replace the addresses of the
    /// configuration.
    ///
    /// # Errors
    /// When an address or the ledger cannot be opened. Then nothing has been started.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(config: &Config, settings: AddressSettings, sockets: Sockets) -> Result<Self, StartError> {
        let files = load_files(config)?;
        warn_of_open_secrets(config);
        // Before the listeners, so that a second server names the lock and not a port.
        let lock = DataDirLock::take(&config.data_dir)?;
        descriptors::raise_limit(config);
        let smtp = listen("SMTP", &config.smtp.listen, settings.smtp, sockets.smtp)?;
        let http = listen("HTTP", &config.http.listen, settings.http, sockets.http)?;
        let metrics = listen("metrics", &config.metrics.listen, "metrics.listen", vec![])?;
        let socket = config.http.socket.as_deref().map(bind_unix).transpose()?;
        let ledger = Ledger::open(&config.data_dir, config.aliases.initial_length)?;
        clock::has_been(ledger.latest().unwrap_or(clock::Timestamp::MIN));
        let (shutdown, events) = (CancellationToken::new(), Events::default());
        let live = Live::new(config, &ledger, files, &events, shutdown.clone());
        let (mx, web, purge_interval) = (live.mx.clone(), live.web.clone(), live.purge_interval.subscribe());
        let forget_clients = {
            let (mx, web) = (mx.clone(), web.clone());
            move || {
                mx.forget_clients();
                web.forget_clients();
            }
        };
        let http_identity = live.certificates[1].identity().cloned();

        let mut daemon = Daemon {
            _lock: lock,
            smtp: local_addresses(&smtp),
            http: local_addresses(&http),
            socket: config.http.socket.clone(),
            metrics: local_addresses(&metrics),
            tasks: JoinSet::new(),
            names: HashMap::new(),
            live,
            reloading: None,
            counters: Counters::new(clock::now()),
            events: events.clone(),
            shutdown: shutdown.clone(),
            ledger: ledger.clone(),
        };
        daemon.refresh_certificates();
        daemon.spawn("the MX", mx::serve(smtp, mx, shutdown.clone()));
        let listeners = Listeners { tcp: http, unix: socket, identity: http_identity };
        daemon.spawn("the web server", web::serve(listeners, web, shutdown.clone()));
        daemon.spawn(
            "the purge timer",
            purge(ledger, events, forget_clients, purge_interval, shutdown.clone()),
        );
        if !metrics.is_empty() {
            let listeners = Listeners { tcp: metrics, ..Listeners::default() };
            let site = Arc::new(daemon.exposition());
            daemon.spawn("the metrics", web::serve(listeners, site, shutdown));
        }
        Ok(daemon)
    }

    /// At [`Stop::reload`] it will `read` the configuration again, and set the level of `log`.
    pub fn reloading(
        self,
        read: impl Fn() -> Result<(Config, Places), ConfigError> + Send + 'static,
        log: Log,
    ) -> Self {
        Daemon { reloading: Some(Reloading { read: Box::new(read), log }), ..self }
    }

    /// Where the MX listens; the real port when 0 was asked for.
    pub fn smtp(&self) -> &[SocketAddr] {
        &self.smtp
    }

    /// Where page and API are.
    pub fn http(&self) -> &[SocketAddr] {
        &self.http
    }

    /// The ledger it works on.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Serves until `stop`, then finishes what is in flight, for [`GRACE`] at most, and closes
    /// the ledger.
    ///
    /// # Errors
    /// When a part ended by itself. Serving with half of the parts would look alive and lose
    /// mail, so the others are stopped as well.
    pub async fn run(mut self, stop: Stop) -> Result<(), Died> {
        // `start` has looked at them.
        let mut timer = interval_at(tokio::time::Instant::now() + CERTIFICATE_INTERVAL, CERTIFICATE_INTERVAL);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ledger = self.ledger.clone();
        systemd::ready(&self.to_string());
        let _watchdog = AbortOnDropHandle::new(tokio::spawn(watchdog(ledger.clone())));
        let outcome = loop {
            tokio::select! {
                () = stop.orderly.cancelled() => break Ok(()),
                died = self.next_end() => break Err(died),
                () = ledger.closed() => break Err(Died { part: "the ledger", how: BY_ITSELF.into() }),
                () = stop.reload.notified() => self.reload(),
                _ = timer.tick(), if self.has_certificates() => {
                    if self.refresh_certificates() {
                        warn_of_open_secrets(&self.live.config());
                    }
                }
            }
        };
        info!(
            "stopping: messages in flight are finished, nothing new is taken; a second signal ends at once"
        );
        systemd::stopping("finishing messages in flight");
        self.shutdown.cancel();
        let deadline = sleep(GRACE);
        tokio::select! {
            () = self.all_ends() => {}
            () = deadline => warn!("not all sessions ended in {} s; they are cut off", GRACE.as_secs()),
            () = stop.at_once.cancelled() => warn!("asked to end at once; sessions are cut off"),
        }
        self.tasks.shutdown().await;
        // Also for the next start: time does not go back before this moment.
        if let Err(cause) = self.ledger.check(clock::now()).await {
            warn!(%cause, "the time could not be noted in the ledger");
        }
        self.ledger.close().await;
        outcome
    }

    /// Reads configuration and certificates again; those that cannot be used leave the old ones in force.
    fn reload(&mut self) {
        systemd::reloading();
        let status = match self.reload_configuration() {
            Ok(()) => self.to_string(),
            Err(cause) => format!("{self}; reload refused: {cause}"),
        };
        self.refresh_certificates();
        warn_of_open_secrets(&self.live.config());
        systemd::ready(&status);
    }

    fn reload_configuration(&mut self) -> Result<(), ConfigError> {
        let Some(Reloading { read, log }) = &self.reloading else { return Ok(()) };
        let before = self.live.config().log.level;
        let taken_over = read()
            .and_then(|(config, places)| self.live.reload(config).map_err(|cause| places.blame(&cause)));
        self.counters.reloaded(taken_over.is_ok());
        match taken_over {
            Ok(changes) => {
                let level = self.live.config().log.level;
                // Said at the louder of the two levels: the old one, or the new one.
                log.set(level.max(before));
                report(&changes);
                log.set(level);
                Ok(())
            }
            Err(cause) => {
                error!(%cause, "the new configuration cannot be used; the old one stays in force");
                Err(cause)
            }
        }
    }

    /// Without any, no timer is needed.
    fn has_certificates(&self) -> bool {
        self.live.certificates.iter().any(|certificate| certificate.identity().is_some())
    }

    /// True when a new one is in use.
    fn refresh_certificates(&mut self) -> bool {
        let renewed = self.live.certificates.each_mut().map(Certificate::refresh);
        self.counters.expire(self.live.certificates.each_ref().map(Certificate::expiry));
        renewed.contains(&true)
    }

    fn exposition(&self) -> Exposition {
        let (mx, web) = (&self.live.mx, &self.live.web);
        let smarthost = mx.smarthost();
        let modules = [
            &self.counters.metrics,
            self.events.metrics(),
            self.ledger.metrics(),
            mx.metrics(),
            smarthost.metrics(),
            web.metrics(),
        ];
        let counters = self.counters.clone();
        Exposition::new(modules.map(Metrics::clone).to_vec(), move || counters.measure())
    }

    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.names.insert(self.tasks.spawn(task).id(), name);
    }

    /// Waits for the end of a task, none of which ends by itself.
    async fn next_end(&mut self) -> Died {
        let ended = self.tasks.join_next_with_id().await.expect("there are tasks before the stop");
        let (id, how) = match &ended {
            Ok((id, ())) => (*id, BY_ITSELF.to_owned()),
            Err(cause) => (cause.id(), describe(cause)),
        };
        Died { part: self.names.get(&id).copied().unwrap_or("a task"), how }
    }

    async fn all_ends(&mut self) {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            if let Err(cause) = ended {
                let part = self.names.get(&cause.id()).copied().unwrap_or("a task");
                error!("{part} {} while stopping", describe(&cause));
            }
        }
    }
}

/// Says where: `SMTP on 127.0.0.1:2525, HTTP on 127.0.0.1:8080`.
impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |addresses: &[SocketAddr]| {
            addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" and ")
        };
        let http = match (&self.socket, self.http.is_empty()) {
            (Some(socket), true) => socket.display().to_string(),
            _ => list(&self.http),
        };
        write!(f, "SMTP on {}, HTTP on {http}", list(&self.smtp))?;
        match self.metrics.as_slice() {
            [] => Ok(()),
            metrics => write!(f, ", metrics on {}", list(metrics)),
        }
    }
}

/// Loads what `config` names outside itself.
///
/// # Errors
/// With the key and the file that is missing or cannot be used.
pub fn load_files(config: &Config) -> Result<Files, FileError> {
    let smarthost = Smarthost::new(config)?;
    let (smtp, http) = (load_identity(smtp_certificate(config))?, load_identity(http_certificate(config))?);
    Ok(Files { smarthost, smtp, http })
}

/// Only a warning: refusing to start would not protect the file.
fn warn_of_open_secrets(config: &Config) {
    for (key, path) in config.secrets() {
        if path.metadata().is_ok_and(|found| is_open_to_everybody(&found)) {
            let path = path.display();
            warn!("{key}: {path}: every user on this machine may read or change it; chmod o= {path}");
        }
    }
}

/// One line for each kind of change.
fn report(changes: &Changes) {
    let Changes { live, after_restart } = changes;
    if live.is_empty() && after_restart.is_empty() {
        info!("configuration reloaded: nothing has changed");
    } else {
        info!(changed = live.join(", "), "configuration reloaded");
    }
    if !after_restart.is_empty() {
        warn!(changed = after_restart.join(", "), "a restart is needed for some of the new configuration");
    }
}

fn describe(cause: &JoinError) -> String {
    if cause.is_panic() { "panicked".into() } else { "was cancelled".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A daemon whose only part is `task`, and the directory of its ledger.
    fn daemon(task: impl Future<Output = ()> + Send + 'static) -> (Daemon, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let config =
            "hostname = 'mx.a.test'\ndomains = ['a.test']\npostmaster = 'p@b.test'\nsmarthost.host = 'r'";
        let config = crate::config::parse("test", config, []).unwrap();
        let (ledger, shutdown) = (Ledger::open(dir.path(), 6).unwrap(), CancellationToken::new());
        let events = Events::default();
        let mut daemon = Daemon {
            _lock: DataDirLock::take(dir.path()).unwrap(),
            smtp: vec!["127.0.0.1:25".parse().unwrap(), "[::1]:25".parse().unwrap()],
            http: vec!["127.0.0.1:80".parse().unwrap()],
            socket: None,
            metrics: vec![],
            tasks: JoinSet::new(),
            names: HashMap::new(),
            live: Live::new(&config, &ledger, load_files(&config).unwrap(), &events, shutdown.clone()),
            reloading: None,
            counters: Counters::new(clock::now()),
            events,
            ledger,
            shutdown,
        };
        daemon.spawn("the part", task);
        (daemon, dir)
    }

    #[tokio::test]
    async fn it_does_not_go_on_without_a_part_that_ended() {
        let (daemon, _dir) = daemon(async {});
        let died = daemon.run(Stop::default()).await.unwrap_err();
        assert_eq!(died.to_string(), "the part ended by itself; stopped");
    }

    #[tokio::test]
    async fn it_does_not_go_on_without_a_part_that_panicked() {
        let (daemon, _dir) = daemon(async { panic!("for the test's sake") });
        let died = daemon.run(Stop::default()).await.unwrap_err();
        assert_eq!(died.to_string(), "the part panicked; stopped");
    }

    #[tokio::test]
    async fn it_does_not_go_on_without_its_ledger() {
        let (daemon, _dir) = daemon(std::future::pending());
        daemon.ledger.close().await;
        let stop = Stop::default();
        stop.at_once.cancel();
        let died = daemon.run(stop).await.unwrap_err();
        assert_eq!(died.to_string(), "the ledger ended by itself; stopped");
    }

    #[tokio::test]
    async fn a_part_that_does_not_end_is_cut_off_at_the_second_signal() {
        let (daemon, dir) = daemon(std::future::pending());
        let stop = Stop::default();
        stop.orderly.cancel();
        stop.at_once.cancel();
        daemon.run(stop).await.unwrap();
        let log = std::fs::metadata(dir.path().join("tempalias.db-wal"));
        assert!(log.is_err() || log.unwrap().len() == 0, "the ledger was not closed");
    }

    #[tokio::test]
    async fn a_part_that_does_not_end_is_cut_off_when_the_grace_is_over() {
        let (daemon, _dir) = daemon(std::future::pending());
        let stop = Stop::default();
        stop.orderly.cancel();
        tokio::time::pause(); // the clock runs ahead whenever everybody waits
        daemon.run(stop).await.unwrap();
    }

    #[tokio::test]
    async fn all_addresses_are_named() {
        let (daemon, _dir) = daemon(async {});
        assert_eq!(daemon.to_string(), "SMTP on 127.0.0.1:25 and [::1]:25, HTTP on 127.0.0.1:80");
    }
}
