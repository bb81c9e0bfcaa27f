//! What aliases may forward to: everything but our own addresses, and what the operator forbids.

use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::Config;
use crate::address::{AddressError, Domain, Mailbox};

/// One of `aliases.forbidden_targets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// All mailboxes of this domain; those of its subdomains are others.
    Domain(Domain),
    /// This mailbox.
    Mailbox(Mailbox),
}

/// Which targets an alias may have.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a>(&'a Config);

/// Why an alias cannot have a target. The text may be shown to the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// An alias, or a mailbox of this host. Mail to our domains would loop. Mail to the host's
    /// name goes to its administrators, or by its address record back to us, where it is refused.
    #[error("the address must be a real one, not one of this service")]
    Ours,
    /// The operator forbids it.
    #[error("this service does not forward to that address")]
    Forbidden,
}

impl Config {
    /// Which targets aliases may have.
    pub fn targets(&self) -> Targets<'_> {
        Targets(self)
    }
}

impl Targets<'_> {
    /// Whether an alias may forward to `target`.
    ///
    /// # Errors
    /// When it is one of our own, or forbidden.
    pub fn check(&self, target: &Mailbox) -> Result<(), TargetError> {
        let Config { domains, hostname, aliases, .. } = self.0;
        // Where mail would come back to us.
        if domains.iter().chain([hostname]).any(|domain| domain.as_str() == target.domain()) {
            return Err(TargetError::Ours);
        }
        if aliases.forbidden_targets.iter().any(|forbidden| forbidden.includes(target)) {
            return Err(TargetError::Forbidden);
        }
        Ok(())
    }
}

impl Forbidden {
    /// Local parts are compared as nearly all hosts do it: in any case, and without the detail behind a `+`
    /// (RFC 5233 §1), with which one mailbox has any number of addresses.
    fn includes(&self, target: &Mailbox) -> bool {
        match self {
            Forbidden::Domain(domain) => domain.as_str() == target.domain(),
            Forbidden::Mailbox(mailbox) => {
                let is_same = |local: &str| local.eq_ignore_ascii_case(mailbox.local_part());
                let user = target.local_part().split('+').next().unwrap_or_default();
                mailbox.domain() == target.domain() && (is_same(target.local_part()) || is_same(user))
            }
        }
    }
}

impl FromStr for Forbidden {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.contains('@') {
            true => text.parse().map(Forbidden::Mailbox),
            false => text.parse().map(Forbidden::Domain),
        }
    }
}

impl Serialize for Forbidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Forbidden::Domain(domain) => domain.as_str(),
            Forbidden::Mailbox(mailbox) => mailbox.as_str(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn an_alias_may_forward_to_anything_but_us_and_what_is_forbidden() {
        let config = "hostname = 'mx.ours.test'\ndomains = ['ours.test', 'also.test']\npostmaster = 'p@b.test'\n\
                      smarthost.host = 'r'\n[aliases]\n\
                      forbidden_targets = ['Corp.test', 'Jo.Doe@mail.test', 'tag+x@mail.test', 'b\u{fc}cher.test']";
        let config = parse("test", config, []).unwrap();
        let check = |target: &str| config.targets().check(&target.parse().unwrap());
        for target in ["a@ours.test", "a@ALSO.test", "root@mx.ours.test", "root@MX.Ours.Test."] {
            assert_eq!(check(target), Err(TargetError::Ours), "{target}");
        }
        for target in [
            "a@corp.test",
            "a@CORP.TEST.",
            "jo.doe@mail.test",
            "JO.DOE@Mail.Test",
            "jo.doe+shop@mail.test",
            "TAG+X@mail.test",
            "a@xn--bcher-kva.test",
        ] {
            assert_eq!(check(target), Err(TargetError::Forbidden), "{target}");
        }
        for target in [
            "a@sub.ours.test",
            "a@b.mx.ours.test",
            "a@sub.corp.test",
            "a@xcorp.test",
            "joe@mail.test",
            "jo.doe@other.test",
            "tag@mail.test",
            "tag+y@mail.test",
        ] {
            assert_eq!(check(target), Ok(()), "{target}");
        }
    }
}
