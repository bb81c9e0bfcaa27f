//! `tempalias backup`: a copy of the ledger, also while the server runs.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use super::progress::Progress;
use super::{ConfigFile, Failure};
use crate::ledger::{self, FILE_NAME};

/// Copy the ledger to a file, also while the server runs
///
/// The copy is the ledger at one instant, checked and on the disk when this succeeds; only its owner
/// may read it, for it holds the real addresses. An older backup of that name is replaced; any other
/// file is not.
#[derive(clap::Args)]
pub(super) struct Backup {
    #[command(flatten)]
    config: ConfigFile,
    /// Where to
    file: PathBuf,
}

impl Backup {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (config, _) = self.config.load()?;
        {
            let _progress = show_growth(&config.data_dir.join(FILE_NAME), &self.file);
            ledger::back_up(&config.data_dir, &self.file)?;
        }
        let size = size(&self.file);
        writeln!(stdout(), "{}: backed up and checked, {size}", self.file.display()).map_err(Failure::Output)
    }
}

/// While a copy of `from` that will be `to` is written, and then checked.
pub(super) fn show_growth(from: &Path, to: &Path) -> Progress {
    let (whole, part) = (size(from), ledger::part_of(to));
    Progress::show(move || format!("copying and checking: {} of about {whole} written", size(&part)))
}

fn size(file: &Path) -> bytesize::Display {
    let length = std::fs::metadata(file).map_or(0, |file| file.len());
    bytesize::ByteSize(length).display().iec()
}
