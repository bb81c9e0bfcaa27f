//! The MX's part of [`crate::fuzzing`].

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::data::{Decoder, Step};
use super::report::Report;
use super::trace::{HeaderFault, HeaderWatch, joint, printable};
use super::{Mx, session};
use crate::bounce::BounceOf;
use crate::config;
use crate::fuzzing::{PAUSE, Script, pieces};
use crate::ledger::Ledger;
use crate::net::transport::Transport;
use crate::relay::Smarthost;

/// A session that never waits for anybody lasts for milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest reply line, with its CRLF (RFC 5321 §4.5.3.1.5).
const MAX_REPLY_LINE: usize = 512;

/// Nobody listens at the smarthost's port. What would only count from one run to the next is
/// switched off.
const CONFIG: &str = r#"
    hostname   = "mx.alias.test"
    domains    = ["alias.test"]
    postmaster = "admin@mailbox.test"
    [smtp]
    max_size = "2 KiB"
    max_connections_per_ip = 1
    unknown_recipients_per_hour = 0
    [smarthost]
    host = "127.0.0.1"
    port = 1
    tls  = "none"
"#;

/// A message: its text, or that it must be refused; and what came behind it.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    text: Option<Vec<u8>>,
    rest: Vec<u8>,
}

/// The reader of a message's text finds the same end, text and verdict as a simple look at the
/// whole, however the octets come.
pub fn data(input: &[u8]) {
    let (cut, stream) = input.split_first().unwrap_or((&0, &[]));
    let expected = by_definition(stream);
    for pieces in [vec![stream], pieces(stream, usize::from(*cut)), pieces(stream, 1)] {
        assert_eq!(decode(&pieces), expected, "cut into {pieces:?}");
    }
}

/// A session that hears `input` answers line by line, ends, and shows nothing of the target.
///
/// The first octet says how far it has come before: not at all, HELO, MAIL, RCPT.
pub fn command(input: &[u8]) {
    let (depth, input) = input.split_first().unwrap_or((&0, &[]));
    WORLD.with(|world| {
        let script = Script::new(&[world.opening(*depth).as_bytes(), input].concat());
        world.hold(script.clone());
        assert_well_formed(&script.heard());
    });
}

/// The header section is judged the same however it is cut, and what we put before a text does not
/// run into it.
pub fn header(input: &[u8]) {
    let (cut, text) = input.split_first().unwrap_or((&0, &[]));
    let verdict = judge(&[text]);
    for pieces in [pieces(text, usize::from(*cut)), pieces(text, 1)] {
        assert_eq!(judge(&pieces), verdict, "cut into {pieces:?}");
    }
    let joined = [joint(text), text].concat();
    let is_apart = !joined.starts_with(b" ") && !joined.starts_with(b"\t") && !joined.starts_with(b"From ");
    assert!(is_apart, "{joined:?} runs into the header");
    if let Ok(helo) = str::from_utf8(text) {
        let name = printable(helo);
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b);
        assert!(!name.is_empty() && name.bytes().all(fits), "{name:?}");
    }
}

/// A report is judged the same however it is cut.
pub fn report(input: &[u8]) {
    let (cut, text) = input.split_first().unwrap_or((&0, &[]));
    let judge = |pieces: &[&[u8]]| {
        let mut report = Report::default();
        pieces.iter().for_each(|piece| report.see(piece));
        report.failure()
    };
    assert_eq!(judge(&[text]), judge(&pieces(text, usize::from(*cut))));
}

/// `sent`, up to its end, is `text`; one line end more, where the text had none.
pub(crate) fn arrives(sent: &[u8], text: &[u8]) {
    let mut text = text.to_vec();
    if !text.is_empty() && !text.ends_with(b"\r\n") {
        text.extend_from_slice(b"\r\n");
    }
    assert_eq!(decode(&[sent]), Some(Decoded { text: Some(text), rest: Vec::new() }));
}

/// Feeds `pieces` as a connection would: what was not consumed stays in the buffer. `None`: no end.
fn decode(pieces: &[&[u8]]) -> Option<Decoded> {
    let (mut decoder, mut buffer, mut text) = (Decoder::new(), Vec::new(), Vec::new());
    for (index, piece) in pieces.iter().enumerate() {
        buffer.extend_from_slice(piece);
        let mut done = 0;
        loop {
            let (consumed, step) = decoder.step(&buffer[done..]);
            match step {
                Step::Text(run) => text.extend_from_slice(&buffer[done..][run]),
                Step::Incomplete => break,
                Step::End => {
                    let rest = [&buffer[done + consumed..], &pieces[index + 1..].concat()].concat();
                    return Some(Decoded { text: decoder.violation().is_none().then_some(text), rest });
                }
            }
            done += consumed;
        }
        buffer.drain(..done);
    }
    None
}

