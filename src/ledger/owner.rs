//! Root in somebody else's directory: with the rights of whom it belongs to.
//!
//! Whoever owns a directory can put a link in the place of any name in it, at any moment. Root would follow
//! it to wherever the owner wanted; so root gives up, for as long as it works there, what the owner has not.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Gid, Uid, getegid, geteuid, getgroups};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Does `work` in `directory`; as its owner, if root does it and the directory is not root's own. This goes for
/// this thread, and for good for those that it starts meanwhile. Files that are open stay open.
///
/// # Errors
/// Those of `work`, and, by `refused`, when nothing is known of the directory, or root may not act for others.
pub(super) fn acting_in<T, E>(
    directory: &Path,
    refused: impl FnOnce(io::Error) -> E,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let root = match become_owner_of(directory) {
        Ok(root) => root,
        Err(cause) => return Err(refused(cause)),
    };
    let result = work();
    if let Some(root) = root {
        root.come_back();
    }
    result
}

/// What root had before.
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
    let taken = set_thread_groups(&[group])
        .and_then(|()| set_thread_res_gid(None, group, None))
        // The last: with it go the rights to change anything else, but for the way back.
        .and_then(|()| set_thread_res_uid(None, Uid::from_raw(found.uid()), None));
    match taken {
        Ok(()) => Ok(Some(root)),
        Err(cause) => {
            root.come_back();
            Err(cause.into())
        }
    }
}

impl Root {
    /// # Panics
    /// When the way back is barred; nothing bars it for who has kept root as the saved user id (setresuid(2)).
    fn come_back(&self) {
        set_thread_res_uid(None, Uid::ROOT, None)
            .and_then(|()| set_thread_res_gid(None, self.group, None))
            .expect("who was root a moment ago may be it again");
        // Without CAP_SETGID they have never changed.
        let _ = set_thread_groups(&self.groups);
    }
}
