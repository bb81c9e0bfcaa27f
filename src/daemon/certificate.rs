//! A listener's certificate: its files, which are watched, and its dates.

use tracing::{error, info, warn};

use crate::clock::Timestamp;
use crate::net::tls::Identity;

/// The certificate of a listener, if it has one.
pub(super) struct Certificate {
    listener: &'static str,
    identity: Option<Identity>,
    /// The log says already that it has expired.
    was_told: bool,
}

impl Certificate {
    /// What `listener` presents; that it has expired was told when it was loaded.
    pub(super) fn new(listener: &'static str, identity: Option<Identity>) -> Self {
        let was_told = identity.as_ref().is_some_and(|identity| identity.facts().have_expired());
        Certificate { listener, identity, was_told }
    }

    /// What is presented.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// When it expires.
    pub(super) fn expiry(&self) -> Option<Timestamp> {
        self.identity.as_ref()?.facts().not_after
    }

    /// Puts `other` in its place, also where the identity has been handed on to.
    pub(super) fn replace(&mut self, other: Option<Identity>) {
        match (&self.identity, other) {
            (Some(identity), Some(other)) => identity.become_like(&other),
            (_, other) => self.identity = other,
        }
    }

    /// Reads the files again if they have changed, and looks at the date; true when a new certificate is in use.
    pub(super) fn refresh(&mut self) -> bool {
        let Some(identity) = &self.identity else { return false };
        let reloaded = identity.reload();
        match &reloaded {
            Ok(false) => {}
            Ok(true) => info!(listener = self.listener, "a new certificate is in use"),
            Err(cause) => error!(%cause, "the new certificate is no good; the old one stays in use"),
        }
        let has_expired = identity.facts().have_expired();
        if has_expired && !self.was_told {
            warn!(
                listener = self.listener,
                "our certificate has expired; it is used until there is a new one"
            );
        }
        self.was_told = has_expired;
        reloaded.unwrap_or(false)
    }
}
