//! EHLO, or HELO where EHLO is not understood: what the smarthost can do.

use super::RelayError;
use super::client::Client;

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
pub(super) async fn hello(client: &mut Client, hostname: &str) -> Result<Capabilities, RelayError> {
    let answer = client.command(format!("EHLO {hostname}\r\n")).await?;
    // The codes that RFC 5321 §3.2 and §4.1.1.1 have for that.
    if matches!(answer.code, 500 | 501 | 502 | 504 | 550) {
        client.command(format!("HELO {hostname}\r\n")).await?.expect(250)?;
        return Ok(Capabilities::default());
    }
    let mut offered = Capabilities::default();
    answer.lines().skip(1).for_each(|line| offered.add(line));
    answer.expect(250)?;
    Ok(offered)
}

impl Capabilities {
    /// What `line` offers: a keyword with its parameters (RFC 5321 §4.1.1.1).
    fn add(&mut self, line: &str) {
        // `AUTH=LOGIN` is how some repeat AUTH for clients from before RFC 2554.
        let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
        match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "8BITMIME" => self.is_8bit = true,
            "SMTPUTF8" => self.utf8 = true,
            "PIPELINING" => self.pipelining = true,
            "STARTTLS" => self.starttls = true,
            "SIZE" => {
                self.size = true;
                // 0 stands for no limit.
                self.max_size = words.next().and_then(|size| size.parse().ok()).filter(|&size| size > 0);
            }
            "AUTH" => {
                for mechanism in words {
                    self.auth_plain |= mechanism.eq_ignore_ascii_case("PLAIN");
                    self.auth_login |= mechanism.eq_ignore_ascii_case("LOGIN");
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_read_with_their_parameters() {
        let offered = |lines: &str| {
            let mut offered = Capabilities::default();
            lines.lines().for_each(|line| offered.add(line));
            offered
        };
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
}
