//! One command line to one [`Command`], or to the reply that refuses it.
//!
//! smtp-proto parses; what it is lenient about is checked here: 8-bit and control characters,
//! arguments where there are none, parameters given twice, `RCPT TO:<>`, and sizes of more digits
//! than it can count. What it is too strict about is smoothed: address literals.

use std::borrow::Cow;

use memchr::{memchr, memmem};
use smtp_proto::{Error, MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_SMTPUTF8, MailFrom, RcptTo, Request};

use super::reply::{self, Reply};

/// What a client may ask for, parsed and checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Helo(String),
    Ehlo(String),
    Mail(Mail),
    /// The path without brackets, quotes and source route; empty for the bare `<postmaster>`.
    Rcpt(String),
    Data,
    Rset,
    Noop,
    Help,
    Vrfy,
    StartTls,
    Quit,
}

/// MAIL with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mail {
    /// The reverse-path is `<>`. What else it is does not matter: it goes no further.
    pub(super) null_sender: bool,
    /// SIZE (RFC 1870).
    pub(super) size: Option<u64>,
    /// BODY=8BITMIME (RFC 6152).
    pub(super) is_8bit: bool,
    /// SMTPUTF8 (RFC 6531).
    pub(super) utf8: bool,
}

/// Where UTF-8 may stand in a command (RFC 6531).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8 {
    /// SMTPUTF8 has been offered: MAIL may ask for it.
    pub(super) is_offered: bool,
    /// MAIL has asked for it: RCPT may use it.
    pub(super) is_wanted: bool,
}

/// Digits of a size that still fit 64 bits: smtp-proto 0.2.5 starts anew after that.
const MAX_SIZE_DIGITS: usize = 19;

impl Command {
    /// Parses `line`, CRLF included.
    pub(super) fn parse(line: &[u8], utf8: Utf8) -> Result<Self, Reply> {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        if text.iter().any(|&b| (b < b' ' && b != b'\t') || b == 0x7f) {
            return Err(reply::NOT_ASCII);
        }
        let text = str::from_utf8(text).map_err(|_| reply::NOT_ASCII)?;
        let verb = text.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        if matches!(verb.as_str(), "DATA" | "RSET" | "QUIT" | "STARTTLS")
            && text.trim_end().len() > verb.len()
        {
            return Err(reply::SYNTAX);
        }
        let keywords = if matches!(verb.as_str(), "MAIL" | "RCPT") { parameters(text)? } else { Vec::new() };
        if !text.is_ascii() {
            match verb.as_str() {
                "MAIL" if utf8.is_offered && keywords.iter().any(|keyword| keyword == "SMTPUTF8") => {}
                "RCPT" if utf8.is_wanted => {}
                "MAIL" | "RCPT" => return Err(reply::NON_ASCII_ADDRESS),
                _ => return Err(reply::NOT_ASCII),
            }
        }
        let line = without_literal(line);
        match Request::parse(&mut line.iter()).map_err(|error| refusal(&error))? {
            Request::Ehlo { host } => Ok(Command::Ehlo(host.into_owned())),
            Request::Helo { host } => Ok(Command::Helo(host.into_owned())),
            Request::Mail { from } => mail(&from, text, &keywords, utf8).map(Command::Mail),
            Request::Rcpt { to } => rcpt(to, text, &keywords).map(Command::Rcpt),
            Request::Data => Ok(Command::Data),
            Request::Rset => Ok(Command::Rset),
            Request::Noop { .. } => Ok(Command::Noop),
            Request::Help { .. } => Ok(Command::Help),
            Request::Vrfy { .. } => Ok(Command::Vrfy),
            Request::StartTls => Ok(Command::StartTls),
            Request::Quit => Ok(Command::Quit),
            _ => Err(reply::NOT_IMPLEMENTED),
        }
    }
}

