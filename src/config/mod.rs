//! Configuration: one tree of plain values, every default beside its field.
//!
//! [`load`] reads the file, lays the environment over it and then looks at combinations, which
//! may each be well-formed and yet cannot work together. `packaging/tempalias.toml` shows every
//! key with its default.

mod changes;
mod check;
mod load;
mod log;
mod secrets;
mod service_links;
mod targets;
mod values;
mod web;

pub use changes::Changes;
pub use load::{ConfigError, Places, load, parse};
pub use log::{Format, Level, Log};
pub use secrets::is_open_to_everybody;
pub use targets::{Forbidden, TargetError, Targets};
pub use web::{Colour, Link, Network, Origin, Url};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use crate::address::{Domain, Mailbox};
use crate::alias::Caps;

/// Some editors begin a text file with it; it is no part of the text (RFC 8259 §8.1 allows to ignore it).
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// What is set now: a reload stores another. Who has begun something keeps what was set then.
pub type Settings = Arc<ArcSwap<Config>>;

/// Everything an operator can set.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Our host name: banner, `Received`, EHLO towards the smarthost. Required.
    #[serde(deserialize_with = "values::parsed")]
    pub hostname: Domain,
    /// The domains we hand out aliases for; the first is the default. Required, at least one.
    #[serde(deserialize_with = "values::list")]
    pub domains: Vec<Domain>,
    /// Where mail for `postmaster@` and `abuse@` of every domain goes. Required.
    #[serde(deserialize_with = "values::parsed", serialize_with = "values::mailbox")]
    pub postmaster: Mailbox,
    /// Directory of the ledger. Default: `/var/lib/tempalias`.
    #[serde(default = "default_data_dir")]
    pub data_dir: PathBuf,
    /// `[http]`
    #[serde(default, deserialize_with = "values::section")]
    pub http: Http,
    /// `[smtp]`
    #[serde(default, deserialize_with = "values::section")]
    pub smtp: Smtp,
    /// `[smarthost]`; required.
    #[serde(deserialize_with = "values::section")]
    pub smarthost: Smarthost,
    /// `[aliases]`
    #[serde(default, deserialize_with = "values::section")]
    pub aliases: Aliases,
    /// `[dns]`
    #[serde(default, deserialize_with = "values::section")]
    pub dns: Dns,
    /// `[metrics]`
    #[serde(default, deserialize_with = "values::section")]
    pub metrics: Metrics,
    /// `[log]`
    #[serde(default, deserialize_with = "values::section")]
    pub log: Log,
}

fn default_data_dir() -> PathBuf {
    PathBuf::from("/var/lib/tempalias")
}

/// `[http]`: page and API.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Default: `["127.0.0.1:8080"]`.
    #[serde(deserialize_with = "values::addresses")]
    pub listen: Vec<SocketAddr>,
    /// Unix socket to listen on as well, for a proxy on this host. Default: none.
    pub socket: Option<PathBuf>,
    /// PEM file of our certificate and those it is signed by; with it `listen` speaks HTTPS only.
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the key of `tls_cert`.
    pub tls_key: Option<PathBuf>,
    /// What visitors have in their address bar: scheme and host, no path. Default: what they ask for.
    pub public_url: Option<Origin>,
    /// Proxies whose word on who the client is we take. Default: none.
    #[serde(deserialize_with = "values::list")]
    pub trusted_proxies: Vec<Network>,
    /// Connections at the same time. Default: 1,000. 0: no limit.
    #[serde(deserialize_with = "values::whole")]
    pub max_connections: usize,
    /// Of these, of one client that is no trusted proxy: an IPv4 address, or an IPv6 /64 or /56.
    /// Default: 50. 0: no limit.
    #[serde(deserialize_with = "values::whole")]
    pub max_connections_per_ip: usize,
    /// How often a client may have an alias; after a rest a few at once. Default: 30 s. 0: no limit.
    #[serde(deserialize_with = "values::duration")]
    pub create_interval: Duration,
    /// DNS lists whose clients get no alias. Default: none.
    #[serde(deserialize_with = "values::list")]
    pub rbls: Vec<Domain>,
    /// Whether aliases can be had with GET, as a script (JSONP). Default: no.
    pub jsonp: bool,
    /// What the site is called. Default: tempalias.
    pub name: String,
    /// The page's colour, `#rrggbb`. Default: our own.
    pub accent: Option<Colour>,
    /// Where the operator says who they are. Default: nowhere.
    pub imprint: Option<Url>,
    /// How the operator is reached: a mail address or a URL. Default: postmaster of each domain.
    pub contact: Option<Link>,
    /// Where the source code is that runs here. Default: nowhere.
    pub source: Option<Url>,
}