/// The same by RFC 5321 §4.1.1.4 and §4.5.2, on the whole at once.
fn by_definition(stream: &[u8]) -> Option<Decoded> {
    let lines = [b"\r\n", stream].concat();
    let end = memchr::memmem::find(&lines, b"\r\n.\r\n")?;
    let raw = &stream[..end];
    let rest = stream[end + 3..].to_vec();
    let is_whole = |line: &[u8]| !line.iter().any(|octet| b"\r\n\0".contains(octet));
    let mut text = Vec::new();
    let mut behind = raw;
    while let Some(at) = memchr::memmem::find(behind, b"\r\n") {
        let line = &behind[..at];
        if !is_whole(line) {
            return Some(Decoded { text: None, rest });
        }
        text.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        text.extend_from_slice(b"\r\n");
        behind = &behind[at + 2..];
    }
    Some(Decoded { text: Some(text), rest })
}

fn judge(pieces: &[&[u8]]) -> Result<(), HeaderFault> {
    let mut watch = HeaderWatch::new("mx.alias.test", Some("k7m2q1@alias.test"));
    pieces.iter().try_for_each(|piece| watch.see(piece))
}

fn assert_well_formed(heard: &[u8]) {
    let heard = str::from_utf8(heard).expect("replies are ASCII");
    assert!(heard.starts_with("220 mx.alias.test "), "{heard:?}");
    assert!(!heard.contains("mailbox.test"), "it shows a target: {heard:?}");
    let mut code = None;
    for line in heard.split_inclusive('\n') {
        let text = line.strip_suffix("\r\n").unwrap_or_else(|| panic!("{line:?} has no CRLF"));
        let is_text = text.len() > 4 && line.len() <= MAX_REPLY_LINE;
        assert!(is_text && text.bytes().all(|b| matches!(b, b' '..=b'~')), "{line:?}");
        assert!(
            matches!(text.as_bytes(), [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9', b' ' | b'-', ..]),
            "{line:?}"
        );
        assert!(code.is_none_or(|code| text.starts_with(code)), "{line:?} is no part of the reply before it");
        code = text[3..].starts_with('-').then_some(&text[..3]);
    }
    assert_eq!(code, None, "the last reply has no end");
}

/// An MX without a smarthost, and a thread for its sessions.
struct World {
    runtime: Runtime,
    mx: Arc<Mx>,
    _dir: TempDir,
}

thread_local! {
    static WORLD: World = World::new();
}

/// An MX without a smarthost, and the directory of its ledger.
pub(super) fn lonely_mx() -> (Arc<Mx>, TempDir) {
    let config = config::parse("fuzzing", CONFIG, []).expect("the configuration is good");
    let dir = TempDir::new().expect("a temporary directory can be made");
    let ledger = Ledger::open(dir.path(), 6).expect("a new ledger opens");
    let smarthost = Smarthost::new(&config.smarthost, &config.dns, "mx.alias.test");
    let mx = Mx::new(&config, ledger, smarthost.expect("it names no files"), None);
    (Arc::new(mx), dir)
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
        let guard = runtime.enter();
        let (mx, dir) = lonely_mx();
        drop(guard);
        World { runtime, mx, _dir: dir }
    }

    /// What the client has said before.
    fn opening(&self, depth: u8) -> String {
        let pause = char::from(PAUSE);
        let nobody = self.mx.bounce_key.address(&BounceOf::Nobody, self.mx.default_domain());
        match depth % 4 {
            0 => String::new(),
            1 => "EHLO client.test\r\n".to_owned(),
            2 => "EHLO client.test\r\nMAIL FROM:<sender@client.test>\r\n".to_owned(),
            // The only recipient that needs no smarthost.
            _ => format!("EHLO client.test\r\nMAIL FROM:<>\r\nRCPT TO:<{nobody}>\r\n{pause}"),
        }
    }

    fn hold(&self, script: Script) {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let session =
            session::run(self.mx.clone(), Transport::Script(script), peer, CancellationToken::new());
        let ended = self.runtime.block_on(async { timeout(PATIENCE, session).await });
        assert!(ended.is_ok(), "the session does not end");
    }
}
