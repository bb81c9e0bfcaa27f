//! docs/smtp.md §2: how much one client may ask of us, and what remains for the others.
//!
//! The whole of 127.0.0.0/8 is this machine, so one test can be many clients.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempalias::config::{Smarthost as Upstream, Smtp};
use tempfile::TempDir;

use crate::support::appliance::Appliance;
use crate::support::client::Client;
use crate::support::process::Process;
use crate::support::smarthost::{Behaviour, Smarthost, Stage};
use crate::support::wait;

/// An appliance with `settings`; no message gets as far as its smarthost.
fn appliance(settings: &[(&str, &str)]) -> Appliance {
    Appliance::start_with(Smarthost::start().address(), settings)
}

/// The `n`th client's address, in a /24 of its own.
fn nth(n: u16) -> IpAddr {
    let [high, low] = n.to_be_bytes();
    Ipv4Addr::new(127, 1 + high, low, 1).into()
}

fn connect(n: u16, appliance: &Appliance) -> Client {
    Client::connect_from(nth(n), appliance.smtp)
}

fn hello(n: u16, appliance: &Appliance) -> Client {
    let mut client = connect(n, appliance);
    client.expect("220");
    client.command("EHLO client.test", "250");
    client
}

/// Wants the door shut: 421 instead of the greeting.
#[track_caller]
fn is_turned_away(mut client: Client) {
    client.expect("421 4.7.0");
    client.expect_close();
}

/// docs/smtp.md §2: what holds when nothing is configured; that the page says the same.
#[test]
fn the_limits_are_those_of_the_page() {
    let seconds = Duration::from_secs;
    let limits = Smtp::default();
    assert_eq!((limits.idle_timeout, limits.stress_timeout), (seconds(300), seconds(10)));
    assert_eq!((limits.min_data_rate, limits.max_size), (500, 25 * 1024 * 1024));
    assert_eq!(limits.max_messages, 100);
    assert_eq!((limits.max_errors, limits.max_unknown_recipients), (10, 10));
    assert_eq!((limits.unknown_recipients_per_hour, limits.connections_per_minute), (300, 300));
    assert_eq!((limits.max_connections, limits.max_connections_per_ip), (10_000, 50));
    let upstream = Upstream::default();
    assert_eq!((upstream.connect_timeout, upstream.command_timeout), (seconds(30), seconds(60)));
    assert_eq!(upstream.max_connections, 40);
    assert_eq!((upstream.write_timeout, upstream.final_timeout), (seconds(180), seconds(270)));
    let page = include_str!("../docs/smtp.md");
    for figure in [
        "`smtp.idle_timeout`, 300 s",
        "`smtp.stress_timeout`, 10 s",
        "`smtp.min_data_rate`, 500 octets",
        "`smtp.max_size`, 25 MiB",
        "`smtp.max_messages`, 100",
        "`smtp.max_errors`, 10",
        "`smtp.max_unknown_recipients`, 10",
        "`smtp.unknown_recipients_per_hour`, 300",
        "`smtp.connections_per_minute`, 300",
        "`smtp.max_connections`, 10,000",
        "`smtp.max_connections_per_ip`, 50",
        "`smarthost.max_connections`, 40",
        "`smarthost.connect_timeout`, 30 s",
        "`smarthost.command_timeout`, 60 s",
        "`smarthost.write_timeout`, 180 s",
        "`smarthost.final_timeout`, 270 s",
    ] {
        assert!(page.contains(&format!("{figure} ")) || page.contains(&format!("{figure},")), "{figure}");
    }
}

/// docs/smtp.md §2 §8: 16 MiB without a line feed.
#[test]
fn a_line_without_an_end_is_cut_off_and_takes_no_memory() {
    let appliance = appliance(&[]);
    connect(1, &appliance).expect("220");
    let before = appliance.peak_memory();
    for _ in 0..4 {
        let mut client = connect(1, &appliance);
        client.expect("220");
        client.send(vec![b'x'; 16 << 20]);
        // That much unread may cost it our last word, too: then there is only the end.
        if let Some(reply) = client.reply_or_end() {
            assert!(reply.text.starts_with("500 5.5.2"), "{reply:?}");
            client.expect_close();
        }
    }
    let grown = appliance.peak_memory() - before;
    assert!(grown < 2 * 1024, "it took {grown} KiB more");
}

