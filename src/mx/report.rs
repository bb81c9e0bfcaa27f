//! A bounce as it streams by: finds the part that decides, and keeps no more than that.
//!
//! That is the `message/delivery-status` of a `multipart/report` (RFC 3464; RFC 6533 for messages in
//! UTF-8), also where a gateway has put it into a `multipart/mixed` or `signed`, or into any other
//! multipart (one whose kind is not known is read as mixed, RFC 2046 §5.1.3); or the text of the
//! bounces that qmail and old versions of Exim write. What a report quotes of the message itself, and
//! what an automatic reply says, proves nothing; nor does a `multipart/alternative`, whose parts are
//! all the same text.

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::parsers::MessageStream;
use mail_parser::{ContentType, HeaderValue};

use super::{dsn, fields, text_bounce};
use crate::bounce::Failure;

/// Octets that are kept of a header, and then of the part that decides. A status of one recipient has
/// a few hundred.
const KEPT: usize = 4 * 1024;

/// Octets that are read of a line; a longer one is malformed (RFC 5322 §2.1.1).
const LINE: usize = 998;

/// Multiparts inside each other. A report is one, a gateway puts it into another.
const DEPTH: usize = 4;

/// Octets of a boundary (RFC 2046 §5.1.1).
const BOUNDARY: usize = 70;

/// The fields that count, of the message and of its parts.
const FIELDS: [&str; 4] = ["content-type", "content-transfer-encoding", "from", "x-failed-recipients"];

/// Reads a bounce.
#[derive(Default)]
pub(super) struct Report {
    /// The line that has not come to its end.
    line: Vec<u8>,
    position: Position,
    /// The line before was of a field that counts, which may go on.
    is_field_kept: bool,
    /// Of the multiparts around, outermost first.
    boundaries: Vec<String>,
    /// In a header its [`FIELDS`], later the part that decides.
    kept: Vec<u8>,
    /// There was more than could be kept.
    is_cut: bool,
    /// What is kept, once it is found.
    form: Option<Form>,
    stage: Stage,
}

/// Where the next line belongs.
#[derive(Default)]
enum Position {
    /// In a header.
    #[default]
    Header,
    /// In the words of a report for people.
    Words,
    /// In a part that does not decide.
    Skipped,
    /// In the part that decides.
    Kept,
    /// Behind it: nothing counts any more.
    Over,
}

/// What the part that decides is.
enum Form {
    /// A delivery status, in this transfer encoding.
    Status(String),
    /// A text of qmail's.
    Qmail,
    /// A text of Exim's, with the recipients out of its header.
    Exim(String),
}

/// The stage at which the next host has refused the message, out of the words for people: Postfix's
/// `in reply to RCPT TO command`, Exim's `after RCPT TO:`, Sendmail's `>>> RCPT To:`. Where
/// `data` is mentioned it may have been the text.
#[derive(Default)]
struct Stage {
    is_rcpt: bool,
    is_data: bool,
    ends_in_rcpt: bool,
}

impl Report {
    /// Reads the next piece.
    pub(super) fn see(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while !rest.is_empty() && !matches!(self.position, Position::Over) {
            let end = memchr::memchr(b'\n', rest).map(|at| at + 1);
            let (part, behind) = rest.split_at(end.unwrap_or(rest.len()));
            rest = behind;
            let left = LINE - self.line.len();
            self.line.extend_from_slice(&part[..part.len().min(left)]);
            if end.is_some() {
                self.take_line();
            }
        }
    }

    /// What has failed, when it says that something has failed for good.
    pub(super) fn failure(mut self) -> Option<Failure> {
        self.take_line();
        let form = self.form?;
        let kept = match &form {
            Form::Status(encoding) if encoding == "base64" => base64_decode(&self.kept)?,
            Form::Status(encoding) if encoding == "quoted-printable" => quoted_printable_decode(&self.kept)?,
            _ => self.kept,
        };
        let (text, is_whole) = (String::from_utf8_lossy(&kept), !self.is_cut);
        match form {
            Form::Status(_) => dsn::failure(&text, is_whole, self.stage.is_rcpt && !self.stage.is_data),
            Form::Qmail => text_bounce::of_qmail(&text, is_whole),
            Form::Exim(recipients) => text_bounce::of_exim(&recipients, &text, is_whole),
        }
    }

