//! A listener's certificate: its files, which are watched, and its dates.

use std::path::PathBuf;

use tracing::{error, info, warn};

use crate::clock::Timestamp;
use crate::config::{Config, FileError};
use crate::net::tls::Identity;

/// The certificate of a listener, if it has one.
pub(super) struct Certificate {
    listener: &'static str,
    identity: Option<Identity>,
    /// The log already says that it has expired.
    was_reported: bool,
}

impl Certificate {
    /// What `listener` presents. That it has expired was reported when it was loaded.
    pub(super) fn new(listener: &'static str, identity: Option<Identity>) -> Self {
        let was_reported = identity.as_ref().is_some_and(|identity| identity.facts().have_expired());
        Certificate { listener, identity, was_reported }
    }

    /// What is presented.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// When it expires.
    pub(super) fn expiry(&self) -> Option<Timestamp> {
        self.identity.as_ref()?.facts().not_after
    }

    /// Replaces it by `other`, also in acceptors that hold the identity.
    pub(super) fn replace(&mut self, other: Option<Identity>) {
        match (&self.identity, other) {
            (Some(identity), Some(other)) => identity.become_like(&other),
            (_, other) => self.identity = other,
        }
    }

    /// Reads the files again if they have changed, and checks the expiry date; true when a new certificate is in use.
    pub(super) fn refresh(&mut self) -> bool {
        let Some(identity) = &self.identity else { return false };
        let reloaded = identity.reload();
        match &reloaded {
            Ok(false) => {}
            Ok(true) => info!(listener = self.listener, "a new certificate is in use"),
            Err(cause) => error!(%cause, "the new certificate cannot be used; the old one stays in use"),
        }
        let has_expired = identity.facts().have_expired();
        if has_expired && !self.was_reported {
            warn!(
                listener = self.listener,
                "our certificate has expired; it is used until there is a new one"
            );
        }
        self.was_reported = has_expired;
        reloaded.unwrap_or(false)
    }
}

/// Files, each with the key that names it.
pub(super) type Named<'a> = [(&'static str, &'a Option<PathBuf>); 2];

/// The files of the MX's certificate.
pub(super) fn smtp_certificate(config: &Config) -> Named<'_> {
    [("smtp.tls_cert", &config.smtp.tls_cert), ("smtp.tls_key", &config.smtp.tls_key)]
}

/// The files of the web's certificate.
pub(super) fn http_certificate(config: &Config) -> Named<'_> {
    [("http.tls_cert", &config.http.tls_cert), ("http.tls_key", &config.http.tls_key)]
}

/// Loads certificate and key, if there are both.
///
/// # Errors
/// With the key and the file that cannot be used.
pub(super) fn load_identity(files: Named<'_>) -> Result<Option<Identity>, FileError> {
    let [(cert_is, Some(cert)), (key_is, Some(key))] = files else { return Ok(None) };
    let identity = Identity::load(cert, key);
    if let Ok(identity) = &identity
        && identity.facts().have_expired()
    {
        // It is used nevertheless: most senders do not verify it, and browsers will warn.
        warn!(
            "{cert_is}: {}: the certificate has expired; it is used until there is a new one",
            cert.display()
        );
    }
    identity.map(Some).map_err(|cause| {
        let is_cert = cause.path == *cert;
        cause.under(if is_cert { cert_is } else { key_is })
    })
}