/// docs/smtp.md §2: a report, and a text that is refused in the end, need no connection to the
/// smarthost, so every session may have one.
#[test]
fn texts_that_nobody_gets_need_little_memory() {
    const SESSIONS: usize = 200;
    const THREADS: usize = 8;
    /// In KiB for each session.
    const LITTLE: u64 = 24;
    let smarthost = Smarthost::start();
    let settings = [("smtp.max_connections_per_ip", "0"), ("smtp.connections_per_minute", "0")];
    let appliance = Appliance::start_with(smarthost.address(), &settings);
    let alias = appliance.alias("target@mailbox.test", 1000);
    assert_eq!(hello(1, &appliance).deliver(&alias.email).code(), 250);
    let bounce = smarthost.record().messages[0].sender.clone();
    let line = format!("{}\r\n", "x".repeat(76));
    for (sender, recipient, header, answer) in [
        ("", bounce, "X-Field: y\r\n".repeat(10), "250 2.0.0"),
        ("sender@client.test", alias.email.clone(), "Received: x\r\n".repeat(51), "554 5.4.6"),
    ] {
        let before = appliance.peak_memory();
        let begin = || {
            let mut client = hello(1, &appliance);
            client.command(&format!("MAIL FROM:<{sender}>"), "250");
            client.command(&format!("RCPT TO:<{recipient}>"), "250");
            client.command("DATA", "354");
            client.send(&header);
            client.send(line.repeat(2000));
            client
        };
        // Some at a time, because each of them waits for RCPT; of a client no more than its connections to the
        // smarthost.
        let mut sessions: Vec<_> = thread::scope(|scope| {
            let some = || (0..SESSIONS / THREADS).map(|_| begin()).collect::<Vec<_>>();
            let threads = [(); THREADS].map(|()| scope.spawn(some));
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        // All are in the middle of their text before the first comes to its end.
        for client in &mut sessions {
            client.send(".\r\n");
            client.expect(answer);
        }
        let grown = appliance.peak_memory() - before;
        assert!(grown < LITTLE * SESSIONS as u64, "it took {grown} KiB more for {recipient}");
    }
}

/// docs/smtp.md §2 §3: who speaks before the greeting does not listen, so it is not listened to.
#[test]
fn whoever_speaks_before_the_greeting_is_sent_away() {
    let appliance = appliance(&[]);
    // It is held, so that the client is certainly the first to speak.
    appliance.hold();
    let mut early = connect(1, &appliance);
    early.send("EHLO client.test\r\nMAIL FROM:<sender@client.test>\r\n");
    let mut polite = connect(2, &appliance);
    appliance.release();
    early.expect("554 5.5.0");
    early.expect_close();
    polite.expect("220");
}

#[test]
fn of_one_client_50_sessions_are_taken_and_the_next_when_one_of_them_is_over() {
    let appliance = appliance(&[]);
    let mut sessions: Vec<_> = (0..50).map(|_| connect(1, &appliance)).collect();
    sessions.iter_mut().for_each(|session| drop(session.expect("220")));
    is_turned_away(connect(1, &appliance));
    connect(2, &appliance).expect("220");
    sessions.pop();
    wait::until("a session is taken again", || {
        connect(1, &appliance).reply().text.starts_with("220").then_some(())
    });
}

#[test]
fn a_client_that_comes_too_often_in_a_minute_is_turned_away() {
    let appliance = appliance(&[("smtp.connections_per_minute", "5")]);
    for _ in 0..5 {
        connect(1, &appliance).expect("220");
    }
    is_turned_away(connect(1, &appliance));
    connect(2, &appliance).expect("220");
}

#[test]
fn sessions_end_for_all_when_all_are_taken() {
    let appliance = appliance(&[("smtp.max_connections", "2")]);
    let mut sessions = [connect(1, &appliance), connect(2, &appliance)];
    sessions.iter_mut().for_each(|session| drop(session.expect("220")));
    is_turned_away(connect(3, &appliance));
}

/// Whoever is turned away costs nothing, even if it does not go.
#[test]
fn a_client_that_was_turned_away_holds_no_descriptor() {
    let appliance = appliance(&[("smtp.max_connections_per_ip", "1")]);
    let mut session = connect(1, &appliance);
    session.expect("220");
    let before = appliance.descriptors();
    let mut stayers: Vec<_> = (0..200).map(|_| connect(1, &appliance)).collect();
    stayers.iter_mut().for_each(|stayer| drop(stayer.expect("421")));
    // The last was heard before it was closed.
    wait::until_equal("descriptors", before, || appliance.descriptors());
}

/// docs/smtp.md §2: the smarthost has its own limits; no client may use them up.
#[test]
fn of_the_connections_to_the_smarthost_a_client_has_a_quarter() {
    let smarthost = Smarthost::start();
    let settings = [("smarthost.max_connections", "8"), ("smarthost.connect_timeout", "\"3s\"")];
    let appliance = Appliance::start_with(smarthost.address(), &settings);
    let mut sessions: Vec<_> = (0..10).map(|_| hello(1, &appliance)).collect();
    for session in &mut sessions {
        session.command("MAIL FROM:<sender@client.test>", "250");
        session.send("RCPT TO:<postmaster>\r\n");
    }
    let replies: Vec<_> = sessions.iter_mut().map(Client::reply).collect();
    let taken = replies.iter().filter(|reply| reply.text.starts_with("250")).count();
    let refused = replies.iter().filter(|reply| reply.text.starts_with("451 4.3.2")).count();
    assert_eq!((taken, refused), (2, 8), "{replies:?}");
    assert_eq!(smarthost.count(|record| record.connections), 2);
    sessions.iter_mut().for_each(|session| drop(session.command("RSET", "250")));
    assert_eq!(hello(2, &appliance).deliver("postmaster@alias.test").code(), 250);
}

/// docs/smtp.md §2: it is not the smarthost's fault.
#[test]
fn of_a_message_that_finds_no_connection_every_recipient_hears_that_we_are_busy() {
    let smarthost = Smarthost::start();
    let settings = [("smarthost.max_connections", "1"), ("smarthost.connect_timeout", "\"1s\"")];
    let appliance = Appliance::start_with(smarthost.address(), &settings);
    let [one, two] = ["one", "two"].map(|who| appliance.alias(&format!("{who}@mailbox.test"), 1));
    let [mut holder, mut late] = [hello(1, &appliance), hello(2, &appliance)];
    for session in [&mut holder, &mut late] {
        session.command("MAIL FROM:<sender@client.test>", "250");
    }
    holder.command("RCPT TO:<postmaster>", "250");
    late.command(&format!("RCPT TO:<{}>", one.email), "451 4.3.2");
    late.command(&format!("RCPT TO:<{}>", two.email), "451 4.3.2");
    wait::until_equal("refusals in the log", 2, || appliance.logged("too-busy"));
    assert_eq!(appliance.logged("smarthost-failed"), 0);
}

/// docs/smtp.md §2: the stress time is longer than anybody waits, but a connection is preempted before.
#[test]
fn a_connection_is_preempted_while_somebody_still_waits_for_it_whatever_the_stress_time() {
    let smarthost = Smarthost::start();
    let settings = [
        ("smarthost.max_connections", "8"),
        ("smarthost.connect_timeout", "\"6s\""),
        ("smtp.stress_timeout", "\"60s\""),
    ];
    let appliance = Appliance::start_with(smarthost.address(), &settings);
    let mut holders: Vec<_> = (0..8).map(|n| hello(1 + n / 2, &appliance)).collect();
    for holder in &mut holders {
        holder.command("MAIL FROM:<sender@client.test>", "250");
        holder.command("RCPT TO:<postmaster>", "250");
    }
    assert_eq!(hello(9, &appliance).deliver("postmaster@alias.test").code(), 250);
    wait::until_equal("preempted in the log", 1, || {
        appliance.logged("preempted: other clients wait for the smarthost")
    });
}

/// docs/smtp.md §2: six times the wait for a command, whatever is said.
#[test]
fn a_session_without_a_message_ends_though_it_goes_on_talking() {
    let appliance = appliance(&[("smtp.idle_timeout", "\"1s\"")]);
    let mut client = hello(1, &appliance);
    let start = Instant::now();
    wait::until("it is told to go", || {
        thread::sleep(Duration::from_millis(200)); // the client's own pace
        client.send("NOOP\r\n");
        client.reply().text.starts_with("421 4.4.2").then_some(())
    });
    client.expect_close();
    assert!(start.elapsed() > Duration::from_secs(5), "{:?}", start.elapsed());
}

/// docs/smtp.md §2: a short wait is better than a 451.
#[test]
fn whoever_waits_for_a_connection_to_the_smarthost_has_the_next_that_comes_free() {
    let smarthost = Smarthost::start();
    let appliance = Appliance::start_with(smarthost.address(), &[("smarthost.max_connections", "2")]);
    let mut holders = [hello(1, &appliance), hello(2, &appliance)];
    let mut waiting = hello(3, &appliance);
    for session in holders.iter_mut().chain([&mut waiting]) {
        session.command("MAIL FROM:<sender@client.test>", "250");
        session.send("RCPT TO:<postmaster>\r\n");
    }
    holders.iter_mut().for_each(|holder| drop(holder.expect("250")));
    assert_eq!(smarthost.count(|record| record.connections), 2);
    holders[0].command("RSET", "250");
    waiting.expect("250");
    waiting.command("DATA", "354");
    waiting.send("Subject: hello\r\n\r\nhello\r\n.\r\n");
    waiting.expect("250");
}

/// docs/smtp.md §2: idle connections are taken before new ones are made, so there are never more.
#[test]
fn a_crowd_is_served_by_as_many_connections_to_the_smarthost_as_there_may_be() {
    let smarthost = Smarthost::start();
    let appliance = Appliance::start_with(smarthost.address(), &[("smarthost.max_connections", "4")]);
    thread::scope(|scope| {
        for n in 1..=20 {
            let appliance = &appliance;
            scope.spawn(move || {
                let mut client = hello(n, appliance);
                for _ in 0..5 {
                    assert_eq!(client.deliver("postmaster@alias.test").code(), 250);
                }
            });
        }
    });
    assert_eq!(smarthost.accepted(), 100);
    let connections = smarthost.count(|record| record.connections);
    assert!(connections <= 4, "{connections} connections were made");
}

/// docs/smtp.md §2: an envelope that is left open.
#[test]
fn whoever_keeps_the_smarthost_waiting_makes_room_when_its_connections_are_scarce() {
    let smarthost = Smarthost::start();
    let settings = [("smarthost.max_connections", "1"), ("smtp.stress_timeout", "\"1s\"")];
    let appliance = Appliance::start_with(smarthost.address(), &settings);
    let mut idle = hello(1, &appliance);
    idle.command("MAIL FROM:<sender@client.test>", "250");
    idle.command("RCPT TO:<postmaster>", "250");
    assert_eq!(hello(2, &appliance).deliver("postmaster@alias.test").code(), 250);
    idle.expect("421 4.4.2");
    idle.expect_close();
}

/// docs/smtp.md §2: who has hung up has no place in the queue, whatever it has sent before.
#[test]
fn clients_that_have_hung_up_do_not_wait_for_the_smarthost() {
    let smarthost = Smarthost::start();
    let appliance = Appliance::start_with(smarthost.address(), &[("smarthost.max_connections", "1")]);
    let mut holder = hello(1, &appliance);
    holder.command("MAIL FROM:<sender@client.test>", "250");
    holder.command("RCPT TO:<postmaster>", "250");
    for (n, more) in (2..8).zip(["", "NOOP\r\n"].into_iter().cycle()) {
        let mut gone = hello(n, &appliance);
        gone.command("MAIL FROM:<sender@client.test>", "250");
        gone.send(format!("RCPT TO:<postmaster>\r\n{more}"));
    }
    wait::until_equal("clients that have gone", 6, || appliance.logged("client-gone"));
    holder.command("RSET", "250");
    assert_eq!(hello(9, &appliance).deliver("postmaster@alias.test").code(), 250);
    assert_eq!(smarthost.count(|record| record.heard("RCPT")), 2);
}

/// docs/smtp.md §2: who has ended its side may still read; but it has no place in the queue.
#[test]
fn a_client_that_has_ended_its_side_hears_what_the_smarthost_says_or_that_we_are_busy() {
    let smarthost = Smarthost::start();
    let appliance = Appliance::start_with(smarthost.address(), &[("smarthost.max_connections", "1")]);
    let envelope_then_end = |n| {
        let mut client = hello(n, &appliance);
        // All of it is there before it is read.
        appliance.hold();
        client.send("MAIL FROM:<sender@client.test>\r\nRCPT TO:<postmaster>\r\nQUIT\r\n");
        client.end();
        appliance.release();
        client.expect("250");
        client
    };
    for code in [250, 550] {
        smarthost.set(Stage::Rcpt, if code == 250 { Behaviour::Accept } else { Behaviour::Answer(code) });
        let mut client = envelope_then_end(1);
        client.expect(&code.to_string());
        client.expect("221");
    }
    smarthost.set(Stage::Rcpt, Behaviour::Accept);
    let mut holder = hello(2, &appliance);
    holder.command("MAIL FROM:<sender@client.test>", "250");
    holder.command("RCPT TO:<postmaster>", "250");
    let mut client = envelope_then_end(3);
    client.expect("451 4.3.2");
    client.expect("221");
    wait::until_equal("clients that have gone", 1, || appliance.logged("client-gone"));
}

/// docs/smtp.md §2: a client that lingers after QUIT lingers without its connection to the smarthost.
#[test]
fn a_connection_to_the_smarthost_is_free_at_quit() {
    let smarthost = Smarthost::start();
    // No longer than a client may linger.
    let settings = [("smarthost.max_connections", "1"), ("smarthost.connect_timeout", "\"1s\"")];
    let appliance = Appliance::start_with(smarthost.address(), &settings);
    let [mut holder, mut waiting] = [hello(1, &appliance), hello(2, &appliance)];
    for session in [&mut holder, &mut waiting] {
        session.command("MAIL FROM:<sender@client.test>", "250");
    }
    holder.command("RCPT TO:<postmaster>", "250");
    waiting.send("RCPT TO:<postmaster>\r\n");
    holder.command("QUIT", "221");
    waiting.expect("250");
}

/// docs/smtp.md §2: texts that drip hold connections to the smarthost no longer than commands do.
#[test]
fn clients_that_drip_a_text_cannot_keep_others_from_the_smarthost() {
    let smarthost = Smarthost::start();
    let settings = [("smarthost.max_connections", "4"), ("smtp.stress_timeout", "\"1s\"")];
    let appliance = Appliance::start_with(smarthost.address(), &settings);
    let mut drippers: Vec<_> = (1..=4).map(|n| hello(n, &appliance)).collect();
    Client::begin_all(&mut drippers, "postmaster@alias.test");
    let mut honest = hello(99, &appliance);
    honest.command("MAIL FROM:<sender@client.test>", "250");
    honest.send("RCPT TO:<postmaster>\r\n");
    let (go_on, stop) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            // The drip's own pace; over when the other end is dropped.
            while stop.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
                drippers.iter_mut().for_each(|dripper| dripper.send("x"));
            }
        });
        let _go_on = go_on;
        honest.expect("250");
    });
    assert_eq!(smarthost.count(|record| record.messages.len()), 0);
}

