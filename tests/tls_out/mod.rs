//! docs/smtp.md §6: TLS and AUTH towards the smarthost: what each setting does, whom it trusts, and what it costs when
//! there is no agreement. A password is shown to nobody but the smarthost that was proven to be it.

mod auth;
mod messages;
mod tls;

use std::fs;

use tempfile::NamedTempFile;

use crate::support::appliance::{Alias, Appliance};
use crate::support::certificates::Authority;
use crate::support::client::{Client, Reply};
use crate::support::smarthost::Smarthost;
use crate::support::wait;

/// Who the smarthost is.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

const USER: &str = "tempalias";

/// Base 64 of it has all kinds of characters.
const PASSWORD: &str = "pass wörd ~~~???";

const USES: u64 = 100;

/// What it offers unless told otherwise.
const EXTENSIONS: &[&str] = &["8BITMIME", "SIZE 52428800", "AUTH PLAIN LOGIN"];

/// A smarthost that wants user and password, and an appliance that has them.
struct Scene {
    smarthost: Smarthost,
    appliance: Appliance,
    alias: Alias,
    _password: NamedTempFile,
}

impl Scene {
    /// With `tls` as its setting, trusting `authority` if the setting asks whom to trust.
    #[track_caller]
    fn new(tls: &str, authority: &Authority, smarthost: Smarthost) -> Self {
        let ca_file = format!("{:?}", authority.file());
        match tls {
            "starttls" | "implicit" => {
                Scene::with(tls, smarthost, PASSWORD, &[("smarthost.ca_file", &ca_file)])
            }
            _ => Scene::with(tls, smarthost, PASSWORD, &[]),
        }
    }

    /// With `text` in the file of the password, and further settings.
    #[track_caller]
    fn with(tls: &str, smarthost: Smarthost, text: &str, settings: &[(&str, &str)]) -> Self {
        smarthost.offer(EXTENSIONS);
        let password = NamedTempFile::new().expect("a temporary file can be made");
        fs::write(&password, text).expect("a file can be written");
        let (tls, file) = (format!("{tls:?}"), format!("{:?}", password.path()));
        let user = format!("{USER:?}");
        let own = [
            ("smarthost.tls", tls.as_str()),
            ("smarthost.username", &user),
            ("smarthost.password_file", &file),
            ("smarthost.connect_timeout", "\"2s\""),
            ("smarthost.final_timeout", "\"2s\""),
        ];
        let appliance = Appliance::start_with(smarthost.address(), &[&own, settings].concat());
        let alias = appliance.alias("target@mailbox.test", USES as u32);
        Scene { smarthost, appliance, alias, _password: password }
    }

    /// Tries to deliver, on a connection that was made for it.
    fn attempt(&self) -> Reply {
        self.smarthost.hang_up();
        Client::hello(self.appliance.smtp).deliver(&self.alias.email)
    }

    /// A message goes through, `encrypted` or not, after a login that was as much.
    #[track_caller]
    fn delivers(&self, encrypted: bool, when: &str) {
        let (used, before) = (self.appliance.uses_left(&self.alias), self.smarthost.record());
        let reply = self.attempt();
        assert_eq!(reply.code(), 250, "{when}: {reply:?}");
        assert_eq!(self.appliance.uses_left(&self.alias), used - 1, "{when}");
        let record = self.smarthost.record();
        assert_eq!(record.messages.len(), before.messages.len() + 1, "{when}");
        assert_eq!(record.messages.last().map(|message| message.encrypted), Some(encrypted), "{when}");
        assert_eq!(record.logins.last().map(|login| login.encrypted), Some(encrypted), "{when}");
    }

    /// The message is refused for now; nobody was shown the password, and nothing was spent.
    #[track_caller]
    fn refuses_to_talk(&self, when: &str) {
        let (used, before) = (self.appliance.uses_left(&self.alias), self.smarthost.record());
        let reply = self.attempt();
        assert!(reply.text.starts_with("451 4.4.1 "), "{when}: {reply:?}");
        assert_eq!(self.appliance.uses_left(&self.alias), used, "{when}");
        wait::until_equal("open connections", 0, || self.smarthost.count(|record| record.open));
        let record = self.smarthost.record();
        assert_eq!(record.logins, before.logins, "{when}");
        for verb in ["AUTH", "MAIL", "RCPT", "DATA"] {
            assert_eq!(record.heard(verb), before.heard(verb), "{verb}, {when}");
        }
        assert!(record.connections > before.connections, "{when}");
    }

    /// Ends the appliance, and looks through its log.
    #[track_caller]
    fn ends_well(&mut self) {
        assert!(self.appliance.stop().success());
        for line in self.appliance.stderr() {
            assert!(!line.contains(PASSWORD), "the log shows the password: {line}");
        }
    }
}
