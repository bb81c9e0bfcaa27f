//! SMTP's part of `crate::fuzzing`.

use std::str;

use super::dot::{Decoder, Step, encoded};
use super::headers::{HeaderFault, HeaderWatch, joint, printable};

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

/// A text that goes to the smarthost ends where it should and comes out as it went in, however it
/// is cut.
pub fn stuffing(input: &[u8]) {
    let (cut, text) = input.split_first().unwrap_or((&0, &[]));
    let mut text = crlf_lines(text);
    let sent = encoded(&[&text]);
    for pieces in [pieces(&text, usize::from(*cut)), pieces(&text, 1)] {
        assert_eq!(encoded(&pieces), sent, "cut into {pieces:?}");
    }
    // One line end more, where the text had none.
    if !text.is_empty() && !text.ends_with(b"\r\n") {
        text.extend_from_slice(b"\r\n");
    }
    assert_eq!(decode(&[&sent]), Some(Decoded { text: Some(text), rest: Vec::new() }));
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
    pieces.iter().try_for_each(|piece| watch.examine(piece))
}

/// `input` cut into pieces of `size` octets; of one when that is 0.
fn pieces(input: &[u8], size: usize) -> Vec<&[u8]> {
    input.chunks(size.max(1)).collect()
}

/// `input` as the text of a message that is acceptable: no NUL, no CR or LF but CRLF.
fn crlf_lines(input: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(input.len() + 16);
    for &octet in input {
        match octet {
            b'\r' | 0 => {}
            b'\n' => text.extend_from_slice(b"\r\n"),
            octet => text.push(octet),
        }
    }
    text
}
