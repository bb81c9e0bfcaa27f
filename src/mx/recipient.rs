//! Who is meant by RCPT: one of our aliases, the postmaster, a bounce, or nobody.

use super::Mx;
use super::reply::{self, Reply};
use crate::address::{Domain, Mailbox};
use crate::alias::{AliasName, State};
use crate::bounce::BounceOf;
use crate::clock::Timestamp;
use crate::ledger::LedgerError;

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

/// Why a recipient is not taken; the first word of the log line.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The domain is not ours.
    Relaying,
    /// No such alias; also a bounce address we did not make.
    Unknown,
    /// It does not forward now. To the client it is unknown.
    Inactive(AliasName, State),
    /// The ledger cannot be read.
    Ledger(LedgerError),
}

impl Recipient {
    /// Whom to forward to.
    pub(super) fn target(&self) -> Option<&Mailbox> {
        match self {
            Recipient::Alias { target, .. } | Recipient::Role { target } => Some(target),
            Recipient::Bounce(_) => None,
        }
    }

    /// The alias that it is.
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

impl Refusal {
    pub(super) fn reply(&self) -> Reply {
        match self {
            Refusal::Relaying => reply::RELAYING_DENIED,
            Refusal::Unknown | Refusal::Inactive(..) => reply::NO_ALIAS,
            Refusal::Ledger(_) => reply::NO_ROOM,
        }
    }
}

/// Finds out who `path` is; reads the ledger, writes nothing.
pub(super) async fn resolve(mx: &Mx, path: &str, now: Timestamp) -> Result<Recipient, Refusal> {
    let role = || Recipient::Role { target: mx.postmaster.clone() };
    if path.is_empty() {
        return Ok(role()); // RCPT TO:<postmaster>, RFC 5321 §4.5.1
    }
    let (local, domain) = path.rsplit_once('@').ok_or(Refusal::Relaying)?;
    let domain = mx.own_domain(domain).ok_or(Refusal::Relaying)?;
    if local.eq_ignore_ascii_case("postmaster") || local.eq_ignore_ascii_case("abuse") {
        return Ok(role()); // RFC 2142
    }
    if let Some(of) = mx.bounce_key.verify(local, domain) {
        return Ok(Recipient::Bounce(of));
    }
    let name = local.parse::<AliasName>().map_err(|_| Refusal::Unknown)?;
    let alias = mx.ledger.lookup(&name).await.map_err(Refusal::Ledger)?.ok_or(Refusal::Unknown)?;
    if alias.domain != *domain {
        return Err(Refusal::Unknown);
    }
    match alias.state(now) {
        State::Active => Ok(Recipient::Alias { name, domain: alias.domain, target: alias.target }),
        state => Err(Refusal::Inactive(name, state)),
    }
}
