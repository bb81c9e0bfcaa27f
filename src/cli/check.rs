//! `tempalias check`: can the service run with this configuration, on this machine?
//!
//! | file | what is checked |
//! |---|---|
//! | [`finding`] | what was found, and how it is shown |
//! | [`machine`] | files and their permissions, certificates, the ledger, the clock |
//! | [`service`] | whether the service may read them, when root runs it |
//! | [`network`] | the smarthost, and our DNS records |

mod finding;
mod machine;
mod network;
mod service;

use std::io::Write;
use std::path::{Path, PathBuf};

use anstream::stdout;

use self::finding::{Finding, Severity};
use super::progress::Progress;
use super::{ConfigFile, Failure, block_on, counted};
use crate::config::Config;
use crate::daemon;

/// Check the configuration, the files it names, the smarthost and the DNS, and say what to fix
///
/// Nothing is changed and no message is sent. Exit code 78: the configuration is wrong, and one line says
/// where; 1: there are other errors; 0: there are none, though there may be advice.
#[derive(clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigFile,
    /// Contact neither the smarthost nor the DNS
    #[arg(long)]
    offline: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (mut config, places) = self.config.load()?;
        let unseen = credential_of_the_unit(&mut config);
        let files = daemon::load_files(&config).map_err(|cause| places.blame(&cause))?;
        let mut findings = machine::check(&self.config.path, &config, &files);
        if let Some(name) = &unseen {
            findings.push(Finding::advice(
                "smarthost.password_file",
                format!(
                    "{}: a credential of the unit, not visible from here; the smarthost is not contacted",
                    name.display()
                ),
                "run it as the unit does: systemd-run --pipe -p User=tempalias -p LoadCredential=… tempalias check",
            ));
        }
        if !self.offline {
            let _progress = Progress::show(|| "asking the smarthost and the DNS".into());
            findings.extend(block_on(async { Ok(network::check(&config, &files, unseen.is_none()).await) })?);
        }
        self.show(&findings).map_err(Failure::Output)?;
        match findings.iter().filter(|finding| finding.severity == Severity::Error).count() {
            0 => Ok(()),
            errors => Err(Failure::Refused(counted(errors, ["error", "errors"]) + " to fix")),
        }
    }

    fn show(&self, findings: &[Finding]) -> std::io::Result<()> {
        let mut out = stdout().lock();
        let file = self.config.path.display();
        if self.json {
            let findings: Vec<_> = findings.iter().map(Finding::to_json).collect();
            let object = serde_json::json!({ "config": file.to_string(), "findings": findings });
            return writeln!(out, "{object}");
        }
        writeln!(out, "{file}: the configuration is good")?;
        let width = findings.iter().map(|finding| finding.about.chars().count()).max().unwrap_or(0);
        findings.iter().try_for_each(|finding| finding.write(&mut out, width))
    }
}

/// Removes a password file without a directory, which systemd gives to the unit only, and the user name that
/// goes with it; returns its name.
fn credential_of_the_unit(config: &mut Config) -> Option<PathBuf> {
    let smarthost = &mut config.smarthost;
    let is_credential = |path: &mut PathBuf| path.parent() == Some(Path::new(""));
    let name = smarthost.password_file.take_if(is_credential)?;
    smarthost.username = None;
    Some(name)
}
