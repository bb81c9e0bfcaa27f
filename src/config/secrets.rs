//! Files whose content is a secret.

use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Config;

/// Permissions of other users: to read, or to write.
const EVERYBODY: u32 = 0o006;

impl Config {
    /// The files that hold a secret, each with the key that names it.
    pub fn secrets(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        [
            ("smarthost.password_file", &self.smarthost.password_file),
            ("smtp.tls_key", &self.smtp.tls_key),
            ("http.tls_key", &self.http.tls_key),
        ]
        .into_iter()
        .filter_map(|(key, path)| Some((key, path.as_deref()?)))
    }
}

/// Whether every user on this machine may read or change the file.
pub fn is_open_to_everybody(file: &Metadata) -> bool {
    file.permissions().mode() & EVERYBODY != 0
}
