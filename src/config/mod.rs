//! Configuration: one tree of plain values, every default beside its field.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::address::{Domain, Mailbox};
use crate::alias::Caps;

/// Everything an operator can set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our host name: banner, `Received`, EHLO towards the smarthost. Required.
    pub hostname: Domain,
    /// The domains we hand out aliases for; the first is the default. Required, at least one.
    pub domains: Vec<Domain>,
    /// Where mail for `postmaster@` and `abuse@` of every domain goes. Required.
    pub postmaster: Mailbox,
    /// Directory of the ledger. Default: `/var/lib/tempalias`.
    pub data_dir: PathBuf,
    /// `[http]`
    pub http: Http,
    /// `[smtp]`
    pub smtp: Smtp,
    /// `[smarthost]`; required.
    pub smarthost: Smarthost,
    /// `[aliases]`
    pub aliases: Aliases,
}

/// `[http]`: page and API.
#[derive(Clone, Debug)]
pub struct Http {
    /// Default: `["127.0.0.1:8080"]`.
    pub listen: Vec<SocketAddr>,
}

/// `[smtp]`: the MX.
#[derive(Clone, Debug)]
pub struct Smtp {
    /// Default: `["0.0.0.0:25", "[::]:25"]`.
    pub listen: Vec<SocketAddr>,
    /// Largest message in octets. Default: 25 MiB. 0: no limit.
    pub max_size: u64,
    /// Longest wait for a command. Default: 300 s.
    pub idle_timeout: Duration,
    /// Sessions at the same time. Default: 10,000. 0: no limit.
    pub max_connections: usize,
    /// Recipients of one message. Default: 100. 0: no limit.
    pub max_recipients: usize,
}

/// `[smarthost]`: the relay behind us.
#[derive(Clone, Debug)]
pub struct Smarthost {
    /// Name or address. Required.
    pub host: String,
    /// Default: 25.
    pub port: u16,
    /// Default: [`Tls::Opportunistic`].
    pub tls: Tls,
    /// User name for AUTH; none: no AUTH.
    pub username: Option<String>,
    /// File that holds the password.
    pub password_file: Option<PathBuf>,
    /// PEM file of the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Resolving, connecting, TLS, greeting and EHLO together. Default: 30 s.
    pub connect_timeout: Duration,
    /// Each of MAIL, RCPT and DATA. Default: 60 s.
    pub command_timeout: Duration,
    /// Each write of a piece of the message. Default: 180 s.
    pub write_timeout: Duration,
    /// The answer to the final dot. Default: 270 s.
    pub final_timeout: Duration,
}

/// How the connection to the smarthost is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Not at all.
    None,
    /// STARTTLS when offered.
    Opportunistic,
    /// STARTTLS or nothing.
    Starttls,
    /// TLS from the first octet.
    Implicit,
}

/// `[aliases]`: what people may ask for.
#[derive(Clone, Debug)]
pub struct Aliases {
    /// Default: 60.
    pub max_days: u32,
    /// Default: 100.
    pub max_usage: u32,
    /// Default: 30 min.
    pub purge_interval: Duration,
    /// Characters of the first names. Default: 6.
    pub initial_length: usize,
}

impl Aliases {
    /// The caps on what is granted.
    pub fn caps(&self) -> Caps {
        Caps { max_days: self.max_days, max_usage: self.max_usage }
    }
}