    fn take_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = line.trim_ascii_end();
        if let Some((depth, is_last)) = self.boundary(text) {
            self.begin_part(depth, is_last);
        } else {
            match self.position {
                Position::Header if line.is_empty() || text.is_empty() && !is_folded(&line) => {
                    self.end_header();
                }
                Position::Header => {
                    if !is_folded(&line) {
                        self.is_field_kept = counts(text);
                    }
                    if self.is_field_kept {
                        self.keep(text);
                    }
                }
                Position::Kept => self.keep(text),
                Position::Words => self.stage.see(text),
                Position::Skipped | Position::Over => {}
            }
        }
        self.line = line;
        self.line.clear();
    }

    /// How deep the multipart lies whose boundary `line` is, and whether it is the last
    /// (RFC 2046 §5.1.1). The innermost comes first.
    fn boundary(&self, line: &[u8]) -> Option<(usize, bool)> {
        let line = line.strip_prefix(b"--")?;
        self.boundaries.iter().enumerate().rev().find_map(|(depth, boundary)| {
            match line.strip_prefix(boundary.as_bytes())? {
                b"" => Some((depth, false)),
                b"--" => Some((depth, true)),
                _ => None,
            }
        })
    }

    fn begin_part(&mut self, depth: usize, is_last: bool) {
        self.boundaries.truncate(if is_last { depth } else { depth + 1 });
        self.position = match (self.form.is_some(), is_last) {
            (true, _) => Position::Over,
            (false, true) => Position::Skipped,
            (false, false) => {
                self.kept.clear();
                self.is_field_kept = false;
                Position::Header
            }
        };
    }

    /// The header has come to its end: what it says about its part.
    fn end_header(&mut self) {
        let header = std::mem::take(&mut self.kept);
        self.is_cut = false;
        let fields = fields::fields(&String::from_utf8_lossy(&header));
        let value = |name| fields.iter().find(|field| field.name == name).map(|field| field.value.as_str());
        let kind = value("content-type").and_then(content_type);
        // Where nothing is said it is text (RFC 2045 §5.2).
        let (main, sub) =
            kind.as_ref().map_or(("text", Some("plain")), |kind| (kind.ctype(), kind.subtype()));
        let is_inside = !self.boundaries.is_empty();
        self.position = Position::Skipped;
        match (main, sub) {
            ("multipart", Some("alternative")) => {}
            ("multipart", _) => {
                let boundary = kind.as_ref().and_then(|kind| kind.attribute("boundary"));
                if let Some(boundary) = boundary.filter(|boundary| (1..=BOUNDARY).contains(&boundary.len()))
                    && self.boundaries.len() < DEPTH
                {
                    self.boundaries.push(boundary.to_owned());
                }
            }
            ("message", Some("delivery-status" | "global-delivery-status")) if is_inside => {
                let encoding = value("content-transfer-encoding").map(fields::plain).unwrap_or_default();
                self.keep_as(Form::Status(encoding.to_ascii_lowercase()));
            }
            ("text", Some("plain")) if is_inside => self.position = Position::Words,
            ("text", Some("plain")) => {
                let from = value("from").unwrap_or_default().to_ascii_lowercase();
                if let Some(recipients) = value("x-failed-recipients") {
                    self.keep_as(Form::Exim(recipients.to_owned()));
                } else if from.contains("mailer-daemon") {
                    self.keep_as(Form::Qmail);
                }
            }
            _ => {}
        }
    }

    fn keep_as(&mut self, form: Form) {
        (self.form, self.position) = (Some(form), Position::Kept);
    }

    fn keep(&mut self, line: &[u8]) {
        if self.is_cut || self.kept.len() + line.len() + 2 > KEPT {
            self.is_cut = true;
            return;
        }
        self.kept.extend_from_slice(line);
        self.kept.extend_from_slice(b"\r\n");
    }
}

impl Stage {
    fn see(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line).to_ascii_lowercase();
        let line = line.trim();
        self.is_rcpt |= line.contains("rcpt to") || self.ends_in_rcpt && line.starts_with("to");
        self.is_data |= line.contains("data");
        self.ends_in_rcpt = line.ends_with("rcpt");
    }
}

