//! Checks of the network: the smarthost, and the DNS records of our host and domains.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::timeout;

use super::Finding;
use crate::address::Domain;
use crate::bounce::{BounceKey, BounceOf};
use crate::config::Config;
use crate::daemon::Files;
use crate::relay::{Envelope, RelayError};
use crate::resolve::{ResolveError, Resolver};

/// For each DNS query.
const PATIENCE: Duration = Duration::from_secs(10);

/// SPF records begin with it (RFC 7208 §4.5).
const SPF: &str = "v=spf1";

/// Runs all of them; that of the smarthost only on request.
pub(super) async fn check(config: &Config, files: &Files, with_smarthost: bool) -> Vec<Finding> {
    let resolver = Resolver::new(&config.dns, |_| {});
    let smarthost = async { if with_smarthost { Some(smarthost(config, files).await) } else { None } };
    let (smarthost, (host, domains)) = tokio::join!(smarthost, async {
        let mut domains = Vec::new();
        for domain in &config.domains {
            domains.extend([exchangers(&resolver, config, domain).await, spf(&resolver, domain).await]);
        }
        (host(&resolver, &config.hostname).await, domains)
    });
    smarthost.into_iter().chain(host).chain(domains).collect()
}

/// All that comes before a message, with an envelope like those of our messages.
async fn smarthost(config: &Config, files: &Files) -> Finding {
    let about = "smarthost";
    let place = format!("{}:{}", config.smarthost.host, config.smarthost.port);
    // Well-formed, but signed with a key that is not in use: a bounce to it is not accepted.
    let sender = BounceKey::new(&[0; 32]).address(&BounceOf::Nobody, &config.domains[0]);
    let recipient = config.postmaster.clone();
    let envelope = Envelope { sender, recipient, size: None, is_8bit: false, utf8: false };
    let Err((step, cause)) = files.smarthost.probe(&envelope).await else {
        return Finding::ok(about, format!("{place}: accepts our envelope (nothing was sent)"));
    };
    let remedy = match (step, &cause) {
        ("MAIL", RelayError::Refused(_)) => {
            format!("let it relay for this host with senders @{}", config.domains[0])
        }
        ("RCPT", RelayError::Refused(_)) => {
            "let it relay for this host to any recipient; `postmaster` was tried".into()
        }
        (_, RelayError::Tls(_)) => "check its certificate, smarthost.tls and smarthost.ca_file".into(),
        _ => "check [smarthost], and that it runs; TEMPALIAS_LOG=debug shows what it says".to_owned(),
    };
    let what = match &cause {
        RelayError::Refused(code) => format!("refuses with {code} ({step})"),
        RelayError::Tls(cause) => format!("TLS failed: {cause}"),
        RelayError::Failed(cause) => cause.clone(),
        RelayError::Unfit(_) => cause.to_string(),
    };
    // A host that is an address is named twice.
    let what = what.strip_prefix(&format!("{place}: ")).unwrap_or(&what);
    Finding::error(about, format!("{place}: {what}"), remedy)
}

/// The addresses of our own name, and their names: many refuse mail from a host without both.
async fn host(resolver: &Resolver, hostname: &Domain) -> Vec<Finding> {
    let addresses = match ask(hostname, "A", resolver.dns_addresses(&format!("{hostname}."))).await {
        Ok(addresses) => addresses,
        Err(finding) => return vec![finding],
    };
    if addresses.is_empty() {
        let remedy = format!("add an A (and AAAA) record for {hostname} to its zone");
        return vec![Finding::error(hostname, "has no address in the DNS", remedy)];
    }
    let shown: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
    let mut findings = vec![Finding::ok(hostname, format!("has the address {}", shown.join(", ")))];
    for address in &addresses {
        findings.push(match ask(address, "PTR", resolver.names(*address)).await {
            Err(finding) => finding,
            Ok(names) if names.iter().any(|name| name == hostname.as_str()) => {
                Finding::ok(address, format!("is called {hostname}"))
            }
            Ok(names) => {
                let what = if names.is_empty() {
                    "has no name".into()
                } else {
                    format!("is called {}", names.join(", "))
                };
                let remedy = format!("ask the provider of the address to set its PTR record to {hostname}");
                Finding::advice(address, what, remedy)
            }
        });
    }
    findings
}

/// Whether mail for `domain` arrives here.
async fn exchangers(resolver: &Resolver, config: &Config, domain: &Domain) -> Finding {
    let ours = config.hostname.as_str();
    let add = format!("add to its zone: {domain}. MX 10 {ours}.");
    match ask(domain, "MX", resolver.mail_exchangers(&format!("{domain}."))).await {
        Err(finding) => finding,
        Ok(found) if found.is_empty() => {
            Finding::error(domain, "has no MX record: no mail arrives here", add)
        }
        Ok(found) if !found.iter().any(|host| host == ours) => {
            Finding::error(domain, format!("its mail goes to {}, not to {ours}", found.join(", ")), add)
        }
        Ok(found) if found.len() > 1 => {
            let what = format!("its mail goes to {}", found.join(", "));
            Finding::advice(domain, what, "only hosts that share this ledger know its aliases: use only one")
        }
        Ok(_) => Finding::ok(domain, format!("its mail goes to {ours}")),
    }
}

/// Our envelope senders are in `domain`, so its SPF record must allow the smarthost.
async fn spf(resolver: &Resolver, domain: &Domain) -> Finding {
    let texts = match ask(domain, "TXT", resolver.texts(&format!("{domain}."))).await {
        Ok(texts) => texts,
        Err(finding) => return finding,
    };
    let is_spf = |text: &&String| text.split(' ').next().is_some_and(|first| first.eq_ignore_ascii_case(SPF));
    let records: Vec<_> = texts.iter().filter(is_spf).collect();
    match records[..] {
        [] => Finding::advice(
            domain,
            "has no SPF record: much of what we forward may be treated as junk",
            "add a TXT record that allows the smarthost: \"v=spf1 a:HOST ~all\", or as its provider says",
        ),
        [one] if one.split(' ').skip(1).all(|term| term.ends_with("all")) && one.ends_with("-all") => {
            Finding::error(domain, format!("SPF allows nobody: {one}"), "let it allow the smarthost")
        }
        [one] => Finding::ok(domain, format!("SPF: {one} (does it allow the smarthost?)")),
        _ => Finding::error(
            domain,
            "has more than one SPF record, which counts as none",
            "merge them into one",
        ),
    }
}

/// The answer to the question for the records `kind` of `about`; or, without one, what that means.
async fn ask<T>(
    about: impl ToString,
    kind: &str,
    question: impl Future<Output = Result<T, ResolveError>>,
) -> Result<T, Finding> {
    let cause = match timeout(PATIENCE, question).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(cause)) => cause.to_string(),
        Err(_) => "no answer".to_owned(),
    };
    let what = format!("its {kind} records could not be looked up: {cause}");
    Err(Finding::advice(about, what, "try again when the DNS can be reached, or use --offline"))
}
