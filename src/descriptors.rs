//! The limit of open files: each connection takes one.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Beside the sessions there are their connections to the smarthost, the web's, and the ledger.
const RESERVE: u64 = 1000;

/// Raises the limit as far as this process may, and says when `max_connections` sessions (0: any
/// number) cannot fit all the same. The low limit that processes start with is for the sake of
/// `select`, which is not used here.
pub fn make_room(max_connections: usize) {
    match raise() {
        Ok(Some(limit)) if limit < max_connections as u64 + RESERVE => tracing::warn!(
            "smtp.max_connections is {max_connections}, but no more than {limit} files may be open; \
             raise LimitNOFILE or lower max_connections"
        ),
        Ok(_) => {}
        Err(cause) => tracing::warn!(%cause, "the limit of open files cannot be raised"),
    }
}

/// The limit that holds now; none when there is none.
fn raise() -> Result<Option<u64>, Errno> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum)
}
