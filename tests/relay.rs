//! docs/smtp.md §2 §10: the relay's idle connections: used again only when both sides are in step, and never trusted.
//!
//! Each test is the smarthost itself, line by line.

use std::future::pending;
use std::net::IpAddr;
use std::time::Duration;

use tempalias::config;
use tempalias::relay::{Claim, Connection, Envelope, Lease, Outcome, RelayError, Smarthost};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// More than anything here takes on a slow machine.
const SOON: Duration = Duration::from_secs(20);

/// One end of a connection that the relay opened.
struct Peer(BufReader<TcpStream>);

impl Peer {
    /// The next connection, greeted, with EHLO answered.
    async fn accept(listener: &TcpListener) -> Peer {
        Peer::accept_offering(listener, "PIPELINING").await
    }

    /// The same, with this extension.
    async fn accept_offering(listener: &TcpListener, extension: &str) -> Peer {
        let mut peer = Peer(BufReader::new(listener.accept().await.unwrap().0));
        peer.say("220 smarthost.test\r\n").await;
        peer.answer("EHLO", &format!("250-smarthost.test\r\n250 {extension}\r\n")).await;
        peer
    }

    /// Takes a message, up to the answer to its final dot.
    async fn take_message(&mut self, answer: &str) {
        self.take_envelope().await;
        self.answer("DATA", "354 go\r\n").await;
        while self.hear().await != ".\r\n" {}
        self.say(answer).await;
    }

    /// MAIL and one RCPT.
    async fn take_envelope(&mut self) {
        self.answer("MAIL", "250 ok\r\n").await;
        self.answer("RCPT", "250 ok\r\n").await;
    }

    /// MAIL and one RCPT, neither answered before both are there.
    async fn answer_together(&mut self, replies: &str) {
        for verb in ["MAIL", "RCPT"] {
            let line = self.hear().await;
            assert!(line.starts_with(verb), "{line:?} is no {verb}");
        }
        self.say(replies).await;
    }

    async fn answer(&mut self, verb: &str, reply: &str) {
        let line = self.hear().await;
        assert!(line.starts_with(verb), "{line:?} is no {verb}");
        self.say(reply).await;
    }

    async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next line; empty at the end.
    async fn hear(&mut self) -> String {
        let mut line = String::new();
        timeout(SOON, self.0.read_line(&mut line)).await.expect("a line in time").unwrap();
        line
    }
}

async fn scene() -> (TcpListener, Smarthost) {
    scene_with(config::Smarthost::default()).await
}

/// A smarthost to be, and the client of it, with the timeouts of `config`.
async fn scene_with(config: config::Smarthost) -> (TcpListener, Smarthost) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let smarthost = config::Smarthost {
        host: address.ip().to_string(),
        port: address.port(),
        tls: config::Tls::None,
        ..config
    };
    let text = "hostname = 'mx.example.com'\ndomains = ['example.com']\npostmaster = 'p@mailbox.test'\nsmarthost.host = 'x'";
    let config = config::parse("test", text, []).unwrap();
    (listener, Smarthost::new(&config::Config { smarthost, ..config }).unwrap())
}

fn envelope() -> Envelope {
    Envelope {
        sender: "b.0.x@example.com".into(),
        recipient: "target@mailbox.test".parse().unwrap(),
        size: None,
        is_8bit: false,
        utf8: false,
    }
}

async fn lease(smarthost: &Smarthost) -> Lease {
    let client = IpAddr::from([192, 0, 2, 1]).into();
    let claim = Claim { client, alias: None, preempted: CancellationToken::new() };
    smarthost.lease(claim, pending()).await.unwrap()
}

/// A connection that has taken the envelope.
async fn with_envelope(smarthost: &Smarthost) -> Connection {
    smarthost.begin(envelope(), lease(smarthost).await).await.unwrap()
}

/// Why no connection takes the envelope.
async fn fails_at_envelope(smarthost: &Smarthost) -> RelayError {
    smarthost.begin(envelope(), lease(smarthost).await).await.map(drop).unwrap_err()
}

async fn deliver(smarthost: &Smarthost) -> Outcome {
    let connection = with_envelope(smarthost).await;
    let mut body = connection.data().await.unwrap();
    body.write(b"Subject: x\r\n\r\nx\r\n").await.unwrap();
    body.flush().await.unwrap();
    body.finish().await
}

