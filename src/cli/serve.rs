//! `tempalias serve`: the service itself.

use super::{ConfigFile, Failure, block_on, tell};
use crate::config::Format;
use crate::daemon::{AddressSettings, Daemon, Hangup, StartError, Stop};
use crate::systemd::Sockets;
use crate::telemetry;

const ADDRESS_SETTINGS: AddressSettings = AddressSettings { smtp: "smtp.listen", http: "http.listen" };

/// Serve until SIGINT or SIGTERM
#[derive(clap::Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigFile,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (config, places) = self.config.load()?;
        let log = telemetry::start(&telemetry::service(config.log.level), config.log.format)?;
        let sockets = Sockets::take()?;
        block_on(async {
            let stop = Stop::on_signals(Hangup::Reloads)
                .map_err(|cause| Failure::System("signals".into(), cause))?;
            let daemon = Daemon::start(&config, ADDRESS_SETTINGS, sockets).map_err(|cause| match cause {
                StartError::File(cause) => Failure::Config(places.blame(&cause)),
                other => other.into(),
            })?;
            match config.log.format {
                Format::Text => tell(format_args!("ready, {daemon}")),
                Format::Json => tracing::info!("ready, {daemon}"),
            }
            Ok(daemon.reloading(move || self.config.load(), log).run(stop).await?)
        })
    }
}
