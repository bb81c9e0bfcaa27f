//! The orderly stop: nothing new is taken, what is in DATA is finished, the rest is told to come
//! again.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempalias::ledger::FILE_NAME;
use tokio_rustls::rustls::ClientConnection;

use crate::support::appliance::Appliance;
use crate::support::certificates::{Authority, Files};
use crate::support::channel::Channel;
use crate::support::client::Client;
use crate::support::program::succeed;
use crate::support::smarthost::{Behaviour, Smarthost, Stage};
use crate::support::wait;

const NAME: &str = "mx.alias.test";

#[test]
fn a_message_in_the_middle_of_its_text_is_finished_and_everybody_else_told_to_come_again() {
    let smarthost = Smarthost::start();
    let mut appliance = Appliance::start(&smarthost);
    let alias = appliance.alias("target@mailbox.test", 2);
    let mut busy = Client::hello(appliance.smtp);
    let mut idle = Client::hello(appliance.smtp);
    let mut waiting = Client::hello(appliance.smtp);
    waiting.command("MAIL FROM:<sender@client.test>", "250");
    waiting.command(&format!("RCPT TO:<{}>", alias.email), "250");
    busy.begin(&alias.email);
    busy.send("Subject: the last\r\n\r\n");

    appliance.terminate();
    for client in [&mut idle, &mut waiting] {
        client.expect("421 4.3.2");
        client.expect_close();
    }
    wait::until("nobody new is let in", || Client::try_connect(appliance.smtp).err());
    busy.send("word\r\n.\r\n");
    busy.expect("250 2.0.0");
    busy.expect("421 4.3.2");
    busy.expect_close();
    assert_eq!(appliance.end().code(), Some(0));

    assert_eq!(smarthost.accepted(), 1);
    appliance.restart();
    assert_eq!(appliance.uses_left(&alias), 1);
}

#[test]
fn a_page_is_given_to_who_was_let_in_just_before() {
    let smarthost = Smarthost::start();
    let mut appliance = Appliance::start(&smarthost);
    let early = patient(appliance.http);
    // They are let in one after the other: when this one is answered, the other one is in.
    ureq::get(format!("http://{}/healthz", appliance.http)).call().expect("it is healthy");
    is_answered_after_the_stop(early, &mut appliance);
}

#[test]
fn so_it_is_by_https() {
    let (authority, smarthost) = (Authority::new(), Smarthost::start());
    let (mut appliance, _files) = with_https(&authority, &smarthost);
    let mut early = Channel::new(patient(appliance.http));
    let name = NAME.try_into().expect("this is a name");
    let tls = ClientConnection::new(authority.client(), name).expect("a client can be made");
    early.encrypt(tls).expect("it is let in");
    is_answered_after_the_stop(early, &mut appliance);
}

#[test]
fn and_by_the_unix_socket() {
    let (dir, smarthost) = (tempfile::tempdir().unwrap(), Smarthost::start());
    let socket = dir.path().join("http.sock");
    let setting = format!("{socket:?}");
    let mut appliance = Appliance::start_with(smarthost.address(), &[("http.socket", &setting)]);
    let early = UnixStream::connect(&socket).expect("the socket is listened on");
    early.set_read_timeout(Some(wait::PATIENCE)).expect("a socket has time-outs");
    let arguments = ["-sSf", "--unix-socket", socket.to_str().unwrap(), "http://localhost/healthz"];
    succeed("curl", arguments, b"");
    is_answered_after_the_stop(early, &mut appliance);
}

/// Whether `early`, a connection that has been let in, gets a page when it asks during the stop.
#[track_caller]
fn is_answered_after_the_stop(mut early: impl Read + Write, appliance: &mut Appliance) {
    appliance.terminate();
    wait::until("nobody new is let in", || TcpStream::connect(appliance.http).err());
    early.write_all(b"GET /healthz HTTP/1.1\r\nHost: alias.test\r\n\r\n").expect("the connection is open");
    let mut answer = String::new();
    early.read_to_string(&mut answer).expect("it is answered in full");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    drop(early);
    assert_eq!(appliance.end().code(), Some(0));
}

#[test]
fn who_was_let_in_and_says_nothing_does_not_hold_it_up() {
    let (authority, smarthost) = (Authority::new(), Smarthost::start());
    let (mut appliance, _files) = with_https(&authority, &smarthost);
    let mut silent = patient(appliance.http);
    // Not even a handshake; this one has it behind it, and so the other one is in.
    let mut idle = Channel::new(patient(appliance.http));
    let name = NAME.try_into().expect("this is a name");
    idle.encrypt(ClientConnection::new(authority.client(), name).expect("a client can be made")).unwrap();
    appliance.terminate();
    // Far less than a handshake, or the head of a request, may take.
    assert!(appliance.ends_within(Duration::from_secs(8)));
    assert_eq!(appliance.end().code(), Some(0));
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "its end is not told");
}

fn patient(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("the web listens");
    stream.set_read_timeout(Some(wait::PATIENCE)).expect("a socket has time-outs");
    stream
}

