//! Root in another user's directory, with the rights of its owner.
//!
//! The owner of a directory can replace any name in it by a link, at any moment. Root would follow it to
//! wherever the owner wanted; so root gives up, as long as it works there, the rights that the owner has not.
use crate::ledger::OpenError;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Gid, Uid, getegid, geteuid, getgroups, getuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Does `work` in `directory`; as its owner, if root does it and the directory is not root's own. This goes for
/// this thread, and for good for those that it starts meanwhile. Files that are open stay open.
///
/// # Errors
/// Those of `work`, and when the directory cannot be read, or root may not act for others.
pub(super) fn acting_in<T, E: From<OpenError>>(
    directory: &Path,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let _root = become_owner_of(directory).map_err(|cause| directory_error(directory, cause))?;
    work()
}

/// The user that is refused something now, in words: root is refused next to nothing, and must know that it
/// was not root.
pub(super) fn user() -> String {
    if is_acting() {
        format!("user id {}, whom the directory belongs to", geteuid().as_raw())
    } else {
        "this user".into()
    }
}

/// `cause`, with [`user`] if that may be why.
pub(super) fn explain(cause: io::Error) -> io::Error {
    if cause.kind() == io::ErrorKind::PermissionDenied && is_acting() {
        io::Error::new(cause.kind(), format!("{cause}, as {}", user()))
    } else {
        cause
    }
}

/// Why nothing can be made in `directory`; names both users when that is why.
pub(super) fn directory_error(directory: &Path, cause: io::Error) -> OpenError {
    let path = directory.to_owned();
    let us = geteuid().as_raw();
    match directory.metadata() {
        Ok(found) if cause.kind() == io::ErrorKind::PermissionDenied && found.uid() != us => {
            OpenError::WrongOwner { path, owner: found.uid(), us }
        }
        _ => OpenError::Directory { path, cause: explain(cause) },
    }
}

fn is_acting() -> bool {
    getuid().is_root() && !geteuid().is_root()
}

/// What root had before, and gets back when this is dropped.
struct Root {
    group: Gid,
    groups: Vec<Gid>,
}

/// `None`: there is nothing to change.
fn become_owner_of(directory: &Path) -> io::Result<Option<Root>> {
    let found = directory.metadata()?;
    if !geteuid().is_root() || found.uid() == 0 {
        return Ok(None);
    }
    let root = Root { group: getegid(), groups: getgroups()? };
    let group = Gid::from_raw(found.gid());
    set_thread_groups(&[group])
        .and_then(|()| set_thread_res_gid(None, group, None))
        // The last: with it go the rights to change anything else, but for the way back.
        .and_then(|()| set_thread_res_uid(None, Uid::from_raw(found.uid()), None))?;
    Ok(Some(root))
}

impl Drop for Root {
    /// # Panics
    /// When the kernel refuses; it does not while root is the saved user id (setresuid(2)).
    fn drop(&mut self) {
        set_thread_res_uid(None, Uid::ROOT, None)
            .and_then(|()| set_thread_res_gid(None, self.group, None))
            .expect("root is still the saved user id");
        // Without CAP_SETGID they have never changed.
        let _ = set_thread_groups(&self.groups);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;
    use std::panic::catch_unwind;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn after_a_panic_root_is_root_again() {
        if !geteuid().is_root() {
            eprintln!("SKIPPED: needs root's rights");
            return;
        }
        let dir = TempDir::new().unwrap();
        chown(dir.path(), Some(4711), Some(4712)).unwrap();
        let who = || (geteuid().as_raw(), getegid().as_raw(), getgroups().unwrap());
        let before = who();
        let panicked = catch_unwind(|| acting_in::<(), OpenError>(dir.path(), || panic!("{:?}", who())));
        let acting = *panicked.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(acting, format!("{:?}", (4711, 4712, [Gid::from_raw(4712)])));
        assert_eq!(who(), before);
    }
}
