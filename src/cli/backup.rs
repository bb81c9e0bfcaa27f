//! `tempalias backup`: a copy of the ledger, also while the server runs.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::progress::Progress;
use super::{ConfigFile, Failure, file};
use crate::ledger::{self, FILE_NAME, Phase};

/// Copy the ledger to a file, also while the server runs
///
/// The copy is the ledger at one instant, checked and on the disk when this succeeds; only its owner
/// may read it, for it holds the real addresses. An older backup of that name is replaced; any other
/// file is not.
#[derive(clap::Args)]
pub(super) struct Backup {
    #[command(flatten)]
    config: ConfigFile,
    /// The file to write
    #[arg(value_parser = file())]
    file: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Backup {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (config, _) = self.config.load()?;
        let report = show_phases(&config.data_dir.join(FILE_NAME), &self.file);
        ledger::back_up(&config.data_dir, &self.file, report)?;
        let (file, length) = (self.file.display(), length(&self.file));
        let text = if self.json {
            json!({ "file": file.to_string(), "size": length }).to_string()
        } else {
            format!("{file}: backed up and checked, {}", shown(length))
        };
        writeln!(stdout(), "{text}").map_err(Failure::Output)
    }
}

/// Shows each phase of making `to` out of `from`, until the returned closure is dropped.
pub(super) fn show_phases(from: &Path, to: &Path) -> impl Fn(Phase) + use<> {
    let (whole, part) = (length(from), ledger::part_of(to));
    let progress = Progress::start();
    move |phase| match phase {
        Phase::CheckingBackup => progress.say(|| "checking the backup".into()),
        Phase::Copying => {
            let part = part.clone();
            progress.say(move || format!("copying: {} of about {}", shown(length(&part)), shown(whole)));
        }
        Phase::CarryingOver => progress.say(|| "carrying over what is newer".into()),
        Phase::CheckingResult => progress.say(|| "checking the result".into()),
    }
}

/// In octets.
fn length(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |file| file.len())
}

fn shown(length: u64) -> bytesize::Display {
    bytesize::ByteSize(length).display().iec()
}
