//! What can be seen on this machine: permissions, certificates, the ledger, the clock.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::SignedDuration;

use super::Finding;
use super::service::Service;
use crate::clock::Timestamp;
use crate::config::{Config, is_open_to_everybody};
use crate::daemon::Files;
use crate::ledger::{self, FILE_NAME};
use crate::net::tls::Facts;

/// What everybody may do with a file.
const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;

/// So long before its end a certificate should have been renewed: Let's Encrypt's are renewed 30 days before.
const RENEWAL: SignedDuration = SignedDuration::from_hours(14 * 24);

/// No clock that is right shows an earlier time than this version's.
const THIS_VERSION: &str = "2026-01-01T00:00:00Z";

/// Looks at everything.
pub(super) fn look(file: &Path, config: &Config, files: &Files) -> Vec<Finding> {
    // Not `clock::now`: the machine's clock is what is looked at.
    let now = Timestamp::now();
    let mut findings = vec![configuration(file), data_dir(config)];
    findings.extend(ledger(config, now));
    findings.extend(config.secrets().map(|(key, path)| secret(key, path)));
    if let Some(service) = Service::of(&config.data_dir) {
        findings.extend(service.complaint("configuration", file));
        let certificates = [
            ("smarthost.ca_file", &config.smarthost.ca_file),
            ("smtp.tls_cert", &config.smtp.tls_cert),
            ("http.tls_cert", &config.http.tls_cert),
        ];
        let certificates = certificates.into_iter().filter_map(|(key, path)| Some((key, path.as_deref()?)));
        let named = config.secrets().chain(certificates);
        findings.extend(named.filter_map(|(key, path)| service.complaint(key, path)));
    }
    let web = config.http.public_url.as_ref().map(|url| url.host().to_owned());
    let identities = [
        ("smtp.tls_cert", &files.smtp, Some(config.hostname.as_str().to_owned())),
        ("http.tls_cert", &files.http, web),
    ];
    for (key, identity, host) in identities {
        if let Some(identity) = identity {
            findings.push(certificate(key, &identity.facts(), host.as_deref(), now));
        }
    }
    findings
}

fn configuration(file: &Path) -> Finding {
    let about = "configuration";
    let shown = file.display();
    match file.metadata() {
        Ok(found) if found.mode() & OTHERS_WRITE != 0 => {
            Finding::error(about, format!("{shown}: everybody may change it"), format!("chmod 640 {shown}"))
        }
        Ok(found) if found.mode() & OTHERS_READ != 0 => {
            Finding::advice(about, format!("{shown}: everybody may read it"), format!("chmod 640 {shown}"))
        }
        Ok(found) => Finding::ok(about, format!("{shown}: mode {}", mode(&found))),
        Err(cause) => Finding::advice(about, format!("{shown}: {cause}"), "look at its permissions"),
    }
}

fn data_dir(config: &Config) -> Finding {
    let (about, dir) = ("data_dir", config.data_dir.display());
    let owner_of = |path: &Path| path.metadata().ok().map(|found| found.uid());
    match config.data_dir.metadata() {
        Ok(found) if found.mode() & 0o022 != 0 => Finding::error(
            about,
            format!("{dir}: others may change what is in it"),
            format!("chmod 700 {dir}"),
        ),
        Ok(found) if owner_of(&config.data_dir.join(FILE_NAME)).is_some_and(|owner| owner != found.uid()) => {
            Finding::error(
                about,
                format!("{dir}: the ledger in it belongs to another user than the directory"),
                format!("chown --reference={dir} {dir}/{FILE_NAME}*"),
            )
        }
        Ok(found) if found.mode() & 0o077 != 0 => Finding::advice(
            about,
            format!("{dir}: mode {}: others may see what is in it", mode(&found)),
            format!("chmod 700 {dir}"),
        ),
        Ok(found) => Finding::ok(about, format!("{dir}: mode {}", mode(&found))),
        Err(cause) => Finding::error(about, format!("{dir}: {cause}"), "look at its permissions"),
    }
}

/// The ledger, and the clock against it.
fn ledger(config: &Config, now: Timestamp) -> Vec<Finding> {
    let about = "ledger";
    let (finding, latest) = match ledger::summary(&config.data_dir) {
        Ok(None) => (Finding::ok(about, "none yet; `tempalias serve` makes one"), None),
        Ok(Some(found)) => (Finding::ok(about, format!("aliases: {}", found.aliases)), found.latest),
        Err(cause) => (Finding::error(about, cause, "mend that, or restore a backup: docs/backup.md"), None),
    };
    vec![finding, clock(now, latest)]
}

fn clock(now: Timestamp, latest: Option<Timestamp>) -> Finding {
    let (about, shown) = ("clock", format!("{now:.0}"));
    let first: Timestamp = THIS_VERSION.parse().expect("an instant");
    let set = "set it, and keep it right by NTP: timedatectl set-ntp true";
    match latest {
        _ if now < first => Finding::error(about, format!("{shown}: that is past"), set),
        Some(latest) if now < latest => {
            let what = format!("{shown}: the ledger has seen {latest} already; aliases wait until then");
            Finding::error(about, what, set)
        }
        _ => Finding::ok(about, shown),
    }
}

fn secret(key: &str, path: &Path) -> Finding {
    let shown = path.display();
    match path.metadata() {
        Ok(found) if is_open_to_everybody(&found) => {
            Finding::error(key, format!("{shown}: everybody may read it"), format!("chmod o= {shown}"))
        }
        Ok(found) => Finding::ok(key, format!("{shown}: mode {}", mode(&found))),
        Err(cause) => Finding::error(key, format!("{shown}: {cause}"), "look at its permissions"),
    }
}

/// `host`: for whom it should be, if that is known.
fn certificate(key: &str, facts: &Facts, host: Option<&str>, now: Timestamp) -> Finding {
    let day = |instant: Timestamp| instant.strftime("%Y-%m-%d").to_string();
    let names = facts.names.join(", ");
    let renew = "renew it; it is read again when its file changes";
    match (facts.not_before, facts.not_after, host) {
        (_, Some(end), _) if end < now => Finding::error(key, format!("has expired on {}", day(end)), renew),
        (Some(start), ..) if now < start => {
            Finding::error(key, format!("is not good before {}", day(start)), "look at the clock, or wait")
        }
        (_, Some(end), _) if end < now + RENEWAL => {
            Finding::advice(key, format!("expires on {}", day(end)), renew)
        }
        (_, _, Some(host)) if !facts.is_for(host) => {
            let what =
                format!("is not for {host}, but for {}", if names.is_empty() { "no name" } else { &names });
            Finding::advice(key, what, format!("get one for {host}: clients may not trust this one"))
        }
        (_, Some(end), _) => Finding::ok(key, format!("for {names}, until {}", day(end))),
        (_, None, _) => Finding::advice(key, "could not be understood", "look at it with openssl x509"),
    }
}

fn mode(found: &Metadata) -> String {
    format!("{:04o}", found.mode() & 0o7777)
}
