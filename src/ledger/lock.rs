//! One server for a data directory, and none while a backup is being restored.
//!
//! The lock is the kernel's (`flock`), so it ends with its process, however that ends. The file is
//! left where it is: it holds the process id only for the sentence that a second server says.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{OpenError, files, owner};

const FILE_NAME: &str = "tempalias.lock";

/// Whoever holds it is the only server of its data directory. `tempalias alias` and the like work
/// beside it.
#[derive(Debug)]
pub struct DataDirLock {
    _file: File,
}

impl DataDirLock {
    /// Takes the lock of `data_dir`.
    ///
    /// # Errors
    /// When somebody has it, or when no file can be made there.
    pub fn take(data_dir: &Path) -> Result<Self, OpenError> {
        owner::acting_in(data_dir, || lock(data_dir))
    }
}

fn lock(data_dir: &Path) -> Result<DataDirLock, OpenError> {
    let path = data_dir.join(FILE_NAME);
    let mut file = files::open_private(&path).map_err(|cause| explain(data_dir, cause))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = io::read_to_string(&file).unwrap_or_default();
            return Err(OpenError::InUse { path: data_dir.to_owned(), pid: holder.trim().parse().ok() });
        }
        Err(TryLockError::Error(cause)) => return Err(explain(data_dir, cause)),
    }
    // Somebody has removed it since it was opened: another server may hold the one that is there now.
    if !files::is_at(&file, &path).map_err(|cause| explain(data_dir, cause))? {
        return Err(OpenError::InUse { path: data_dir.to_owned(), pid: None });
    }
    // On a full disk the sentence has no process id; the lock holds all the same.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(DataDirLock { _file: file })
}

/// Why nothing can be made in `data_dir`; names both users when that is why.
pub(super) fn explain(data_dir: &Path, cause: io::Error) -> OpenError {
    let path = data_dir.to_owned();
    let us = rustix::process::geteuid().as_raw();
    match data_dir.metadata() {
        Ok(directory) if cause.kind() == io::ErrorKind::PermissionDenied && directory.uid() != us => {
            OpenError::WrongOwner { path, owner: directory.uid(), us }
        }
        _ => OpenError::Directory { path, cause: owner::explain(cause) },
    }
}
