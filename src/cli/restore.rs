//! `tempalias restore`: a backup takes the ledger's place.

use std::fmt::Write as _;
use std::io::{Write, stdout};
use std::path::PathBuf;

use super::backup::show_growth;
use super::{ConfigFile, Failure};
use crate::clock;
use crate::ledger::{self, FILE_NAME, Restored};

/// Put a backup in the ledger's place, while no server runs
///
/// The ledger that was there is kept under another name. As far as it can still be read, what it knew of
/// spent uses and of names handed out is carried over.
#[derive(clap::Args)]
pub(super) struct Restore {
    #[command(flatten)]
    config: ConfigFile,
    /// The backup
    file: PathBuf,
}

impl Restore {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (config, _) = self.config.load()?;
        let restored = {
            let _progress = show_growth(&self.file, &config.data_dir.join(FILE_NAME));
            ledger::restore(&config.data_dir, &self.file, clock::now())?
        };
        stdout().write_all(self.describe(&restored).as_bytes()).map_err(Failure::Output)
    }

    fn describe(&self, restored: &Restored) -> String {
        let mut text = format!("{}: restored, {}\n", self.file.display(), aliases(restored.aliases));
        let Some(aside) = &restored.set_aside else { return text };
        let mut say = |line: String| writeln!(text, "{line}").expect("a string takes all");
        say(format!("The ledger that was there is now {}", aside.display()));
        match &restored.carried_over {
            None => {
                say("It could not be read: uses spent and names handed out since the backup are forgotten."
                    .into())
            }
            Some(since) => {
                say(format!(
                    "Carried over from it: {} handed out and uses of {} spent since the backup",
                    counted(since.names, "name"),
                    aliases(since.spent),
                ));
                if since.back > 0 {
                    say(format!(
                        "Back, though revoked or over since the backup: {}; revoke what should not be",
                        aliases(since.back)
                    ));
                }
            }
        }
        text
    }
}

fn aliases(count: impl TryInto<u64>) -> String {
    match count.try_into().unwrap_or(u64::MAX) {
        1 => "1 alias".into(),
        many => format!("{many} aliases"),
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
