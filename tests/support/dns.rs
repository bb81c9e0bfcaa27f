//! A name server that knows a few names, and can fail.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, rdata};

/// A running name server; stopped when it is dropped.
pub struct NameServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What it says of a name.
#[derive(Clone, Debug)]
pub enum Answer {
    /// An A record with a TTL of so many seconds.
    A(Ipv4Addr, u32),
    /// The name is an alias of another, which has this A record.
    Alias(&'static str, Ipv4Addr),
    /// These records, those of the kind that is asked for.
    Data(Vec<RData>),
    /// There is no such name.
    None,
    /// SERVFAIL.
    Failure,
    /// Nothing at all.
    Silence,
}

#[derive(Default)]
struct Shared {
    /// The last that fits counts.
    rules: Mutex<Vec<(String, Answer)>>,
    asked: Mutex<Vec<String>>,
}

impl NameServer {
    /// One that knows no name.
    pub fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = socket.local_addr().expect("it is bound");
        let shared = Arc::<Shared>::default();
        let thread = thread::spawn({
            let shared = shared.clone();
            move || serve(&socket, &shared)
        });
        NameServer { address, shared, thread: Some(thread) }
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it gives `answer` for `name` and everything below it.
    pub fn set(&self, name: &str, answer: Answer) {
        self.shared.rules.lock().expect("nobody panics while it is locked").push((name.to_owned(), answer));
    }

    /// Makes `zone` a list in good order, for IPv4 and IPv6, with nobody on it.
    pub fn list(&self, zone: &str) {
        self.set(zone, Answer::None);
        for entry in ["2.0.0.127", "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0"] {
            self.set(&format!("{entry}.{zone}"), Answer::A(Ipv4Addr::new(127, 0, 0, 2), 300));
        }
    }

    /// How often it was asked for `name`, or for something below it.
    pub fn asked(&self, name: &str) -> usize {
        self.shared
            .asked
            .lock()
            .expect("nobody panics while it is locked")
            .iter()
            .filter(|asked| is_below(asked, name))
            .count()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // An empty datagram is its end.
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            && socket.send_to(&[], self.address).is_ok()
            && let Some(thread) = self.thread.take()
        {
            drop(thread.join());
        }
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut datagram = [0; 4096];
    while let Ok((len @ 1.., peer)) = socket.recv_from(&mut datagram) {
        let query = Message::from_vec(&datagram[..len]).expect("the resolver speaks DNS");
        if let Some(answer) = answer(query, shared) {
            let octets = answer.to_vec().expect("a short answer can be written");
            // It may not wait any more.
            drop(socket.send_to(&octets, peer));
        }
    }
}

fn answer(mut message: Message, shared: &Shared) -> Option<Message> {
    let name = message.queries.first().expect("a query asks for something").name().clone();
    let asked = name.to_ascii().to_ascii_lowercase().trim_end_matches('.').to_owned();
    shared.asked.lock().expect("nobody panics while it is locked").push(asked.clone());
    let rules = shared.rules.lock().expect("nobody panics while it is locked");
    let rule = rules.iter().rev().find(|(about, _)| is_below(&asked, about));
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    message.additionals.clear();
    let a = |name: Name, address: Ipv4Addr, ttl| Record::from_rdata(name, ttl, RData::A(rdata::A(address)));
    match rule.map_or(Answer::None, |(_, answer)| answer.clone()) {
        Answer::A(address, ttl) => drop(message.add_answer(a(name, address, ttl))),
        Answer::Alias(other, address) => {
            let other = Name::from_ascii(other).expect("this is a name");
            let alias = RData::CNAME(rdata::CNAME(other.clone()));
            message.add_answer(Record::from_rdata(name, 300, alias)).add_answer(a(other, address, 300));
        }
        Answer::Data(all) => {
            let kind = message.queries.first().expect("a query asks for something").query_type();
            for data in all.into_iter().filter(|data| data.record_type() == kind) {
                message.add_answer(Record::from_rdata(name.clone(), 300, data));
            }
        }
        Answer::None => message.metadata.response_code = ResponseCode::NXDomain,
        Answer::Failure => message.metadata.response_code = ResponseCode::ServFail,
        Answer::Silence => return None,
    }
    Some(message)
}

fn is_below(name: &str, ancestor: &str) -> bool {
    name.strip_suffix(ancestor).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
