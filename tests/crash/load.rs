//! Clients of all kinds at once, until the appliance is gone: messages, new
//! aliases, and looks at old ones.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::books::Books;
use crate::support::appliance::{Alias, Appliance};
use crate::support::client::Client;

/// What the clients were told before the crash.
#[derive(Default)]
pub struct Told {
    /// Messages that were answered with 250, by alias.
    pub delivered: BTreeMap<String, u64>,
    /// Aliases that were answered with 201.
    pub created: Vec<Alias>,
}

/// The clients; a crash or [`Load::stop`] ends them.
pub struct Load {
    clients: Vec<JoinHandle<Told>>,
    over: Arc<AtomicBool>,
}

impl Load {
    pub fn start(appliance: &Appliance, books: &Books, senders: usize, seed: u64) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (smtp, http) = (appliance.smtp, appliance.http);
        let mut clients = Vec::new();
        for number in 0..senders as u64 {
            let (over, aliases) = (over.clone(), books.aliases());
            clients.push(thread::spawn(move || {
                send(StdRng::seed_from_u64(seed ^ number), smtp, &aliases, &over)
            }));
        }
        for _ in 0..2 {
            let (over, aliases) = (over.clone(), books.aliases());
            clients.push(thread::spawn(move || use_the_api(http, &aliases, &over)));
        }
        Load { clients, over }
    }

    /// Waits until the last client has noticed that it is over.
    pub fn stop(self) -> Told {
        self.over.store(true, Ordering::Relaxed);
        let mut told = Told::default();
        for client in self.clients {
            let own = client.join().expect("a client does not panic");
            for (alias, messages) in own.delivered {
                *told.delivered.entry(alias).or_default() += messages;
            }
            told.created.extend(own.created);
        }
        told
    }
}

/// Messages to random aliases. It begins no session once it is `over`: the port could be somebody
/// else's by then.
fn send(mut rng: StdRng, to: SocketAddr, aliases: &[Alias], over: &AtomicBool) -> Told {
    let mut told = Told::default();
    while !over.load(Ordering::Relaxed) {
        let Ok(mut client) = Client::try_connect(to) else { break };
        // A listener that is killed in the middle of a handshake leaves behind a client that believes to be
        // connected, and to whom nobody will ever speak.
        if !client.hears() || client.reply_or_end().is_none() {
            break;
        }
        client.send("EHLO client.test\r\n");
        if client.reply_or_end().is_none() {
            break;
        }
        for _ in 0..5 {
            let alias = &aliases[rng.random_range(0..aliases.len())].email;
            match deliver(&mut client, alias) {
                Some(true) => *told.delivered.entry(alias.clone()).or_default() += 1,
                Some(false) => {}
                None => break,
            }
        }
    }
    told
}

/// One message; whether it was answered with 250, `None` when the session is over.
fn deliver(client: &mut Client, alias: &str) -> Option<bool> {
    let mut ask = |line: String| {
        client.send(line);
        client.reply_or_end().map(|reply| reply.code())
    };
    if ask("MAIL FROM:<sender@client.test>\r\n".into())? >= 400 {
        return None;
    }
    if ask(format!("RCPT TO:<{alias}>\r\n"))? != 250 || ask("DATA\r\n".into())? != 354 {
        ask("RSET\r\n".into())?;
        return Some(false);
    }
    Some(ask("Subject: hello\r\n\r\nhello\r\n.\r\n".into())? == 250)
}

/// New aliases, and looks at old ones.
fn use_the_api(to: SocketAddr, aliases: &[Alias], over: &AtomicBool) -> Told {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(5)))
        .http_status_as_error(false)
        .build()
        .into();
    let mut told = Told::default();
    for old in aliases.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let wish = json!({"target": "created@mailbox.test", "max-usage": 1});
        let Ok(mut response) = agent.post(format!("http://{to}/aliases")).send_json(wish) else { break };
        let is_created = response.status() == 201;
        let Ok(answer) = response.body_mut().read_json::<Value>() else { break };
        assert!(is_created, "{answer}");
        let field = |name: &str| answer[name].as_str().expect("the answer has this field").to_owned();
        told.created.push(Alias { email: field("email"), key: field("updatekey") });

        let look = agent
            .get(format!("http://{to}/aliases/{}", old.name()))
            .header("Authorization", format!("Bearer {}", old.key));
        if look.call().is_err() {
            break;
        }
    }
    told
}