/// Clients fill every slot and say `drip` now and then; they are many, so that no limit for one of
/// them helps.
fn others_get_in_beside(drip: &str, begin: impl Fn(&mut [Client])) {
    let smarthost = Smarthost::start();
    let settings = [("smtp.max_connections", "10"), ("smtp.stress_timeout", "\"1s\"")];
    let appliance = Appliance::start_with(smarthost.address(), &settings);
    let mut drippers: Vec<_> = (1..=10).map(|n| connect(n, &appliance)).collect();
    drippers.iter_mut().for_each(|dripper| drop(dripper.expect("220")));
    begin(&mut drippers);
    is_turned_away(connect(99, &appliance));
    wait::until("there is room for another client", || {
        drippers.iter_mut().for_each(|dripper| dripper.send(drip));
        thread::sleep(Duration::from_millis(100)); // the drip's own pace
        connect(99, &appliance).reply().text.starts_with("220").then_some(())
    });
}

#[test]
fn clients_that_drip_octets_cannot_keep_others_out() {
    others_get_in_beside("N", |_| {});
}

#[test]
fn clients_that_drip_commands_cannot_keep_others_out() {
    others_get_in_beside("NOOP\r\n", |_| {});
}

#[test]
fn clients_that_drip_a_text_cannot_keep_others_out() {
    others_get_in_beside("x", |drippers| {
        drippers.iter_mut().for_each(|dripper| drop(dripper.command("EHLO client.test", "250")));
        Client::begin_all(drippers, "postmaster@alias.test");
    });
}

