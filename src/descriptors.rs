//! The limit of open files: each connection takes one.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// For connections to the smarthost, DNS questions, the ledger and the listeners.
const RESERVE: u64 = 1000;

/// Raises the limit as far as this process may, and says when the connections that `config` grants
/// cannot fit all the same (0, any number, is for the operator to judge). The low limit that
/// processes start with is for the sake of `select`, which is not used here.
pub fn make_room(config: &Config) {
    let (smtp, http) = (config.smtp.max_connections, config.http.max_connections);
    match raise() {
        Ok(Some(limit)) if limit < smtp as u64 + http as u64 + RESERVE => tracing::warn!(
            "smtp.max_connections is {smtp} and http.max_connections {http}, but no more than {limit} \
             files may be open; raise LimitNOFILE or lower them"
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
