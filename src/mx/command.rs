//! One command line to one [`Command`], or to the reply that refuses it.
//!
//! smtp-proto parses; what it is lenient about is checked here: 8-bit and control characters,
//! arguments where there are none, parameters given twice, `RCPT TO:<>`, and sizes of more digits
//! than it can count. What it is too strict about is smoothed: blanks between the words, address
//! literals in RCPT, and the path of MAIL, which is read here.

use std::borrow::Cow;

use smtp_proto::{Error, MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_SMTPUTF8, Request};

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

/// What may stand between words. RFC 5321 §4.1.1 has one space there; some clients send more.
const BLANKS: [char; 2] = [' ', '\t'];

impl Command {
    /// Parses `line`, CRLF included.
    pub(super) fn parse(line: &[u8], utf8: Utf8) -> Result<Self, Reply> {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        if text.iter().any(|&b| (b < b' ' && b != b'\t') || b == 0x7f) {
            return Err(reply::NOT_ASCII);
        }
        let text = str::from_utf8(text).map_err(|_| reply::NOT_ASCII)?.trim_matches(BLANKS);
        let (verb, argument) = text.split_once(BLANKS).unwrap_or((text, ""));
        let (verb, argument) = (verb.to_ascii_uppercase(), argument.trim_start_matches(BLANKS));
        match verb.as_str() {
            "MAIL" => return mail(argument, utf8).map(Command::Mail),
            "RCPT" => return rcpt(argument, utf8).map(Command::Rcpt),
            "DATA" | "RSET" | "QUIT" | "STARTTLS" if !argument.is_empty() => return Err(reply::SYNTAX),
            _ if !text.is_ascii() => return Err(reply::NOT_ASCII),
            _ => {}
        }
        match parsed(&format!("{verb} {argument}\r\n"))? {
            Request::Ehlo { host } => Ok(Command::Ehlo(host)),
            Request::Helo { host } => Ok(Command::Helo(host)),
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

fn parsed(line: &str) -> Result<Request<String>, Reply> {
    match Request::parse(&mut line.as_bytes().iter()) {
        Ok(request) => Ok(request.into_owned()),
        Err(error) => Err(refusal(&error)),
    }
}

fn mail(argument: &str, utf8: Utf8) -> Result<Mail, Reply> {
    let (path, behind) = reverse_path(argument).ok_or(reply::SYNTAX)?;
    let keywords = parameters(behind)?;
    let has = |wanted: &str| keywords.iter().any(|keyword| keyword == wanted);
    let is_utf8 = utf8.is_offered && has("SMTPUTF8");
    if !argument.is_ascii() && !is_utf8 {
        return Err(reply::NON_ASCII_ADDRESS);
    }
    if !is_sender(path) {
        return Err(reply::BAD_SENDER);
    }
    // With a stand-in for the path.
    let Request::Mail { from } = parsed(&format!("MAIL FROM:<> {behind}\r\n"))? else {
        return Err(reply::SYNTAX);
    };
    let is_understood = |keyword: &String| match keyword.as_str() {
        // AUTH (RFC 4954 §5) is not offered; whom a message comes from does not matter here.
        "SIZE" | "BODY" | "AUTH" => true,
        "SMTPUTF8" => utf8.is_offered,
        _ => false,
    };
    let known = MAIL_BODY_8BITMIME | MAIL_BODY_7BIT | MAIL_SMTPUTF8;
    if !keywords.iter().all(is_understood) || from.flags & !known != 0 {
        return Err(reply::PARAMETER_NOT_IMPLEMENTED);
    }
    Ok(Mail {
        null_sender: path.is_empty(),
        size: has("SIZE").then(|| u64::try_from(from.size).unwrap_or(u64::MAX)),
        is_8bit: from.flags & MAIL_BODY_8BITMIME != 0,
        utf8: from.flags & MAIL_SMTPUTF8 != 0,
    })
}

/// The path in `FROM:<path>`, and what stands behind it.
fn reverse_path(argument: &str) -> Option<(&str, &str)> {
    let (from, path) = argument.split_once(':')?;
    let path = path.trim_start_matches(BLANKS).strip_prefix('<')?;
    let (end, _) = unquoted(path).find(|&(_, character)| character == '>')?;
    let is_from = from.trim_end_matches(BLANKS).eq_ignore_ascii_case("FROM");
    is_from.then(|| (path[..end].trim_matches(BLANKS), &path[end + 1..]))
}

/// Whether `path` can be a reverse-path. It goes no further, so more is taken than the grammar of RFC 5321
/// §4.1.2 allows: anything printable with one @ and something on both sides of it, as real senders have
/// it (`user..name@`, `.user@`, local parts over 64 octets). Without a domain only `postmaster` is an address.
fn is_sender(path: &str) -> bool {
    if path.is_empty() || path.eq_ignore_ascii_case("postmaster") {
        return true;
    }
    // A source route says nothing (RFC 5321 appendix C).
    let mailbox =
        if path.starts_with('@') { path.split_once(':').map_or("", |(_, mailbox)| mailbox) } else { path };
    let is_foreign = |character: char| character.is_whitespace() || character == '<';
    if mailbox.contains(char::is_control) || unquoted(mailbox).any(|(_, character)| is_foreign(character)) {
        return false;
    }
    let mut signs = unquoted(mailbox).filter(|&(_, character)| character == '@');
    match (signs.next(), signs.next()) {
        (Some((at, _)), None) => at > 0 && at + 1 < mailbox.len(),
        _ => false,
    }
}

/// The characters of `path` that stand outside quoted strings, each with its place.
fn unquoted(path: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    path.char_indices().filter(move |&(_, character)| {
        let was_quoted = is_quoted;
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        !was_quoted && !is_quoted
    })
}

fn rcpt(argument: &str, utf8: Utf8) -> Result<String, Reply> {
    // A path that holds a quoted `>` is refused here for its second half; no alias has one.
    let keywords = parameters(argument.split_once('>').map_or("", |(_, behind)| behind))?;
    if !argument.is_ascii() && !utf8.is_wanted {
        return Err(reply::NON_ASCII_ADDRESS);
    }
    let Request::Rcpt { to } = parsed(&format!("RCPT {}\r\n", without_literal(argument)))? else {
        return Err(reply::SYNTAX);
    };
    if !keywords.is_empty() {
        return Err(reply::PARAMETER_NOT_IMPLEMENTED);
    }
    // smtp-proto gives an empty path for both; only one of them is a recipient.
    if to.address.is_empty() && !argument.to_ascii_lowercase().contains("<postmaster>") {
        return Err(reply::BAD_RECIPIENT);
    }
    Ok(to.address)
}

/// The keywords of the parameters `behind` the path, in upper case, each at most once (RFC 5321
/// §4.1.1.11), those we know with a value that could be one.
fn parameters(behind: &str) -> Result<Vec<String>, Reply> {
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

/// The argument with a stand-in for an address literal, `user@[192.0.2.1]` (RFC 5321 §4.1.3), which
/// smtp-proto refuses: it is a domain that is not ours.
fn without_literal(argument: &str) -> Cow<'_, str> {
    let literal = argument.find("@[").and_then(|at| Some((at + 1, argument[at..].find(']')? + at + 1)));
    match literal {
        Some((start, end)) => format!("{}address-literal{}", &argument[..start], &argument[end..]).into(),
        None => argument.into(),
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
    fn blanks_may_stand_around_every_word() {
        for hello in ["EHLO  a.example", "EHLO   a.example  ", " EHLO a.example", "EHLO \ta.example"] {
            assert_eq!(parse(hello), Ok(Command::Ehlo("a.example".into())), "{hello:?}");
        }
        assert_eq!(parse("HELO  x"), Ok(Command::Helo("x".into())));
        for mail in
            ["MAIL  FROM:<>", "MAIL FROM : <>  SIZE=10", " MAIL FROM:\t<>", "MAIL FROM:< >  BODY=7BIT "]
        {
            assert!(mail_of(mail).null_sender, "{mail:?}");
        }
        for rcpt in ["RCPT  TO:<a@b.example>", "RCPT TO :  <a@b.example> ", " RCPT TO:<a@b.example>"] {
            assert_eq!(rcpt_of(rcpt), "a@b.example", "{rcpt:?}");
        }
        for (command, line) in
            [(Command::Data, " DATA  "), (Command::Quit, "QUIT \t"), (Command::Rset, "\tRSET")]
        {
            assert_eq!(parse(line), Ok(command), "{line:?}");
        }
        for nothing in ["HELO  ", "EHLO \t", " MAIL  ", "DATA  x"] {
            assert_eq!(parse(nothing), Err(reply::SYNTAX), "{nothing:?}");
        }
    }

    #[test]
    fn a_sender_may_be_odd_for_it_goes_no_further() {
        for path in [
            "user..name@b.example",
            ".user@b.example",
            "user.@b.example",
            "a:12@b.example",
            "a[1]@b.example",
            "a,b;c(d)@b.example",
            "o\\'brien@b.example",
            "user@my_host",
            "user@b.example.",
            "user@-b..example",
            "user@[192.0.2.1]",
            "user@[IPv6:2001:db8::1]",
            "user@[nonsense",
            "\"john doe\"@b.example",
            "\"a>b@c\\\"d\"@b.example",
            "\"a\".b@b.example",
            "@x.example,@y.example:user@b.example",
            "@[IPv6:2001:db8::1]:user@b.example",
            "PostMaster",
        ] {
            assert!(!mail_of(&format!("MAIL FROM:<{path}> SIZE=1")).null_sender, "{path}");
        }
        assert!(!mail_of(&format!("MAIL FROM:<{0}@{0}.example>", "x".repeat(900))).null_sender);
    }

    #[test]
    fn a_sender_without_one_at_sign_between_two_sides_is_refused() {
        for path in [
            "user@",
            "@b.example",
            "@",
            "user",
            "\"\"",
            "a@b@c.example",
            "@x.example:user",
            "@x.example:",
            "a b@c.example",
            "a@b example",
            "<a@b.example",
            "\"a@b.example\"",
            "a\u{a0}b@c.example",
        ] {
            let utf8 = Utf8 { is_offered: true, is_wanted: false };
            let reply = parse_with(&format!("MAIL FROM:<{path}> SMTPUTF8"), utf8);
            assert_eq!(reply, Err(reply::BAD_SENDER), "{path}");
        }
        for line in
            ["FROM:<\"a@b.example>", "FROM:a@b.example", "FROM:<a@b.example", "FROM<>", "FORM:<>", "TO:<>"]
        {
            assert_eq!(parse(&format!("MAIL {line}")), Err(reply::SYNTAX), "{line}");
        }
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
        for parameter in ["RET=HDRS", "ENVID=x", "BODY=BINARYMIME", "SMTPUTF8", "REQUIRETLS"] {
            let reply = parse(&format!("MAIL FROM:<a@b.example> {parameter}")).unwrap_err();
            assert!(matches!(reply.code, 501 | 504 | 555), "{parameter}: {reply}");
        }
        assert_eq!(parse("RCPT TO:<a@b.example> NOTIFY=NEVER"), Err(reply::PARAMETER_NOT_IMPLEMENTED));
        assert_eq!(parse("RCPT TO:<a@b.example> ORCPT=rfc822;a@b"), Err(reply::PARAMETER_NOT_IMPLEMENTED));
        assert_eq!(parse("MAIL FROM:<a@b.example> RET=FULL"), Err(reply::PARAMETER_NOT_IMPLEMENTED));
        assert_eq!(parse("MAIL FROM:<a@b.example> XYZZY=1"), Err(reply::UNKNOWN_PARAMETER));
    }

    #[test]
    fn auth_at_mail_is_ignored_though_it_is_not_offered() {
        for value in ["<>", "e+3Dmc2@b.example"] {
            let mail = mail_of(&format!("MAIL FROM:<a@b.example> AUTH={value} SIZE=7"));
            assert_eq!((mail.size, mail.null_sender), (Some(7), false), "{value}");
        }
        assert_eq!(parse("MAIL FROM:<a@b.example> AUTH=<> AUTH=<>"), Err(reply::SYNTAX));
        assert_eq!(parse("MAIL FROM:<a@b.example> AUTH="), Err(reply::SYNTAX));
        assert_eq!(parse("RCPT TO:<a@b.example> AUTH=<>"), Err(reply::UNKNOWN_PARAMETER));
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