/// docs/smtp.md §8: recipients who are there already, or one too many.
#[test]
fn recipients_that_add_nobody_come_to_an_end() {
    let smarthost = Smarthost::start();
    let appliance = Appliance::start(&smarthost);
    let alias = appliance.alias("target@mailbox.test", 1);
    for (further, answer) in [("postmaster", "250"), (alias.email.as_str(), "452 4.5.3")] {
        let mut client = hello(1, &appliance);
        client.command("MAIL FROM:<sender@client.test>", "250");
        client.command("RCPT TO:<postmaster>", "250");
        client.send(format!("RCPT TO:<{further}>\r\n").repeat(1001));
        (0..1000).for_each(|_| drop(client.expect(answer)));
        client.expect("421 4.7.0");
        client.expect_close();
    }
}

/// docs/smtp.md §2: whoever has more recipients than we take delivers to those that were taken.
#[test]
fn further_recipients_do_not_keep_the_message_from_the_first() {
    let smarthost = Smarthost::start();
    let appliance = Appliance::start(&smarthost);
    let alias = appliance.alias("target@mailbox.test", 1).email;
    let mut client = hello(1, &appliance);
    client.command("MAIL FROM:<sender@client.test>", "250");
    client.command("RCPT TO:<postmaster>", "250");
    client.send(format!("RCPT TO:<{alias}>\r\n").repeat(500));
    (0..500).for_each(|_| drop(client.expect("452 4.5.3")));
    client.command("DATA", "354");
    client.send("Subject: hello\r\n\r\nhello\r\n.\r\n");
    client.expect("250");
    assert_eq!(smarthost.accepted(), 1);
}

