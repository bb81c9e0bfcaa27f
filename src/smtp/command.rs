//! One command line to one [`Command`], or to what is wrong with it.
//!
//! smtp-proto parses verbs and parameters; what it is lenient about is checked here: 8-bit and control
//! characters, arguments where there are none, parameters given twice, and sizes of more digits than it
//! can count. Paths are read here: smtp-proto is too strict for real senders.

use smtp_proto::{Error, MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_SMTPUTF8, Request};

/// What a client may ask for, parsed and checked.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// The client's name.
    Helo(String),
    /// The same.
    Ehlo(String),
    /// MAIL.
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

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// Control characters, or 8-bit ones where none may stand.
    NotAscii,
    /// No command.
    Unknown,
    /// A command of another kind of server.
    NotImplemented,
    /// An argument that is missing, malformed, or one too many.
    Syntax,
    /// The reverse-path is no address.
    Sender,
    /// The forward-path is no address.
    Recipient,
    /// A path needs SMTPUTF8, which was not asked for.
    NonAsciiAddress,
    /// A parameter of an extension that is not offered.
    ParameterNotImplemented,
    /// A parameter of no extension that is known.
    UnknownParameter,
}

/// MAIL with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The reverse-path is `<>`. What else it is does not matter: it goes no further.
    pub null_sender: bool,
    /// SIZE (RFC 1870).
    pub size: Option<u64>,
    /// BODY=8BITMIME (RFC 6152).
    pub is_8bit: bool,
    /// SMTPUTF8 (RFC 6531).
    pub utf8: bool,
}

/// Where UTF-8 may stand in a command (RFC 6531).
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8 {
    /// SMTPUTF8 has been offered: MAIL may ask for it.
    pub is_offered: bool,
    /// MAIL has asked for it: RCPT may use it.
    pub is_wanted: bool,
}

/// Digits of a size that still fit 64 bits: smtp-proto 0.2.5 starts anew after that.
const MAX_SIZE_DIGITS: usize = 19;

/// Octets of a path (RFC 5321 §4.5.3.1.3).
const MAX_PATH: usize = 256;

/// What may stand between words. RFC 5321 §4.1.1 has one space there; some clients send more.
const BLANKS: [char; 2] = [' ', '\t'];

impl Command {
    /// Parses `line`, CRLF included.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &[u8], utf8: Utf8) -> Result<Self, CommandError> {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        if text.iter().any(|&b| (b < b' ' && b != b'\t') || b == 0x7f) {
            return Err(CommandError::NotAscii);
        }
        let text = str::from_utf8(text).map_err(|_| CommandError::NotAscii)?.trim_matches(BLANKS);
        let (verb, argument) = text.split_once(BLANKS).unwrap_or((text, ""));
        let (verb, argument) = (verb.to_ascii_uppercase(), argument.trim_start_matches(BLANKS));
        match verb.as_str() {
            "MAIL" => return mail(argument, utf8).map(Command::Mail),
            "RCPT" => return rcpt(argument, utf8).map(Command::Rcpt),
            "DATA" | "RSET" | "QUIT" | "STARTTLS" if !argument.is_empty() => {
                return Err(CommandError::Syntax);
            }
            _ if !text.is_ascii() => return Err(CommandError::NotAscii),
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
            _ => Err(CommandError::NotImplemented),
        }
    }
}

fn parsed(line: &str) -> Result<Request<String>, CommandError> {
    match Request::parse(&mut line.as_bytes().iter()) {
        Ok(request) => Ok(request.into_owned()),
        Err(Error::UnknownCommand) => Err(CommandError::Unknown),
        Err(Error::UnsupportedParameter { .. }) => Err(CommandError::UnknownParameter),
        Err(_) => Err(CommandError::Syntax),
    }
}

