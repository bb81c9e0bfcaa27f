//! docs/smtp.md §2: what an attacker gains, with the default limits unless a test says otherwise.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpSocket;
use tokio::time::sleep;

use crate::support::appliance::Appliance;
use crate::support::client::Client;
use crate::support::network::isolated;
use crate::support::smarthost::Smarthost;
use crate::support::wait;

/// A client of which hundreds do not need as many threads.
struct Talk(BufReader<tokio::net::TcpStream>);

impl Talk {
    /// Connects from `source`, and says EHLO and MAIL.
    async fn begin(source: &str, to: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(source.parse().expect("this is an address"), 0))?;
        let mut talk = Talk(BufReader::new(socket.connect(to).await?));
        talk.hear("220").await?;
        talk.say("EHLO client.test\r\n", "250").await?;
        talk.say("MAIL FROM:<sender@client.test>\r\n", "250").await?;
        Ok(talk)
    }

    /// Sends `text`; an error when the answer does not start with `prefix`.
    async fn say(&mut self, text: &str, prefix: &str) -> io::Result<()> {
        self.0.write_all(text.as_bytes()).await?;
        self.hear(prefix).await
    }

    async fn hear(&mut self, prefix: &str) -> io::Result<()> {
        let mut line = String::new();
        while line.is_empty() || line.as_bytes().get(3) == Some(&b'-') {
            line.clear();
            if self.0.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if line.starts_with(prefix) { Ok(()) } else { Err(io::Error::other(line)) }
    }
}

/// What an attacker does with a connection to the smarthost, as long as it is let.
#[derive(Clone, Copy)]
enum Hold {
    /// A text that is just fast enough when they are scarce: 11 KB a second.
    Text,
    /// Nothing: an envelope without DATA.
    Envelope,
}

/// Takes a connection to the smarthost again and again, and holds it.
async fn attack(source: String, to: SocketAddr, recipient: String, hold: Hold) {
    loop {
        let attempt = async {
            let mut talk = Talk::begin(&source, to).await?;
            talk.say(&format!("RCPT TO:<{recipient}>\r\n"), "250").await?;
            if let Hold::Envelope = hold {
                return talk.hear("never").await;
            }
            talk.say("DATA\r\n", "354").await?;
            let second = format!("{}\r\n", "x".repeat(98)).repeat(110);
            loop {
                talk.0.write_all(second.as_bytes()).await?;
                sleep(Duration::from_secs(1)).await; // its pace
            }
        };
        let _: io::Result<()> = attempt.await; // it is thrown out as often as may be
        sleep(Duration::from_millis(300)).await; // its pace
    }
}