fn mail(from: &MailFrom<Cow<'_, str>>, text: &str, keywords: &[String], utf8: Utf8) -> Result<Mail, Reply> {
    let is_offered = |keyword: &String| match keyword.as_str() {
        "SIZE" | "BODY" => true,
        "SMTPUTF8" => utf8.is_offered,
        _ => false,
    };
    let known = MAIL_BODY_8BITMIME | MAIL_BODY_7BIT | MAIL_SMTPUTF8;
    if !keywords.iter().all(is_offered) || from.flags & !known != 0 {
        return Err(reply::PARAMETER_NOT_IMPLEMENTED);
    }
    let declares_size = keywords.iter().any(|keyword| keyword == "SIZE");
    Ok(Mail {
        null_sender: from.address.is_empty() && text.contains("<>"),
        size: declares_size.then(|| u64::try_from(from.size).unwrap_or(u64::MAX)),
        is_8bit: from.flags & MAIL_BODY_8BITMIME != 0,
        utf8: from.flags & MAIL_SMTPUTF8 != 0,
    })
}

fn rcpt(to: RcptTo<Cow<'_, str>>, text: &str, keywords: &[String]) -> Result<String, Reply> {
    if !keywords.is_empty() {
        return Err(reply::PARAMETER_NOT_IMPLEMENTED);
    }
    // smtp-proto gives an empty path for both; only one of them is a recipient.
    if to.address.is_empty() && !text.to_ascii_lowercase().contains("<postmaster>") {
        return Err(reply::BAD_RECIPIENT);
    }
    Ok(to.address.into_owned())
}

/// The keywords of the parameters behind the path, in upper case, each at most once (RFC 5321
/// §4.1.1.11), those we know with a value that could be one.
fn parameters(text: &str) -> Result<Vec<String>, Reply> {
    // A path that holds a quoted `>` is refused here for its second half; nobody has one.
    let behind = text.split_once('>').map_or("", |(_, behind)| behind);
    let mut keywords = Vec::new();
    for word in behind.split_ascii_whitespace() {
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let keyword = keyword.to_ascii_uppercase();
        let is_void = match keyword.as_str() {
            "SIZE" => value.is_none_or(|digits| digits.is_empty() || digits.len() > MAX_SIZE_DIGITS),
            "BODY" => value.is_none_or(str::is_empty),
            _ => false,
        };
        if is_void || keywords.contains(&keyword) {
            return Err(reply::SYNTAX);
        }
        keywords.push(keyword);
    }
    Ok(keywords)
}

/// The line with a stand-in for an address literal, `user@[192.0.2.1]` (RFC 5321 §4.1.3), which
/// smtp-proto refuses: a sender may well have one, and in RCPT it is a domain that is not ours.
fn without_literal(line: &[u8]) -> Cow<'_, [u8]> {
    let literal =
        memmem::find(line, b"@[").and_then(|at| Some((at + 1, memchr(b']', &line[at..])? + at + 1)));
    match literal {
        Some((start, end)) => [&line[..start], b"address-literal", &line[end..]].concat().into(),
        None => line.into(),
    }
}

