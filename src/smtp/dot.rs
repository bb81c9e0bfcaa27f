//! Dot-stuffing (RFC 5321 §4.5.2), both ways: how a message is sent, and where one that arrives ends.
//!
//! Only `CRLF . CRLF` ends a message. A bare LF, a bare CR or a NUL makes it unacceptable (SMTP
//! smuggling: CVE-2023-51764, -51765, -51766), but reading goes on to the real end, so that nothing
//! of the message can be taken for a command.

use std::ops::Range;

use memchr::memchr3;

/// Finds the text and the end of a message as it arrives; the state between two pieces of it.
pub struct Decoder {
    at_line_start: bool,
    violation: Option<Violation>,
}

/// What a message must not contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    BareLf,
    BareCr,
    Nul,
}

/// What the front of the buffer holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// This much of the buffer is text of the message, dots unstuffed, all line ends CRLF. Empty
    /// after a violation.
    Text(Range<usize>),
    /// Too little to tell; read more.
    Incomplete,
    /// The end of the message.
    End,
}

impl Decoder {
    pub fn new() -> Self {
        Decoder { at_line_start: true, violation: None }
    }

    /// Looks at the front of `buffer`; how many octets of it are done with, and what they are.
    pub fn step(&mut self, buffer: &[u8]) -> (usize, Step) {
        let mut start = 0;
        if self.at_line_start && buffer.first() == Some(&b'.') {
            match buffer {
                [b'.'] | [b'.', b'\r'] => return (0, Step::Incomplete),
                [b'.', b'\r', b'\n', ..] => return (3, Step::End),
                _ => start = 1,
            }
        }
        let end = start + self.run(&buffer[start..]);
        match end {
            0 => (0, Step::Incomplete),
            _ if self.violation.is_some() => (end, Step::Text(end..end)),
            _ => (end, Step::Text(start..end)),
        }
    }

    /// What the message must be refused for.
    pub fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// Length of the text up to the next line that starts with a dot, or to a CR whose LF has not
    /// come yet.
    fn run(&mut self, buffer: &[u8]) -> usize {
        let mut at = 0;
        while let Some(found) = memchr3(b'\r', b'\n', 0, &buffer[at..]) {
            if found > 0 {
                self.at_line_start = false;
            }
            at += found;
            match (buffer[at], buffer.get(at + 1)) {
                (b'\r', None) => return at,
                (b'\r', Some(b'\n')) => {
                    at += 2;
                    self.at_line_start = true;
                    if buffer.get(at) == Some(&b'.') {
                        return at;
                    }
                    continue;
                }
                (b'\r', _) => self.note(Violation::BareCr),
                (b'\n', _) => self.note(Violation::BareLf),
                _ => self.note(Violation::Nul),
            }
            at += 1;
            self.at_line_start = false;
        }
        if at < buffer.len() {
            self.at_line_start = false;
        }
        buffer.len()
    }

    fn note(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }
}

impl Violation {
    pub fn as_str(self) -> &'static str {
        match self {
            Violation::BareLf => "bare LF",
            Violation::BareCr => "bare CR",
            Violation::Nul => "NUL",
        }
    }
}

/// Adds a dot to each line of a message that starts with one.
pub struct Encoder {
    at_line_start: bool,
}

impl Encoder {
    /// At the start of a message.
    pub fn new() -> Self {
        Encoder { at_line_start: true }
    }

    /// Appends `piece`, whose line ends are all CRLF, to `out`. Pieces may be cut anywhere.
    pub fn encode(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        if self.at_line_start && piece.first() == Some(&b'.') {
            out.push(b'.');
        }
        let mut copied = 0;
        for start in memchr::memmem::find_iter(piece, b"\n.").map(|at| at + 1) {
            out.extend_from_slice(&piece[copied..start]);
            out.push(b'.');
            copied = start;
        }
        out.extend_from_slice(&piece[copied..]);
        if let Some(&last) = piece.last() {
            self.at_line_start = last == b'\n';
        }
    }

    /// The final dot, on a line of its own.
    pub fn end(&self) -> &'static [u8] {
        if self.at_line_start { b".\r\n" } else { b"\r\n.\r\n" }
    }
}

