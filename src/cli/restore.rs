//! `tempalias restore`: a backup replaces the ledger.

use std::fmt::Write as _;
use std::io::{Write, stdout};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::backup::show_phases;
use super::{ConfigFile, Failure, counted, file};
use crate::clock;
use crate::ledger::{self, BackupLog, FILE_NAME, Restored, Revoked};

/// Replace the ledger by a backup, while no server runs
///
/// The replaced ledger is kept under another name. As far as it can still be read, what it knew is
/// carried over: names handed out, uses spent, limits that are tighter, and which aliases are gone.
#[derive(clap::Args)]
pub(super) struct Restore {
    #[command(flatten)]
    config: ConfigFile,
    /// The backup to restore
    #[arg(value_parser = file())]
    file: PathBuf,
    /// Bring back aliases that were revoked, or used up and purged, since the backup
    #[arg(long)]
    with_revoked: bool,
    /// Read the write-ahead log FILE-wal as part of the backup, which was copied from a ledger's directory
    #[arg(long)]
    with_log: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Restore {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (config, _) = self.config.load()?;
        let revoked = if self.with_revoked { Revoked::ComeBack } else { Revoked::StayGone };
        let log = if self.with_log { BackupLog::Counts } else { BackupLog::Refused };
        let report = show_phases(&self.file, &config.data_dir.join(FILE_NAME));
        let restored = ledger::restore(&config.data_dir, &self.file, log, revoked, clock::now(), report)?;
        let text =
            if self.json { format!("{}\n", self.to_json(&restored)) } else { self.describe(&restored) };
        stdout().write_all(text.as_bytes()).map_err(Failure::Output)
    }

    fn to_json(&self, restored: &Restored) -> Value {
        json!({
            "file": self.file.display().to_string(),
            "aliases": restored.aliases,
            "set_aside": restored.set_aside.as_ref().map(|aside| aside.display().to_string()),
            "carried_over": restored.carried_over.as_ref().map(|since| json!({
                "names": since.names,
                "spent": since.spent,
                "revoked": since.revoked,
            })),
            "with_revoked": self.with_revoked,
            "has_forgotten": restored.has_forgotten(),
        })
    }

    fn describe(&self, restored: &Restored) -> String {
        let mut text = format!("{}: restored, {}\n", self.file.display(), aliases(restored.aliases));
        let mut say = |line: String| writeln!(text, "{line}").expect("a string can be written to");
        if let Some(aside) = &restored.set_aside {
            say(format!("The ledger that was there is now {}", aside.display()));
        }
        if let Some(since) = &restored.carried_over {
            say(format!(
                "Carried over from it: {} handed out and uses of {} spent since the backup",
                counted(since.names, ["name", "names"]),
                aliases(since.spent),
            ));
            let became = if self.with_revoked { "they are back" } else { "they stay so" };
            if since.revoked > 0 {
                say(format!("Revoked or purged since the backup: {}; {became}", aliases(since.revoked)));
            }
        }
        if restored.has_forgotten() {
            say("What has happened since the backup is not known: uses spent, and aliases handed out or revoked, are \
                 forgotten. New names are longer from here on, so that none is handed out a second time."
                .into());
        }
        text
    }
}

fn aliases(count: u32) -> String {
    counted(count, ["alias", "aliases"])
}