/// The issue of memory: 10,000 clients who say nothing.
#[test]
fn ten_thousand_idle_sessions_need_less_than_64_mb_and_a_new_client_is_greeted_at_once() {
    const CLIENTS: u16 = 200;
    const OF_EACH: u16 = 50;
    /// In KiB.
    const LITTLE: u64 = 64 * 1000 * 1000 / 1024;
    assert!(may_open(12_000), "the limit of open files is too low for 10,000 connections");
    let appliance = appliance(&[("smtp.max_connections", "15000")]);
    let before = appliance.memory();
    let mut sessions = Vec::new();
    for client in 0..CLIENTS {
        sessions.extend((0..OF_EACH).map(|_| connect(client, &appliance)));
    }
    for session in &mut sessions {
        session.expect("220");
        session.command("EHLO client.test", "250");
    }
    let memory = appliance.memory();
    let start = Instant::now();
    connect(CLIENTS, &appliance).expect("220");
    let greeted = start.elapsed();
    println!("{} sessions: {before} KiB, then {memory} KiB; greeted after {greeted:?}", sessions.len());
    assert!(memory < LITTLE, "{memory} KiB are resident");
    assert!(greeted < Duration::from_secs(1), "it took {greeted:?}");
    // They are all still there, and served.
    sessions.last_mut().expect("there are sessions").command("NOOP", "250");
}

#[test]
fn the_limit_of_open_files_is_raised_and_one_that_is_too_low_is_told() {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let mut command = Command::new("prlimit");
    command.args(["--nofile=256:2000", env!("CARGO_BIN_EXE_tempalias"), "demo", "--dir"]).arg(dir.path());
    command.args(["--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0"]);
    let demo = Process::start(command.stdout(Stdio::null()));
    let said = demo.stderr();
    let limits = fs::read_to_string(format!("/proc/{}/limits", demo.id())).expect("/proc shows the process");
    let limit =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("there is a limit");
    assert_eq!(limit.split_whitespace().collect::<Vec<_>>(), ["2000", "2000", "files"]);
    let figures = "smtp.max_connections is 10000, http.max_connections 1000 and smarthost.max_connections 40";
    assert!(said.iter().any(|line| line.contains(figures)), "{said:?}");
}

/// Raises our own limit of open files to `most`, where that is allowed.
fn may_open(most: u64) -> bool {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let allowed = |limit: Option<u64>| limit.is_none_or(|limit| limit >= most);
    allowed(current)
        || allowed(maximum) && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok()
}
