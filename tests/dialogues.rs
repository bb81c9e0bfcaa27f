//! SMTP dialogues: each `tests/dialogues/*.txt` is a test; `tests/dialogues/README.md` tells the form.
//!
//! `cargo test --test dialogues NAME` runs those whose file name contains NAME.

#[expect(dead_code, reason = "each test program uses its part of the kit")]
mod support;

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use libtest_mimic::{Arguments, Failed, Trial};
use regex::bytes::Regex as BytesRegex;
use regex::{Captures, Regex};
use tempalias::alias::Limits;

use support::appliance::{Alias, Appliance};
use support::client::Client;
use support::record::Record;
use support::smarthost::{Behaviour, Smarthost, Stage};
use support::{TARGET_DOMAIN, wait};

/// The actors of one dialogue. The appliance starts when it is first needed, so that `config:`
/// lines can come before.
struct Dialogue {
    smarthost: Smarthost,
    settings: Vec<(String, String)>,
    appliance: Option<Appliance>,
    aliases: BTreeMap<String, Alias>,
    clients: BTreeMap<String, Client>,
    /// The client that `c` and `s` are about.
    speaking: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // A failed step is reported with its file and line; where in this program it was noticed is noise.
    panic::set_hook(Box::new(|_| {}));
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let files = fs::read_dir(&directory).expect("there is a directory of dialogues");
    let mut paths: Vec<_> = files.map(|file| file.expect("a directory can be listed").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    let trials = paths.into_iter().map(|path| {
        let name = path.file_stem().expect("a .txt file has a stem").to_string_lossy().into_owned();
        Trial::test(name, move || play(&path))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Plays one file, and says in which line it failed.
fn play(path: &Path) -> Result<(), Failed> {
    let text = fs::read_to_string(path)?;
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let mut dialogue = Dialogue::new();
    for (number, line) in (1..).zip(text.lines()) {
        dialogue
            .attempt(|dialogue| dialogue.step(line))
            .map_err(|why| format!("{file}:{number}: {line}\n{why}"))?;
    }
    Ok(dialogue.attempt(Dialogue::finish).map_err(|why| format!("{file}: at the end: {why}"))?)
}

impl Dialogue {
    fn new() -> Self {
        Dialogue {
            smarthost: Smarthost::start(),
            settings: Vec::new(),
            appliance: None,
            aliases: BTreeMap::new(),
            clients: BTreeMap::new(),
            speaking: "first".to_owned(),
        }
    }

    /// Does `what`; if that panics: why, and what the appliance has logged.
    fn attempt(&mut self, what: impl FnOnce(&mut Self)) -> Result<(), String> {
        panic::catch_unwind(AssertUnwindSafe(|| what(self))).map_err(|cause| {
            let cause = cause.downcast_ref::<String>().map(String::as_str).or(cause.downcast_ref().copied());
            let log = self.appliance.as_ref().map(Appliance::stderr).unwrap_or_default().join("\n");
            format!("{}\nthe appliance wrote:\n{log}", cause.unwrap_or("panicked"))
        })
    }

    fn step(&mut self, line: &str) {
        let (keyword, rest) = line.split_once([' ', ':']).unwrap_or((line, ""));
        let rest = rest.trim_start();
        match (keyword, rest) {
            ("" | "#", _) => {}
            ("config", setting) => self.configure(setting),
            ("alias", alias) => self.make_alias(alias),
            ("revoke", label) => {
                let alias = self.alias(label).clone();
                self.appliance().revoke(&alias);
            }
            ("pause", label) => {
                let alias = self.alias(label).clone();
                self.appliance().pause(&alias);
            }
            ("client", label) => self.speaking = label.to_owned(),
            ("smarthost", orders) => self.instruct(orders),
            ("c", action) => self.client_does(action),
            ("s", reply) => self.appliance_does(reply),
            ("expect", expectation) => self.expect(expectation),
            _ => panic!("not a step of a dialogue"),
        }
    }

    /// `KEY = VALUE`, in TOML.
    fn configure(&mut self, setting: &str) {
        assert!(self.appliance.is_none(), "too late: the appliance is already running");
        let (key, value) = setting.split_once(" = ").expect("config: KEY = VALUE");
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    /// `LABEL uses=N`, `LABEL expired` or `LABEL later`.
    fn make_alias(&mut self, alias: &str) {
        let (label, kind) = alias.split_once(' ').expect("alias: LABEL uses=N");
        let target = format!("{label}@{TARGET_DOMAIN}");
        let year = match kind {
            "expired" => Some("2020"),
            "later" => Some("9000"),
            _ => None,
        };
        let alias = if let Some(year) = year {
            let instant = |day| format!("{year}-01-{day}T00:00:00Z").parse().expect("this is an instant");
            let (valid_from, valid_until) = (instant("01"), Some(instant("02")));
            let limits = Limits { valid_from, valid_until, max_usage: None };
            self.appliance().alias_issued_at(valid_from, &target, limits)
        } else {
            let uses = kind.strip_prefix("uses=").and_then(|uses| uses.parse().ok());
            self.appliance().alias(&target, uses.expect("uses=N"))
        };
        self.aliases.insert(label.to_owned(), alias);
    }

    /// `STAGE=BEHAVIOUR [for TEXT]` or `offers EXTENSION, …`.
    fn instruct(&mut self, orders: &str) {
        let orders = self.expand(orders);
        if let Some(extensions) = orders.strip_prefix("offers ") {
            return self.smarthost.offer(&extensions.split(", ").collect::<Vec<_>>());
        }
        let (order, about) = orders.split_once(" for ").unwrap_or((&orders, ""));
        let (stage, behaviour) = order.split_once('=').expect("smarthost: STAGE=BEHAVIOUR");
        self.smarthost.set_for(about, parse_stage(stage), parse_behaviour(behaviour));
    }

    fn client_does(&mut self, action: &str) {
        if let Some(line) = action.strip_prefix("-> ") {
            let line = format!("{}\r\n", self.expand(line));
            self.client().send(line);
        } else if let Some(escaped) = action.strip_prefix("~> ") {
            let bytes = unescape(&self.expand(escaped));
            self.client().send(bytes);
        } else {
            match action {
                "->" => self.client().send("\r\n"),
                "ends" => self.client().end(),
                "closes" => drop(self.clients.remove(&self.speaking)),
                _ => panic!("c can: -> LINE, ~> ESCAPED, ends, closes"),
            }
        }
    }

    fn appliance_does(&mut self, reply: &str) {
        if reply == "closes" {
            self.client().expect_close();
        } else if let Some(prefix) = reply.strip_prefix("<- ") {
            let prefix = self.expand(prefix);
            self.client().expect(&prefix);
        } else if let Some(pattern) = reply.strip_prefix("<~ ") {
            let pattern = self.expand(pattern);
            let regex = Regex::new(&format!("^(?s:{pattern})$")).expect("a regular expression");
            let reply = self.client().reply();
            assert!(regex.is_match(&reply.text), "got {reply:?}");
        } else {
            panic!("s can: <- PREFIX, <~ REGEX, closes");
        }
    }

    /// `LABEL left=N`, `upstream FIGURE=N …` or `message …`.
    fn expect(&mut self, expectation: &str) {
        let (subject, rest) = expectation.split_once(' ').expect("expect: SUBJECT WHAT");
        match subject {
            "upstream" => rest.split(' ').for_each(|figure| self.expect_upstream(figure)),
            "message" => self.expect_message(rest),
            label => {
                let wanted = rest.strip_prefix("left=").and_then(|left| left.parse().ok());
                let alias = self.alias(label).clone();
                let appliance = self.appliance();
                let left = || appliance.uses_left(&alias);
                wait::until_equal("the number of uses left", wanted.expect("left=N"), left);
            }
        }
    }

    fn expect_upstream(&self, figure: &str) {
        let (name, wanted) = figure.split_once('=').expect("FIGURE=N");
        let read: fn(&Record) -> usize = match name {
            "connections" => |record| record.connections,
            "open" => |record| record.open,
            "messages" => Record::accepted,
            "dots" => |record| record.messages.len(),
            "cut" => |record| record.cut.len(),
            "quits" => |record| record.heard("QUIT"),
            "mails" => |record| record.heard("MAIL"),
            "rcpts" => |record| record.heard("RCPT"),
            _ => panic!("upstream has no figure {name}"),
        };
        let wanted = wanted.parse().expect("FIGURE=N");
        wait::until_equal(name, wanted, || self.smarthost.count(read));
    }

    /// Of the last message whose dot has come: `sender REGEX`, `to ADDRESS …`, `holds REGEX`, `lacks REGEX`.
    fn expect_message(&self, rest: &str) {
        let record = self.smarthost.record();
        let message = record.messages.last().expect("a message has come upstream");
        let (verb, object) = rest.split_once(' ').expect("message VERB OBJECT");
        let object = self.expand(object);
        let bytes_regex = || BytesRegex::new(&format!("(?s-u){object}")).expect("a regular expression");
        let raw = String::from_utf8_lossy(&message.raw);
        match verb {
            "sender" => {
                let regex = Regex::new(&format!("^{object}$")).expect("a regular expression");
                assert!(regex.is_match(&message.sender), "the sender is {:?}", message.sender);
            }
            "to" => assert_eq!(message.recipients, object.split(' ').collect::<Vec<_>>()),
            "holds" => assert!(bytes_regex().is_match(&message.raw), "the message is {raw:?}"),
            "lacks" => assert!(!bytes_regex().is_match(&message.raw), "the message is {raw:?}"),
            _ => panic!("a message can be asked for: sender, to, holds, lacks"),
        }
    }

    /// Replaces `{shop}` and the like, `{bounce}` and `{x*99}`.
    fn expand(&self, text: &str) -> String {
        let placeholder =
            Regex::new(r"\{([a-z]+)(\.[a-z]+)?\}|\{(.)\*(\d+)\}").expect("a regular expression");
        let expanded = placeholder.replace_all(text, |found: &Captures<'_>| {
            if let (Some(what), Some(times)) = (found.get(3), found.get(4)) {
                return what.as_str().repeat(times.as_str().parse().expect("a number of times"));
            }
            let (label, part) = (&found[1], found.get(2).map_or("", |part| part.as_str()));
            match (label, part) {
                ("bounce", "") => self.last_sender(),
                ("bounce", ".local") => self.last_sender().split('@').next().unwrap_or_default().to_owned(),
                (label, "") => self.alias(label).email.clone(),
                (label, ".name") => self.alias(label).name().to_owned(),
                (label, ".upper") => self.alias(label).name().to_ascii_uppercase(),
                (label, ".target") => format!("{label}@{TARGET_DOMAIN}"),
                _ => panic!("there is no {}", &found[0]),
            }
        });
        expanded.into_owned()
    }

    fn alias(&self, label: &str) -> &Alias {
        self.aliases.get(label).unwrap_or_else(|| panic!("there is no alias {label}"))
    }

    fn last_sender(&self) -> String {
        let record = self.smarthost.record();
        record.messages.last().expect("a message has come upstream").sender.clone()
    }

    fn appliance(&mut self) -> &mut Appliance {
        let (smarthost, settings) = (&self.smarthost, &self.settings);
        self.appliance.get_or_insert_with(|| {
            let settings: Vec<_> =
                settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            Appliance::start_with(smarthost.address(), &settings)
        })
    }

    fn client(&mut self) -> &mut Client {
        let smtp = self.appliance().smtp;
        self.clients.entry(self.speaking.clone()).or_insert_with(|| Client::connect(smtp))
    }

    /// The clients are gone, the appliance stops: it must do so in time, and have logged no secret.
    fn finish(&mut self) {
        self.clients.clear();
        let status = self.appliance().stop();
        assert!(status.success(), "it ended with {status}");
    }
}

fn parse_stage(stage: &str) -> Stage {
    match stage {
        "greeting" => Stage::Greeting,
        "ehlo" => Stage::Ehlo,
        "mail" => Stage::Mail,
        "rcpt" => Stage::Rcpt,
        "data" => Stage::Data,
        "body" => Stage::Body,
        "dot" => Stage::Dot,
        _ => panic!("the smarthost has no stage {stage}"),
    }
}

fn parse_behaviour(behaviour: &str) -> Behaviour {
    match behaviour {
        "accept" => Behaviour::Accept,
        "drop" => Behaviour::Drop,
        "silent" => Behaviour::Silent,
        "garbage" => Behaviour::Garbage,
        "twice" => Behaviour::Twice,
        "endless" => Behaviour::EndlessReply,
        code => Behaviour::Answer(code.parse().unwrap_or_else(|_| panic!("the smarthost cannot {code}"))),
    }
}

/// Bytes with `\r`, `\n`, `\t`, `\0`, `\\` and `\xNN`.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).expect("two hexadecimal digits")
            }
            other => panic!("no escape: {other:?}"),
        });
    }
    bytes
}
