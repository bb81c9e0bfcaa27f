//! docs/smtp.md §5: SMTP smuggling (CVE-2023-51764, -51765, -51766). Only `CRLF . CRLF` ends a message,
//! however it is written and however it arrives.

use std::thread;

use crate::support::appliance::{Alias, Appliance, CROWD};
use crate::support::client::Client;
use crate::support::postfix::{Postfix, free_address};
use crate::support::program::is_root;
use crate::support::smarthost::Smarthost;

/// What some server somewhere has taken for an end. Each holds an octet that no text may hold.
const FALSE_ENDS: &[&[u8]] = &[
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\n",
    b"\n.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
];

/// What looks like an end and is honest text.
const TEXTS: &[&[u8]] = &[
    b"\r\n..\r\n",
    b"\r\n.x\r\n",
    b"\r\n. \r\n",
    b"\r\n.\t\r\n",
    b"\r\n \r\n.\x0b\r\n",
    b"\r\n.\x0c\r\n",
    b"\r\n\x0b.\r\n",
    b"\r\n\x0c.\x0b\r\n",
    b"\x0b.\x0b",
    b"\r\n.\xc2\x85\r\n",
    b"\xc2\x85.\xc2\x85",
    b"\r\n\xe2\x80\xa8.\xe2\x80\xa8\r\n",
    b"\r\n\xe2\x80\xa8.\xe2\x80\xa9\r\n",
    b"\xe2\x80\xa9.\xe2\x80\xa9",
];

/// The end of the message that would be smuggled, and the real end of the one that is there.
const BEHIND: &[u8] = b"MAIL FROM:<evil@client.test>\r\nRCPT TO:<postmaster>\r\nDATA\r\n\
    Subject: smuggled\r\n\r\nsmuggled\r\n.\r\n";

/// The sizes that the appliance may read at a time: a vector across their edge comes in two parts.
const EDGES: [usize; 3] = [512, 16 * 1024, 64 * 1024];

struct Scene {
    smarthost: Smarthost,
    appliance: Appliance,
    alias: Alias,
}

impl Scene {
    fn new(settings: &[(&str, &str)]) -> Self {
        let smarthost = Smarthost::start();
        let appliance = Appliance::start_with(smarthost.address(), settings);
        let alias = appliance.alias("target@mailbox.test", 100);
        Scene { smarthost, appliance, alias }
    }

    /// Sends a message with `parts` as its text, each in a write of its own, and wants `answer`; then
    /// the session must be ready for a command, and for nothing else.
    #[track_caller]
    fn send<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>, answer: &str) {
        let mut client = Client::hello(self.appliance.smtp);
        client.begin(&self.alias.email);
        parts.into_iter().for_each(|part| client.send(part));
        client.expect(answer);
        client.command("DATA", "503");
        client.command("QUIT", "221");
        client.expect_close();
    }

    /// Nothing was delivered, nothing was spent.
    #[track_caller]
    fn is_untouched(&self) {
        assert_eq!(self.smarthost.count(|record| record.messages.len()), 0);
        assert_eq!(self.appliance.uses_left(&self.alias), 100);
    }
}

