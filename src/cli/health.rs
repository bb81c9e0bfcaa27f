//! `tempalias health`: does the server serve? For cron jobs and containers.

use std::error::Error;
use std::io::{Write, stdout};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::{ConfigFile, Failure, block_on, reachable};
use crate::config::{Config, Http};
use crate::net::tls;

/// For each listener. A server that takes longer is of no use to its clients either.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest line that is read: our answers are shorter.
const LONGEST_LINE: u64 = 1024;

/// Ask the running server whether it serves: exit code 0, or 1 and why
///
/// Asks page and API whether the ledger can be read and written, and the MX for its greeting, at the
/// addresses in the configuration.
#[derive(clap::Args)]
pub(super) struct Health {
    #[command(flatten)]
    config: ConfigFile,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// The answer of one listener.
struct Answer {
    /// As in `HTTP on 127.0.0.1:8080`.
    listener: String,
    verdict: Result<(), String>,
}

impl Health {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (config, _) = self.config.load()?;
        let answers = block_on(async {
            let (http, smtp) = tokio::join!(ask_http(&config.http), ask_smtp(&config));
            Ok([http, smtp])
        })?;
        let complaint =
            |Answer { listener, verdict }: &Answer| Some(format!("{listener}: {}", verdict.as_ref().err()?));
        let why: Vec<String> = answers.iter().filter_map(complaint).collect();
        if self.json {
            let [http, smtp] = &answers;
            let object = json!({ "healthy": why.is_empty(), "http": http.to_json(), "smtp": smtp.to_json() });
            writeln!(stdout(), "{object}").map_err(Failure::Output)?;
        }
        if !why.is_empty() {
            return Err(Failure::Refused(format!("not healthy: {}", why.join("; "))));
        }
        if !self.json {
            let [http, smtp] = answers.map(|answer| answer.listener);
            writeln!(stdout(), "healthy: {http}, {smtp}").map_err(Failure::Output)?;
        }
        Ok(())
    }
}

impl Answer {
    async fn to(listener: String, question: impl Future<Output = Result<(), Box<dyn Error>>>) -> Self {
        let verdict = timeout(PATIENCE, question).await.unwrap_or_else(|_| Err("no answer in 5 s".into()));
        Answer { listener, verdict: verdict.map_err(|why| why.to_string()) }
    }

    fn to_json(&self) -> serde_json::Value {
        json!({ "door": self.listener, "ok": self.verdict.is_ok(), "error": self.verdict.as_ref().err() })
    }
}

async fn ask_http(http: &Http) -> Answer {
    if let Some(socket) = &http.socket {
        let question = async { ready(UnixStream::connect(socket).await?).await };
        return Answer::to(format!("HTTP on {}", socket.display()), question).await;
    }
    let Some(&address) = http.listen.first() else {
        return Answer { listener: "HTTP".into(), verdict: Err("listens nowhere".into()) };
    };
    let address = reachable(address);
    if http.tls_cert.is_some() {
        // The certificate is not verified: `tempalias check` checks it.
        let client = tls::Client::opportunistic();
        let question = async {
            let tcp = TcpStream::connect(address).await?;
            ready(client.connect(&address.ip().to_string(), tcp).await?).await
        };
        return Answer::to(format!("HTTPS on {address}"), question).await;
    }
    let question = async { ready(TcpStream::connect(address).await?).await };
    Answer::to(format!("HTTP on {address}"), question).await
}

/// `GET /readyz`: 200 when the ledger can be read and written.
async fn ready(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), Box<dyn Error>> {
    let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let line = line(&mut stream).await?;
    match line.strip_prefix("HTTP/1.1 ") {
        Some(status) if status.starts_with("200") => Ok(()),
        Some(status) => Err(format!("not ready: {status}").into()),
        None => Err("does not speak HTTP".into()),
    }
}

/// Expects a greeting. A refusal because of the load shows that the server is alive, too.
async fn ask_smtp(config: &Config) -> Answer {
    let address = reachable(config.smtp.listen[0]);
    let question = async {
        let mut tcp = TcpStream::connect(address).await?;
        let greeting = line(&mut tcp).await?;
        // The answer does not matter.
        let _ = tcp.write_all(b"QUIT\r\n").await;
        match greeting.get(..3) {
            Some("220" | "421") => Ok(()),
            _ => Err("does not speak SMTP".into()),
        }
    };
    Answer::to(format!("SMTP on {address}"), question).await
}

async fn line(stream: &mut (impl AsyncRead + Unpin)) -> Result<String, Box<dyn Error>> {
    let mut line = Vec::new();
    BufReader::new(stream.take(LONGEST_LINE)).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Err("it closed the connection".into());
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}
