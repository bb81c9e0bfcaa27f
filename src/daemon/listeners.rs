//! Listening sockets: TCP addresses, a Unix socket, or those that systemd passes.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tracing::warn;

use super::StartError;

/// Connections that the kernel queues until they are accepted.
const BACKLOG: i32 = 1024;

/// Of the Unix socket. Our own user and the socket's group may connect, and are trusted to name the clients'
/// addresses. The group is the directory's when the directory has the set-group-ID bit (inode(7)).
const SOCKET_MODE: u32 = 0o660;

/// Listens on the sockets that systemd has `passed`, or else on the `addresses`.
pub(super) fn listen(
    service: &'static str,
    addresses: &[SocketAddr],
    setting: &'static str,
    passed: Vec<std::net::TcpListener>,
) -> Result<Vec<TcpListener>, StartError> {
    if !passed.is_empty() {
        return passed.into_iter().map(adopt).collect::<io::Result<_>>().map_err(StartError::Passed);
    }
    let mut listeners = Vec::with_capacity(addresses.len());
    for &address in addresses {
        match bind(address) {
            Ok(listener) => listeners.push(listener),
            Err(cause) if !listeners.is_empty() && lacks_ipv6(&address, &cause) => {
                warn!(%cause, "no IPv6 on this machine; {service} does not listen on {address}");
            }
            Err(cause) => return Err(StartError::Listen { service, address, cause, setting }),
        }
    }
    Ok(listeners)
}

/// Replaces a socket that a previous run has left at `path`, unless a process still listens on it.
pub(super) fn bind_unix(path: &Path) -> Result<UnixListener, StartError> {
    let refused = |cause| StartError::Socket { path: path.to_owned(), cause };
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    // Any other failure may come from a living socket: we lack the permission to connect, or it is no stream.
    let is_stale = || {
        let refusal = std::os::unix::net::UnixStream::connect(path).err();
        refusal.is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
    };
    if is_socket && is_stale() {
        std::fs::remove_file(path).map_err(refused)?;
    }
    let socket = || -> io::Result<UnixListener> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // Before it listens, so that no connection is made under other permissions.
        std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
        socket.listen(BACKLOG)?;
        UnixListener::from_std(socket.into())
    };
    socket().map_err(refused)
}

/// An IPv6 listener takes IPv6 only, so that `[::]:25` and `0.0.0.0:25` can be bound together whatever the
/// system's default is.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Restart while old connections still linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn adopt(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// `[::]` is in the defaults; a machine without IPv6 must not need a configuration for that.
fn lacks_ipv6(address: &SocketAddr, cause: &io::Error) -> bool {
    let is_conflict = matches!(cause.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied);
    address.is_ipv6() && address.ip().is_unspecified() && !is_conflict
}

pub(super) fn local_addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    let address = |listener: &TcpListener| listener.local_addr().expect("a bound listener has an address");
    listeners.iter().map(address).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_on_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let dead = dir.path().join("dead");
        drop(bind_unix(&dead).unwrap());
        let alive = bind_unix(&dead).expect("what a previous run has left is replaced");
        let refused = bind_unix(&dead).expect_err("somebody listens there");
        assert!(matches!(refused, StartError::Socket { .. }), "{refused}");
        UnixStream::connect(&dead).expect("the other one is still there");
        drop(alive);

        // One that we cannot connect to, whoever we are: it takes datagrams.
        let other = dir.path().join("other");
        let log = UnixDatagram::bind(&other).unwrap();
        bind_unix(&other).expect_err("somebody has it");
        UnixDatagram::unbound().unwrap().send_to(b"still there", &other).unwrap();
        assert_eq!(log.recv(&mut [0; 64]).unwrap(), 11);
    }
}
