//! The files of a ledger: private, and on the disk.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// The files that SQLite keeps beside a database, and takes for part of any database of that name.
pub(super) const SIDECARS: [&str; 3] = [LOG, "-shm", JOURNAL];

/// The write-ahead log.
pub(super) const LOG: &str = "-wal";

/// The rollback journal of a database that has no write-ahead log.
pub(super) const JOURNAL: &str = "-journal";

/// Opens `path`, or makes it, empty and for its owner alone: it will hold real addresses.
///
/// # Errors
/// When it is a link, or another user's file: users who can make names in the directory must not be able to
/// redirect this process to a file elsewhere.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    let file = private().create(true).truncate(false).open(path).map_err(|cause| {
        // How open(2) answers O_NOFOLLOW.
        if cause.raw_os_error() == Some(Errno::LOOP.raw_os_error()) { not_private() } else { cause }
    })?;
    let (found, directory) = (file.metadata()?, directory_of(path).metadata()?);
    let user = rustix::process::geteuid().as_raw();
    let is_owned = found.uid() == user || found.uid() == directory.uid();
    // No name left: it was removed just now, which `is_at` finds.
    if found.is_file() && found.nlink() <= 1 && is_owned { Ok(file) } else { Err(not_private()) }
}

/// Makes `path`, for its owner alone, where there must be nothing.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    private().create_new(true).open(path)
}

/// Whether `path` is still the name of `file`: it may have been removed before it was locked.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let opened = file.metadata()?;
    match path.symlink_metadata() {
        Ok(found) => Ok((found.dev(), found.ino()) == (opened.dev(), opened.ino())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(cause),
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options.custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).expect("the flag fits the system's type"));
    options
}

fn not_private() -> io::Error {
    io::Error::other("a link, or not an ordinary file of this directory's owner; look at it, and remove it")
}

/// A file beside `database` that is a link, or another user's than the database. SQLite takes such a file by
/// its name alone; in a shared directory any user could so replace the content of the database.
///
/// # Errors
/// When the files cannot be read.
pub(super) fn foreign_sidecar(database: &Path) -> io::Result<Option<PathBuf>> {
    // SQLite follows a link, and opens the files beside its target.
    let database = fs::canonicalize(database)?;
    let owner = database.metadata()?.uid();
    for beside in SIDECARS.map(|suffix| with_suffix(&database, suffix)) {
        match beside.symlink_metadata() {
            Ok(found) if found.is_file() && found.nlink() <= 1 && found.uid() == owner => {}
            Ok(_) => return Ok(Some(beside)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(None)
}

/// The first file beside `database` with one of `suffixes`, unless it is empty.
pub(super) fn sidecar(database: &Path, suffixes: &[&str]) -> Option<PathBuf> {
    let mut names = suffixes.iter().map(|suffix| with_suffix(database, suffix));
    names.find(|name| name.symlink_metadata().is_ok_and(|found| !found.is_file() || found.len() > 0))
}

/// Removes what is beside `database`, which is about to be made.
pub(super) fn remove_sidecars(database: &Path) -> io::Result<()> {
    for beside in SIDECARS.map(|suffix| with_suffix(database, suffix)) {
        match fs::remove_file(beside) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
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

/// The directory of `path`.
pub(super) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