fn mail(argument: &str, utf8: Utf8) -> Result<Mail, CommandError> {
    let (path, behind) = split_path("FROM", argument)?;
    let keywords = parameters(behind)?;
    let has = |wanted: &str| keywords.iter().any(|keyword| keyword == wanted);
    let is_utf8 = utf8.is_offered && has("SMTPUTF8");
    if !argument.is_ascii() && !is_utf8 {
        return Err(CommandError::NonAsciiAddress);
    }
    if !path.is_empty() && !is_postmaster(path) && !is_mailbox(without_route(path)) {
        return Err(CommandError::Sender);
    }
    // With a stand-in for the path.
    let Request::Mail { from } = parsed(&format!("MAIL FROM:<> {behind}\r\n"))? else {
        return Err(CommandError::Syntax);
    };
    let is_understood = |keyword: &String| match keyword.as_str() {
        // AUTH (RFC 4954 §5) is not offered; whom a message comes from does not matter here.
        "SIZE" | "BODY" | "AUTH" => true,
        "SMTPUTF8" => utf8.is_offered,
        _ => false,
    };
    let known = MAIL_BODY_8BITMIME | MAIL_BODY_7BIT | MAIL_SMTPUTF8;
    if !keywords.iter().all(is_understood) || from.flags & !known != 0 {
        return Err(CommandError::ParameterNotImplemented);
    }
    Ok(Mail {
        null_sender: path.is_empty(),
        size: has("SIZE").then(|| u64::try_from(from.size).unwrap_or(u64::MAX)),
        is_8bit: from.flags & MAIL_BODY_8BITMIME != 0,
        utf8: from.flags & MAIL_SMTPUTF8 != 0,
    })
}

fn rcpt(argument: &str, utf8: Utf8) -> Result<String, CommandError> {
    let (path, behind) = split_path("TO", argument)?;
    let keywords = parameters(behind)?;
    if !argument.is_ascii() && !utf8.is_wanted {
        return Err(CommandError::NonAsciiAddress);
    }
    let mailbox = without_route(path);
    let is_address = is_postmaster(path) || is_mailbox(mailbox) && is_strict(mailbox);
    if !is_address {
        return Err(CommandError::Recipient);
    }
    if !keywords.is_empty() {
        parsed(&format!("RCPT TO:<postmaster> {behind}\r\n"))?;
        return Err(CommandError::ParameterNotImplemented);
    }
    Ok(if is_postmaster(path) { String::new() } else { without_quotes(mailbox) })
}

/// The path in `KEYWORD:<path>`, and what stands behind it.
fn split_path<'a>(keyword: &str, argument: &'a str) -> Result<(&'a str, &'a str), CommandError> {
    let (found, path) = argument.split_once(':').ok_or(CommandError::Syntax)?;
    let path = path.trim_start_matches(BLANKS).strip_prefix('<').ok_or(CommandError::Syntax)?;
    let (end, _) = unquoted(path).find(|&(_, character)| character == '>').ok_or(CommandError::Syntax)?;
    if !found.trim_end_matches(BLANKS).eq_ignore_ascii_case(keyword) {
        return Err(CommandError::Syntax);
    }
    Ok((path[..end].trim_matches(BLANKS), &path[end + 1..]))
}

/// The only address without a domain (RFC 5321 §4.1.1.3).
fn is_postmaster(path: &str) -> bool {
    path.eq_ignore_ascii_case("postmaster")
}

/// A source route says nothing (RFC 5321 appendix C).
fn without_route(path: &str) -> &str {
    if path.starts_with('@') { path.split_once(':').map_or("", |(_, mailbox)| mailbox) } else { path }
}

