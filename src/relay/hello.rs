//! EHLO, or HELO where EHLO is not understood: what the smarthost can do.
//!
//! mail-send gives up on an answer to EHLO of more than 4 KiB, and on a last line without a text, which
//! RFC 5321 §4.2.1 asks clients to take. So this one answer is read here.

use mail_send::SmtpClient;
use mail_send::smtp::AssertReply;
use smtp_proto::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::RelayError;
use super::stream::Lines;

/// What the smarthost can do, as far as it matters to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// 8-bit bodies (RFC 6152).
    pub is_8bit: bool,
    /// Addresses and header fields in UTF-8 (RFC 6531).
    pub utf8: bool,
    /// The largest message in octets (RFC 1870); `None` when it does not say.
    pub max_size: Option<u64>,
    /// It understands SIZE at MAIL.
    pub(super) size: bool,
    /// Commands may be sent together (RFC 2920).
    pub(super) pipelining: bool,
    /// STARTTLS (RFC 3207).
    pub(super) starttls: bool,
    /// AUTH PLAIN (RFC 4616).
    pub(super) auth_plain: bool,
    /// AUTH LOGIN.
    pub(super) auth_login: bool,
}

/// EHLO with our `hostname`, within the client's time-out. A smarthost that does not understand it
/// is sent HELO, and is assumed to support no extension (RFC 5321 §3.2).
pub(super) async fn hello(
    client: &mut SmtpClient<Lines>,
    hostname: &str,
) -> Result<Capabilities, RelayError> {
    let answer = ask(client, &format!("EHLO {hostname}\r\n")).await?;
    // The codes that RFC 5321 §3.2 and §4.1.1.1 have for that.
    if matches!(answer.code, 500 | 501 | 502 | 504 | 550) {
        ask(client, &format!("HELO {hostname}\r\n")).await?.assert_code(250)?;
        return Ok(Capabilities::default());
    }
    let keywords = Capabilities::offered(answer.message.lines().skip(1));
    answer.assert_code(250)?;
    Ok(keywords)
}

impl Capabilities {
    /// Those that stand in `lines`, each a keyword with its parameters (RFC 5321 §4.1.1.1).
    fn offered<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut offered = Capabilities::default();
        for line in lines {
            // `AUTH=LOGIN` is how some repeat AUTH for clients from before RFC 2554.
            let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "8BITMIME" => offered.is_8bit = true,
                "SMTPUTF8" => offered.utf8 = true,
                "PIPELINING" => offered.pipelining = true,
                "STARTTLS" => offered.starttls = true,
                "SIZE" => {
                    offered.size = true;
                    // 0 stands for no limit.
                    offered.max_size =
                        words.next().and_then(|size| size.parse().ok()).filter(|&size| size > 0);
                }
                "AUTH" => {
                    for mechanism in words {
                        offered.auth_plain |= mechanism.eq_ignore_ascii_case("PLAIN");
                        offered.auth_login |= mechanism.eq_ignore_ascii_case("LOGIN");
                    }
                }
                _ => {}
            }
        }
        offered
    }
}

async fn ask(client: &mut SmtpClient<Lines>, command: &str) -> mail_send::Result<Response<String>> {
    let stream = &mut client.stream;
    let answer = timeout(client.timeout, async {
        stream.write_all(command.as_bytes()).await?;
        stream.flush().await?;
        reply(stream).await
    });
    answer.await.unwrap_or(Err(mail_send::Error::Timeout))
}

/// One reply, its lines without codes; [`Lines`] bounds its length.
async fn reply(stream: &mut Lines) -> mail_send::Result<Response<String>> {
    let (mut first, mut texts) = (None, Vec::new());
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            if stream.read_buf(&mut line).await? == 0 {
                return Err(mail_send::Error::UnparseableReply);
            }
        }
        let line = String::from_utf8_lossy(&line);
        let (code, is_last, text) =
            reply_line(line.trim_end_matches(['\r', '\n'])).ok_or(mail_send::Error::UnparseableReply)?;
        if *first.get_or_insert(code) != code {
            return Err(mail_send::Error::UnparseableReply);
        }
        texts.push(text.to_owned());
        if is_last {
            return Ok(Response::new(code, 0, 0, 0, texts.join("\n")));
        }
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
    match rest.as_bytes().first() {
        None => Some((code, true, "")),
        Some(b' ') => Some((code, true, &rest[1..])),
        Some(b'-') => Some((code, false, &rest[1..])),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_read_with_their_parameters() {
        let offered = |lines: &str| Capabilities::offered(lines.lines());
        let nothing = Capabilities::default();
        assert_eq!(offered("\n \nXYZZY\nDSN\nAUTH\nAUTH CRAM-MD5 PLAINER\nSIZES 5\n8BITMIMES"), nothing);
        let size = |size| offered(size).max_size;
        assert_eq!(
            ["SIZE 10", "size  10 x", "SIZE=10", "SIZE", "SIZE 0", "SIZE x"].map(size),
            [Some(10), Some(10), Some(10), None, None, None]
        );
        assert!(offered("SIZE").size);
        assert_eq!(
            offered("8bitmime\nSmtpUtf8 \nPIPELINING\tx\nStartTLS"),
            Capabilities { is_8bit: true, utf8: true, pipelining: true, starttls: true, ..nothing }
        );
        assert_eq!(offered("AUTH GSSAPI plain"), Capabilities { auth_plain: true, ..nothing });
        assert_eq!(offered("AUTH=LOGIN NTLM"), Capabilities { auth_login: true, ..nothing });
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
}
