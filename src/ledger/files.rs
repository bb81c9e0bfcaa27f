//! The files of a ledger: whose they are, and that they are on the disk.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

/// Opens `path`, or makes it, empty and for its owner alone: it will hold real addresses.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Gives `file` to whom its directory belongs: what root makes there must be of use to the server.
pub(super) fn belongs_to_directory(file: &File, path: &Path) -> io::Result<()> {
    let directory = directory_of(path).metadata()?;
    if rustix::process::geteuid().is_root() && file.metadata()?.uid() != directory.uid() {
        fchown(file, Some(directory.uid()), Some(directory.gid()))?;
    }
    Ok(())
}

/// Waits until the names in the directory of `path` are on the disk.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

/// `path` with more at its end.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
