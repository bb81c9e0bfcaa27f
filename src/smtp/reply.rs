//! A reply (RFC 5321 §4.2): written by a server, read by a client.

use std::borrow::Cow;
use std::fmt;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use super::wire::LineStream;

/// The most octets that are read of one reply. Longer is not SMTP: RFC 5321 §4.5.3.1.5 has reply lines of
/// 512 octets, and the longest sensible answer to EHLO has a few dozen of them.
const MAX_REPLY: usize = 64 * 1024;

/// The answer to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// `class.subject.detail` (RFC 2034); empty where there is none, and when the reply was read: then it
    /// is still a part of the text.
    enhanced: &'static str,
    /// Its lines, joined by LF.
    text: Cow<'static, str>,
}

impl Reply {
    /// One whose text is known beforehand.
    pub const fn new(code: u16, enhanced: &'static str, text: &'static str) -> Self {
        Reply { code, enhanced, text: Cow::Borrowed(text) }
    }

    /// One whose text is not.
    pub fn with_text(code: u16, enhanced: &'static str, text: String) -> Self {
        Reply { code, enhanced, text: text.into() }
    }

    /// Reads one, up to its last line.
    ///
    /// # Errors
    /// The server has hung up, or that is no reply: no reply lines, lines that contradict each other, or
    /// more than 64 KiB.
    pub async fn read<S>(stream: &mut LineStream<S>) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let not_smtp = || io::Error::other("it hung up, or does not speak SMTP");
        let mut reply: Option<(u16, String)> = None;
        let mut left = MAX_REPLY;
        loop {
            let line = stream.line(left).await?;
            left -= line.len();
            if left == 0 {
                return Err(io::Error::other("endless reply"));
            }
            let line = line.strip_suffix(b"\n").ok_or_else(not_smtp)?;
            let line = String::from_utf8_lossy(line);
            let (code, is_last, text) = reply_line(line.trim_end_matches('\r')).ok_or_else(not_smtp)?;
            match &mut reply {
                None => reply = Some((code, text.to_owned())),
                // They must be the same (RFC 5321 §4.2.1); some that join the replies of several filters have
                // 550 and 554 in one. Yes and no in one is no answer.
                Some((first, texts)) if *first / 100 == code / 100 => {
                    texts.push('\n');
                    texts.push_str(text);
                }
                Some(_) => return Err(not_smtp()),
            }
            if let Some((code, text)) = reply.take_if(|_| is_last) {
                return Ok(Reply::with_text(code, "", text));
            }
        }
    }

    /// Its lines, without the code.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split('\n')
    }

    /// 2xx.
    pub fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// 4xx or 5xx.
    pub fn is_refusal(&self) -> bool {
        (400..600).contains(&self.code)
    }

    /// 5xx.
    pub fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// The session ends after 221, 421 and 521.
    pub fn closes(&self) -> bool {
        matches!(self.code, 221 | 421 | 521)
    }

    /// # Errors
    /// The reply, when it is not 2xx.
    pub fn expect_positive(self) -> Result<(), Reply> {
        if self.is_positive() { Ok(()) } else { Err(self) }
    }

    /// # Errors
    /// The reply, when it has another code.
    pub fn expect(self, code: u16) -> Result<(), Reply> {
        if self.code == code { Ok(()) } else { Err(self) }
    }
}

/// The reply on the wire, line end included; a text of several lines becomes several lines.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.lines().peekable();
        while let Some(line) = lines.next() {
            let separator = if lines.peek().is_some() { '-' } else { ' ' };
            let space = if self.enhanced.is_empty() { "" } else { " " };
            write!(f, "{}{separator}{}{space}{line}\r\n", self.code, self.enhanced)?;
        }
        Ok(())
    }
}

/// The code of a reply line, whether it is the last, and its text, which may be missing with the space
/// before it (RFC 5321 §4.2.1).
fn reply_line(line: &str) -> Option<(u16, bool, &str)> {
    let (code, rest) = line.split_at_checked(3)?;
    if !code.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let code = code.parse().ok()?;
    let mut text = rest.chars();
    match text.next() {
        None | Some(' ') => Some((code, true, text.as_str())),
        Some('-') => Some((code, false, text.as_str())),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::super::wire::tests::pair;
    use super::*;

    /// The code, and all lines.
    async fn read(said: &str) -> Result<(u16, Vec<String>), String> {
        let (mut near, mut far) = pair().await;
        far.write_all(said.as_bytes()).await.unwrap();
        far.shutdown().await.unwrap();
        let reply = Reply::read(&mut near).await.map_err(|cause| cause.to_string())?;
        Ok((reply.code, reply.lines().map(str::to_owned).collect()))
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
            let error = Reply::read(&mut near).await.err().unwrap();
            assert_eq!(error.to_string(), "endless reply");
            drop(near);
            flood.await.unwrap();
        }
    }
}
