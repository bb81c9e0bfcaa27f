//! What docs/install.md, proxy.md and backup.md have an operator do, done under the units.

use super::debian::boot;
use super::pages::block;

/// Boots a Debian with these `files` in the script's directory.
#[track_caller]
fn with_blocks(name: &str, script: &str, files: &[(&str, String)]) {
    let files: String = files
        .iter()
        .map(|(name, text)| format!("cat >{name} <<'END OF BLOCK'\n{text}END OF BLOCK\n"))
        .collect();
    boot(name, &format!("{files}\n{script}"), &["0.1.0-1"]);
}

#[test]
#[ignore = "needs root"]
fn a_password_reaches_the_smarthost_from_a_file_and_from_a_credential() {
    let keep = block("install.md", "sh", "smarthost-password");
    let relay = block("install.md", "toml", "username");
    let unit = block("install.md", "ini", "LoadCredential");
    let credential = block("install.md", "toml", "a credential");
    let files =
        [("keep", keep), ("relay.toml", relay), ("credential.conf", unit), ("credential.toml", credential)];
    with_blocks("secrets.sh", include_str!("secrets.sh"), &files);
}

#[test]
#[ignore = "needs root"]
fn renewed_certificates_are_shown_by_both_doors() {
    let hook = block("install.md", "sh", "RENEWED_LINEAGE");
    let smtp = block("install.md", "toml", "tls_cert");
    let http = block("proxy.md", "toml", "tls_cert");
    let files = [("hook", hook), ("smtp.toml", smtp), ("http.toml", http)];
    with_blocks("certificates.sh", include_str!("certificates.sh"), &files);
}

#[test]
#[ignore = "needs root"]
fn no_connection_starts_a_server_in_the_middle_of_a_restore() {
    let restore = block("backup.md", "sh", "tempalias-smtp.socket");
    with_blocks("restore.sh", include_str!("restore.sh"), &[("restore", restore)]);
}