fn refusal(error: &Error) -> Reply {
    match error {
        Error::UnknownCommand => reply::UNKNOWN_COMMAND,
        Error::InvalidSenderAddress => reply::BAD_SENDER,
        Error::InvalidRecipientAddress => reply::BAD_RECIPIENT,
        Error::UnsupportedParameter { .. } => reply::UNKNOWN_PARAMETER,
        _ => reply::SYNTAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, Reply> {
        parse_with(line, Utf8::default())
    }

    fn parse_with(line: &str, utf8: Utf8) -> Result<Command, Reply> {
        Command::parse(format!("{line}\r\n").as_bytes(), utf8)
    }

    fn mail_of(line: &str) -> Mail {
        match parse(line) {
            Ok(Command::Mail(mail)) => mail,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn rcpt_of(line: &str) -> String {
        match parse(line) {
            Ok(Command::Rcpt(path)) => path,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn verbs_are_known_in_any_case() {
        assert_eq!(parse("ehlo a.example"), Ok(Command::Ehlo("a.example".into())));
        assert_eq!(parse("HeLo x"), Ok(Command::Helo("x".into())));
        assert_eq!(parse("data"), Ok(Command::Data));
        assert_eq!(parse("Quit "), Ok(Command::Quit));
        assert_eq!(parse("NOOP whatever"), Ok(Command::Noop));
        assert_eq!(parse("NOOP > a a"), Ok(Command::Noop));
        assert_eq!(parse("HELP MAIL"), Ok(Command::Help));
        assert_eq!(parse("VRFY root"), Ok(Command::Vrfy));
        assert_eq!(parse("StartTLS"), Ok(Command::StartTls));
        assert_eq!(parse("STARTTLS now"), Err(reply::SYNTAX));
    }

    #[test]
    fn the_null_sender_is_the_empty_path_and_nothing_else() {
        assert!(mail_of("MAIL FROM:<>").null_sender);
        assert!(mail_of("MAIL FROM: <> SIZE=10").null_sender);
        assert!(!mail_of("MAIL FROM:<a@b.example>").null_sender);
        assert!(!mail_of("MAIL FROM:<postmaster>").null_sender);
    }

    #[test]
    fn size_and_body_are_read() {
        let mail = mail_of("MAIL FROM:<a@b.example> SIZE=12 BODY=8BITMIME");
        assert_eq!((mail.size, mail.is_8bit), (Some(12), true));
        let mail = mail_of("mail from:<a@b.example> body=7bit");
        assert_eq!((mail.size, mail.is_8bit), (None, false));
        assert_eq!(mail_of("MAIL FROM:<a@b.example> SIZE=0").size, Some(0));
    }

    #[test]
    fn a_size_that_is_not_a_number_is_refused() {
        assert_eq!(parse("MAIL FROM:<a@b.example> SIZE"), Err(reply::SYNTAX));
        for size in ["-1", "x", "", "99999999999999999999", "184467440737095516160", "1 SIZE=2"] {
            assert_eq!(parse(&format!("MAIL FROM:<a@b.example> SIZE={size}")), Err(reply::SYNTAX), "{size}");
        }
    }

    #[test]
    fn parameters_of_extensions_that_are_not_offered_are_refused() {
        for parameter in ["RET=HDRS", "ENVID=x", "BODY=BINARYMIME", "SMTPUTF8", "REQUIRETLS", "AUTH=<>"] {
            let reply = parse(&format!("MAIL FROM:<a@b.example> {parameter}")).unwrap_err();
            assert!(matches!(reply.code, 501 | 504 | 555), "{parameter}: {reply}");
        }
        assert_eq!(parse("RCPT TO:<a@b.example> NOTIFY=NEVER"), Err(reply::PARAMETER_NOT_IMPLEMENTED));
        assert_eq!(parse("RCPT TO:<a@b.example> ORCPT=rfc822;a@b"), Err(reply::PARAMETER_NOT_IMPLEMENTED));
        assert_eq!(parse("MAIL FROM:<a@b.example> RET=FULL"), Err(reply::PARAMETER_NOT_IMPLEMENTED));
        assert_eq!(parse("MAIL FROM:<a@b.example> XYZZY=1"), Err(reply::UNKNOWN_PARAMETER));
    }

    #[test]
    fn paths_lose_brackets_quotes_and_source_route() {
        assert_eq!(rcpt_of("RCPT TO:<k7m2q1@example.com>"), "k7m2q1@example.com");
        assert_eq!(rcpt_of("RCPT TO: <k7m2q1@example.com>"), "k7m2q1@example.com");
        assert_eq!(rcpt_of("RCPT TO:<\"k7m2q1\"@example.com>"), "k7m2q1@example.com");
        assert_eq!(rcpt_of("RCPT TO:<@x.example:k7m2q1@example.com>"), "k7m2q1@example.com");
        assert_eq!(rcpt_of("RCPT TO:<Postmaster>"), "");
    }

    #[test]
    fn a_malformed_path_is_refused() {
        for line in [
            "RCPT TO:<>",
            "RCPT TO:a@b.example",
            "RCPT TO:<<>>",
            "RCPT TO:<a@b.example",
            "RCPT TO:",
            "RCPT",
            "RCPT TO:<a b@c.example>",
            "RCPT TO:<a@b@c.example>",
            "RCPT TO:<@b.example>",
            "MAIL FROM:a@b.example",
            "MAIL",
            "MAIL FROM",
            "HELO",
            "EHLO",
            "HELO ",
            "DATA x",
            "QUIT now",
            "RSET 1",
        ] {
            assert_eq!(parse(line).unwrap_err().code, 501, "{line}");
        }
    }

    #[test]
    fn long_local_parts_of_forwarders_are_accepted_as_senders() {
        // Gmail's forwarding and Google Docs make local parts over 64 octets.
        let local = format!("user+caf_={}=gmail.com", "x".repeat(80));
        assert!(!mail_of(&format!("MAIL FROM:<{local}@example.com>")).null_sender);
    }

    #[test]
    fn an_address_literal_is_a_domain() {
        assert!(!mail_of("MAIL FROM:<a@[192.0.2.1]> SIZE=1").null_sender);
        assert!(!mail_of("MAIL FROM:<a@[IPv6:2001:db8::1]>").null_sender);
        assert_eq!(rcpt_of("RCPT TO:<a@[192.0.2.1]>"), "a@address-literal");
        assert_eq!(parse("RCPT TO:<a@[192.0.2.1>"), Err(reply::BAD_RECIPIENT));
    }

    #[test]
    fn octets_that_are_no_ascii_text_are_refused() {
        assert_eq!(parse("HELO a\u{1}b"), Err(reply::NOT_ASCII));
        assert_eq!(parse("NOOP \u{7f}"), Err(reply::NOT_ASCII));
        assert_eq!(parse("EHLO ü.example"), Err(reply::NOT_ASCII));
        assert_eq!(parse("RCPT TO:<ü@example.com>"), Err(reply::NON_ASCII_ADDRESS));
        assert_eq!(Command::parse(b"NOOP \xff\r\n", Utf8::default()), Err(reply::NOT_ASCII));
    }

    #[test]
    fn utf8_may_stand_in_addresses_when_it_was_offered_and_asked_for() {
        let (offered, wanted) =
            (Utf8 { is_offered: true, is_wanted: false }, Utf8 { is_offered: true, is_wanted: true });
        let utf8 = parse_with("MAIL FROM:<jürgen@b.example> SMTPUTF8", offered);
        assert!(matches!(utf8, Ok(Command::Mail(Mail { utf8: true, .. }))), "{utf8:?}");
        assert_eq!(parse_with("MAIL FROM:<jürgen@b.example>", offered), Err(reply::NON_ASCII_ADDRESS));
        let path = "k7m2q1@bücher.example".to_owned();
        assert_eq!(parse_with("RCPT TO:<k7m2q1@bücher.example>", wanted), Ok(Command::Rcpt(path)));
        assert_eq!(parse_with("RCPT TO:<k7m2q1@bücher.example>", offered), Err(reply::NON_ASCII_ADDRESS));
        assert_eq!(parse_with("EHLO ü.example", wanted), Err(reply::NOT_ASCII));
        assert_eq!(Command::parse(b"RCPT TO:<\xff@b.example>\r\n", wanted), Err(reply::NOT_ASCII));
    }

    #[test]
    fn commands_of_other_servers_are_not_implemented_or_unknown() {
        for line in ["EXPN list", "ETRN x", "BDAT 10 LAST", "AUTH PLAIN AAAA"] {
            assert_eq!(parse(line), Err(reply::NOT_IMPLEMENTED), "{line}");
        }
        for line in ["XCLIENT ADDR=1.2.3.4", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2", "FOO", "", " "] {
            assert_eq!(parse(line), Err(reply::UNKNOWN_COMMAND), "{line}");
        }
    }
}
