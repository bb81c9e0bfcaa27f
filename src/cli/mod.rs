//! The command line: one file per subcommand.

mod alias;
mod backup;
mod check;
mod completions;
mod demo;
mod health;
mod man;
mod progress;
mod restore;
mod serve;

use std::fmt::Display;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Parser, Subcommand};

use crate::config::{self, Config, ConfigError, Format, Places};
use crate::daemon::{Died, StartError};
use crate::ledger::{BackupError, LedgerError, OpenError};
use crate::systemd::SocketError;
use crate::telemetry::{self, FilterError};

/// The configuration is wrong: `EX_CONFIG` of sysexits.h.
const EX_CONFIG: u8 = 78;

/// E-mail addresses that destroy themselves: MX, REST API and web page in one program.
#[derive(Parser)]
#[command(name = "tempalias", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Serve),
    Demo(demo::Demo),
    Check(check::Check),
    Alias(alias::Alias),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Health(health::Health),
    Completions(completions::Completions),
    Man(man::Man),
}

/// For the subcommands that need a configuration.
#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(
        long = "config",
        value_name = "FILE",
        default_value = "/etc/tempalias/tempalias.toml",
        global = true
    )]
    path: PathBuf,
}

/// The path of a ledger's copy. SQLite accesses it at random, so it cannot be standard input or output, and `-`
/// is refused.
fn file() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|text| {
        if text == "-" {
            return Err("a backup is a file, it cannot be piped; ./- is a file of that name");
        }
        Ok(PathBuf::from(text))
    })
}

/// Why a command failed. The text of each is one line with the whole chain of causes in it.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Log(#[from] FilterError),
    #[error("{0}")]
    Sockets(#[from] SocketError),
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("{0}")]
    Died(#[from] Died),
    #[error("ledger: {0}")]
    Open(#[from] OpenError),
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    #[error("{0}")]
    Backup(#[from] BackupError),
    #[error("standard output: {0}")]
    Output(io::Error),
    /// What an operation of the system was for, and why it failed.
    #[error("{0}: {1}")]
    System(String, io::Error),
    /// The command cannot be carried out, for this reason.
    #[error("{0}")]
    Refused(String),
}

/// Runs the command that the arguments name. Exit codes: 0, done; 1, failed; 2, the arguments are wrong; 78, the
/// configuration is wrong.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        // As in `tempalias alias list | head`.
        Err(Failure::Output(cause)) if cause.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            tell(failure.to_string().replace('\n', " "));
            match failure {
                Failure::Config(_) | Failure::Log(_) => ExitCode::from(EX_CONFIG),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

impl Command {
    fn run(self) -> Result<(), Failure> {
        // The log of `serve` is set by its configuration.
        if !matches!(self, Command::Serve(_)) {
            telemetry::start(telemetry::WARNINGS, Format::Text)?;
        }
        match self {
            Command::Serve(serve) => serve.run(),
            Command::Demo(demo) => demo.run(),
            Command::Check(check) => check.run(),
            Command::Alias(alias) => alias.run(),
            Command::Backup(backup) => backup.run(),
            Command::Restore(restore) => restore.run(),
            Command::Health(health) => health.run(),
            Command::Completions(completions) => completions.run(),
            Command::Man(man) => man.run(),
        }
    }
}

impl ConfigFile {
    fn load(&self) -> Result<(Config, Places), ConfigError> {
        config::load(&self.path, std::env::vars_os())
    }
}

/// Prints a line on standard error; a failure to write it is ignored.
fn tell(what: impl Display) {
    let _ = writeln!(io::stderr(), "tempalias: {what}");
}

/// `1 alias`, `2 aliases`.
fn counted(count: impl Display, [one, many]: [&str; 2]) -> String {
    let count = count.to_string();
    format!("{count} {}", if count == "1" { one } else { many })
}

/// Runs `work` to its end on a runtime of its own.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(|cause| Failure::System("threads".into(), cause))?;
    let result = runtime.block_on(work);
    // Tasks that did not end in time are not waited for again.
    runtime.shutdown_background();
    result
}

/// An address one can connect to: who listens everywhere listens on the loopback interface, too.
fn reachable(mut listener: SocketAddr) -> SocketAddr {
    match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listener.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listener.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listener
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_reached_on_the_loopback_interface() {
        let reached = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:25"), "127.0.0.1:25");
        assert_eq!(reached("[::]:25"), "[::1]:25");
        assert_eq!(reached("192.0.2.1:25"), "192.0.2.1:25");
    }
}
