//! The service manager: what it wants to hear (sd_notify(3)), and the sockets that it has opened
//! for us (sd_listen_fds(3)).
//!
//! Started by anybody else we speak to nobody, and there are no such sockets.

use std::net::TcpListener;
use std::time::Duration;
use std::{env, io};

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// Listening sockets that systemd has opened for us; `FileDescriptorName=` in their units says
/// what for. They need no right of ours to be had, not even port 25.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Those named `smtp`.
    pub smtp: Vec<TcpListener>,
    /// Those named `http`.
    pub http: Vec<TcpListener>,
}

/// A socket from systemd that we have no use for.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// It is called something else.
    #[error("systemd: FileDescriptorName= of a socket unit must be smtp or http, not {0:?}")]
    Name(String),
    /// It does not listen for TCP.
    #[error("systemd: the socket named {0:?} is no TCP listener: {1}")]
    Kind(String, io::Error),
}

impl Sockets {
    /// Takes what there is; a second time there is nothing.
    ///
    /// # Errors
    /// When one of them is of no use: somebody expects it to be served.
    pub fn take() -> Result<Self, SocketError> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut handed = ListenFd::from_env();
        let mut sockets = Sockets::default();
        // As many names as sockets, or none at all.
        let mut names = names.split(':');
        for index in 0..handed.len() {
            let name = names.next().unwrap_or_default();
            let sockets = match name {
                "smtp" => &mut sockets.smtp,
                "http" => &mut sockets.http,
                _ => return Err(SocketError::Name(name.to_owned())),
            };
            let listener = handed.take_tcp_listener(index);
            sockets.extend(listener.map_err(|cause| SocketError::Kind(name.to_owned(), cause))?);
        }
        Ok(sockets)
    }
}

/// We serve; `status` says where. Also the end of [`reloading`].
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// What was read at the start is read again; [`ready`] ends it, well or not.
pub fn reloading() {
    notify(&[NotifyState::Reloading]);
}

/// The orderly stop has begun.
pub fn stopping(status: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// We are alive, for another [`watchdog_patience`].
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// After which time without [`alive`] we are taken for dead. `None`: nobody waits for it.
pub fn watchdog_patience() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Nobody to be told is no failure.
fn notify(states: &[NotifyState]) {
    if let Err(cause) = sd_notify::notify(states) {
        tracing::warn!(%cause, "systemd cannot be told");
    }
}