/// A text that is written in `pieces`, as it is sent, with its final dot.
#[cfg(any(test, fuzzing))]
pub fn encoded(pieces: &[&[u8]]) -> Vec<u8> {
    let (mut encoder, mut out) = (Encoder::new(), Vec::new());
    for piece in pieces {
        encoder.encode(piece, &mut out);
    }
    out.extend_from_slice(encoder.end());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text, violation, and what follows the end; `None` when there is no end.
    type Decoded = Option<(Vec<u8>, Option<Violation>, Vec<u8>)>;

    /// Feeds `chunks` as a connection would: what was not consumed stays in the buffer.
    fn decode(chunks: &[&[u8]]) -> Decoded {
        let (mut decoder, mut buffer, mut text) = (Decoder::new(), Vec::new(), Vec::new());
        for (index, chunk) in chunks.iter().enumerate() {
            buffer.extend_from_slice(chunk);
            loop {
                let (consumed, step) = decoder.step(&buffer);
                match step {
                    Step::Text(run) => text.extend_from_slice(&buffer[run]),
                    Step::Incomplete => break,
                    Step::End => {
                        let rest = [&buffer[consumed..], &chunks[index + 1..].concat()].concat();
                        return Some((text, decoder.violation(), rest));
                    }
                }
                buffer.drain(..consumed);
            }
        }
        None
    }

    /// `stream` in one piece, octet by octet, and cut at every position: always the same.
    fn decode_every_way(stream: &[u8]) -> Decoded {
        let whole = decode(&[stream]);
        let octets: Vec<_> = stream.chunks(1).collect();
        // After a violation how much text came before it depends on the cuts, and is of no account.
        let essence =
            |decoded: Decoded| decoded.map(|(text, bad, rest)| (bad.is_none().then_some(text), bad, rest));
        assert_eq!(essence(decode(&octets)), essence(whole.clone()), "octet by octet: {stream:?}");
        for cut in 0..=stream.len() {
            let parts = decode(&[&stream[..cut], &stream[cut..]]);
            assert_eq!(essence(parts), essence(whole.clone()), "cut at {cut}: {stream:?}");
        }
        whole
    }

    #[test]
    fn a_message_ends_with_a_dot_on_a_line_of_its_own() {
        let (text, violation, rest) = decode_every_way(b"a: b\r\n\r\nhello\r\n.\r\nQUIT\r\n").unwrap();
        assert_eq!(
            (text.as_slice(), violation, rest.as_slice()),
            (&b"a: b\r\n\r\nhello\r\n"[..], None, &b"QUIT\r\n"[..])
        );
    }

    #[test]
    fn the_empty_message_is_a_dot_at_once() {
        assert_eq!(decode_every_way(b".\r\n"), Some((vec![], None, vec![])));
    }

    #[test]
    fn a_stuffed_dot_is_taken_off_and_no_other() {
        let (text, violation, _) = decode_every_way(b"..\r\n...a\r\n.b\r\nc.\r\n.\r\n").unwrap();
        assert_eq!((text.as_slice(), violation), (&b".\r\n..a\r\nb\r\nc.\r\n"[..], None));
    }

    #[test]
    fn nothing_but_crlf_dot_crlf_ends_a_message() {
        use Violation::*;
        let vectors: &[(&[u8], Option<Violation>)] = &[
            (b"\n.\n", Some(BareLf)),
            (b"\n.\r\n", Some(BareLf)),
            (b"\r\n.\n", Some(BareLf)),
            (b"\r.\r", Some(BareCr)),
            (b"\r.\n", Some(BareCr)),
            (b"\n.\r", Some(BareLf)),
            (b"\r.\r\n", Some(BareCr)),
            (b"\r\n.\r", Some(BareCr)),
            (b"\r\n\0.\r\n", Some(Nul)),
            (b"\r\n.\0\r\n", Some(Nul)),
            (b"\r\n.\r\r\n", Some(BareCr)),
            (b"\r\r\n.\r\r\n", Some(BareCr)),
            (b"\r\n. \r\n", None),
            (b"\r\n.\t\r\n", None),
            (b"\r\n\x0b.\r\n", None),
            (b"\r\n.\x0c\r\n", None),
            (b"\r\n\xc2\x85.\r\n", None),
            (b"\r\n\xe2\x80\xa8.\r\n", None),
            (b"\r\n..\r\n", None),
            (b"\r\n.x\r\n", None),
        ];
        for (vector, violation) in vectors {
            let stream = [b"body", *vector, b"MAIL FROM:<evil@example.com>\r\n.\r\nNEXT"].concat();
            let (_, found, rest) = decode_every_way(&stream).expect("ends at the real end");
            assert_eq!((found, rest.as_slice()), (*violation, &b"NEXT"[..]), "{vector:?}");
        }
        // The one vector that is an end after all, because CR CR LF before it is a violation, not a line.
        let (_, found, rest) = decode_every_way(b"body\r\r\n.\r\nNEXT").unwrap();
        assert_eq!((found, rest.as_slice()), (Some(BareCr), &b"NEXT"[..]));
    }

    #[test]
    fn every_line_that_starts_with_a_dot_gets_another() {
        assert_eq!(encoded(&[b".\r\n..\r\n.a\r\nb.\r\n\r\n."]), b"..\r\n...\r\n..a\r\nb.\r\n\r\n..\r\n.\r\n");
    }

    #[test]
    fn it_does_not_matter_where_the_message_is_cut() {
        let message: &[u8] = b".\r\n.a\r\n\r\n..b.\r\nc.d\r\n.\r\n";
        let whole = encoded(&[message]);
        for first in 0..=message.len() {
            for second in first..=message.len() {
                let pieces = [&message[..first], &message[first..second], &message[second..]];
                assert_eq!(encoded(&pieces), whole, "cut at {first} and {second}");
            }
        }
    }
}