#[tokio::test]
async fn the_next_message_takes_the_same_connection() {
    let (listener, smarthost) = scene().await;
    let far = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener).await;
        peer.take_message("250 one\r\n").await;
        peer.take_message("250 two\r\n").await;
    });
    assert_eq!(deliver(&smarthost).await, Outcome::Accepted);
    assert_eq!(deliver(&smarthost).await, Outcome::Accepted);
    far.await.unwrap();
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_replaced() {
    let (listener, smarthost) = scene().await;
    let far = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener).await;
        peer.take_message("250 one\r\n").await;
        drop(peer);
        Peer::accept(&listener).await.take_message("250 two\r\n").await;
    });
    assert_eq!(deliver(&smarthost).await, Outcome::Accepted);
    assert_eq!(deliver(&smarthost).await, Outcome::Accepted);
    far.await.unwrap();
}

#[tokio::test]
async fn a_refusal_on_an_idle_connection_is_tried_once_more_on_a_new_one() {
    let (listener, smarthost) = scene().await;
    let far = tokio::spawn(async move {
        let mut first = Peer::accept(&listener).await;
        first.take_message("250 one\r\n").await;
        first.answer("MAIL", "421 too many messages\r\n").await;
        Peer::accept(&listener).await.take_message("250 two\r\n").await;
    });
    assert_eq!(deliver(&smarthost).await, Outcome::Accepted);
    assert_eq!(deliver(&smarthost).await, Outcome::Accepted);
    far.await.unwrap();
}

/// What an idle connection answers when its smarthost has had enough of it: nothing, 421, nonsense.
const WORN: [&str; 3] = ["", "421 too old\r\n", "what?\r\n"];

#[tokio::test]
async fn an_idle_connection_that_fails_at_a_recipient_is_replaced() {
    for answer in WORN {
        let (listener, smarthost) = scene().await;
        let far = tokio::spawn(async move {
            let mut first = Peer::accept(&listener).await;
            first.take_message("250 one\r\n").await;
            first.answer("MAIL", "250 ok\r\n").await;
            first.answer("RCPT", answer).await;
            drop(first);
            Peer::accept(&listener).await.take_message("250 two\r\n").await;
        });
        assert_eq!(deliver(&smarthost).await, Outcome::Accepted);
        assert_eq!(deliver(&smarthost).await, Outcome::Accepted, "{answer:?}");
        far.await.unwrap();
    }
}

#[tokio::test]
async fn an_idle_connection_that_fails_at_data_is_replaced() {
    for answer in WORN {
        let (listener, smarthost) = scene().await;
        let far = tokio::spawn(async move {
            let mut first = Peer::accept(&listener).await;
            first.take_message("250 one\r\n").await;
            first.take_envelope().await;
            first.answer("DATA", answer).await;
            drop(first);
            let mut second = Peer::accept(&listener).await;
            second.answer("MAIL FROM:<b.0.x@example.com>", "250 ok\r\n").await;
            second.answer("RCPT TO:<target@mailbox.test>", "250 ok\r\n").await;
            second.answer("DATA", "354 go\r\n").await;
            second // it stays
        });
        assert_eq!(deliver(&smarthost).await, Outcome::Accepted);
        assert!(with_envelope(&smarthost).await.data().await.is_ok(), "{answer:?}");
        far.await.unwrap();
    }
}

/// docs/smtp.md §3: "not now" to the connection is not "no" to the recipient, and there is no third attempt.
#[tokio::test]
async fn a_replacement_that_is_refused_is_trouble_and_ends_the_first_connection_too() {
    for greeting in ["554 go away\r\n", "421 busy\r\n"] {
        let (listener, smarthost) = scene().await;
        let far = tokio::spawn(async move {
            let mut first = Peer::accept(&listener).await;
            first.take_message("250 one\r\n").await;
            first.answer("MAIL", "250 ok\r\n").await;
            first.answer("RCPT", "421 too old\r\n").await;
            assert_eq!(first.hear().await, "", "closed before there is another");
            let mut second = Peer(BufReader::new(listener.accept().await.unwrap().0));
            second.say(greeting).await;
        });
        assert_eq!(deliver(&smarthost).await, Outcome::Accepted);
        let failed = fails_at_envelope(&smarthost).await;
        assert!(matches!(failed, RelayError::Failed(_)), "{greeting:?}: {failed:?}");
        far.await.unwrap();
    }
}

/// One message is taken, and of the next one not a word.
async fn deliver_and_fail_at_data(smarthost: &Smarthost) {
    assert_eq!(deliver(smarthost).await, Outcome::Accepted);
    let connection = with_envelope(smarthost).await;
    let failed = connection.data().await.map(drop);
    assert!(matches!(failed, Err(RelayError::Failed(_))), "{failed:?}");
}

