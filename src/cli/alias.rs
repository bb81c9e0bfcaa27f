//! `tempalias alias`: the operator's commands on the ledger, also while the server runs.

mod transfer;

use std::io::{self, Write, stdout};
use std::path::PathBuf;

use clap::Subcommand;
use poem_openapi::types::ToJSON;
use serde_json::{Value, json};

use super::{ConfigFile, Failure, block_on, tell};
use crate::address::{AddressError, Domain, Mailbox, own_domain};
use crate::alias::{Alias as Entry, AliasName, LimitRequest, Limits, ManageKey};
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::ledger::{FILE_NAME, Ledger, NewAlias};
use crate::web::AliasView;

/// Add, show, revoke and move aliases
///
/// Works on the same ledger while the server runs.
#[derive(clap::Args)]
pub(super) struct Alias {
    #[command(flatten)]
    config: ConfigFile,
    /// Print one JSON object a line, with the fields of the API
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Add(Add),
    /// Show one alias
    Show {
        #[command(flatten)]
        alias: Named,
    },
    /// List all aliases
    List,
    /// Delete an alias for good; its name is never handed out again
    Revoke {
        #[command(flatten)]
        alias: Named,
    },
    /// Print everything that another ledger needs to go on with these aliases, a JSON object a line
    ///
    /// With the real addresses, and with a line for every other name that was ever handed out. To copy a
    /// ledger as a whole, use `tempalias backup`.
    Export,
    Import(transfer::Import),
}

/// Hand out an alias; at least one of --days, --valid-until and --max-usage is needed
#[derive(clap::Args)]
struct Add {
    /// The real mailbox
    #[arg(long, value_name = "ADDRESS")]
    target: Mailbox,
    /// One of the domains of the configuration [default: the first]
    #[arg(long)]
    domain: Option<Domain>,
    /// Forward for so many days
    #[arg(long, value_name = "N", value_parser = parse_count, allow_negative_numbers = true)]
    days: Option<u32>,
    /// Forward from this instant on (RFC 3339, like 2026-06-12T14:00:00Z) [default: now]
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    valid_from: Option<Timestamp>,
    /// Forward until this instant, instead of --days
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    valid_until: Option<Timestamp>,
    /// Forward so many messages
    #[arg(long, value_name = "N", value_parser = parse_count, allow_negative_numbers = true)]
    max_usage: Option<u32>,
}

#[derive(clap::Args)]
struct Named {
    /// The alias, with or without its domain
    #[arg(value_name = "NAME", value_parser = parse_alias)]
    alias: Address,
}

/// How a person names an alias.
#[derive(Clone, Debug, PartialEq)]
struct Address {
    name: AliasName,
    domain: Option<Domain>,
}

impl Alias {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (config, _) = self.config.load()?;
        if !matches!(self.action, Action::Add(_) | Action::Import(_)) {
            existing_ledger(&config)?;
        }
        block_on(async {
            let ledger = Ledger::open(&config.data_dir, config.aliases.initial_length)?;
            clock::has_been(ledger.latest().unwrap_or(Timestamp::MIN));
            let result = self.act(&config, &ledger, &mut stdout().lock()).await;
            ledger.close().await;
            result
        })
    }

    async fn act(&self, config: &Config, ledger: &Ledger, out: &mut impl Write) -> Result<(), Failure> {
        let now = clock::now();
        let text = match &self.action {
            Action::Add(add) => {
                let issued = ledger.issue(add.granted(config, now)?, now).await?;
                self.render_one(&issued.alias, Some(&issued.key), now)
            }
            Action::Show { alias } => self.render_one(&alias.find(ledger).await?, None, now),
            Action::List => return self.list(ledger, out, now).await,
            Action::Export => return transfer::export(ledger, out).await,
            Action::Import(import) => return import.run(config, ledger, self.json, out).await,
            Action::Revoke { alias } => {
                let name = &alias.find(ledger).await?.name;
                if !ledger.revoke(name.clone()).await? {
                    return Err(alias.unknown());
                }
                if self.json {
                    line(&json!({ "aid": name.as_str(), "revoked": true }))
                } else {
                    format!("{name} is revoked\n")
                }
            }
        };
        out.write_all(text.as_bytes()).map_err(Failure::Output)
    }

    /// A line for each alias as it is read: there may be more than fit into memory.
    async fn list(&self, ledger: &Ledger, out: &mut impl Write, now: Timestamp) -> Result<(), Failure> {
        let mut print = |text: String| out.write_all(text.as_bytes()).map_err(Failure::Output);
        if !self.json {
            print(row(["ADDRESS", "STATE", "USES", "VALID UNTIL", "TARGET"]))?;
        }
        let print_alias = |alias: Entry| {
            print(if self.json {
                line(&to_json(&alias, None, now))
            } else {
                let state = alias.state(now).as_str();
                row([&alias.address(), state, &uses(&alias), &until(&alias), alias.target.as_str()])
            })
        };
        ledger.for_each(print_alias).await
    }

    fn render_one(&self, alias: &Entry, key: Option<&ManageKey>, now: Timestamp) -> String {
        if self.json {
            return line(&to_json(alias, key, now));
        }
        let mut text = format!(
            "address     {}\ntarget      {}\nstate       {}\nuses        {}\nvalid from  {}\nvalid until {}\n",
            alias.address(),
            alias.target.as_str(),
            alias.state(now).as_str(),
            uses(alias),
            alias.limits.valid_from,
            until(alias),
        );
        if let Some(key) = key {
            text += &format!("manage key  {key}   (shown only now)\n");
        }
        text
    }
}

