//! What the path of RCPT means: an alias, the postmaster, a bounce address, or nothing here.

use super::Setup;
use crate::address::{Domain, Mailbox, find_domain};
use crate::alias::{AliasName, State};
use crate::bounce::BounceOf;
use crate::clock::Timestamp;
use crate::events::Refusal;

/// An accepted recipient.
#[derive(Clone, Debug)]
pub(super) enum Recipient {
    /// Counted, and forwarded to `target`.
    Alias { name: AliasName, domain: Domain, target: Mailbox },
    /// `postmaster` or `abuse` of one of our domains: forwarded, never counted.
    Role { target: Mailbox },
    /// The sender of something we forwarded: a bounce, which is read and not forwarded, or, with a
    /// sender, a host that asks whether the address exists before it takes the message.
    Bounce(BounceOf),
}

/// A recipient that is not accepted.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) reason: Refusal,
    /// The alias that was meant, when there is one.
    pub(super) alias: Option<AliasName>,
}

impl From<Refusal> for Refused {
    fn from(reason: Refusal) -> Self {
        Refused { reason, alias: None }
    }
}

impl Recipient {
    /// The mailbox to forward to.
    pub(super) fn target(&self) -> Option<&Mailbox> {
        match self {
            Recipient::Alias { target, .. } | Recipient::Role { target } => Some(target),
            Recipient::Bounce(_) => None,
        }
    }

    /// The alias, when it is one.
    pub(super) fn alias(&self) -> Option<&AliasName> {
        match self {
            Recipient::Alias { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Whether both are one recipient, whatever the spelling. Two aliases never are, for one target or not.
    pub(super) fn is_same(&self, other: &Recipient) -> bool {
        match (self, other) {
            (Recipient::Role { .. }, Recipient::Role { .. }) => true,
            (Recipient::Bounce(one), Recipient::Bounce(other)) => one == other,
            (one, other) => one.alias().is_some() && one.alias() == other.alias(),
        }
    }
}

/// Finds out what `path` is; reads the ledger, writes nothing.
pub(super) async fn resolve(setup: &Setup<'_>, path: &str, now: Timestamp) -> Result<Recipient, Refused> {
    let role = || Recipient::Role { target: setup.config.postmaster.clone() };
    if path.is_empty() {
        return Ok(role()); // RCPT TO:<postmaster>, RFC 5321 §4.5.1
    }
    let (local, domain) = path.rsplit_once('@').ok_or(Refusal::Relaying)?;
    let domain = find_domain(&setup.config.domains, domain).ok_or(Refusal::Relaying)?;
    if local.eq_ignore_ascii_case("postmaster") || local.eq_ignore_ascii_case("abuse") {
        return Ok(role()); // RFC 2142
    }
    if let Some(of) = setup.mx.bounce_key.verify(local, domain) {
        return Ok(Recipient::Bounce(of));
    }
    let name = local.parse::<AliasName>().map_err(|_| Refusal::NoAlias)?;
    let alias = setup.mx.ledger.lookup(&name).await.map_err(|cause| {
        tracing::error!(%cause, "an alias could not be looked up");
        Refusal::LedgerFailed
    })?;
    let alias = alias.filter(|alias| alias.domain == *domain).ok_or(Refusal::NoAlias)?;
    let reason = match alias.state(now) {
        State::Active => return Ok(Recipient::Alias { name, domain: alias.domain, target: alias.target }),
        State::Pending => Refusal::Pending,
        State::Expired => Refusal::Expired,
        State::UsedUp => Refusal::UsedUp,
        State::Paused => Refusal::Paused,
        State::Suspended => Refusal::Suspended,
    };
    Err(Refused { reason, alias: Some(name) })
}