/// Whether a path without its source route can be a reverse-path. It goes no further, so more is taken than
/// the grammar of RFC 5321 §4.1.2 allows: anything printable with one @ and something on both sides of it,
/// as real senders have it (`user..name@`, `.user@`, local parts over 64 octets).
fn is_mailbox(mailbox: &str) -> bool {
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

/// Whether `mailbox` keeps to the characters, dots and length of RFC 5321 §4.1.2 and §4.5.3.1.3, as every
/// recipient must that can be one.
fn is_strict(mailbox: &str) -> bool {
    let is_atext = |character: char| {
        character.is_ascii_alphanumeric()
            || !character.is_ascii()
            || "!#$%&'*+-/=?^_`{|}~.@".contains(character)
    };
    // An address literal (§4.1.3) has characters of its own.
    let text = match mailbox.split_once("@[") {
        Some((local, literal)) if literal.ends_with(']') => local,
        _ => mailbox,
    };
    // Only a local part can be quoted.
    let domain =
        unquoted(mailbox).find(|&(_, character)| character == '@').map_or("", |(at, _)| &mailbox[at..]);
    mailbox.len() <= MAX_PATH
        && !domain.contains('"')
        && unquoted(text).all(|(_, character)| is_atext(character))
        && !text.starts_with('.')
        && !text.contains("..")
        && !text.contains("@.")
}

/// `mailbox` without quotes and the backslashes in them (RFC 5321 §4.1.2): they are no part of the address.
fn without_quotes(mailbox: &str) -> String {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let is_text = |&character: &char| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match character {
            _ if was_escaped => return true,
            '"' => is_quoted = !is_quoted,
            '\\' if is_quoted => is_escaped = true,
            _ => return true,
        }
        false
    };
    mailbox.chars().filter(is_text).collect()
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

/// The keywords of the parameters `behind` the path, in upper case, each at most once (RFC 5321
/// §4.1.1.11), those we know with a value that could be one.
fn parameters(behind: &str) -> Result<Vec<String>, CommandError> {
    let mut keywords = Vec::new();
    for word in behind.split_ascii_whitespace() {
        let (keyword, value) = word.split_once('=').unwrap_or((word, ""));
        let keyword = keyword.to_ascii_uppercase();
        let is_void = match keyword.as_str() {
            "SIZE" => value.is_empty() || value.len() > MAX_SIZE_DIGITS,
            "BODY" => value.is_empty(),
            _ => false,
        };
        if is_void || keywords.contains(&keyword) {
            return Err(CommandError::Syntax);
        }
        keywords.push(keyword);
    }
    Ok(keywords)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, CommandError> {
        parse_with(line, Utf8::default())
    }

    fn parse_with(line: &str, utf8: Utf8) -> Result<Command, CommandError> {
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
        assert_eq!(parse("STARTTLS now"), Err(CommandError::Syntax));
    }

    #[test]
    fn only_the_local_part_of_a_recipient_may_be_quoted() {
        assert_eq!(rcpt_of("RCPT TO:<\"a\"@b.example>"), "a@b.example");
        for path in ["a@\"b.example\"", "a@c\"@b.example\"", "a@b.\"example\""] {
            assert_eq!(parse(&format!("RCPT TO:<{path}>")), Err(CommandError::Recipient), "{path}");
        }
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
            assert_eq!(parse(nothing), Err(CommandError::Syntax), "{nothing:?}");
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
            assert_eq!(reply, Err(CommandError::Sender), "{path}");
        }
        for line in
            ["FROM:<\"a@b.example>", "FROM:a@b.example", "FROM:<a@b.example", "FROM<>", "FORM:<>", "TO:<>"]
        {
            assert_eq!(parse(&format!("MAIL {line}")), Err(CommandError::Syntax), "{line}");
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
        assert_eq!(parse("MAIL FROM:<a@b.example> SIZE"), Err(CommandError::Syntax));
        for size in ["-1", "x", "", "99999999999999999999", "184467440737095516160", "1 SIZE=2"] {
            assert_eq!(
                parse(&format!("MAIL FROM:<a@b.example> SIZE={size}")),
                Err(CommandError::Syntax),
                "{size}"
            );
        }
    }

    #[test]
    fn parameters_of_extensions_that_are_not_offered_are_refused() {
        for parameter in ["RET=HDRS", "ENVID=x", "BODY=BINARYMIME", "SMTPUTF8", "REQUIRETLS"] {
            let error = parse(&format!("MAIL FROM:<a@b.example> {parameter}")).unwrap_err();
            let is_of_parameter = matches!(
                error,
                CommandError::Syntax | CommandError::ParameterNotImplemented | CommandError::UnknownParameter
            );
            assert!(is_of_parameter, "{parameter}: {error:?}");
        }
        assert_eq!(parse("RCPT TO:<a@b.example> NOTIFY=NEVER"), Err(CommandError::ParameterNotImplemented));
        assert_eq!(
            parse("RCPT TO:<a@b.example> ORCPT=rfc822;a@b"),
            Err(CommandError::ParameterNotImplemented)
        );
        assert_eq!(parse("MAIL FROM:<a@b.example> RET=FULL"), Err(CommandError::ParameterNotImplemented));
        assert_eq!(parse("MAIL FROM:<a@b.example> XYZZY=1"), Err(CommandError::UnknownParameter));
    }

    #[test]
    fn auth_at_mail_is_ignored_though_it_is_not_offered() {
        for value in ["<>", "e+3Dmc2@b.example"] {
            let mail = mail_of(&format!("MAIL FROM:<a@b.example> AUTH={value} SIZE=7"));
            assert_eq!((mail.size, mail.null_sender), (Some(7), false), "{value}");
        }
        assert_eq!(parse("MAIL FROM:<a@b.example> AUTH=<> AUTH=<>"), Err(CommandError::Syntax));
        assert_eq!(parse("MAIL FROM:<a@b.example> AUTH="), Err(CommandError::Syntax));
        assert_eq!(parse("RCPT TO:<a@b.example> AUTH=<>"), Err(CommandError::UnknownParameter));
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
            let error = parse(line).unwrap_err();
            assert!(matches!(error, CommandError::Syntax | CommandError::Recipient), "{line}: {error:?}");
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
        assert_eq!(rcpt_of("RCPT TO:<a@[192.0.2.1]>"), "a@[192.0.2.1]");
        assert_eq!(parse("RCPT TO:<a@[192.0.2.1>"), Err(CommandError::Recipient));
    }

    #[test]
    fn octets_that_are_no_ascii_text_are_refused() {
        assert_eq!(parse("HELO a\u{1}b"), Err(CommandError::NotAscii));
        assert_eq!(parse("NOOP \u{7f}"), Err(CommandError::NotAscii));
        assert_eq!(parse("EHLO ü.example"), Err(CommandError::NotAscii));
        assert_eq!(parse("RCPT TO:<ü@example.com>"), Err(CommandError::NonAsciiAddress));
        assert_eq!(Command::parse(b"NOOP \xff\r\n", Utf8::default()), Err(CommandError::NotAscii));
    }

    #[test]
    fn utf8_may_stand_in_addresses_when_it_was_offered_and_asked_for() {
        let (offered, wanted) =
            (Utf8 { is_offered: true, is_wanted: false }, Utf8 { is_offered: true, is_wanted: true });
        let utf8 = parse_with("MAIL FROM:<jürgen@b.example> SMTPUTF8", offered);
        assert!(matches!(utf8, Ok(Command::Mail(Mail { utf8: true, .. }))), "{utf8:?}");
        assert_eq!(parse_with("MAIL FROM:<jürgen@b.example>", offered), Err(CommandError::NonAsciiAddress));
        let path = "k7m2q1@bücher.example".to_owned();
        assert_eq!(parse_with("RCPT TO:<k7m2q1@bücher.example>", wanted), Ok(Command::Rcpt(path)));
        assert_eq!(
            parse_with("RCPT TO:<k7m2q1@bücher.example>", offered),
            Err(CommandError::NonAsciiAddress)
        );
        assert_eq!(parse_with("EHLO ü.example", wanted), Err(CommandError::NotAscii));
        assert_eq!(Command::parse(b"RCPT TO:<\xff@b.example>\r\n", wanted), Err(CommandError::NotAscii));
    }

    #[test]
    fn commands_of_other_servers_are_not_implemented_or_unknown() {
        for line in ["EXPN list", "ETRN x", "BDAT 10 LAST", "AUTH PLAIN AAAA"] {
            assert_eq!(parse(line), Err(CommandError::NotImplemented), "{line}");
        }
        for line in ["XCLIENT ADDR=1.2.3.4", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2", "FOO", "", " "] {
            assert_eq!(parse(line), Err(CommandError::Unknown), "{line}");
        }
    }
}