/// All at once, for each session waits a while for the answer to RCPT.
fn for_each_false_end(test: impl Fn(&'static [u8]) + Sync) {
    thread::scope(|scope| {
        for vector in FALSE_ENDS {
            scope.spawn(|| test(vector));
        }
    });
}

/// A message with `vector` behind `head`.
fn message(head: &[u8], vector: &[u8]) -> Vec<u8> {
    [b"Subject: outer\r\n\r\n", head, vector, BEHIND].concat()
}

#[test]
fn no_false_end_ends_a_message_however_it_arrives() {
    let scene = Scene::new(CROWD);
    for_each_false_end(|vector| {
        let whole = message(b"outer", vector);
        scene.send([&whole[..]], "550 5.6.0");
        scene.send(whole.chunks(1), "550 5.6.0");
        let start = whole.len() - BEHIND.len() - vector.len();
        for cut in start..=start + vector.len() {
            let (first, second) = whole.split_at(cut);
            scene.send([first, second], "550 5.6.0");
        }
    });
    scene.is_untouched();
}

#[test]
fn no_false_end_ends_a_message_at_the_edge_of_a_buffer_or_in_a_long_line() {
    let scene = Scene::new(CROWD);
    for_each_false_end(|vector| {
        for edge in EDGES {
            for before in 1..=vector.len() {
                let head = b"Subject: outer\r\n\r\n".len() + before;
                let whole = message(&vec![b'x'; edge - head], vector);
                scene.send([&whole[..]], "550 5.6.0");
            }
        }
        scene.send([&message(&vec![b'x'; 100_000], vector)[..]], "550 5.6.0");
    });
    scene.is_untouched();
}

#[test]
fn no_false_end_ends_a_message_that_is_too_large_anyway() {
    let scene = Scene::new(&[("smtp.max_size", "\"1 KiB\"")]);
    for vector in FALSE_ENDS {
        scene.send([&message(&[b'x'; 2000], vector)[..]], "55");
    }
    scene.is_untouched();
}

/// A piece of a long line never starts a line: its dots are nobody's to take.
#[test]
fn a_dot_in_a_long_line_is_text_wherever_the_line_is_cut() {
    let scene = Scene::new(&[]);
    let mut line = vec![b'x'; 70_000];
    for edge in EDGES {
        line[edge - 300..edge + 3].fill(b'.');
    }
    let whole = [b"Subject: dots\r\n\r\n", &line[..], b"\r\n.\r\n"].concat();
    // As it comes, and so that each of the dots begins a piece of its own.
    let head = b"Subject: dots\r\n\r\n".len();
    let (first, second) = whole.split_at(head + EDGES[1] - 20);
    let (single, third) = second.split_at(20);
    for parts in [
        vec![&whole[..]],
        whole.chunks(509).collect(),
        [vec![first], single.chunks(1).collect(), vec![third]].concat(),
    ] {
        scene.send(parts, "250 2.0.0");
        let message = scene.smarthost.record().messages.pop().expect("it was delivered");
        let (_, text) = whole.split_at(head);
        assert!(message.raw.ends_with(text.strip_suffix(b".\r\n").expect("the final dot")));
    }
}

/// A Postfix as Debian 12 ships it takes some of these for an end; messages are counted in its mailbox.
#[test]
fn nothing_is_smuggled_into_a_lenient_postfix_however_it_arrives() {
    if !is_root() {
        return eprintln!("SKIPPED: Postfix starts with root's rights only");
    }
    let address = free_address();
    let appliance = Appliance::start_with(address, CROWD);
    let postfix = Postfix::smarthost(address, "");
    let alias = appliance.alias("target@mailbox.test", 100);
    let send = |parts: &[&[u8]], answer: &str| {
        let mut client = Client::hello(appliance.smtp);
        client.begin(&alias.email);
        parts.iter().for_each(|part| client.send(part));
        client.expect(answer);
        client.command("DATA", "503");
    };
    for_each_false_end(|vector| {
        let whole = message(b"outer", vector);
        send(&[&whole], "550 5.6.0");
        send(&whole.chunks(1).collect::<Vec<_>>(), "550 5.6.0");
        let start = whole.len() - BEHIND.len() - vector.len();
        for cut in start..=start + vector.len() {
            let (first, second) = whole.split_at(cut);
            send(&[first, second], "550 5.6.0");
        }
    });
    postfix.mailbox(0);
    for vector in TEXTS {
        let whole = message(b"outer", vector);
        send(&[&whole], "250 2.0.0");
        send(&whole.chunks(1).collect::<Vec<_>>(), "250 2.0.0");
    }
    for message in postfix.mailbox(2 * TEXTS.len()) {
        assert!(message.contains("\nSubject: outer\n") && message.ends_with("\nsmuggled\n"), "{message}");
    }
}

#[test]
fn honest_dots_are_text_to_the_last_octet() {
    let scene = Scene::new(&[]);
    for vector in TEXTS {
        let whole = message(b"outer", vector);
        for parts in [vec![&whole[..]], whole.chunks(1).collect()] {
            scene.send(parts, "250 2.0.0");
            let mut record = scene.smarthost.record();
            let message = record.messages.pop().expect("it was delivered");
            // As written by a client that doubles dots: what a reader makes of it is the same at both ends.
            let sent = whole.strip_suffix(b".\r\n").expect("the final dot");
            let expected: Vec<u8> = sent
                .split_inclusive(|&b| b == b'\n')
                .flat_map(|line| line.strip_prefix(b".").unwrap_or(line).to_vec())
                .collect();
            assert!(message.body().ends_with(&expected), "{:?}", String::from_utf8_lossy(&message.raw));
            assert_eq!(message.recipients, ["target@mailbox.test"]);
        }
    }
    assert_eq!(scene.smarthost.accepted(), 2 * TEXTS.len());
}
