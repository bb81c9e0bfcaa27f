//! A delivered message, for the eyes of the person who runs the demo.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use bytesize::ByteSize;
use mail_parser::{Address, Message, MessageParser};

use crate::alias::AliasName;
use crate::ledger::Ledger;
use crate::sink::Delivery;

/// More of a header field than this is not shown.
const MAX_CHARS: usize = 200;

/// Shown for a field that is not there.
const NONE: &str = "(none)";

const GOOD: Style = AnsiColor::Green.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// Writes a small block about the message, with the uses of its alias as `ledger` has them now.
pub(super) async fn show(out: &mut impl Write, delivery: &Delivery<'_>, ledger: &Ledger) -> io::Result<()> {
    let message = MessageParser::default().parse_headers(delivery.message);
    let headers = message.as_ref();
    let alias = sole_alias(delivery.message);
    let from = headers.and_then(sender).unwrap_or_else(|| NONE.into());
    let subject = headers.and_then(Message::subject).unwrap_or(NONE);
    let to = delivery.recipients.join(", ");
    let to = match &alias {
        Some(alias) => format!("{alias} -> {to}"),
        None => to,
    };
    let uses = match alias {
        Some(alias) => uses(alias, ledger).await.unwrap_or_default(),
        None => String::new(),
    };
    let size = ByteSize::b(delivery.message.len() as u64).display();
    writeln!(out, "{GOOD}Delivered{GOOD:#}  {}{uses}", harmless(&to))?;
    writeln!(out, "  {DIM}From{DIM:#}     {}", harmless(&from))?;
    writeln!(out, "  {DIM}Subject{DIM:#}  {}", harmless(subject))?;
    writeln!(out, "  {DIM}Kept{DIM:#}     {} ({size})", delivery.path.display())?;
    writeln!(out)?;
    out.flush()
}

/// The alias, when it was the only recipient: then the MX writes it into the very first line. What
/// stands below may be of the sender's making.
fn sole_alias(message: &[u8]) -> Option<&str> {
    let line = message.split(|&octet| octet == b'\n').next()?;
    Some(str::from_utf8(line).ok()?.strip_prefix("Delivered-To:")?.trim())
}

/// `, use 2 of 3`. The number is the ledger's present one: of messages that arrive at the same
/// instant, several may show the last.
async fn uses(alias: &str, ledger: &Ledger) -> Option<String> {
    let name: AliasName = alias.split_once('@')?.0.parse().ok()?;
    let alias = ledger.lookup(&name).await.ok()??;
    Some(match alias.limits.max_usage {
        Some(granted) => format!(", use {} of {granted}", alias.used),
        None => format!(", use {}", alias.used),
    })
}

fn sender(headers: &Message<'_>) -> Option<String> {
    let from = headers.from().and_then(Address::first)?;
    match (from.name(), from.address()) {
        (Some(name), Some(address)) => Some(format!("{name} <{address}>")),
        (name, address) => address.or(name).map(str::to_owned),
    }
}

/// The text without anything that could steer the terminal or turn the reading direction, which
/// a stranger may have written there.
fn harmless(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown: String =
        text.chars().take(MAX_CHARS).map(|c| if steers(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::alias::Limits;
    use crate::clock;
    use crate::ledger::NewAlias;
    use crate::message_id::MessageId;

    /// A ledger with one alias, whose first of 3 uses is spent.
    async fn ledger(dir: &Path) -> (Ledger, String) {
        let ledger = Ledger::open(dir, 6).unwrap();
        let now = clock::now();
        let new = NewAlias {
            domain: "demo.test".parse().unwrap(),
            target: "you@example.com".parse().unwrap(),
            limits: Limits { valid_from: now, valid_until: None, max_usage: Some(3) },
        };
        let alias = ledger.issue(new, now).await.unwrap().alias;
        ledger.spend(alias.name.clone(), MessageId::new(now), now).await.unwrap();
        (ledger, alias.address())
    }

    async fn shown(message: &str, ledger: &Ledger) -> String {
        let mut out = anstream::StripStream::new(Vec::new());
        let delivery = Delivery {
            recipients: &["you@example.com".to_owned()],
            message: message.as_bytes(),
            path: Path::new("/tmp/0001.eml"),
        };
        show(&mut out, &delivery, ledger).await.unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    #[tokio::test]
    async fn a_message_is_shown_with_the_use_it_took() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, alias) = ledger(dir.path()).await;
        let message = format!(
            "Delivered-To: {alias}\r\nDelivered-To: of-an-earlier@host.example\r\n\
             From: =?utf-8?q?Caf=C3=A9?= <shop@example.org>\r\n\
             Subject: =?iso-8859-1?q?gr=FCn?= and\r\n folded\r\n\r\nHello\r\n"
        );
        assert_eq!(
            shown(&message, &ledger).await,
            format!(
                "Delivered  {alias} -> you@example.com, use 1 of 3\n  From     Café <shop@example.org>\n  \
                 Subject  grün and folded\n  Kept     /tmp/0001.eml ({} B)\n\n",
                message.len()
            )
        );
    }

    #[tokio::test]
    async fn a_field_that_the_sender_may_have_written_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, alias) = ledger(dir.path()).await;
        let message = format!(
            "Received: from client.test ([127.0.0.1])\r\n\tby mx.demo.test; date\r\n\
             Delivered-To: {alias}\r\n\r\nHello\r\n"
        );
        let shown = shown(&message, &ledger).await;
        assert!(shown.starts_with("Delivered  you@example.com\n"), "{shown}");
    }

    #[tokio::test]
    async fn without_an_alias_in_the_header_nothing_is_said_about_uses() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, _) = ledger(dir.path()).await;
        for message in ["", "\r\n", "Delivered-To: postmaster@demo.test\r\n\r\n", "no header at all"] {
            let shown = shown(message, &ledger).await;
            assert!(!shown.contains("use ") && shown.contains("you@example.com\n"), "{shown}");
            assert!(shown.contains("Subject  (none)"), "{shown}");
        }
    }

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        assert_eq!(
            harmless("a\u{1b}[2Jb\u{7}\r\n\u{9b}\u{202e}c"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}c"
        );
        assert_eq!(harmless(&"x".repeat(1000)).chars().count(), MAX_CHARS + 1);
    }

    #[tokio::test]
    async fn an_encoded_escape_sequence_is_harmless_too() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, _) = ledger(dir.path()).await;
        let shown = shown("Subject: =?utf-8?b?G10wO293bmVkBw==?=\r\n\r\n", &ledger).await;
        assert!(!shown.contains('\u{1b}') && shown.contains("]0;owned"), "{shown}");
    }
}
