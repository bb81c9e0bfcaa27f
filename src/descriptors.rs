//! Resources of the process: open files, of which each connection takes one, their limit, memory and threads.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Files for everything but counted connections: connections to the smarthost that are being closed, DNS
/// queries, the ledger, the listeners and health checks.
const RESERVE: u64 = 1000;

/// Raises the limit of open files as far as this process may, and warns when it is still too low for the
/// connections that `config` allows (0 allows any number and counts as none). The low soft limit that processes
/// start with exists for `select`, which is not used here.
pub fn raise_limit(config: &Config) {
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

/// The new limit; `None`: unlimited.
fn raise() -> Result<Option<u64>, Errno> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum)
}

/// How many files may be open; `None`: unlimited.
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Resources that the process uses.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Open file descriptors.
    pub files: i64,
    /// Octets of memory in use.
    pub memory: i64,
    /// Threads.
    pub threads: i64,
}

/// The present usage; `None` where `/proc` is not mounted.
pub fn usage() -> Option<Usage> {
    // Without the one that reads the directory.
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
