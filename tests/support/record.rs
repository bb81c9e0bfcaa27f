//! What a smarthost remembers.

use super::smarthost::Behaviour;

/// A message whose final dot has come.
#[derive(Clone, Debug)]
pub struct Message {
    /// Envelope sender, without brackets.
    pub sender: String,
    /// Envelope recipients, without brackets.
    pub recipients: Vec<String>,
    /// The text as it came, with its dot-stuffing, without the final dot.
    pub raw: Vec<u8>,
    /// It was answered with 2xx.
    pub accepted: bool,
    /// How it was answered.
    pub behaviour: Behaviour,
    /// It came under TLS.
    pub encrypted: bool,
}

/// What somebody said to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// PLAIN or LOGIN.
    pub mechanism: &'static str,
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
    /// It was said under TLS.
    pub encrypted: bool,
}

/// All that has happened.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Connections in all.
    pub connections: usize,
    /// Connections at this moment.
    pub open: usize,
    /// TLS handshakes that came to their end.
    pub handshakes: usize,
    /// Every command, in the order of arrival.
    pub commands: Vec<String>,
    /// All user names and passwords.
    pub logins: Vec<Login>,
    /// Every message that was ended by a final dot.
    pub messages: Vec<Message>,
    /// The text of every message that was not.
    pub cut: Vec<Vec<u8>>,
}

impl Record {
    /// Messages that were answered with 2xx.
    pub fn accepted(&self) -> usize {
        self.messages.iter().filter(|message| message.accepted).count()
    }

    /// Commands that start with `verb`.
    pub fn heard(&self, verb: &str) -> usize {
        self.commands.iter().filter(|command| command.to_ascii_uppercase().starts_with(verb)).count()
    }
}

impl Message {
    /// The text as its reader sees it: dot-stuffing undone.
    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.raw.len());
        for line in self.raw.split_inclusive(|&b| b == b'\n') {
            body.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
        body
    }
}