impl Default for Http {
    fn default() -> Self {
        Http {
            listen: vec![([127, 0, 0, 1], 8080).into()],
            socket: None,
            tls_cert: None,
            tls_key: None,
            public_url: None,
            trusted_proxies: vec![],
            max_connections: 1000,
            max_connections_per_ip: 50,
            create_interval: Duration::from_secs(30),
            rbls: vec![],
            jsonp: false,
            name: "tempalias".into(),
            accent: None,
            imprint: None,
            contact: None,
            source: None,
        }
    }
}

/// `[smtp]`: the MX.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Smtp {
    /// Default: `["0.0.0.0:25", "[::]:25"]`.
    #[serde(deserialize_with = "values::addresses")]
    pub listen: Vec<SocketAddr>,
    /// PEM file of our certificate, with its chain. None: STARTTLS is not offered.
    pub tls_cert: Option<PathBuf>,
    /// PEM file of its private key.
    pub tls_key: Option<PathBuf>,
    /// Largest message in octets. Default: 25 MiB. 0: no limit.
    #[serde(deserialize_with = "values::size")]
    pub max_size: u64,
    /// Longest wait for a command. Default: 300 s (RFC 5321 §4.5.3.2.7).
    #[serde(deserialize_with = "values::duration")]
    pub idle_timeout: Duration,
    /// The same while more than 80 % of `max_connections` are taken. Default: 10 s.
    #[serde(deserialize_with = "values::duration")]
    pub stress_timeout: Duration,
    /// Octets a second that a message must have come at after its first minute. Default: 500. 0: no limit.
    #[serde(deserialize_with = "values::whole")]
    pub min_data_rate: u64,
    /// Sessions at the same time. Default: 10,000. 0: no limit.
    #[serde(deserialize_with = "values::whole")]
    pub max_connections: usize,
    /// Of these, of one client: an IPv4 address, or an IPv6 /64 or /56. Default: 50. 0: no limit.
    #[serde(deserialize_with = "values::whole")]
    pub max_connections_per_ip: usize,
    /// New sessions of one client in a minute. Default: 300. 0: no limit.
    #[serde(deserialize_with = "values::whole")]
    pub connections_per_minute: u32,
    /// Unknown recipients of one client in an hour. Default: 300. 0: no limit.
    #[serde(deserialize_with = "values::whole")]
    pub unknown_recipients_per_hour: u32,
    /// Unknown recipients of one session. Default: 10. 0: no limit.
    #[serde(deserialize_with = "values::whole")]
    pub max_unknown_recipients: usize,
    /// Errors of one session. Default: 10. 0: no limit.
    #[serde(deserialize_with = "values::whole")]
    pub max_errors: usize,
    /// Messages of one session. Default: 100. 0: no limit.
    #[serde(deserialize_with = "values::whole")]
    pub max_messages: usize,
    /// DNS lists whose clients are refused. Default: none.
    #[serde(deserialize_with = "values::list")]
    pub rbls: Vec<Domain>,
}

impl Default for Smtp {
    fn default() -> Self {
        Smtp {
            listen: vec![([0, 0, 0, 0], 25).into(), ([0u16; 8], 25).into()],
            tls_cert: None,
            tls_key: None,
            max_size: 25 << 20,
            idle_timeout: Duration::from_secs(300),
            stress_timeout: Duration::from_secs(10),
            min_data_rate: 500,
            max_connections: 10_000,
            max_connections_per_ip: 50,
            connections_per_minute: 300,
            unknown_recipients_per_hour: 300,
            max_unknown_recipients: 10,
            max_errors: 10,
            max_messages: 100,
            rbls: Vec::new(),
        }
    }
}

