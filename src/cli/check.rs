//! `tempalias check`: is the configuration fit to serve with?

use std::io::{Write, stdout};

use super::{ConfigFile, Failure};
use crate::daemon;

/// Check the configuration, environment included, and say what is wrong with it
#[derive(clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigFile,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (config, places) = self.config.load()?;
        daemon::load_files(&config).map_err(|cause| places.blame(&cause))?;
        writeln!(stdout(), "{}: the configuration is good", self.config.path.display())
            .map_err(Failure::Output)
    }
}
