//! The service manager: notifications to it (sd_notify(3)), and the sockets that it passes
//! (sd_listen_fds(3)).
//!
//! Without a service manager notifications go nowhere, and there are no sockets.

use std::net::TcpListener;
use std::time::Duration;
use std::{env, io};

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// Listening sockets that systemd has opened; `FileDescriptorName=` in their units says for which service.
/// They need no capability of this process, even on port 25.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Those named `smtp`.
    pub smtp: Vec<TcpListener>,
    /// Those named `http`.
    pub http: Vec<TcpListener>,
}

/// A socket from systemd that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Its name is neither `smtp` nor `http`.
    #[error("systemd: FileDescriptorName= of a socket unit must be smtp or http, not {0:?}")]
    Name(String),
    /// It is not a listening TCP socket.
    #[error("systemd: the socket named {0:?} is not a TCP listener: {1}")]
    Kind(String, io::Error),
}

impl Sockets {
    /// Takes them all; a second call finds none.
    ///
    /// # Errors
    /// When one cannot be served: its clients would wait for ever.
    pub fn take() -> Result<Self, SocketError> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let mut sockets = Sockets::default();
        // As many names as sockets, or none at all.
        let mut names = names.split(':');
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            let sockets = match name {
                "smtp" => &mut sockets.smtp,
                "http" => &mut sockets.http,
                _ => return Err(SocketError::Name(name.to_owned())),
            };
            let listener = passed.take_tcp_listener(index);
            sockets.extend(listener.map_err(|cause| SocketError::Kind(name.to_owned(), cause))?);
        }
        Ok(sockets)
    }
}

/// We serve; `status` says where. Also the end of [`reloading`].
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload has begun; [`ready`] ends it, whether it worked or not.
pub fn reloading() {
    notify(&[NotifyState::Reloading]);
}

/// The orderly stop has begun.
pub fn stopping(status: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// We are alive; the next call is due within [`watchdog_patience`].
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// After this time without [`alive`] the service manager restarts us. `None`: no watchdog is set.
pub fn watchdog_patience() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Without a service manager this does nothing.
fn notify(states: &[NotifyState]) {
    if let Err(cause) = sd_notify::notify(states) {
        tracing::warn!(%cause, "systemd cannot be notified");
    }
}
