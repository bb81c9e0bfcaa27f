//! The MX's part of [`crate::fuzzing`].

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::report::Report;
use super::{Mx, session};
use crate::bounce::BounceOf;
use crate::config;
use crate::events::Events;
use crate::ledger::Ledger;
use crate::net::script::{PAUSE, Script};
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

/// A session that hears `input` answers line by line, ends, and shows nothing of the target.
///
/// The first octet says how far it has come before: not at all, HELO, MAIL, RCPT.
pub fn command(input: &[u8]) {
    let (depth, input) = input.split_first().unwrap_or((&0, &[]));
    WORLD.with(|world| {
        let script = Script::new(&[world.opening(*depth).as_bytes(), input].concat());
        let (mx, stream) = (world.mx.clone(), Transport::Script(script.clone()));
        let session = session::run(mx, stream, Ipv4Addr::LOCALHOST.into(), CancellationToken::new());
        let ended = world.runtime.block_on(async { timeout(PATIENCE, session).await });
        assert!(ended.is_ok(), "the session does not end");
        assert_well_formed(&script.heard());
    });
}

/// A report is judged the same however it is cut.
pub fn report(input: &[u8]) {
    let (cut, text) = input.split_first().unwrap_or((&0, &[]));
    let judge = |pieces: &[&[u8]]| {
        let mut report = Report::default();
        pieces.iter().for_each(|piece| report.see(piece));
        report.failure()
    };
    assert_eq!(judge(&[text]), judge(&text.chunks(usize::from(*cut).max(1)).collect::<Vec<_>>()));
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
    let smarthost = Smarthost::new(&config).expect("it names no files");
    (Arc::new(Mx::new(Arc::new(config), ledger, smarthost, None, Events::default())), dir)
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
        let nobody = self.mx.bounce_key.address(&BounceOf::Nobody, &self.mx.current.load().config.domains[0]);
        match depth % 4 {
            0 => String::new(),
            1 => "EHLO client.test\r\n".to_owned(),
            2 => "EHLO client.test\r\nMAIL FROM:<sender@client.test>\r\n".to_owned(),
            // The only recipient that needs no smarthost.
            _ => format!("EHLO client.test\r\nMAIL FROM:<>\r\nRCPT TO:<{nobody}>\r\n{pause}"),
        }
    }
}
