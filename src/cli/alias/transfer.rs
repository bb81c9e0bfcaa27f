//! `tempalias alias export` and `import`: one JSON object a line. `docs/commands.md` has the format.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write, stdin, stdout};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::super::progress::{Count, Progress};
use super::super::{Failure, counted, tell};
use crate::address::{Mailbox, own_domain};
use crate::alias::{Alias, AliasName, KeyHash, Limits};
use crate::clock::{Timestamp, floor};
use crate::config::{BYTE_ORDER_MARK, Config};
use crate::ledger::{Ledger, Moved, Record};

/// At most so many wrong lines are named.
const NAMED: usize = 20;

/// Import what `export` has printed elsewhere: all of it, or nothing
///
/// Every line is checked first; a wrong one is named by its number. A name that was ever handed out here
/// is not imported again.
#[derive(clap::Args)]
pub(super) struct Import {
    /// The file; standard input without one, or with -
    #[arg(default_value = "-", hide_default_value = true)]
    file: PathBuf,
}

/// A line. Of a name that is not to be handed out again there is only `name`.
#[derive(Serialize)]
#[serde(untagged)]
enum Line {
    Alias(Box<Entry>),
    Name(Retired),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Retired {
    name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    domain: String,
    target: String,
    key_hash: String,
    created: Timestamp,
    valid_from: Timestamp,
    valid_until: Option<Timestamp>,
    max_usage: Option<u32>,
    used: u32,
    last_spent: Option<Timestamp>,
    paused: bool,
    bounces: u32,
    row_start: i64,
}

/// Prints all there is.
pub(super) async fn export(ledger: &Ledger, out: &mut impl Write) -> Result<(), Failure> {
    let file = file_at_stdout();
    if file.as_ref().is_some_and(|file| file.permissions().mode() & 0o077 != 0) {
        // With the usual umask, `export > aliases.jsonl` makes one that all users of the machine can read.
        tell(
            "this file holds real addresses, and others than its owner may read it; `chmod 600` it, or set `umask 077` before",
        );
    }
    let mut out = BufWriter::new(out);
    // Behind a pipe there may be a pager, which has the terminal.
    let progress = Count::show("exporting", file.is_some());
    let print = |moved| {
        let line = serde_json::to_string(&Line::from(moved)).expect("plain fields are JSON");
        progress.add();
        writeln!(out, "{line}").map_err(Failure::Output)
    };
    ledger.export(print).await?;
    out.flush().map_err(Failure::Output)
}

/// The file that standard output is, if it is an ordinary one.
fn file_at_stdout() -> Option<Metadata> {
    let out = stdout().as_fd().try_clone_to_owned().map(File::from).and_then(|out| out.metadata());
    out.ok().filter(Metadata::is_file)
}

impl Import {
    pub(super) async fn run(
        &self,
        config: &Config,
        ledger: &Ledger,
        json: bool,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let (moved, lines) = self.read(config)?;
        let aliases = moved.iter().filter(|one| matches!(one, Moved::Alias(_))).count();
        let names = moved.len() - aliases;
        let shown: Vec<String> = moved.iter().map(|one| one.name().to_string()).collect();
        let clashes = {
            let _progress =
                Progress::show(move || format!("importing {}", counted(aliases, ["alias", "aliases"])));
            ledger.import(moved).await?
        };
        let wrong =
            clashes.iter().map(|(index, clash)| (lines[*index], format!("{}: {clash}", shown[*index])));
        refuse(&self.name(), wrong.collect())?;
        let text = if json {
            format!("{}\n", serde_json::json!({ "aliases": aliases, "names": names }))
        } else {
            format!(
                "imported: {}, and {} whose alias is gone\n",
                counted(aliases, ["alias", "aliases"]),
                counted(names, ["name", "names"]),
            )
        };
        out.write_all(text.as_bytes()).map_err(Failure::Output)
    }

    /// All of it, and the line on which each stands.
    fn read(&self, config: &Config) -> Result<(Vec<Moved>, Vec<usize>), Failure> {
        let unreadable = |cause: io::Error| Failure::System(self.name(), cause);
        let (input, progress) = self.open().map_err(unreadable)?;
        let (mut moved, mut lines, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen = std::collections::HashMap::new();
        for (number, line) in (1..).zip(input.lines()) {
            let line = line.map_err(unreadable)?;
            progress.add();
            // In any line: files may have been joined.
            let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line);
            if line.trim().is_empty() {
                continue;
            }
            match parse(line, config) {
                Err(why) => wrong.push((number, why)),
                Ok(one) => match seen.insert(one.name().clone(), number) {
                    Some(before) => {
                        wrong.push((number, format!("{}: is in line {before} already", one.name())))
                    }
                    None => {
                        moved.push(one);
                        lines.push(number);
                    }
                },
            }
        }
        drop(progress);
        refuse(&self.name(), wrong)?;
        Ok((moved, lines))
    }

