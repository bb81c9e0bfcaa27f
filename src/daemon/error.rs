//! What ends a daemon.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::FileError;
use crate::ledger::{LedgerError, OpenError};

/// Why a daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be opened.
    #[error(
        "{service} cannot listen on {address}: {}; choose another address with {setting}",
        explain(address, cause)
    )]
    Listen {
        /// SMTP or HTTP.
        service: &'static str,
        /// Where it should listen.
        address: SocketAddr,
        /// The operating system's error.
        cause: io::Error,
        /// The key or option that sets the address ([`super::AddressSettings`]).
        setting: &'static str,
    },
    /// The Unix socket could not be opened.
    #[error("HTTP cannot listen on {}: {cause}; choose another path with http.socket", path.display())]
    Socket {
        /// Where it should be.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
    /// The ledger could not be opened.
    #[error("ledger: {0}")]
    Ledger(#[from] OpenError),
    /// A socket from systemd cannot be used.
    #[error("systemd: {0}")]
    Passed(io::Error),
    /// The ledger could be opened, but not read.
    #[error("{0}")]
    Read(#[from] LedgerError),
    /// A file that the configuration names cannot be used.
    #[error("{0}")]
    File(#[from] FileError),
}

/// A part of the daemon ended without being asked to; the rest was stopped.
#[derive(Debug, thiserror::Error)]
#[error("{part} {how}; stopped")]
pub struct Died {
    pub(super) part: &'static str,
    pub(super) how: String,
}

fn explain(address: &SocketAddr, cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::AddrInUse => format!("port {} is already in use", address.port()),
        io::ErrorKind::PermissionDenied => format!(
            "permission denied, port {} needs root or the capability CAP_NET_BIND_SERVICE",
            address.port()
        ),
        io::ErrorKind::AddrNotAvailable => format!("this machine does not have the address {}", address.ip()),
        _ => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_cannot_be_had_is_explained_in_one_sentence() {
        let sentence = |kind: io::ErrorKind| {
            let address = "192.0.2.1:25".parse().unwrap();
            StartError::Listen { service: "SMTP", address, cause: kind.into(), setting: "smtp.listen" }
                .to_string()
        };
        assert_eq!(
            sentence(io::ErrorKind::AddrInUse),
            "SMTP cannot listen on 192.0.2.1:25: port 25 is already in use; choose another address with smtp.listen"
        );
        assert!(sentence(io::ErrorKind::PermissionDenied).contains("port 25 needs root or the capability"));
        assert!(sentence(io::ErrorKind::AddrNotAvailable).contains("does not have the address 192.0.2.1"));
    }
}
