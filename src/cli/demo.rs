//! `tempalias demo`: everything at once, without a configuration or another service.

mod delivery;

use std::fmt::Display;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstream::stdout;
use anstyle::{AnsiColor, Style};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::{Failure, block_on, reachable, tell};
use crate::config::{Aliases, Config, Dns, Http, Log, Metrics, Smarthost, Smtp, Tls};
use crate::daemon::{AddressSettings, Daemon, Died, Hangup, StartError, Stop};
use crate::ledger::Ledger;
use crate::sink::{Delivery, Sink};
use crate::systemd::Sockets;

const ADDRESS_SETTINGS: AddressSettings = AddressSettings { smtp: "--smtp", http: "--http" };

const HOSTNAME: &str = "mx.demo.test";
const DOMAIN: &str = "demo.test";
const SMARTHOST: &str = "the built-in smarthost";
const POSTMASTER: &str = "postmaster@example.com";

/// With nothing in flight a stop takes less.
const MOMENT: Duration = Duration::from_secs(1);

/// Emphasis.
const BOLD: Style = Style::new().bold();
/// What is to be copied.
const COMMAND: Style = AnsiColor::Green.on_default();

/// Try it out: page, API, MX and a smarthost that shows each message, without configuration
#[derive(clap::Args)]
pub(super) struct Demo {
    /// Where page and API listen
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// Where the MX listens
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:2525")]
    smtp: SocketAddr,
    /// Where ledger and messages are kept [default: a fresh temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Demo {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (dir, fresh) = self.directory()?;
        let mail = dir.join("mail");
        std::fs::create_dir_all(&mail).map_err(|cause| elsewhere(&mail, cause))?;
        let smarthost = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(refused(SMARTHOST))?;
        let config = self.config(dir, smarthost.local_addr().map_err(refused(SMARTHOST))?);

        block_on(async {
            let stop = Stop::on_signals(Hangup::Ends).map_err(refused("signals"))?;
            let started = Daemon::start(&config, ADDRESS_SETTINGS, Sockets::default());
            let daemon = started.map_err(|cause| match cause {
                StartError::Ledger(cause) => elsewhere(&config.data_dir, cause),
                other => other.into(),
            })?;
            // From here on there may be messages in it.
            fresh.map(TempDir::keep);
            start_sink(smarthost, mail.clone(), &config, daemon.ledger().clone())?;
            write_tour(&mut stdout().lock(), daemon.smtp()[0], daemon.http()[0], &mail)
                .map_err(Failure::Output)?;
            tell(format_args!("ready, {daemon}"));
            run(daemon, stop).await?;
            writeln!(stdout(), "\nBye. The messages stay in {}", mail.display()).map_err(Failure::Output)
        })
    }

    /// The demo's directory, and its guard when it is a fresh one: without a demo it shall not stay.
    fn directory(&self) -> Result<(PathBuf, Option<TempDir>), Failure> {
        if let Some(dir) = &self.dir {
            return Ok((std::path::absolute(dir).map_err(|cause| elsewhere(dir, cause))?, None));
        }
        let fresh = tempfile::Builder::new().prefix("tempalias-demo-").tempdir();
        let fresh = fresh.map_err(|cause| elsewhere(&std::env::temp_dir(), cause))?;
        Ok((fresh.path().to_owned(), Some(fresh)))
    }

    fn config(&self, data_dir: PathBuf, smarthost: SocketAddr) -> Config {
        Config {
            hostname: HOSTNAME.parse().expect("a valid domain"),
            domains: vec![DOMAIN.parse().expect("a valid domain")],
            postmaster: POSTMASTER.parse().expect("a valid address"),
            data_dir,
            http: Http { listen: vec![self.http], create_interval: Duration::ZERO, ..Default::default() },
            smtp: Smtp { listen: vec![self.smtp], ..Default::default() },
            smarthost: Smarthost {
                host: smarthost.ip().to_string(),
                port: smarthost.port(),
                tls: Tls::None,
                ..Default::default()
            },
            aliases: Aliases::default(),
            dns: Dns::default(),
            metrics: Metrics::default(),
            log: Log::default(),
        }
    }
}