    fn open(&self) -> io::Result<(Box<dyn BufRead>, Count)> {
        if !self.is_standard_input() {
            let file = File::open(&self.file)?;
            let progress = Count::show("reading", !file.is_terminal());
            return Ok((Box::new(BufReader::new(file)), progress));
        }
        let is_typed = stdin().is_terminal();
        if is_typed {
            tell("reading from standard input; Ctrl-D ends it");
        }
        Ok((Box::new(stdin().lock()), Count::show("reading", !is_typed)))
    }

    fn is_standard_input(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    fn name(&self) -> String {
        if self.is_standard_input() { "standard input".into() } else { self.file.display().to_string() }
    }
}

/// Names the wrong lines of `file`, if there are any.
fn refuse(file: &str, wrong: Vec<(usize, String)>) -> Result<(), Failure> {
    if wrong.is_empty() {
        return Ok(());
    }
    for (line, why) in wrong.iter().take(NAMED) {
        tell(format_args!("{file}: line {line}: {why}"));
    }
    let lines = counted(wrong.len(), ["line is", "lines are"]);
    Err(Failure::Refused(format!("{file}: {lines} wrong; nothing was imported")))
}

fn parse(line: &str, config: &Config) -> Result<Moved, String> {
    let object: serde_json::Value = serde_json::from_str(line).map_err(|_| "not a JSON object".to_owned())?;
    let is_name = object.as_object().is_some_and(|object| object.len() == 1 && object.contains_key("name"));
    // Not by `Line`: for an untagged enum serde names neither the key nor the reason.
    if is_name {
        let Retired { name } = serde_json::from_value(object).map_err(|cause| cause.to_string())?;
        return Ok(Moved::Name(canonical(&name)?));
    }
    // Never with the value: it may be an address.
    let entry: Entry =
        serde_path_to_error::deserialize(object).map_err(|cause| match cause.path().to_string() {
            path if path == "." => cause.into_inner().to_string(),
            path => format!("{path}: not what it should be"),
        })?;
    Ok(Moved::Alias(entry.record(config)?))
}

/// Only what `AliasName` would have handed out itself.
fn canonical(text: &str) -> Result<AliasName, String> {
    let name: Option<AliasName> = text.parse().ok();
    name.filter(|name| name.as_str() == text).ok_or_else(|| "name: not the name of any alias".into())
}

impl Entry {
    /// The record that it describes, if it can be an alias here.
    fn record(self, config: &Config) -> Result<Record, String> {
        let name = canonical(&self.name)?;
        let domain =
            own_domain(&config.domains, Some(&self.domain)).map_err(|cause| cause.to_string())?.clone();
        let target: Mailbox = self.target.parse().map_err(|_| "target: not an address".to_owned())?;
        config.targets().check(&target).map_err(|cause| format!("target: {cause}"))?;
        let key = HEXLOWER.decode(self.key_hash.as_bytes()).ok().and_then(|hash| hash.try_into().ok());
        let key: [u8; 32] = key.ok_or("key_hash: not a SHA-256 in lower-case hexadecimal")?;
        let valid_from = floor(self.valid_from);
        let limits =
            Limits { valid_from, valid_until: self.valid_until.map(floor), max_usage: self.max_usage };
        match limits {
            Limits { valid_until: None, max_usage: None, .. } => {
                return Err("neither valid_until nor max_usage".into());
            }
            Limits { max_usage: Some(0), .. } => return Err("max_usage: must be at least 1".into()),
            Limits { valid_until: Some(until), .. } if until <= valid_from => {
                return Err("valid_until: must be after valid_from".into());
            }
            _ => {}
        }
        let Entry { created, used, paused, bounces, row_start, last_spent, .. } = self;
        if used > 0 && last_spent.is_none() {
            return Err("last_spent: missing, though there are uses spent".into());
        }
        let alias = Alias { name, domain, target, created: floor(created), limits, used, paused, bounces };
        Ok(Record { alias, key: KeyHash::from(key), last_spent: last_spent.map(floor), row_start })
    }
}

impl From<Moved> for Line {
    fn from(moved: Moved) -> Self {
        let Record { alias, key, last_spent, row_start } = match moved {
            Moved::Name(name) => return Line::Name(Retired { name: name.to_string() }),
            Moved::Alias(record) => record,
        };
        Line::Alias(Box::new(Entry {
            name: alias.name.to_string(),
            domain: alias.domain.to_string(),
            target: alias.target.as_str().to_owned(),
            key_hash: HEXLOWER.encode(key.as_bytes()),
            created: alias.created,
            valid_from: alias.limits.valid_from,
            valid_until: alias.limits.valid_until,
            max_usage: alias.limits.max_usage,
            used: alias.used,
            last_spent,
            paused: alias.paused,
            bounces: alias.bounces,
            row_start,
        }))
    }
}
