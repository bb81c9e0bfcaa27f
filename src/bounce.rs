//! Bounce addresses, and what a bounce says.
//!
//! The opaque envelope sender of a message to an alias is `b.<name>.<id>.<HMAC>@domain`, that of the
//! postmaster's mail `b.0.<HMAC>`. With it SPF passes at the target, and a bounce comes back to this MX
//! instead of showing the hidden mailbox to the sender. The HMAC-SHA-256 over name, id and domain,
//! cut to 80 bits, proves that this MX made it; whether the message may still bounce, the ledger knows.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE};

use crate::address::{Domain, Mailbox};
use crate::alias::AliasName;
use crate::message_id::MessageId;

/// Octets of the HMAC that are kept: 80 bits, 16 characters.
const TAG_LEN: usize = 10;

/// Stands for "no alias". `0` alone is never an alias: names have 4 characters or more.
const NOBODY: &str = "0";

/// The key that bounce addresses are signed with.
#[derive(Clone)]
pub struct BounceKey(hmac::Key);

/// What a bounce is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BounceOf {
    /// A message to the target of this alias.
    Message(AliasName, MessageId),
    /// The postmaster's mail.
    Nobody,
}

/// What a report says of a message that could not be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The recipients that did not get the message; several, when the target's host has passed it on.
    pub failed: Vec<Failed>,
    /// The report is complete: all of it was read, and every recipient in it has failed and is in `failed`.
    pub is_all: bool,
}

/// A recipient that did not get the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Its address, when the report has a valid one.
    pub recipient: Option<Mailbox>,
    /// The mailbox is at fault and no message would arrive: it does not exist, is disabled, or its
    /// host cannot be found. What this message alone has caused is not meant.
    pub is_mailbox_fault: bool,
}

impl Failure {
    /// Whether the mailbox `target`, which the message was sent to, is at fault. The fault of another
    /// mailbox is that of one behind the target, which may have its own copy. A report of a single
    /// failure without an address is about the only recipient that the message had.
    pub fn is_fault_of(&self, target: &Mailbox) -> bool {
        let is_about_one = self.is_all && self.failed.len() == 1;
        self.failed.iter().any(|one| {
            let is_target = if one.recipient.is_some() { one.is(target) } else { is_about_one };
            one.is_mailbox_fault && is_target
        })
    }

    /// Whether `target` itself did not get the message, and the report names no other recipient.
    pub fn is_only_of(&self, target: &Mailbox) -> bool {
        self.is_all && self.failed.iter().all(|one| one.is(target))
    }
}

impl Failed {
    /// Case does not count: many hosts change it on the way.
    fn is(&self, target: &Mailbox) -> bool {
        self.recipient.as_ref().is_some_and(|one| one.as_str().eq_ignore_ascii_case(target.as_str()))
    }
}

impl BounceKey {
    /// A key made from `secret`, at least 32 octets of the operating system's generator.
    pub fn new(secret: &[u8]) -> Self {
        BounceKey(hmac::Key::new(HMAC_SHA256, secret))
    }

    /// The envelope sender, at `domain`, of what `of` names. With the longest name its local part has
    /// 62 octets; RFC 5321 §4.5.3.1.1 allows 64.
    pub fn address(&self, of: &BounceOf, domain: &Domain) -> String {
        let subject = match of {
            BounceOf::Message(name, id) => format!("{name}.{id}"),
            BounceOf::Nobody => NOBODY.to_owned(),
        };
        let tag = BASE32_NOPAD.encode(&self.tag(&subject, domain)).to_ascii_lowercase();
        format!("b.{subject}.{tag}@{domain}")
    }

    /// What the bounce address `local@domain` is about, if it was made with this key; in any case.
    pub fn verify(&self, local: &str, domain: &Domain) -> Option<BounceOf> {
        let local = local.to_ascii_lowercase();
        let (subject, tag) = local.strip_prefix("b.")?.rsplit_once('.')?;
        let tag = BASE32_NOPAD_NOCASE.decode(tag.as_bytes()).ok()?;
        verify_slices_are_equal(&tag, &self.tag(subject, domain)).ok()?;
        if subject == NOBODY {
            return Some(BounceOf::Nobody);
        }
        let (name, id) = subject.split_once('.')?;
        Some(BounceOf::Message(name.parse().ok()?, id.parse().ok()?))
    }