#[tokio::test]
async fn a_replacement_that_is_refused_at_data_is_trouble() {
    let (listener, smarthost) = scene().await;
    let far = tokio::spawn(async move {
        let mut first = Peer::accept(&listener).await;
        first.take_message("250 one\r\n").await;
        first.take_envelope().await;
        first.answer("DATA", "").await;
        drop(first);
        let mut second = Peer(BufReader::new(listener.accept().await.unwrap().0));
        second.say("554 go away\r\n").await;
    });
    deliver_and_fail_at_data(&smarthost).await;
    far.await.unwrap();
}

#[tokio::test]
async fn a_new_connection_that_fails_is_not_replaced() {
    let (listener, smarthost) = scene().await;
    let far = tokio::spawn(async move {
        let mut only = Peer::accept(&listener).await;
        drop(listener); // another attempt would fail, and not be refused
        only.answer("MAIL", "250 ok\r\n").await;
        only.answer("RCPT", "421 too busy\r\n").await;
        only
    });
    let refused = fails_at_envelope(&smarthost).await;
    assert!(matches!(refused, RelayError::Refused(421)), "{refused:?}");
    far.await.unwrap();
}

#[tokio::test]
async fn a_recipient_who_is_not_taken_again_ends_the_second_attempt() {
    let (listener, smarthost) = scene().await;
    let far = tokio::spawn(async move {
        let mut first = Peer::accept(&listener).await;
        first.take_message("250 one\r\n").await;
        first.take_envelope().await;
        first.answer("DATA", "421 too old\r\n").await;
        let mut second = Peer::accept(&listener).await;
        second.answer("MAIL", "250 ok\r\n").await;
        second.answer("RCPT", "451 not now\r\n").await;
        assert_eq!(second.hear().await, "", "nobody is left, so there is no DATA");
    });
    deliver_and_fail_at_data(&smarthost).await;
    far.await.unwrap();
}

#[tokio::test]
async fn a_connection_that_answered_once_too_often_is_not_used_again() {
    let (listener, smarthost) = scene().await;
    let far = tokio::spawn(async move {
        let mut first = Peer::accept(&listener).await;
        first.take_message("250 one\r\n250 and once more\r\n").await;
        Peer::accept(&listener).await.take_message("250 two\r\n").await;
        assert_eq!(first.hear().await, "", "closed, without another command");
    });
    assert_eq!(deliver(&smarthost).await, Outcome::Accepted);
    assert_eq!(deliver(&smarthost).await, Outcome::Accepted);
    far.await.unwrap();
}

#[tokio::test]
async fn a_refused_message_takes_its_connection_with_it() {
    let (listener, smarthost) = scene().await;
    let far = tokio::spawn(async move {
        let mut first = Peer::accept(&listener).await;
        first.take_message("550 no\r\n").await;
        first.answer("QUIT", "221 bye\r\n").await;
        assert_eq!(first.hear().await, "");
        Peer::accept(&listener).await.take_message("250 two\r\n").await;
    });
    assert_eq!(deliver(&smarthost).await, Outcome::Refused(550));
    assert_eq!(deliver(&smarthost).await, Outcome::Accepted);
    far.await.unwrap();
}

#[tokio::test]
async fn a_refusal_counts_only_when_nothing_but_the_farewell_follows() {
    let after_quit = [
        ("221 bye\r\n", Outcome::Refused(451)),
        ("421 gone\r\n", Outcome::Refused(451)),
        ("", Outcome::Refused(451)), // it hangs up
        ("250 taken all the same\r\n221 bye\r\n", Outcome::Unknown),
        ("554 refused indeed\r\n221 bye\r\n", Outcome::Unknown),
        ("no SMTP\r\n", Outcome::Unknown),
    ];
    for (farewell, outcome) in after_quit {
        let (listener, smarthost) = scene().await;
        let far = tokio::spawn(async move {
            let mut peer = Peer::accept(&listener).await;
            peer.take_message("451 no\r\n").await;
            peer.answer("QUIT", farewell).await;
            if !farewell.is_empty() {
                assert_eq!(peer.hear().await, "", "closed by the relay");
            }
        });
        assert_eq!(deliver(&smarthost).await, outcome, "{farewell:?}");
        far.await.unwrap();
    }
}