/// `[smarthost]`: the relay behind us.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Smarthost {
    /// Name or address, without the brackets that it may be written in. Required: the default is empty, which is
    /// refused.
    #[serde(deserialize_with = "values::host")]
    pub host: String,
    /// Default: 25.
    #[serde(deserialize_with = "values::whole")]
    pub port: u16,
    /// Default: [`Tls::Opportunistic`].
    #[serde(deserialize_with = "values::parsed")]
    pub tls: Tls,
    /// User name for AUTH; none: no AUTH.
    pub username: Option<String>,
    /// File that holds the password; without a directory it is one of the unit's credentials.
    pub password_file: Option<PathBuf>,
    /// PEM file of the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Connections at the same time; of these a quarter for one client. Default: 40. 0: no limit.
    #[serde(deserialize_with = "values::whole")]
    pub max_connections: usize,
    /// Resolving, connecting, TLS, greeting and EHLO together. Default: 30 s.
    #[serde(deserialize_with = "values::duration")]
    pub connect_timeout: Duration,
    /// Each of MAIL, RCPT and DATA. Default: 60 s.
    #[serde(deserialize_with = "values::duration")]
    pub command_timeout: Duration,
    /// Each write of a piece of the message. Default: 180 s.
    #[serde(deserialize_with = "values::duration")]
    pub write_timeout: Duration,
    /// The answer to the final dot. Default: 270 s.
    #[serde(deserialize_with = "values::duration")]
    pub final_timeout: Duration,
}

impl Default for Smarthost {
    fn default() -> Self {
        Smarthost {
            host: String::new(),
            port: 25,
            tls: Tls::Opportunistic,
            username: None,
            password_file: None,
            ca_file: None,
            max_connections: 40,
            connect_timeout: Duration::from_secs(30),
            command_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(180),
            final_timeout: Duration::from_secs(270),
        }
    }
}

/// How the connection to the smarthost is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
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

impl FromStr for Tls {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "none" => Ok(Tls::None),
            "opportunistic" => Ok(Tls::Opportunistic),
            "starttls" => Ok(Tls::Starttls),
            "implicit" => Ok(Tls::Implicit),
            _ => Err(format!("{word:?}: must be \"none\", \"opportunistic\", \"starttls\" or \"implicit\"")),
        }
    }
}

/// `[aliases]`: what people may ask for.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Aliases {
    /// Longest life of an alias in days. Default: 60.
    #[serde(deserialize_with = "values::whole")]
    pub max_days: u32,
    /// Most messages of an alias. Default: 100.
    #[serde(deserialize_with = "values::whole")]
    pub max_usage: u32,
    /// How often aliases that are over are deleted. Default: 30 min.
    #[serde(deserialize_with = "values::duration")]
    pub purge_interval: Duration,
    /// Characters of the first names, 4 to 16. Default: 6. A ledger keeps the length it has grown to.
    #[serde(deserialize_with = "values::whole")]
    pub initial_length: usize,
    /// Domains and addresses that no alias is handed out for. Default: none but our own.
    #[serde(deserialize_with = "values::list")]
    pub forbidden_targets: Vec<Forbidden>,
}

impl Default for Aliases {
    fn default() -> Self {
        Aliases {
            max_days: 60,
            max_usage: 100,
            purge_interval: Duration::from_secs(30 * 60),
            initial_length: 6,
            forbidden_targets: Vec::new(),
        }
    }
}

/// A file that the configuration names cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {}: {cause}", path.display())]
pub struct FileError {
    /// The key that names it.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub cause: String,
}

impl Aliases {
    /// The caps on what is granted.
    pub fn caps(&self) -> Caps {
        Caps { max_days: self.max_days, max_usage: self.max_usage }
    }
}

/// `[dns]`: whom to ask for names, the smarthost's and the DNS lists'.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// Default: those of `/etc/resolv.conf`.
    #[serde(deserialize_with = "values::dns_servers")]
    pub servers: Vec<SocketAddr>,
}

/// `[metrics]`: figures for Prometheus.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Where `/metrics` is. Whoever can reach it can read it. Default: nowhere.
    #[serde(deserialize_with = "values::addresses")]
    pub listen: Vec<SocketAddr>,
}
