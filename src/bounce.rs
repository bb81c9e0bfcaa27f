//! Bounce addresses: the opaque envelope sender of everything we forward.
//!
//! `b.<name>.<HMAC>@domain`, or `b.0.<HMAC>` for the postmaster's mail. With it SPF
//! passes at the target, and a bounce comes to us instead of showing the hidden mailbox to the
//! sender. Stateless: the HMAC-SHA-256 over name and domain, cut to 80 bits, says that we made it.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE};

use crate::address::Domain;
use crate::alias::AliasName;

/// Octets of the HMAC that are kept: 80 bits, 16 characters.
const TAG_LEN: usize = 10;

/// Stands for "no alias in particular". `0` alone is never an alias: names have 4 characters or more.
const NOBODY: &str = "0";

/// The secret that bounce addresses are signed with; lives in the ledger.
#[derive(Clone)]
pub struct BounceKey(hmac::Key);

/// Whom a bounce is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BounceOf {
    /// The target of this alias.
    Alias(AliasName),
    /// The postmaster's mail.
    Nobody,
}

impl BounceKey {
    /// A key made from `secret`, at least 32 octets of the operating system's generator.
    pub fn new(secret: &[u8]) -> Self {
        BounceKey(hmac::Key::new(HMAC_SHA256, secret))
    }

    /// The envelope sender for a message to `whom` at `domain`.
    pub fn address(&self, whom: &BounceOf, domain: &Domain) -> String {
        let subject = whom.subject();
        let tag = BASE32_NOPAD.encode(&self.tag(subject, domain)).to_ascii_lowercase();
        format!("b.{subject}.{tag}@{domain}")
    }

    /// Whom the bounce address `local@domain` is about, if we made it; any case.
    pub fn verify(&self, local: &str, domain: &Domain) -> Option<BounceOf> {
        let local = local.to_ascii_lowercase();
        let (subject, tag) = local.strip_prefix("b.")?.split_once('.')?;
        let tag = BASE32_NOPAD_NOCASE.decode(tag.as_bytes()).ok()?;
        verify_slices_are_equal(&tag, &self.tag(subject, domain)).ok()?;
        match subject {
            NOBODY => Some(BounceOf::Nobody),
            name => name.parse().ok().map(BounceOf::Alias),
        }
    }

    fn tag(&self, subject: &str, domain: &Domain) -> [u8; TAG_LEN] {
        let full = hmac::sign(&self.0, format!("{subject}@{domain}").as_bytes());
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&full.as_ref()[..TAG_LEN]);
        tag
    }
}

impl BounceOf {
    fn subject(&self) -> &str {
        match self {
            BounceOf::Alias(name) => name.as_str(),
            BounceOf::Nobody => NOBODY,
        }
    }
}

impl fmt::Debug for BounceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BounceKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> BounceKey {
        BounceKey::new(&[7; 32])
    }

    fn domain(text: &str) -> Domain {
        text.parse().unwrap()
    }

    fn alias() -> BounceOf {
        BounceOf::Alias("k7m2q1".parse().unwrap())
    }

    fn local(address: &str) -> &str {
        address.split_once('@').unwrap().0
    }

    #[test]
    fn what_we_signed_we_recognise_in_any_case() {
        let domain = domain("example.com");
        for whom in [alias(), BounceOf::Nobody] {
            let address = key().address(&whom, &domain);
            assert_eq!(key().verify(local(&address), &domain), Some(whom.clone()));
            assert_eq!(key().verify(&local(&address).to_uppercase(), &domain), Some(whom));
        }
    }

    #[test]
    fn it_shows_name_and_domain_of_the_alias_and_fits_a_local_part() {
        let address = key().address(&alias(), &domain("example.com"));
        assert!(address.starts_with("b.k7m2q1.") && address.ends_with("@example.com"), "{address}");
        assert!(local(&address).len() <= 64);
    }

    #[test]
    fn a_foreign_or_altered_one_is_refused() {
        let ours = key().address(&alias(), &domain("example.com"));
        assert_eq!(key().verify(local(&ours), &domain("example.net")), None);
        assert_eq!(BounceKey::new(&[8; 32]).verify(local(&ours), &domain("example.com")), None);
        assert_eq!(key().verify(&local(&ours).replace("k7m2q1", "k7m2q2"), &domain("example.com")), None);
        for forged in
            ["b.", "b.k7m2q1", "b.k7m2q1.", "b.k7m2q1.aaaaaaaaaaaaaaaa", "b..x", "k7m2q1", "B.0.", "b.0.é"]
        {
            assert_eq!(key().verify(forged, &domain("example.com")), None, "{forged}");
        }
    }
}
