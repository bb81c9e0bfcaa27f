//! TLS: our certificate, and the certificates that we trust.
//!
//! | file | what is in it |
//! |---|---|
//! | [`identity`] | the server's side: certificate and key, reloaded when their files change |
//! | [`client`] | the client's side: whom to trust, and what went wrong in a handshake |

mod client;
mod identity;

pub use client::{Client, fault};
pub use identity::{Facts, Identity};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use crate::config::FileError;

/// What is wrong with a file of certificates or keys.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub struct TlsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub cause: String,
}

impl TlsError {
    /// The same, under the key of the configuration that names the file.
    pub fn under(self, key: &'static str) -> FileError {
        FileError { key, path: self.path, cause: self.cause }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<_, _>>)
        .map_err(|cause| error(path, cause))?;
    if found.is_empty() { Err(error(path, "holds no certificate")) } else { Ok(found) }
}

fn error(path: &Path, cause: impl ToString) -> TlsError {
    TlsError { path: path.to_owned(), cause: cause.to_string() }
}
