//! The lock of a data directory: one server, and none while a backup is restored.
//!
//! The lock is the kernel's (`flock`), so it ends with its process, however that ends. The file is
//! left where it is: it holds the process id only for the sentence that a second server says.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use super::{files, owner};
use crate::ledger::OpenError;

const FILE_NAME: &str = "tempalias.lock";

/// Held by the only server of a data directory. `tempalias alias` and the like work beside it.
#[derive(Debug)]
pub struct DataDirLock {
    _file: File,
}

impl DataDirLock {
    /// Takes the lock of `data_dir`.
    ///
    /// # Errors
    /// When another process has it, or when no file can be made there.
    pub fn take(data_dir: &Path) -> Result<Self, OpenError> {
        owner::acting_in(data_dir, || lock(data_dir))
    }
}

fn lock(data_dir: &Path) -> Result<DataDirLock, OpenError> {
    let path = data_dir.join(FILE_NAME);
    let mut file = files::open_private(&path).map_err(|cause| owner::directory_error(data_dir, cause))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = io::read_to_string(&file).unwrap_or_default();
            return Err(OpenError::InUse { path: data_dir.to_owned(), pid: holder.trim().parse().ok() });
        }
        Err(TryLockError::Error(cause)) => return Err(owner::directory_error(data_dir, cause)),
    }
    // It was removed since it was opened: another server may hold the one that is there now.
    if !files::is_at(&file, &path).map_err(|cause| owner::directory_error(data_dir, cause))? {
        return Err(OpenError::InUse { path: data_dir.to_owned(), pid: None });
    }
    // On a full disk the sentence has no process id; the lock holds all the same.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(DataDirLock { _file: file })
}