impl Add {
    /// The alias that this wish gets under the configuration's caps.
    fn granted(&self, config: &Config, now: Timestamp) -> Result<NewAlias, Failure> {
        let domain =
            own_domain(&config.domains, self.domain.as_ref().map(Domain::as_str)).map_err(refused)?;
        config.targets().check(&self.target).map_err(refused)?;
        let &Add { days, valid_from, valid_until, max_usage, .. } = self;
        let request = LimitRequest { days, valid_from, valid_until, max_usage };
        let (limits, clamped) = Limits::grant(request, config.aliases.caps(), now).map_err(refused)?;
        for what in clamped {
            tell(format_args!("{} was cut to the largest value the configuration allows", what.field()));
        }
        Ok(NewAlias { domain: domain.clone(), target: self.target.clone(), limits })
    }
}

fn refused(why: impl ToString) -> Failure {
    Failure::Refused(why.to_string())
}

impl Named {
    /// The alias of this name, in this domain if one was given.
    async fn find(&self, ledger: &Ledger) -> Result<Entry, Failure> {
        let Address { name, domain } = &self.alias;
        let found = ledger.lookup(name).await?;
        found
            .filter(|alias| domain.as_ref().is_none_or(|domain| alias.domain == *domain))
            .ok_or_else(|| self.unknown())
    }

    fn unknown(&self) -> Failure {
        let Address { name, domain } = &self.alias;
        let domain = domain.as_ref().map_or_else(String::new, |domain| format!("@{domain}"));
        Failure::Refused(format!("there is no alias {name}{domain}"))
    }
}

/// Reading a ledger must not make one, least of all as the wrong user.
fn existing_ledger(config: &Config) -> Result<(), Failure> {
    let path: PathBuf = config.data_dir.join(FILE_NAME);
    match std::fs::metadata(&path) {
        Ok(_) => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            Err(Failure::Refused(format!("{}: there is no ledger yet", path.display())))
        }
        Err(cause) => Err(Failure::System(path.display().to_string(), cause)),
    }
}

fn parse_alias(text: &str) -> Result<Address, String> {
    let (local, domain) = text.split_once('@').map_or((text, None), |(local, domain)| (local, Some(domain)));
    let name = local.parse().map_err(|_| "not the name of any alias".to_owned())?;
    let domain = domain.map(str::parse).transpose().map_err(|cause: AddressError| cause.to_string())?;
    Ok(Address { name, domain })
}

fn parse_count(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("not a whole number from 1 to {}", u32::MAX))
}

fn parse_instant(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "not an instant like 2026-06-12T14:00:00Z".to_owned())
}

fn uses(alias: &Entry) -> String {
    let granted = alias.limits.max_usage.map_or_else(|| "any".to_owned(), |granted| granted.to_string());
    format!("{} of {granted}", alias.used)
}

fn until(alias: &Entry) -> String {
    alias.limits.valid_until.map_or_else(|| "any time".to_owned(), |until| until.to_string())
}

/// The fields of the API, less those that are about its request, and those that only the operator sees.
fn to_json(alias: &Entry, key: Option<&ManageKey>, now: Timestamp) -> Value {
    let updatekey = key.map(ManageKey::to_string);
    let view = AliasView { updatekey, ..AliasView::new(alias, now, &[]) };
    let mut object = view.to_json().expect("an alias is an object");
    let fields = object.as_object_mut().expect("an alias is an object");
    fields.retain(|name, _| !["currentDate", "clamped"].contains(&name.as_str()));
    fields.insert("created".into(), alias.created.to_string().into());
    object
}

fn line(object: &Value) -> String {
    format!("{object}\n")
}

/// A line of the list. The columns are wide enough for what is common; what is longer moves the
/// rest of its line.
fn row([address, state, uses, until, target]: [&str; 5]) -> String {
    format!("{address:<32} {state:<9} {uses:<10} {until:<20} {target}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_named_with_or_without_its_domain() {
        let name: AliasName = "k7m2q1".parse().unwrap();
        assert_eq!(parse_alias("K7M2Q1"), Ok(Address { name: name.clone(), domain: None }));
        let domain = Some("example.com".parse().unwrap());
        assert_eq!(parse_alias("k7m2q1@Example.com."), Ok(Address { name, domain }));
        assert!(parse_alias("@example.com").is_err());
        assert!(parse_alias("k7m2q1@").is_err());
    }
}
