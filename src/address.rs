//! Mail addresses and domains, parsed once at the door; inside there are no raw strings.
//!
//! A [`Mailbox`] is an address we forward to. A [`Domain`] is a DNS name in its ASCII form.

use std::fmt;
use std::str::FromStr;

use email_address::{EmailAddress, Options};
use serde::Serialize;

/// The longest address that fits an SMTP path of 256 octets with its brackets
/// (RFC 5321 §4.5.3.1.3, RFC 3696 erratum 1690).
pub const MAX_ADDRESS_LEN: usize = 254;

/// A DNS name: lower case, ASCII (international labels as `xn--`), no trailing dot, two labels or more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Domain(String);

/// A deliverable address, `local@domain`, that a message may be forwarded to.
///
/// The local part is kept as written (its meaning is the receiving host's affair), the domain
/// in its ASCII form. `Debug` hides it: a mailbox is what this program protects.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Mailbox {
    address: String,
    at: usize,
}

/// Why a string is no [`Domain`] or [`Mailbox`]. The text is fit for the person who typed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing there.
    #[error("the address is empty")]
    Empty,
    /// Over [`MAX_ADDRESS_LEN`] octets.
    #[error("the address is longer than 254 octets")]
    TooLong,
    /// White space or a control character anywhere.
    #[error("the address must not contain spaces or control characters")]
    BadCharacter,
    /// None, or more than one.
    #[error("the address needs exactly one @")]
    AtSign,
    /// The local part is not ASCII.
    #[error("letters outside ASCII are not supported before the @")]
    NotAscii,
    /// The part before the @ is malformed.
    #[error("the part before the @ is not a valid mailbox name")]
    LocalPart,
    /// The domain is malformed, an address literal or a single label.
    #[error("the domain is not a valid one, like example.com")]
    Domain,
}

/// A domain that is none of ours; with those that are, joined by commas.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("domain must be one of ours: {0}")]
pub struct NotOurs(pub(crate) String);

impl Domain {
    /// The name as a string, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Domain {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let ascii = idna::domain_to_ascii_strict(text).map_err(|_| AddressError::Domain)?;
        let numeric_end =
            ascii.rsplit('.').next().is_none_or(|label| label.bytes().all(|b| b.is_ascii_digit()));
        if !ascii.contains('.') || numeric_end {
            return Err(AddressError::Domain);
        }
        Ok(Domain(ascii))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Mailbox {
    /// The whole address, for an SMTP path.
    pub fn as_str(&self) -> &str {
        &self.address
    }

    /// The part before the @, as written.
    pub fn local_part(&self) -> &str {
        &self.address[..self.at]
    }

    /// The domain in its ASCII form.
    pub fn domain(&self) -> &str {
        &self.address[self.at + 1..]
    }
}

impl FromStr for Mailbox {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(AddressError::BadCharacter);
        }
        let (local, domain) = text.split_once('@').ok_or(AddressError::AtSign)?;
        if domain.contains('@') {
            return Err(AddressError::AtSign);
        }
        if !local.is_ascii() {
            return Err(AddressError::NotAscii);
        }
        // Legal, used by nobody, and read differently by every relay.
        if local.contains('"') {
            return Err(AddressError::LocalPart);
        }
        let domain: Domain = domain.parse()?;
        let address = format!("{local}@{domain}");
        if address.len() > MAX_ADDRESS_LEN {
            return Err(AddressError::TooLong);
        }
        let options = Options::default().without_display_text().without_domain_literal();
        EmailAddress::parse_with_options(&address, options).map_err(|_| AddressError::LocalPart)?;
        Ok(Mailbox { at: local.len(), address })
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mailbox(…)")
    }
}

/// One of our own domains: the one that is `wanted`, or else the first.
///
/// # Errors
/// When `wanted` is none of ours.
///
/// # Panics
/// When there is none: the configuration has at least one.
pub fn own_domain<'a>(ours: &'a [Domain], wanted: Option<&str>) -> Result<&'a Domain, NotOurs> {
    let Some(wanted) = wanted else { return Ok(ours.first().expect("there is at least one domain of ours")) };
    find_domain(ours, wanted).ok_or_else(|| {
        let ours: Vec<_> = ours.iter().map(Domain::as_str).collect();
        NotOurs(ours.join(", "))
    })
}

/// Which of `domains` is meant by `name`: any case, with or without a trailing dot, in ASCII or not.
pub fn find_domain<'a>(domains: &'a [Domain], name: &str) -> Option<&'a Domain> {
    let international: Option<Domain> = if name.is_ascii() { None } else { name.parse().ok() };
    let name = international.as_ref().map_or(name, Domain::as_str);
    let name = name.strip_suffix('.').unwrap_or(name);
    domains.iter().find(|domain| domain.as_str().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> AddressError {
        text.parse::<Mailbox>().expect_err(text)
    }

    #[test]
    fn an_ordinary_address_is_kept_with_its_local_part_as_written() {
        let mailbox: Mailbox = "John.Doe+x@Example.COM".parse().unwrap();
        assert_eq!(mailbox.as_str(), "John.Doe+x@example.com");
        assert_eq!(mailbox.domain(), "example.com");
    }

    #[test]
    fn an_international_domain_becomes_ascii() {
        let mailbox: Mailbox = "info@bücher.example".parse().unwrap();
        assert_eq!(mailbox.domain(), "xn--bcher-kva.example");
    }

    #[test]
    fn what_could_smuggle_a_second_recipient_or_line_is_refused() {
        assert_eq!(refused("a@b@example.com"), AddressError::AtSign);
        assert_eq!(refused("plain"), AddressError::AtSign);
        assert_eq!(refused("a b@example.com"), AddressError::BadCharacter);
        assert_eq!(refused("a@example.com\r\nRCPT TO:<v@t.example>"), AddressError::BadCharacter);
        assert_eq!(refused("a\u{0}@example.com"), AddressError::BadCharacter);
        assert_eq!(refused("<a@example.com>"), AddressError::Domain);
        assert_eq!(refused("a>@example.com"), AddressError::LocalPart);
        assert_eq!(refused("\"a>b\"@example.com"), AddressError::LocalPart);
    }

    #[test]
    fn what_no_host_could_receive_is_refused() {
        assert_eq!(refused(""), AddressError::Empty);
        assert_eq!(refused("a@localhost"), AddressError::Domain);
        assert_eq!(refused("a@[127.0.0.1]"), AddressError::Domain);
        assert_eq!(refused("a@127.0.0.1"), AddressError::Domain);
        assert_eq!(refused("a@"), AddressError::Domain);
        assert_eq!(refused("@example.com"), AddressError::LocalPart);
        assert_eq!(refused("a..b@example.com"), AddressError::LocalPart);
        assert_eq!(refused("ü@example.com"), AddressError::NotAscii);
        assert_eq!(refused(&format!("{}@example.com", "x".repeat(65))), AddressError::LocalPart);
        assert_eq!(refused(&format!("a@{}example.com", "x.".repeat(130))), AddressError::Domain);
    }

    #[test]
    fn a_mailbox_does_not_show_itself_in_debug_output() {
        let mailbox: Mailbox = "secret@example.com".parse().unwrap();
        assert!(!format!("{mailbox:?}").contains("secret"));
    }
}
