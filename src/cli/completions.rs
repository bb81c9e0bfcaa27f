//! `tempalias completions`: what a shell needs to complete our commands.

use std::io::{Write, stdout};

use clap::CommandFactory;
use clap_complete::{Generator, Shell};

use super::{Cli, Failure};

/// Print a completion script for a shell, to standard output
#[derive(clap::Args)]
pub(super) struct Completions {
    /// For which shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        let mut command = Cli::command();
        command.set_bin_name("tempalias");
        command.build();
        self.shell.generate(&command, &mut script);
        stdout().write_all(&script).map_err(Failure::Output)
    }
}
