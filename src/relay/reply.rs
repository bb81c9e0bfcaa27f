//! The smarthost's replies (RFC 5321 §4.2), all of which are read here.
//!
//! RFC 5321 §4.2.1 sets no limit to the lines of a reply, and some policies explain a refusal at length. What a
//! message or a connection comes to is in the code, so of a long reply little more than that is kept.

use std::io;

use super::RelayError;
use super::stream::Lines;

/// The most octets that a smarthost may say in answer to one command. Longer is not SMTP: RFC 5321
/// §4.5.3.1.5 has reply lines of 512 octets, and the longest sensible EHLO answer has a few dozen of them.
const MAX_REPLY: usize = 64 * 1024;

/// The answer to one command.
pub(super) struct Reply {
    /// Three digits.
    pub(super) code: u16,
    /// Its first line, without the code: for the debug log alone.
    pub(super) text: String,
}

impl Reply {
    /// Reads one, up to its last line; `further` is given the text of each line after the first.
    ///
    /// # Errors
    /// It hung up, or that is no reply: none of SMTP's lines, lines that contradict each other, or no end.
    pub(super) async fn read(stream: &mut Lines, mut further: impl FnMut(&str)) -> Result<Reply, RelayError> {
        let not_smtp = || RelayError::Failed("it hung up, or does not speak SMTP".into());
        let mut reply: Option<Reply> = None;
        let mut left = MAX_REPLY;
        loop {
            let line = stream.line(left).await?;
            left -= line.len();
            if left == 0 {
                return Err(io::Error::other("endless reply").into());
            }
            let line = line.strip_suffix(b"\n").ok_or_else(not_smtp)?;
            let line = String::from_utf8_lossy(line);
            let (code, is_last, text) = reply_line(line.trim_end_matches('\r')).ok_or_else(not_smtp)?;
            match &reply {
                None => reply = Some(Reply { code, text: text.to_owned() }),
                // They must be the same (RFC 5321 §4.2.1); some that join the replies of several filters have
                // 550 and 554 in one. Yes and no in one is no answer.
                Some(first) if first.code / 100 == code / 100 => further(text),
                Some(_) => return Err(not_smtp()),
            }
            if let Some(reply) = reply.take_if(|_| is_last) {
                return Ok(reply);
            }
        }
    }

    /// Whether it is 2xx.
    pub(super) fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// # Errors
    /// It is not 2xx.
    pub(super) fn expect_positive(self) -> Result<(), RelayError> {
        if self.is_positive() { Ok(()) } else { Err(self.into_error()) }
    }

    /// # Errors
    /// It has another code.
    pub(super) fn expect(self, code: u16) -> Result<(), RelayError> {
        if self.code == code { Ok(()) } else { Err(self.into_error()) }
    }

    /// In our own words: what the smarthost said is for the debug log alone.
    fn into_error(self) -> RelayError {
        tracing::debug!(code = self.code, text = self.text, "the smarthost's words");
        match self.code {
            code if is_refusal(code) => RelayError::Refused(code),
            code => RelayError::Failed(format!("unexpected reply {code}")),
        }
    }
}

/// Whether `code` is 4xx or 5xx.
pub(super) fn is_refusal(code: u16) -> bool {
    (400..600).contains(&code)
}

/// The code of a reply line, whether it is the last, and its text, which may be missing with the space
/// before it (RFC 5321 §4.2.1).
fn reply_line(line: &str) -> Option<(u16, bool, &str)> {
    let (code, rest) = line.split_at_checked(3)?;
    if !code.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let code = code.parse().ok()?;
    match rest.as_bytes().first() {
        None => Some((code, true, "")),
        Some(b' ') => Some((code, true, &rest[1..])),
        Some(b'-') => Some((code, false, &rest[1..])),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::relay::stream::pair;

    /// The code, and all lines.
    async fn read(said: &str) -> Result<(u16, Vec<String>), String> {
        let (mut near, mut far) = pair().await;
        far.write_all(said.as_bytes()).await.unwrap();
        far.shutdown().await.unwrap();
        let mut further = Vec::new();
        let reply = Reply::read(&mut near, |text| further.push(text.to_owned())).await;
        let Reply { code, text } = reply.map_err(|cause| cause.to_string())?;
        further.insert(0, text);
        Ok((code, further))
    }

    #[test]
    fn a_reply_line_may_end_with_its_code() {
        assert_eq!(reply_line("250"), Some((250, true, "")));
        assert_eq!(reply_line("250 "), Some((250, true, "")));
        assert_eq!(reply_line("250-"), Some((250, false, "")));
        assert_eq!(reply_line("250-AUTH PLAIN"), Some((250, false, "AUTH PLAIN")));
        for malformed in ["", "25", "25x", "250x", "2500 ok", " 250", "+25 ok", "25\u{fc}"] {
            assert_eq!(reply_line(malformed), None, "{malformed:?}");
        }
    }

    #[tokio::test]
    async fn the_lines_of_a_reply_agree_on_yes_or_no() {
        let said = |code, lines: [&str; 2]| Ok((code, lines.map(str::to_owned).to_vec()));
        assert_eq!(read("250-a\r\n250 b\r\n").await, said(250, ["a", "b"]));
        assert_eq!(read("550-a\n554\n").await, said(550, ["a", ""]));
        for contradiction in ["250-a\r\n550 b\r\n", "550-a\r\n250 b\r\n", "450-a\r\n550 b\r\n"] {
            assert!(read(contradiction).await.is_err(), "{contradiction:?}");
        }
        for cut in ["", "250", "250 a", "250-a\r\n", "250-a\r\n250"] {
            assert!(read(cut).await.is_err(), "{cut:?}");
        }
    }

    #[tokio::test]
    async fn an_endless_reply_is_an_error() {
        for flood in ["250-\r\n", "250-x"] {
            let (mut near, mut far) = pair().await;
            let flood = tokio::spawn(async move { while far.write_all(flood.as_bytes()).await.is_ok() {} });
            let error = Reply::read(&mut near, |_| ()).await.err().unwrap();
            assert_eq!(error.to_string(), "the smarthost failed: endless reply");
            drop(near);
            flood.await.unwrap();
        }
    }
}
