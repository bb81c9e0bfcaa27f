//! The client's side: one sender with one letter after the other, several in a session.

use std::net::SocketAddr;

use super::Account;
use super::letter::{Conduct, Fate, Letter, Plan, Recipient, Spelling};
use crate::support::client::{Client, Reply};

pub(crate) struct Sender {
    to: SocketAddr,
    client: Option<Client>,
}

/// The session is over.
struct Over;

impl Sender {
    pub(crate) fn new(to: SocketAddr) -> Self {
        Sender { to, client: None }
    }

    /// Does what `plan` says, as far as the appliance goes along.
    pub(crate) fn send(&mut self, plan: Plan, accounts: &[Account]) -> Letter {
        let mut client = self.client.take().unwrap_or_else(|| Client::hello(self.to));
        let is_last = plan.is_last;
        let mut letter = Letter { plan, recipient: None, fate: Fate::Unsent };
        if deliver(&mut client, &mut letter, accounts).is_ok() {
            if is_last {
                client.send("QUIT\r\n");
                let reply = client.reply();
                assert!([221, 421].contains(&reply.code()), "QUIT was answered {reply:?}");
            } else {
                self.client = Some(client);
            }
        }
        letter
    }
}

fn deliver(client: &mut Client, letter: &mut Letter, accounts: &[Account]) -> Result<(), Over> {
    let Plan { conduct, pipelined, .. } = letter.plan;
    let recipients = letter.plan.recipients.clone();
    let mut commands = vec!["MAIL FROM:<sender@client.test>".to_owned()];
    commands.extend(recipients.iter().map(|recipient| format!("RCPT TO:<{}>", path(*recipient, accounts))));
    match conduct {
        Conduct::HangUpAfterCommands(some) => {
            commands.truncate(some);
            converse(client, &commands, pipelined)?;
            return Err(Over);
        }
        Conduct::CallOff(command) => commands.push(command.to_owned()),
        Conduct::SecondMail => {
            commands.push("MAIL FROM:<again@client.test>".to_owned());
            commands.push("DATA".to_owned());
        }
        _ => commands.push("DATA".to_owned()),
    }
    let replies = converse(client, &commands, pipelined)?;
    for (recipient, reply) in recipients.iter().zip(&replies[1..]) {
        check_recipient(*recipient, letter.recipient, reply);
        if reply.code() == 250 {
            letter.recipient.get_or_insert(*recipient);
        }
    }
    match replies.last() {
        Some(reply) if reply.code() == 354 => text(client, letter),
        _ => Ok(()),
    }
}

/// Says `commands`, one after the other or all at once; a reply to each.
fn converse(client: &mut Client, commands: &[String], pipelined: bool) -> Result<Vec<Reply>, Over> {
    if pipelined {
        client.send(commands.iter().map(|command| format!("{command}\r\n")).collect::<String>());
    }
    let mut replies = Vec::new();
    for command in commands {
        if !pipelined {
            client.send(format!("{command}\r\n"));
        }
        match client.reply_or_end() {
            Some(reply) if reply.code() == 421 => return Err(Over),
            Some(reply) => replies.push(reply),
            None => panic!("{command} got no answer, only the end: {commands:?}"),
        }
    }
    Ok(replies)
}

fn text(client: &mut Client, letter: &mut Letter) -> Result<(), Over> {
    let stuffed = letter.plan.stuffed();
    match letter.plan.conduct {
        Conduct::HangUpInText(eighths) => {
            client.send(&stuffed[..stuffed.len() * eighths / 8]);
            return Err(Over);
        }
        Conduct::Dribble => stuffed.as_bytes()[..stuffed.len().min(400)]
            .chunks(1)
            .chain([&stuffed.as_bytes()[stuffed.len().min(400)..]])
            .for_each(|octet| client.send(octet)),
        Conduct::Pieces(number) => {
            stuffed.as_bytes().chunks(stuffed.len().div_ceil(number)).for_each(|piece| client.send(piece));
        }
        Conduct::BareLf => client.send(format!("{stuffed}bare\n.\nMAIL FROM:<evil@client.test>\r\n")),
        _ => client.send(&stuffed),
    }
    client.send(".\r\n");
    if letter.plan.conduct == Conduct::GoneAfterDot {
        letter.fate = Fate::Unheard;
        return Err(Over);
    }
    let reply = client.reply();
    match letter.plan.conduct {
        Conduct::BareLf => assert!(reply.text.starts_with("550 5.6.0"), "{reply:?}"),
        Conduct::Oversize => assert!([552, 451].contains(&reply.code()), "{reply:?}"),
        _ => {}
    }
    letter.fate = Fate::Answered(reply.text.clone());
    if reply.code() == 421 { Err(Over) } else { Ok(()) }
}

fn path(recipient: Recipient, accounts: &[Account]) -> String {
    match recipient {
        Recipient::Alias(number, spelling) => {
            let (name, domain) = accounts[number].alias.email.split_once('@').expect("it is an address");
            match spelling {
                Spelling::Canonical => format!("{name}@{domain}"),
                Spelling::Upper => format!("{name}@{domain}").to_ascii_uppercase(),
                Spelling::Tagged => format!("{name}+tag@{domain}"),
                Spelling::Quoted => format!("\"{name}\"@{domain}"),
                Spelling::Dotted => format!("{name}@{domain}."),
            }
        }
        Recipient::Postmaster => "PostMaster@alias.test".to_owned(),
        Recipient::Unknown => "nobody@alias.test".to_owned(),
        Recipient::Foreign => "victim@mailbox.example".to_owned(),
    }
}

/// What RCPT may be answered, whatever the smarthost does, when `taken` is the recipient so far.
fn check_recipient(recipient: Recipient, taken: Option<Recipient>, reply: &Reply) {
    let fits = |answers: &[&str]| answers.iter().any(|answer| reply.text.starts_with(answer));
    let temporary_or_refused: &[&str] = match taken {
        None => &["250 2.1.5", "451 4.", "550 5.2.1"],
        Some(taken) if taken.is_same(recipient) => &["250 2.1.5"],
        Some(_) => &["452 4.5.3"],
    };
    let is_right = match recipient {
        Recipient::Unknown => fits(&["550 5.1.1"]),
        Recipient::Foreign => fits(&["550 5.7.1"]),
        Recipient::Postmaster => fits(temporary_or_refused),
        // Paused, used up, or revoked: 550 5.1.1.
        Recipient::Alias(..) => fits(temporary_or_refused) || fits(&["550 5.1.1"]),
    };
    assert!(is_right, "{recipient:?} was answered {reply:?}");
}
