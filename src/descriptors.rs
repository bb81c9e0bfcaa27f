//! Open files, of which each connection takes one, their limit, and what else the process takes.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// For connections to the smarthost that are on their way out, DNS questions, the ledger, the
/// listeners and health checks.
const RESERVE: u64 = 1000;

/// Raises the limit as far as this process may, and says when the connections that `config` grants
/// cannot fit all the same (0, any number, is for the operator to judge). The low limit that
/// processes start with is for the sake of `select`, which is not used here.
pub fn make_room(config: &Config) {
    let (smtp, http) = (config.smtp.max_connections, config.http.max_connections);
    let smarthost = config.smarthost.max_connections;
    let wanted = [smtp, http, smarthost].iter().fold(RESERVE, |sum, &most| sum.saturating_add(most as u64));
    match raise() {
        Ok(Some(limit)) if limit < wanted => tracing::warn!(
            "smtp.max_connections is {smtp}, http.max_connections {http} and \
             smarthost.max_connections {smarthost}, but no more than {limit} files may be open; \
             raise LimitNOFILE or lower them"
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

/// How many files may be open; none when there is no limit.
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// What the process takes of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Open file descriptors.
    pub files: i64,
    /// Octets of memory in use.
    pub memory: i64,
    /// Threads.
    pub threads: i64,
}

/// What we take now; none where `/proc` is not to be seen.
pub fn usage() -> Option<Usage> {
    // The one that we look with is not counted.
    let files = std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let figure = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<i64>().ok()
    };
    let (memory, threads) = (figure("VmRSS:")? * 1024, figure("Threads:")?);
    Some(Usage { files: files.try_into().ok()?, memory, threads })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_that_of_this_process() {
        let before = usage().unwrap();
        let _file = std::fs::File::open("/proc/self/status").unwrap();
        let after = usage().unwrap();
        assert!(before.files >= 3 && after.threads >= 1 && after.memory > 1 << 20, "{before:?}, {after:?}");
    }
}
