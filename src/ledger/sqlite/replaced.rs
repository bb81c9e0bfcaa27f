//! The ledger that a restore replaces: kept under another name, unless the restore fails.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::BackupError;
use super::files;
use crate::clock::Timestamp;

/// A second name of the ledger, and of the files beside it. When this is dropped before it is
/// [kept](Replaced::keep), all is as it was.
pub(super) struct Replaced {
    ledger: PathBuf,
    path: PathBuf,
    /// The suffixes of the files that have their second name by now.
    done: Vec<&'static str>,
}

/// The ledger's own suffix.
const ITSELF: &str = "";

impl Replaced {
    /// Gives the ledger, if there is one, a second name; its first one is about to be another file's. At no moment
    /// is there no ledger: a server would make a new one, which knows no name.
    ///
    /// Of one that could not be read, or was removed, a log may be left, which SQLite would replay over the new
    /// one. So it is renamed, too.
    pub(super) fn rename(ledger: &Path, now: Timestamp) -> Result<Self, BackupError> {
        let mut replaced =
            Replaced { ledger: ledger.to_owned(), path: free_name(ledger, now), done: Vec::new() };
        for suffix in [ITSELF].into_iter().chain(files::SIDECARS) {
            let from = files::with_suffix(ledger, suffix);
            if from.symlink_metadata().is_ok() {
                replaced.rename_one(suffix).map_err(BackupError::file(&from))?;
            }
        }
        files::sync_directory_of(ledger).map_err(BackupError::file(ledger))?;
        Ok(replaced)
    }

    fn rename_one(&mut self, suffix: &'static str) -> io::Result<()> {
        let [from, to] = [&self.ledger, &self.path].map(|path| files::with_suffix(path, suffix));
        if suffix == ITSELF { fs::hard_link(from, to) } else { fs::rename(from, to) }?;
        self.done.push(suffix);
        Ok(())
    }

    fn undo(&mut self) -> io::Result<()> {
        if self.done.is_empty() {
            return Ok(());
        }
        for suffix in self.done.drain(..).rev() {
            let [from, to] = [&self.path, &self.ledger].map(|path| files::with_suffix(path, suffix));
            if suffix == ITSELF { fs::remove_file(from) } else { fs::rename(from, to) }?;
        }
        files::sync_directory_of(&self.ledger)
    }

    /// It has been replaced for good. Where it is now, if there was one.
    pub(super) fn keep(mut self) -> Option<PathBuf> {
        let was_there = self.done.contains(&ITSELF);
        self.done.clear();
        was_there.then(|| self.path.clone())
    }
}

impl Drop for Replaced {
    fn drop(&mut self) {
        if let Err(cause) = self.undo() {
            tracing::warn!(%cause, "{} could not be made as it was before", self.ledger.display());
        }
    }
}

/// A name with the instant `now` in it. No other process makes such names: a restore holds the lock.
fn free_name(ledger: &Path, now: Timestamp) -> PathBuf {
    let first = files::with_suffix(ledger, &format!(".before-restore-{}", now.strftime("%Y%m%dT%H%M%SZ")));
    let further = (2..).map(|nth: u64| files::with_suffix(&first, &format!("-{nth}")));
    let is_free = |path: &PathBuf| {
        let mut names =
            [ITSELF].into_iter().chain(files::SIDECARS).map(|suffix| files::with_suffix(path, suffix));
        names.all(|name| name.symlink_metadata().is_err())
    };
    std::iter::once(first.clone()).chain(further).find(is_free).expect("some number is not taken")
}