/// Serves until `stop`. Without an end soon after it, the person at the keyboard is told why.
async fn run(daemon: Daemon, stop: Stop) -> Result<(), Died> {
    let work = daemon.run(stop.clone());
    tokio::pin!(work);
    let patience = async {
        stop.orderly.cancelled().await;
        tokio::time::sleep(MOMENT).await;
    };
    tokio::select! {
        ended = &mut work => return ended,
        () = patience => tell("finishing what is in flight; Ctrl-C again ends at once"),
    }
    work.await
}

fn start_sink(listener: TcpListener, dir: PathBuf, config: &Config, ledger: Ledger) -> Result<(), Failure> {
    // Twice what the MX lets in: what it prepends must not make the difference.
    let max_size = usize::try_from(config.smtp.max_size * 2).unwrap_or(usize::MAX);
    let runtime = Handle::current();
    let show = move |delivered: &Delivery<'_>| {
        // Without a terminal there is nobody to be shown anything; the message is kept all the same.
        let _ = runtime.block_on(delivery::show(&mut stdout().lock(), delivered, &ledger));
    };
    Sink::new(dir, max_size, show).start("smarthost.demo.test", listener).map_err(refused(SMARTHOST))
}

/// Ledger and messages cannot be kept in `dir`.
fn elsewhere(dir: &Path, cause: impl Display) -> Failure {
    let dir = dir.display();
    Failure::Refused(format!("cannot keep messages in {dir}: {cause}; choose another directory with --dir"))
}

/// The operating system did not let us have `what`.
fn refused(what: impl Display) -> impl FnOnce(io::Error) -> Failure {
    move |cause| Failure::System(what.to_string(), cause)
}

/// What to do next, in commands that work as they stand.
fn write_tour(out: &mut impl Write, smtp: SocketAddr, http: SocketAddr, mail: &Path) -> io::Result<()> {
    let (smtp, http) = (reachable(smtp), reachable(http));
    // Commands begin in the first column: shells leave lines that begin with a blank out of
    // their history, and the second one is to be repeated.
    writeln!(
        out,
        "\
{BOLD}tempalias demo{BOLD:#}: aliases at {DOMAIN}. No mail leaves this machine.

  Page and API     {BOLD}http://{http}/{BOLD:#}
  MX (SMTP)        {smtp}
  Messages go to   {mail}

In a second terminal, make an alias that lives for 3 messages:

{COMMAND}{create}{COMMAND:#}

Mail it. Repeat this: the fourth message is refused with 550.

{COMMAND}{send}{COMMAND:#}

Ctrl-C ends the demo. What is delivered is shown below.
",
        mail = mail.display(),
        create = create_command(http),
        send = send_command(smtp),
    )
}

/// Makes an alias and keeps its address in a shell variable; no JSON tool needed.
fn create_command(http: SocketAddr) -> String {
    format!(
        "ALIAS=$(curl -sS http://{http}/aliases -H 'Content-Type: application/json' \
         -d '{{\"target\":\"you@example.com\",\"max-usage\":3}}' \
         | sed -n 's/.*\"email\": *\"\\([^\"]*\\)\".*/\\1/p'); echo \"$ALIAS\""
    )
}

/// Mails the alias that [`create_command`] made.
fn send_command(smtp: SocketAddr) -> String {
    format!(
        "printf 'Date: %s\\r\\nFrom: A Shop <shop@example.org>\\r\\nTo: %s\\r\\nSubject: Welcome\\r\\n\\r\\nHello!\\r\\n' \
         \"$(LC_ALL=C date '+%a, %d %b %Y %H:%M:%S %z')\" \"$ALIAS\" \
         | curl -sS smtp://{smtp} --mail-from shop@example.org --mail-rcpt \"$ALIAS\" --upload-file -"
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        demo: Demo,
    }

    /// Where it listens unless told otherwise.
    fn defaults() -> Demo {
        Cli::parse_from(["tempalias demo"]).demo
    }

    #[test]
    fn it_listens_on_this_machine_alone() {
        let Demo { http, smtp, dir } = defaults();
        assert_eq!((http, smtp), (([127, 0, 0, 1], 8080).into(), ([127, 0, 0, 1], 2525).into()));
        assert_eq!(dir, None);
    }

    #[test]
    fn the_commands_of_the_readme_are_those_that_it_prints() {
        let readme = include_str!("../../README.md");
        let commands: Vec<_> = readme.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
        let Demo { http, smtp, .. } = defaults();
        assert_eq!(commands, [create_command(http), send_command(smtp)]);
    }
}