/// An appliance whose web is HTTPS, and where its certificate is.
fn with_https(authority: &Authority, smarthost: &Smarthost) -> (Appliance, Files) {
    let files = authority.certify(&[NAME]).files();
    let settings =
        [("http.tls_cert", format!("{:?}", files.chain)), ("http.tls_key", format!("{:?}", files.key))];
    let settings = settings.each_ref().map(|(key, value)| (*key, value.as_str()));
    (Appliance::start_with(smarthost.address(), &settings), files)
}

#[test]
fn the_second_signal_ends_it_at_once_and_costs_nothing() {
    let smarthost = Smarthost::start();
    let mut appliance = Appliance::start(&smarthost);
    let alias = appliance.alias("target@mailbox.test", 1);
    let mut busy = Client::hello(appliance.smtp);
    let mut idle = Client::hello(appliance.smtp);
    busy.begin(&alias.email);
    busy.send("Subject: never ends\r\n\r\n");

    appliance.terminate();
    idle.expect("421 4.3.2");
    appliance.terminate();
    assert_eq!(appliance.end().code(), Some(0));
    busy.expect_close();
    assert_eq!(smarthost.count(|record| record.messages.len()), 0);
    appliance.restart();
    assert_eq!(appliance.uses_left(&alias), 1);
}

#[test]
fn a_session_that_waits_for_a_silent_smarthost_is_no_reason_to_stay() {
    let smarthost = Smarthost::start();
    smarthost.set(Stage::Rcpt, Behaviour::Silent);
    // Longer than the kit's patience with a stop.
    let settings = [("smarthost.command_timeout", "\"5m\"")];
    let mut appliance = Appliance::start_with(smarthost.address(), &settings);
    let alias = appliance.alias("target@mailbox.test", 1);
    let mut client = Client::hello(appliance.smtp);
    client.command("MAIL FROM:<sender@client.test>", "250");
    client.send(format!("RCPT TO:<{}>\r\n", alias.email));
    wait::until_equal("recipients", 1, || smarthost.count(|record| record.heard("RCPT")));

    appliance.terminate();
    client.expect("421 4.3.2");
    client.expect_close();
    assert_eq!(appliance.end().code(), Some(0));
}

#[test]
fn a_refund_that_the_ledger_could_not_make_at_once_is_waited_for() {
    let smarthost = Smarthost::start();
    smarthost.set(Stage::Dot, Behaviour::Answer(554));
    let mut appliance = Appliance::start(&smarthost);
    let alias = appliance.alias("target@mailbox.test", 1);
    let ledger = rusqlite::Connection::open(appliance.data_dir().join(FILE_NAME)).unwrap();
    ledger
        .execute_batch(
            "CREATE TRIGGER no_refund BEFORE UPDATE ON aliases WHEN new.used < old.used
             BEGIN SELECT raise(ABORT, 'not now'); END",
        )
        .unwrap();
    let mut client = Client::hello(appliance.smtp);
    assert_eq!(client.deliver(&alias.email).code(), 554);
    assert_eq!(appliance.uses_left(&alias), 0, "it is not given back yet");

    appliance.terminate();
    client.expect("421 4.3.2");
    client.expect_close();
    // Nobody is left to serve.
    wait::until_equal("attempts", 2, || appliance.logged("could not be given back yet"));
    ledger.execute_batch("DROP TRIGGER no_refund").unwrap();
    drop(ledger);
    assert_eq!(appliance.end().code(), Some(0));
    appliance.restart();
    assert_eq!(appliance.uses_left(&alias), 1);
}

#[test]
fn a_late_answer_of_the_smarthost_is_waited_for_though_the_client_is_gone() {
    let smarthost = Smarthost::start();
    let (at_the_dot, dots) = mpsc::channel();
    let (answer, answers) = mpsc::channel::<()>();
    let answers = Arc::new(Mutex::new(answers));
    smarthost.moods(move |_| {
        let (at_the_dot, answers) = (at_the_dot.clone(), answers.clone());
        Box::new(move |stage| {
            if stage != Stage::Dot {
                return Behaviour::Accept;
            }
            at_the_dot.send(()).unwrap();
            // The test may be over.
            let _ = answers.lock().unwrap().recv();
            Behaviour::Answer(554)
        })
    });
    let mut appliance = Appliance::start(&smarthost);
    let alias = appliance.alias("target@mailbox.test", 1);
    let (mut client, mut idle) = (Client::hello(appliance.smtp), Client::hello(appliance.smtp));
    client.begin(&alias.email);
    client.send("Subject: late\r\n\r\n.\r\n");
    dots.recv_timeout(wait::PATIENCE).unwrap();
    assert_eq!(appliance.uses_left(&alias), 0);

    drop(client);
    appliance.terminate();
    idle.expect("421 4.3.2");
    idle.expect_close();
    answer.send(()).unwrap();
    assert_eq!(appliance.end().code(), Some(0));
    appliance.restart();
    assert_eq!(appliance.uses_left(&alias), 1);
}
