//! `tempalias check`: is the configuration fit to serve with?

use std::io::{Write, stdout};

use super::{ConfigFile, Failure};

/// Check the configuration, environment included, and say what is wrong with it
#[derive(clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigFile,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.config.load()?;
        writeln!(stdout(), "{}: the configuration is good", self.config.path.display())
            .map_err(Failure::Output)
    }
}
