//! `tempalias serve`: the service itself.

use super::{ConfigFile, Failure, block_on, tell};
use crate::daemon::{Daemon, Hangup, Knobs, StartError, Stop};
use crate::systemd::Sockets;

const KNOBS: Knobs = Knobs { smtp: "smtp.listen", http: "http.listen" };

/// Serve until SIGINT or SIGTERM
#[derive(clap::Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigFile,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (config, places) = self.config.load()?;
        let sockets = Sockets::take()?;
        block_on(async {
            let stop = Stop::on_signals(Hangup::Reloads)
                .map_err(|cause| Failure::System("signals".into(), cause))?;
            let daemon = Daemon::start(&config, KNOBS, sockets).map_err(|cause| match cause {
                StartError::File(cause) => Failure::Config(places.blame(&cause)),
                other => other.into(),
            })?;
            tell(format_args!("ready, {daemon}"));
            Ok(daemon.run(stop).await?)
        })
    }
}