/// Whether `line` goes on with the field of the one before.
fn is_folded(line: &[u8]) -> bool {
    line.starts_with(b" ") || line.starts_with(b"\t")
}

/// Whether `line` begins one of the [`FIELDS`]; before the colon there may be white space
/// (RFC 5322 §4.5.8).
fn counts(line: &[u8]) -> bool {
    let name = line.split(|octet| *octet == b':').next().unwrap_or_default();
    FIELDS.iter().any(|field| name.trim_ascii_end().eq_ignore_ascii_case(field.as_bytes()))
}

fn content_type(value: &str) -> Option<ContentType<'static>> {
    let value = format!("{value}\r\n");
    match MessageStream::new(value.as_bytes()).parse_content_type().into_owned() {
        HeaderValue::ContentType(kind) => Some(kind),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounce::Failed;

    fn failure(message: &str) -> Option<Failure> {
        let message = message.replace("\r\n", "\n").replace('\n', "\r\n");
        let judge = |size: usize| {
            let mut report = Report::default();
            message.as_bytes().chunks(size).for_each(|piece| report.see(piece));
            report.failure()
        };
        assert_eq!(judge(5), judge(message.len().max(1)));
        judge(5)
    }

    fn is_failure(message: &str) -> bool {
        failure(message).is_some()
    }

    fn a_is_gone() -> Failed {
        Failed { is_mailbox_fault: true, recipient: Some("a@b.example".parse().unwrap()) }
    }

    fn gone() -> Option<Failure> {
        Some(Failure { failed: vec![a_is_gone()], is_all: true })
    }

    const STATUS: &str = "Reporting-MTA: dns; relay.example\n\nFinal-Recipient: rfc822; a@b.example\nAction: failed\nStatus: 5.1.1\n";

    /// A multipart of this kind with these parts.
    fn multipart(kind: &str, boundary: &str, parts: &[&str]) -> String {
        let parts: String = parts.iter().map(|part| format!("--{boundary}\n{part}\n")).collect();
        format!("Content-Type: multipart/{kind};\n\tboundary=\"{boundary}\"\n\n{parts}--{boundary}--\n")
    }

    /// As Postfix writes them.
    fn report(action: &str, returned: &str) -> String {
        let status = format!(
            "Content-Description: Delivery report\nContent-Type: message/delivery-status\n\n{}",
            STATUS.replace("failed", action)
        );
        let returned = format!("Content-Type: message/rfc822\n\nSubject: x\n\n{returned}");
        let text = "Content-Type: text/plain\n\nI'm sorry.\n";
        let body = multipart(
            "report; report-type=delivery-status",
            "abc/relay.example",
            &[text, &status, &returned],
        );
        format!(
            "From: MAILER-DAEMON@relay.example (Mail Delivery System)\nSubject: Undelivered\nMIME-Version: 1.0\n{body}"
        )
    }

    #[test]
    fn a_failed_delivery_is_one() {
        assert_eq!(failure(&report("failed", "hello")), gone());
        assert_eq!(failure(&report("FAILED", "hello")), gone());
    }

    #[test]
    fn a_failed_delivery_of_a_message_in_utf8_is_one() {
        let report = report("failed", "hello");
        assert_eq!(
            failure(&report.replace("message/delivery-status", "message/global-delivery-status")),
            gone()
        );
    }

    #[test]
    fn the_fields_of_its_headers_may_be_folded_and_have_comments_and_space_before_the_colon() {
        let report = report("failed", "hello");
        let other = report
            .replace("Content-Type: multipart/report;", "CONTENT-TYPE :\n  Multipart/Report (a report);")
            .replace(
                "Content-Type: message/delivery-status",
                "content-type\t: message/delivery-status (status)",
            );
        assert_eq!(failure(&other), gone());
    }

    #[test]
    fn a_refusal_without_a_code_counts_when_the_words_say_that_it_was_the_recipients() {
        let said = |words: &str, diagnostic: &str| {
            let fields = format!("Status: 5.0.0\nDiagnostic-Code: smtp; {diagnostic}\n");
            let report =
                report("failed", "hello").replace("Status: 5.1.1\n", &fields).replace("I'm sorry.", words);
            failure(&report).unwrap().failed[0].is_mailbox_fault
        };
        for words in [
            "host mx.b.example said: 550 unknown (in reply to RCPT TO command)",
            "host mx.b.example said: 550 unknown (in reply to RCPT\n    TO command)",
            "SMTP error from remote mail server after RCPT TO:<a@b.example>:\n    host mx.b.example: 550 unknown",
            "... while talking to mx.b.example.:\n>>> RCPT To:<a@b.example>\n<<< 550 unknown",
        ] {
            assert!(said(words, "550 unknown"), "{words}");
            assert!(said(words, "550-unknown 550"), "{words}");
            assert!(!said(words, "550 5.7.1 not from there"), "{words}");
            assert!(!said(words, "554 no"), "{words}");
        }
        for words in [
            "host mx.b.example said: 550 spam (in reply to end of DATA command)",
            "host mx.b.example said: 550 spam: RCPT TO (in reply to end of\n    DATA command)",
            "host mx.b.example said: 550 unknown",
        ] {
            assert!(!said(words, "550 unknown"), "{words}");
        }
    }

    #[test]
    fn an_encoded_status_is_read() {
        let encoded = |encoding: &str, status: &str| {
            let part = format!(
                "Content-Type: message/delivery-status\nContent-Transfer-Encoding: {encoding}\n\n{status}"
            );
            failure(&multipart("report", "b", &[&part]))
        };
        let base64 = data_encoding::BASE64.encode(STATUS.as_bytes());
        let lines: Vec<_> = base64.as_bytes().chunks(76).map(|line| str::from_utf8(line).unwrap()).collect();
        assert_eq!(encoded("base64", &lines.join("\n")), gone());
        assert_eq!(encoded("Quoted-Printable (so)", &STATUS.replace("failed", "fa=\nil=65d")), gone());
        assert_eq!(encoded("7bit", STATUS), gone());
    }

    #[test]
    fn a_report_inside_a_mixed_multipart_is_one() {
        let status = format!("Content-Type: message/delivery-status\n\n{STATUS}");
        let text = "\nA gateway has looked at this.\n";
        let inner = multipart("report", "in", &["\nsorry\n", &status]);
        assert_eq!(failure(&multipart("mixed", "out", &[text, &inner, text])), gone());
        assert_eq!(failure(&multipart("mixed", "out", &[text, &status])), gone());
        // One boundary may begin as the other does.
        let inner = multipart("report", "out-in", &["\nsorry\n", &status]);
        assert_eq!(failure(&multipart("mixed", "out", &[text, &inner, text])), gone());
        let deep = (0..DEPTH).fold(status, |part, depth| multipart("mixed", &format!("b{depth}"), &[&part]));
        assert_eq!(failure(&deep), gone());
        assert_eq!(failure(&multipart("mixed", "one-more", &[&deep])), None);
    }

    #[test]
    fn a_report_inside_any_multipart_but_an_alternative_is_one() {
        let status = format!("Content-Type: message/delivery-status\n\n{STATUS}");
        let inner = multipart("report; report-type=delivery-status", "in", &["\nsorry\n", &status]);
        let signature = "Content-Type: application/pgp-signature\n\nx\n";
        for kind in
            ["signed; micalg=sha-256", "related; type=\"multipart/report\"", "mixed", "parallel", "x-unknown"]
        {
            assert_eq!(failure(&multipart(kind, "out", &[&inner, signature])), gone(), "{kind}");
            assert_eq!(failure(&multipart(kind, "out", &["\nsorry\n", &status])), gone(), "{kind}");
            let reply = format!("\nI am away.\n\n> {inner}\n{STATUS}");
            assert_eq!(failure(&multipart(kind, "out", &[&reply, signature])), None, "{kind}");
            let quoted = format!("Content-Type: message/rfc822\n\n{inner}");
            assert_eq!(failure(&multipart(kind, "out", &["\naway\n", &quoted])), None, "{kind}");
        }
        // The words for people may be there twice.
        let words = multipart("alternative", "words", &["\nsorry\n", "Content-Type: text/html\n\nsorry\n"]);
        assert_eq!(failure(&multipart("report", "b", &[&words, &status])), gone());
    }

    #[test]
    fn a_delay_is_none_whatever_the_returned_message_says() {
        assert!(!is_failure(&report("delayed", "hello")));
        assert!(!is_failure(&report("delayed", "Action: failed\r\n")));
        assert!(!is_failure(&report("delayed", &format!("{}\n{}", report("failed", "x"), STATUS))));
    }

    #[test]
    fn a_vacation_reply_is_none_whatever_it_quotes() {
        assert!(!is_failure("Subject: away\r\n\r\n> hello\r\nAction: failed\r\n"));
        assert!(!is_failure(&format!("Content-Type: message/delivery-status\n\n{STATUS}")));
        assert!(!is_failure(&format!("Subject: away\n\n{}", report("failed", "x"))));
        let attached = format!("Content-Type: message/rfc822\n\n{}", report("failed", "x"));
        assert!(!is_failure(&multipart("mixed", "b", &["\naway\n", &attached])));
        let alternative = format!("Content-Type: message/delivery-status\n\n{STATUS}");
        assert!(!is_failure(&multipart("alternative", "b", &["\naway\n", &alternative])));
        assert!(!is_failure(""));
        assert!(!is_failure("Subject: x\n"));
    }

    const QMAIL: &str = "Hi. This is the qmail-send program at relay.example.\nSorry.\n\n\
                         <a@b.example>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n\
                         --- Below this line is a copy of the message.\n\nSubject: x\n\n";

    #[test]
    fn a_bounce_of_qmails_is_one_and_a_reply_that_quotes_one_is_none() {
        let daemon = "From: MAILER-DAEMON@relay.example\nSubject: failure notice\n\n";
        assert_eq!(failure(&format!("{daemon}{QMAIL}{}", "x\n".repeat(10_000))), gone());
        assert_eq!(failure(&format!("Content-Type: text/plain; charset=us-ascii\n{daemon}{QMAIL}")), gone());
        assert!(!is_failure(&format!("From: someone@b.example\n\n{QMAIL}")), "an echo");
        assert!(!is_failure(&format!("{daemon}I am away.\n\n{QMAIL}")));
        assert!(!is_failure(&format!("Content-Type: text/html\n{daemon}{QMAIL}")));
    }

    #[test]
    fn a_bounce_of_an_old_exim_is_one() {
        let text = "This is a permanent error. The following address(es) failed:\n\n  a@b.example\n    Unrouteable address\n\n\
                    ------ This is a copy of the message, including all the headers. ------\n\nSubject: x\n";
        let header =
            "From: Mail Delivery System <Mailer-Daemon@relay.example>\nX-Failed-Recipients: a@b.example\n";
        assert_eq!(failure(&format!("{header}\n{text}")), gone());
        assert!(!is_failure(&format!("Subject: away\n\n{header}\n{text}")), "it is quoted");
    }

    #[test]
    fn a_report_needs_little_memory_however_long_it_and_its_lines_are() {
        let fields = "X-Field: y\n".repeat(100_000) + &format!("X-Line: {}\n", "y".repeat(100_000));
        let long = format!("{fields}{}", report("failed", &"x".repeat(200_000)));
        let long = long.replace("I'm sorry.", &"I'm sorry.\n".repeat(100_000));
        assert_eq!(failure(&long), gone());
        let endless = [
            long,
            "Content-Type: x".repeat(100_000),
            "Content-Type: x\n".repeat(100_000),
            multipart("mixed", &"b".repeat(100_000), &[]),
            report(&"failed\nAction: failed".repeat(100_000), ""),
            format!("From: mailer-daemon@relay.example\n\n{}", QMAIL.repeat(10_000)),
        ];
        for message in endless {
            let mut report = Report::default();
            for piece in message.replace('\n', "\r\n").as_bytes().chunks(1000) {
                report.see(piece);
                let boundaries: usize = report.boundaries.iter().map(String::capacity).sum();
                let held = report.line.capacity() + report.kept.capacity() + boundaries;
                assert!(held <= 4 * KEPT, "{held}");
            }
        }
    }

    #[test]
    fn of_a_status_that_is_too_long_the_beginning_is_read() {
        let long = STATUS.to_owned() + &format!("X-Note: {}\n", "y".repeat(60)).repeat(100);
        let failure = failure(&multipart(
            "report",
            "b",
            &[&format!("Content-Type: message/delivery-status\n\n{long}")],
        ));
        assert_eq!(failure, Some(Failure { failed: vec![a_is_gone()], is_all: false }));
    }
}