/// docs/smtp.md §2: why 40. Four networks hold all connections to the smarthost, and want
/// more: for an alias, and for the postmaster. Honest mail is for these, and for another alias.
#[tokio::test(flavor = "multi_thread")]
async fn honest_mail_arrives_beside_four_networks_that_hold_all_connections_to_the_smarthost() {
    let smarthost = Smarthost::start();
    let appliance = Appliance::start(&smarthost);
    let [attacked, other] =
        ["attacked", "other"].map(|who| appliance.alias(&format!("{who}@mailbox.test"), 100).email);
    let postmaster = "postmaster@alias.test".to_owned();
    let smtp = appliance.smtp;
    let held = || smarthost.count(|record| record.open);
    for n in 0..25 {
        // Two networks for an alias; two for the postmaster, one of them neighbours that send no DATA.
        for (source, recipient, hold) in [
            ("127.10.1.1".to_owned(), attacked.clone(), Hold::Text),
            ("127.10.2.1".to_owned(), attacked.clone(), Hold::Text),
            ("127.10.3.1".to_owned(), postmaster.clone(), Hold::Text),
            (format!("127.10.4.{n}"), postmaster.clone(), Hold::Envelope),
        ] {
            tokio::spawn(attack(source, smtp, recipient, hold));
        }
    }
    let all_are_held = async {
        while held() < 40 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(wait::PATIENCE, all_are_held).await.expect("they hold all there are");
    let mut letters = Vec::new();
    for n in 0..30 {
        let recipient = [&attacked, &other, &postmaster][n as usize % 3];
        let recipient = format!("RCPT TO:<{recipient}>\r\n");
        letters.push(tokio::spawn(async move {
            sleep(Duration::from_secs(n)).await; // the pace of a quiet day
            let mut talk = Talk::begin(&format!("127.20.{n}.1"), smtp).await?;
            talk.say(&recipient, "250").await?;
            talk.say("DATA\r\n", "354").await?;
            talk.say("Subject: hello\r\n\r\nhello\r\n.\r\n", "250").await
        }));
    }
    let mut refused = Vec::new();
    for letter in letters {
        let outcome: io::Result<()> = letter.await.expect("a letter does not panic");
        refused.extend(outcome.err());
    }
    assert!(refused.len() <= 3, "{} of 30 did not arrive: {refused:?}", refused.len());
    // The attackers' texts have no end.
    assert_eq!(smarthost.accepted(), 30 - refused.len());
}

/// The `n`th network of 64 bits of a customer's /48: 256 of them are a /56.
fn network(n: u32) -> String {
    format!("2001:db8:aa00:{n:x}::1")
}

/// Addresses in three /56 of one /48, and in another /48.
fn addresses() -> Vec<String> {
    let networks = (0..35).flat_map(|n| [network(n), network(0x100 + n), network(0x200 + n)]);
    networks.chain(["2001:db8:bb00::1".to_owned()]).map(|address| address + "/128").collect()
}

const IPV6: &[(&str, &str)] = &[("smtp.listen", "[\"[::1]:0\"]"), ("http.listen", "[\"[::1]:0\"]")];

/// Answers to 10 guesses from each of 35 networks, beginning with the `first`th: those that tell something.
fn guesses(first: u32, smtp: SocketAddr) -> usize {
    let mut told = 0;
    for n in first..first + 35 {
        let mut client = from(&network(n), smtp);
        for guess in 0..10 {
            client.send(format!("RCPT TO:<z{n:03}{guess:02}@alias.test>\r\n"));
            match client.reply_or_end() {
                Some(reply) if reply.code() == 550 => told += 1,
                Some(reply) => assert!(reply.text.starts_with("421 4.7.0"), "{reply:?}"),
                None => break,
            }
        }
    }
    told
}

/// A client at `source`, after MAIL.
fn from(source: &str, smtp: SocketAddr) -> Client {
    let mut client = Client::connect_from(source.parse().expect("this is an address"), smtp);
    client.expect("220");
    client.command("EHLO client.test", "250");
    client.command("MAIL FROM:<sender@client.test>", "250");
    client
}

/// docs/design.md: 300 guesses an hour for a /56, 600 for a /48; and nothing is learnt beyond.
#[test]
fn an_ipv6_customer_guesses_as_often_as_one_client_with_a_56_and_as_two_with_a_48() {
    let name = "an_ipv6_customer_guesses_as_often_as_one_client_with_a_56_and_as_two_with_a_48";
    let addresses = addresses();
    if !isolated(name, &addresses.iter().map(String::as_str).collect::<Vec<_>>()) {
        return;
    }
    let smarthost = Smarthost::start();
    let appliance = Appliance::start_with(smarthost.address(), IPV6);
    let alias = appliance.alias("target@mailbox.test", 5).email;
    // It has delivered, so what its neighbours do is not held against it.
    let mut sender = from(&network(0x222), appliance.smtp);
    sender.command("RSET", "250");
    assert_eq!(sender.deliver(&alias).code(), 250);

    assert_eq!(guesses(0, appliance.smtp), 300);
    from(&network(1), appliance.smtp).command(&format!("RCPT TO:<{alias}>"), "421 4.7.0");
    assert_eq!(guesses(0x100, appliance.smtp), 300);
    assert_eq!(guesses(0x200, appliance.smtp), 0);
    // A good guess is not told either; somebody else's is, and those who have delivered go on.
    from(&network(0x201), appliance.smtp).command(&format!("RCPT TO:<{alias}>"), "421 4.7.0");
    from("2001:db8:bb00::1", appliance.smtp).command("RCPT TO:<zzzzzz@alias.test>", "550 5.1.1");
    let mut sender = from(&network(0x222), appliance.smtp);
    sender.command("RSET", "250");
    assert_eq!(sender.deliver(&alias).code(), 250);
}

/// docs/api.md: aliases that are had at once.
#[test]
fn an_ipv6_customer_has_the_aliases_of_one_client_with_a_56_and_of_two_with_a_48() {
    let name = "an_ipv6_customer_has_the_aliases_of_one_client_with_a_56_and_of_two_with_a_48";
    let addresses = addresses();
    if !isolated(name, &addresses.iter().map(String::as_str).collect::<Vec<_>>()) {
        return;
    }
    let smarthost = Smarthost::start();
    let appliance =
        Appliance::start_with(smarthost.address(), &[IPV6, &[("http.create_interval", "\"1h\"")]].concat());
    let made = |first: u32| {
        let created = |n: &u32| create(&network(*n), appliance.http).starts_with("HTTP/1.1 201");
        (first..first + 10).filter(created).count()
    };
    assert_eq!((made(0), made(0x100), made(0x200)), (3, 3, 0));
    assert!(
        create("2001:db8:bb00::1", appliance.http).starts_with("HTTP/1.1 201"),
        "somebody else gets none"
    );
}

/// The answer to a request for an alias, from `source`.
fn create(source: &str, http: SocketAddr) -> String {
    let source: IpAddr = source.parse().expect("this is an address");
    let socket = Socket::new(Domain::for_address(http), Type::STREAM, None).expect("a socket can be had");
    socket.bind(&SocketAddr::new(source, 0).into()).expect("the source is an address of ours");
    socket.connect(&http.into()).expect("the page takes connections");
    let mut stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(wait::PATIENCE)).expect("a timeout can be set");
    let body = r#"{"target":"target@mailbox.test","days":1}"#;
    let request = format!(
        "POST /aliases HTTP/1.1\r\nHost: {http}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("a request can be sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("there is an answer");
    answer
}