    fn tag(&self, subject: &str, domain: &Domain) -> [u8; TAG_LEN] {
        let full = hmac::sign(&self.0, format!("{subject}@{domain}").as_bytes());
        *full.as_ref().first_chunk().expect("SHA-256 has 32 octets")
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

    fn message() -> BounceOf {
        BounceOf::Message("k7m2q1".parse().unwrap(), "01234567890123ab".parse().unwrap())
    }

    fn local(address: &str) -> &str {
        address.split_once('@').unwrap().0
    }

    #[test]
    fn the_fault_of_another_mailbox_is_not_the_targets() {
        let target = "a@b.example".parse().unwrap();
        let failed = |recipient: &str, is_mailbox_fault| Failed {
            recipient: (!recipient.is_empty()).then(|| recipient.parse().unwrap()),
            is_mailbox_fault,
        };
        let is_fault = |failed: &[&Failed], is_all| {
            Failure { failed: failed.iter().copied().cloned().collect(), is_all }.is_fault_of(&target)
        };
        let (gone, full, other) =
            (failed("A@b.Example", true), failed("a@b.example", false), failed("c@d.example", true));
        let unnamed = failed("", true);
        for is_all in [true, false] {
            assert!(is_fault(&[&gone], is_all));
            assert!(is_fault(&[&other, &gone], is_all), "it is among them");
            assert!(!is_fault(&[&other], is_all));
            assert!(!is_fault(&[&full, &other], is_all), "it is for another reason");
            assert!(!is_fault(&[&unnamed, &other], is_all));
            assert!(!is_fault(&[&unnamed, &unnamed], is_all));
            assert_eq!(is_fault(&[&unnamed], is_all), is_all);
        }
        assert!(!is_fault(&[&failed("", false)], true));
    }

    #[test]
    fn a_failure_is_only_the_targets_when_nobody_else_is_in_the_report() {
        let target = "a@b.example".parse().unwrap();
        let failed = |recipient: &str| Failed {
            recipient: (!recipient.is_empty()).then(|| recipient.parse().unwrap()),
            is_mailbox_fault: false,
        };
        let is_only = |failed: &[&Failed], is_all| {
            Failure { failed: failed.iter().copied().cloned().collect(), is_all }.is_only_of(&target)
        };
        let (own, other, unnamed) = (failed("A@b.Example"), failed("c@d.example"), failed(""));
        assert!(is_only(&[&own], true) && is_only(&[&own, &own], true));
        assert!(!is_only(&[&own], false));
        for not_only in [[&own, &other].as_slice(), &[&own, &unnamed], &[&other], &[&unnamed]] {
            assert!(!is_only(not_only, true), "{not_only:?}");
        }
    }

    #[test]
    fn what_we_signed_we_recognise_in_any_case() {
        let domain = domain("example.com");
        for of in [message(), BounceOf::Nobody] {
            let address = key().address(&of, &domain);
            assert_eq!(key().verify(local(&address), &domain), Some(of.clone()));
            assert_eq!(key().verify(&local(&address).to_uppercase(), &domain), Some(of));
        }
    }

    #[test]
    fn it_shows_name_message_and_domain_and_fits_a_local_part() {
        let address = key().address(&message(), &domain("example.com"));
        assert!(address.starts_with("b.k7m2q1.01234567890123ab."), "{address}");
        assert!(address.ends_with("@example.com"), "{address}");
        let longest = BounceOf::Message("z".repeat(26).parse().unwrap(), "vvvvvvvvvvvvvvvv".parse().unwrap());
        assert_eq!(local(&key().address(&longest, &domain("example.com"))).len(), 62);
    }

    #[test]
    fn a_foreign_or_altered_one_is_refused() {
        let ours = key().address(&message(), &domain("example.com"));
        assert_eq!(key().verify(local(&ours), &domain("example.net")), None);
        assert_eq!(BounceKey::new(&[8; 32]).verify(local(&ours), &domain("example.com")), None);
        for (part, other) in
            [("k7m2q1", "k7m2q2"), ("123ab", "123ac"), ("q1.01", "q101"), ("k7m2q1.", "k7.m2q1.")]
        {
            let altered = local(&ours).replace(part, other);
            assert_ne!(altered, local(&ours));
            assert_eq!(key().verify(&altered, &domain("example.com")), None, "{altered}");
        }
        for forged in
            ["b.", "b.k7m2q1", "b.k7m2q1.", "b.k7m2q1.aaaaaaaaaaaaaaaa", "b..x", "k7m2q1", "B.0.", "b.0.é"]
        {
            assert_eq!(key().verify(forged, &domain("example.com")), None, "{forged}");
        }
    }
}