#[tokio::test]
async fn an_idle_connection_ends_with_quit_after_a_while() {
    let (listener, smarthost) = scene().await;
    let far = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener).await;
        peer.take_message("250 one\r\n").await;
        peer.answer("QUIT", "221 bye\r\n").await;
        assert_eq!(peer.hear().await, "");
    });
    assert_eq!(deliver(&smarthost).await, Outcome::Accepted);
    far.await.unwrap();
}

/// docs/smtp.md §2: MAIL travels with RCPT where the smarthost offers PIPELINING (RFC 2920) …
#[tokio::test]
async fn mail_and_rcpt_are_sent_together() {
    let (listener, smarthost) = scene().await;
    let far = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener).await;
        peer.answer_together("250 ok\r\n250 ok\r\n").await;
        peer.answer("DATA", "354 go\r\n").await;
        peer
    });
    assert!(with_envelope(&smarthost).await.data().await.is_ok());
    far.await.unwrap();
}

/// … and only there.
#[tokio::test]
async fn without_pipelining_mail_is_answered_before_rcpt() {
    let (listener, smarthost) = scene().await;
    let far = tokio::spawn(async move {
        let mut peer = Peer::accept_offering(&listener, "HELP").await;
        peer.answer("MAIL", "452 not now\r\n").await;
        assert_eq!(peer.hear().await, "");
    });
    let failed = fails_at_envelope(&smarthost).await;
    assert!(matches!(failed, RelayError::Failed(_)), "{failed:?}");
    far.await.unwrap();
}

/// docs/smtp.md §3: the next recipient has a connection that knows nothing of the refusal.
#[tokio::test]
async fn a_refused_recipient_ends_its_connection() {
    for offer in ["PIPELINING", "HELP"] {
        let (listener, smarthost) = scene().await;
        let far = tokio::spawn(async move {
            let mut peer = Peer::accept_offering(&listener, offer).await;
            peer.answer("MAIL", "250 ok\r\n").await;
            peer.answer("RCPT", "550 no\r\n").await;
            assert_eq!(peer.hear().await, "");
        });
        let refused = fails_at_envelope(&smarthost).await;
        assert!(matches!(refused, RelayError::Refused(550)), "{offer}: {refused:?}");
        far.await.unwrap();
    }
}

#[tokio::test]
async fn a_refusal_of_mail_is_none_of_the_recipient_it_travelled_with() {
    for answers in ["550 no\r\n503 no MAIL\r\n", "452 not now\r\n250 ok\r\n"] {
        let (listener, smarthost) = scene().await;
        let far = tokio::spawn(async move {
            let mut peer = Peer::accept(&listener).await;
            peer.answer_together(answers).await;
            assert_eq!(peer.hear().await, "", "an answer is left over, so nothing more is asked");
        });
        let failed = fails_at_envelope(&smarthost).await;
        assert!(matches!(failed, RelayError::Failed(_)), "{failed:?}");
        far.await.unwrap();
    }
}

/// docs/smtp.md §10: an answer too many is found out before the text.
#[tokio::test]
async fn an_answer_too_many_to_commands_sent_together_ends_the_envelope() {
    let (listener, smarthost) = scene().await;
    let far = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener).await;
        peer.answer_together("250 ok\r\n250 ok\r\n550 no\r\n").await;
        assert_eq!(peer.hear().await, "", "there is no DATA");
    });
    let connection = with_envelope(&smarthost).await;
    let failed = connection.data().await.map(drop);
    assert!(matches!(failed, Err(RelayError::Failed(_))), "{failed:?}");
    far.await.unwrap();
}

/// docs/smtp.md §2: a smarthost that takes no more of the text is given up after `write_timeout`.
#[tokio::test]
async fn a_smarthost_that_reads_no_further_is_given_up() {
    let limit = Duration::from_millis(300);
    let (listener, smarthost) =
        scene_with(config::Smarthost { write_timeout: limit, ..Default::default() }).await;
    let far = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener).await;
        peer.take_envelope().await;
        peer.answer("DATA", "354 go\r\n").await;
        peer // deaf, but there
    });
    let connection = with_envelope(&smarthost).await;
    let mut body = connection.data().await.unwrap();
    let peer = far.await.unwrap();
    // More than the buffers on the way can hold.
    let piece = vec![b'x'; 1 << 20];
    let writing = timeout(SOON, async {
        loop {
            if let Err(error) = body.write(&piece).await {
                break error;
            }
        }
    });
    let error = writing.await.expect("it does not wait for ever");
    assert!(matches!(error, RelayError::Failed(_)), "{error}");
    drop(peer);
}
