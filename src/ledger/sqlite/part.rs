//! A copy of a database in the making: made beside its final name, which it gets when it is whole and on the disk.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::error::BackupError;
use super::files;

/// The file that grows while a backup to `file` is being made.
pub fn part_of(file: &Path) -> PathBuf {
    files::with_suffix(file, ".part")
}

/// A copy that is being made; removed unless it is finished.
pub(super) struct Part {
    path: PathBuf,
    /// Locked, so that two do not write at once.
    file: File,
    finished: bool,
}

impl Part {
    /// Begins the copy that will be `file`. One that a killed run has left is removed: its rights
    /// may have been changed since.
    pub(super) fn begin(file: &Path) -> Result<Self, BackupError> {
        let path = part_of(file);
        let failed = |cause| BackupError::file(&path)(cause);
        let left_over = files::open_private(&path).map_err(failed)?;
        lock(&left_over, &path)?;
        fs::remove_file(&path).map_err(failed)?;
        files::remove_sidecars(&path).map_err(failed)?;
        let part = match files::create_private(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                return Err(BackupError::UnderWay(path));
            }
            made => made.map_err(failed)?,
        };
        // Until this moment another run may have taken it for left over.
        lock(&part, &path)?;
        Ok(Part { path, file: part, finished: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Brings it to the disk, and gives it its name; that this is on the disk, too, is left to
    /// [`files::sync_directory_of`]. When it fails, `file` is as it was.
    pub(super) fn finish(mut self, file: &Path) -> Result<(), BackupError> {
        if !files::is_at(&self.file, &self.path).map_err(BackupError::file(&self.path))? {
            return Err(BackupError::UnderWay(self.path.clone()));
        }
        self.file.sync_all().map_err(BackupError::file(&self.path))?;
        fs::rename(&self.path, file).map_err(BackupError::file(file))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.finished {
            // If it cannot be removed, the next run writes over it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Locks `file`, and makes sure that it is still at `path`.
fn lock(file: &File, path: &Path) -> Result<(), BackupError> {
    match file.try_lock() {
        Ok(()) if files::is_at(file, path).map_err(BackupError::file(path))? => Ok(()),
        Ok(()) | Err(TryLockError::WouldBlock) => Err(BackupError::UnderWay(path.to_owned())),
        Err(TryLockError::Error(cause)) => Err(BackupError::file(path)(cause)),
    }
}
