//! TLS and AUTH towards the smarthost: what each setting does, whom it trusts, and what it costs when
//! there is no agreement. A password is shown to nobody but the smarthost that was proven to be it.

#[expect(dead_code, reason = "each test program uses its part of the kit")]
mod support;

use std::fs;

use tempfile::NamedTempFile;

use support::appliance::{Alias, Appliance};
use support::certificates::{Authority, Certificate, Validity};
use support::client::{Client, Reply};
use support::postfix::{Postfix, free_address};
use support::program::is_root;
use support::smarthost::{Behaviour, Login, Smarthost, Stage};
use support::wait;

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

/// Certificates that prove nothing.
fn bad_certificates(authority: &Authority) -> [(&'static str, Certificate); 6] {
    [
        ("another name", authority.certify(&["other.test", "127.0.0.2"])),
        ("no name", authority.certify(&[])),
        ("not any more", authority.certify_when(&NAMES, Validity::Past)),
        ("not yet", authority.certify_when(&NAMES, Validity::Future)),
        ("another authority", Authority::new().certify(&NAMES)),
        ("no authority", Certificate::self_signed(&NAMES)),
    ]
}

/// Ways not to shake hands.
const NO_HANDSHAKE: [Behaviour; 3] = [Behaviour::Drop, Behaviour::Silent, Behaviour::Garbage];

#[test]
fn none_speaks_clear_text_whatever_is_offered() {
    let authority = Authority::new();
    let mut scene = Scene::new("none", &authority, Smarthost::start());
    scene.smarthost.present(&authority.certify(&NAMES));
    scene.delivers(false, "TLS is offered");
    assert_eq!(scene.smarthost.count(|record| record.heard("STARTTLS")), 0);
    scene.ends_well();
}

#[test]
fn opportunistic_encrypts_whatever_the_certificate() {
    let authority = Authority::new();
    let mut scene = Scene::new("opportunistic", &authority, Smarthost::start());
    scene.delivers(false, "TLS is not offered");
    scene.smarthost.present(&authority.certify(&NAMES));
    scene.delivers(true, "a good certificate");
    for (what, certificate) in bad_certificates(&authority) {
        scene.smarthost.present(&certificate);
        scene.delivers(true, what);
    }
    scene.ends_well();
}

#[test]
fn opportunistic_goes_on_in_clear_text_when_tls_fails() {
    let authority = Authority::new();
    let mut scene = Scene::new("opportunistic", &authority, Smarthost::start());
    scene.smarthost.present(&authority.certify(&NAMES));
    for refusal in [454, 500, 502, 554] {
        scene.smarthost.set(Stage::StartTls, Behaviour::Answer(refusal));
        scene.delivers(false, &format!("STARTTLS is refused with {refusal}"));
    }
    scene.smarthost.set(Stage::StartTls, Behaviour::Accept);
    for fault in [Behaviour::Drop, Behaviour::Garbage] {
        scene.smarthost.set(Stage::Handshake, fault);
        scene.delivers(false, &format!("{fault:?} in the handshake"));
    }
    scene.smarthost.set(Stage::Handshake, Behaviour::Accept);
    scene.delivers(true, "it is well again");
    assert_eq!(scene.appliance.logged("going on without"), 6);
    scene.ends_well();
}

#[test]
fn starttls_and_implicit_encrypt_and_verify_by_name_or_address() {
    let authority = Authority::new();
    let certificate = authority.certify(&NAMES);
    let ca_file = format!("{:?}", authority.file());
    for host in ["\"localhost\"", "\"127.0.0.1\""] {
        let settings = [("smarthost.ca_file", ca_file.as_str()), ("smarthost.host", host)];
        let smarthost = Smarthost::start();
        smarthost.present(&certificate);
        let mut starttls = Scene::with("starttls", smarthost, PASSWORD, &settings);
        starttls.delivers(true, host);
        assert_eq!(starttls.smarthost.count(|record| record.heard("STARTTLS")), 1);
        starttls.ends_well();
        let mut implicit = Scene::with("implicit", Smarthost::under_tls(&certificate), PASSWORD, &settings);
        implicit.delivers(true, host);
        assert_eq!(implicit.smarthost.count(|record| record.heard("STARTTLS")), 0);
        implicit.ends_well();
    }
}

#[test]
fn a_certificate_that_proves_nothing_means_try_again() {
    let authority = Authority::new();
    let good = authority.certify(&NAMES);
    for (tls, smarthost) in [("starttls", Smarthost::start()), ("implicit", Smarthost::under_tls(&good))] {
        let mut scene = Scene::new(tls, &authority, smarthost);
        for (what, certificate) in bad_certificates(&authority) {
            scene.smarthost.present(&certificate);
            scene.refuses_to_talk(what);
        }
        assert_eq!(scene.smarthost.count(|record| record.handshakes), 0);
        assert_eq!(scene.appliance.logged("invalid peer certificate"), 6, "{:#?}", scene.appliance.stderr());
        scene.smarthost.present(&good);
        scene.delivers(true, tls);
        scene.ends_well();
    }
}

#[test]
fn without_a_ca_file_the_system_says_whom_to_trust() {
    let authority = Authority::new();
    let smarthost = Smarthost::start();
    smarthost.present(&authority.certify(&NAMES));
    let mut scene = Scene::with("starttls", smarthost, PASSWORD, &[]);
    scene.refuses_to_talk("an authority the system does not know");
    scene.ends_well();
    // rustls-native-certs asks where OpenSSL asks: here for the system's list.
    scene.appliance.restart_with(&[("SSL_CERT_FILE", &authority.file().to_string_lossy())]);
    scene.delivers(true, "an authority the system knows");
    scene.ends_well();
}

#[test]
fn starttls_that_is_not_to_be_had_means_try_again() {
    let authority = Authority::new();
    let mut scene = Scene::new("starttls", &authority, Smarthost::start());
    scene.refuses_to_talk("not offered");
    assert_eq!(scene.smarthost.count(|record| record.heard("STARTTLS")), 0);
    scene.smarthost.present(&authority.certify(&NAMES));
    let refusals = [421, 454, 500, 502, 554].map(Behaviour::Answer);
    let faults = [&NO_HANDSHAKE[..], &[Behaviour::EndlessReply, Behaviour::EndlessLine], &refusals].concat();
    for fault in faults {
        scene.smarthost.set(Stage::StartTls, fault);
        scene.refuses_to_talk(&format!("{fault:?} at STARTTLS"));
    }
    scene.smarthost.set(Stage::StartTls, Behaviour::Accept);
    for fault in NO_HANDSHAKE {
        scene.smarthost.set(Stage::Handshake, fault);
        scene.refuses_to_talk(&format!("{fault:?} in the handshake"));
    }
    scene.smarthost.set(Stage::Handshake, Behaviour::Accept);
    scene.delivers(true, "it is well again");
    scene.ends_well();
}

#[test]
fn implicit_tls_that_is_not_to_be_had_means_try_again() {
    let authority = Authority::new();
    let mut scene = Scene::new("implicit", &authority, Smarthost::start());
    scene.refuses_to_talk("it speaks clear text");
    scene.ends_well();
    let smarthost = Smarthost::under_tls(&authority.certify(&NAMES));
    let mut scene = Scene::new("implicit", &authority, smarthost);
    for fault in NO_HANDSHAKE {
        scene.smarthost.set(Stage::Handshake, fault);
        scene.refuses_to_talk(&format!("{fault:?} in the handshake"));
    }
    scene.smarthost.set(Stage::Handshake, Behaviour::Accept);
    scene.delivers(true, "it is well again");
    scene.ends_well();
}

/// CVE-2011-0411, the client's side of it.
#[test]
fn clear_text_behind_the_220_ends_the_attempt() {
    let authority = Authority::new();
    for tls in ["starttls", "opportunistic"] {
        let mut scene = Scene::new(tls, &authority, Smarthost::start());
        scene.smarthost.present(&authority.certify(&NAMES));
        scene.smarthost.set(Stage::StartTls, Behaviour::Twice);
        scene.refuses_to_talk(tls);
        assert_eq!(scene.smarthost.count(|record| record.handshakes), 0);
        scene.smarthost.set(Stage::StartTls, Behaviour::Accept);
        scene.delivers(true, tls);
        scene.ends_well();
    }
}

#[test]
fn what_was_offered_in_clear_text_is_forgotten() {
    let authority = Authority::new();
    let mut scene = Scene::new("starttls", &authority, Smarthost::start());
    scene.smarthost.present(&authority.certify(&NAMES));

    scene.smarthost.offer(&["8BITMIME", "SIZE 10", "AUTH PLAIN"]);
    scene.smarthost.offer_under_tls(&["SIZE 100000", "AUTH LOGIN"]);
    scene.delivers(true, "over the size in clear text");
    assert_eq!(scene.smarthost.record().logins[0].mechanism, "LOGIN");
    let mut client = Client::hello(scene.appliance.smtp);
    client.command("MAIL FROM:<sender@client.test> BODY=8BITMIME", "250");
    client.command(&format!("RCPT TO:<{}>", scene.alias.email), "554 5.6.3");

    scene.smarthost.offer(&["AUTH PLAIN LOGIN", "SIZE 100000"]);
    scene.smarthost.offer_under_tls(&["8BITMIME", "SIZE 10", "AUTH PLAIN"]);
    scene.smarthost.hang_up();
    client.command("RSET", "250");
    client.command("MAIL FROM:<sender@client.test> BODY=8BITMIME SIZE=5", "250");
    client.command(&format!("RCPT TO:<{}>", scene.alias.email), "250");
    let commands = scene.smarthost.record().commands;
    assert!(commands.iter().any(|c| c.ends_with(" SIZE=5 BODY=8BITMIME")), "{commands:#?}");
    // What the smarthost can do is what we offer from now on.
    let offer = client.command("EHLO client.test", "250");
    assert!(offer.text.contains("\n250-SIZE 10\n"), "{offer:?}");
    client.command("MAIL FROM:<sender@client.test> SIZE=50", "552 5.3.4");

    // A way in that is offered in clear text only is none.
    scene.smarthost.offer_under_tls(&["8BITMIME"]);
    scene.refuses_to_talk("no AUTH under TLS");
    scene.ends_well();
}

#[test]
fn user_and_password_arrive_as_they_are() {
    let authority = Authority::new();
    let certificate = authority.certify(&NAMES);
    let ca_file = format!("{:?}", authority.file());
    for (offer, mechanism, line_end) in [
        ("AUTH PLAIN LOGIN", "PLAIN", "\n"),
        ("AUTH LOGIN PLAIN", "PLAIN", "\r\n"),
        ("AUTH LOGIN", "LOGIN", ""),
        ("AUTH GSSAPI DIGEST-MD5 CRAM-MD5 SCRAM-SHA-256 XOAUTH2 PLAIN", "PLAIN", "\n"),
        ("AUTH CRAM-MD5 LOGIN", "LOGIN", "\n"),
    ] {
        let smarthost = Smarthost::under_tls(&certificate);
        let settings = [("smarthost.ca_file", ca_file.as_str())];
        let mut scene = Scene::with("implicit", smarthost, &format!("{PASSWORD}{line_end}"), &settings);
        scene.smarthost.offer(&[offer]);
        scene.delivers(true, offer);
        let (user, password) = (USER.to_owned(), PASSWORD.to_owned());
        let login = Login { mechanism, user, password, encrypted: true };
        assert_eq!(scene.smarthost.record().logins, [login], "{offer} {line_end:?}");
        scene.ends_well();
    }
}

#[test]
fn without_a_mechanism_of_ours_nothing_is_said() {
    let authority = Authority::new();
    let smarthost = Smarthost::under_tls(&authority.certify(&NAMES));
    let mut scene = Scene::new("implicit", &authority, smarthost);
    for offer in [&["8BITMIME"][..], &["AUTH"], &["AUTH CRAM-MD5 DIGEST-MD5"], &["AUTH XOAUTH2 OAUTHBEARER"]]
    {
        scene.smarthost.offer(offer);
        scene.refuses_to_talk(&format!("{offer:?}"));
    }
    scene.ends_well();
}

#[test]
fn a_password_that_is_refused_means_try_again_and_the_log_says_so_in_our_words() {
    let authority = Authority::new();
    let smarthost = Smarthost::under_tls(&authority.certify(&NAMES));
    let mut scene = Scene::new("implicit", &authority, smarthost);
    let refusals = [421, 432, 454, 500, 504, 530, 534, 535, 538].map(Behaviour::Answer);
    let faults = [
        Behaviour::Drop,
        Behaviour::Silent,
        Behaviour::Garbage,
        Behaviour::Twice,
        Behaviour::EndlessReply,
        Behaviour::EndlessLine,
    ];
    for behaviour in refusals.into_iter().chain(faults) {
        scene.smarthost.set(Stage::Auth, behaviour);
        let reply = scene.attempt();
        assert!(reply.text.starts_with("451 4.4.1 "), "{behaviour:?}: {reply:?}");
        assert_eq!(scene.appliance.uses_left(&scene.alias), USES, "{behaviour:?}");
        wait::until_equal("open connections", 0, || scene.smarthost.count(|record| record.open));
        assert_eq!(scene.smarthost.count(|record| record.heard("MAIL")), 0, "{behaviour:?}");
    }
    assert_eq!(scene.appliance.logged("it refused AUTH with 535"), 1, "{:#?}", scene.appliance.stderr());
    scene.smarthost.set(Stage::Auth, Behaviour::Accept);
    scene.delivers(true, "it is well again");
    scene.ends_well();
}

#[test]
fn a_mechanism_that_is_refused_leaves_the_other() {
    let authority = Authority::new();
    let smarthost = Smarthost::under_tls(&authority.certify(&NAMES));
    let mut scene = Scene::new("implicit", &authority, smarthost);
    scene.smarthost.offer(&["AUTH PLAIN LOGIN CRAM-MD5"]);
    scene.smarthost.set_for("PLAIN", Stage::Auth, Behaviour::Answer(504));
    scene.delivers(true, "LOGIN");
    assert_eq!(scene.smarthost.count(|record| record.heard("AUTH CRAM-MD5")), 0);
    scene.ends_well();
}

#[test]
fn an_idle_connection_is_used_again_with_its_tls_and_its_login() {
    let authority = Authority::new();
    let smarthost = Smarthost::start();
    smarthost.present(&authority.certify(&NAMES));
    let mut scene = Scene::new("starttls", &authority, smarthost);
    let mut client = Client::hello(scene.appliance.smtp);
    (0..3).for_each(|_| assert_eq!(client.deliver(&scene.alias.email).code(), 250));
    let record = scene.smarthost.record();
    assert_eq!((record.connections, record.handshakes, record.logins.len()), (1, 1, 1));
    assert!(record.accepted() == 3 && record.messages.iter().all(|message| message.encrypted));
    scene.ends_well();
}

#[test]
fn a_message_passes_through_tls_as_it_is() {
    let authority = Authority::new();
    let smarthost = Smarthost::start();
    smarthost.present(&authority.certify(&NAMES));
    let mut scene = Scene::new("starttls", &authority, smarthost);
    let lines = "für alle\r\n..\r\n..hidden\r\n".repeat(100_000);
    let mut client = Client::hello(scene.appliance.smtp);
    client.begin(&scene.alias.email);
    client.send(format!("Subject: hello\r\n\r\n{lines}.\r\n"));
    client.expect("250 2.0.0");
    let message = scene.smarthost.record().messages.remove(0);
    assert!(message.raw.ends_with(format!("\r\nSubject: hello\r\n\r\n{lines}").as_bytes()));
    assert!(message.encrypted);
    scene.ends_well();
}

#[test]
fn under_tls_too_a_use_is_spent_on_a_delivered_message_only() {
    let authority = Authority::new();
    let smarthost = Smarthost::start();
    smarthost.present(&authority.certify(&NAMES));
    let mut scene = Scene::new("starttls", &authority, smarthost);
    let mut left = USES;
    for (stage, behaviour, answer, spent) in [
        (Stage::Ehlo, Behaviour::Answer(550), "451 4.4.1", 0),
        (Stage::Mail, Behaviour::Twice, "451 4.4.1", 0),
        (Stage::Rcpt, Behaviour::Answer(550), "550 5.2.1", 0),
        (Stage::Rcpt, Behaviour::Drop, "451 4.4.1", 0),
        (Stage::Data, Behaviour::Answer(452), "451 4.3.0", 0),
        (Stage::Body, Behaviour::Drop, "451 4.4.1", 0),
        (Stage::Dot, Behaviour::Answer(451), "451 4.3.0", 0),
        (Stage::Dot, Behaviour::Answer(554), "554 5.0.0", 0),
        (Stage::Dot, Behaviour::Drop, "451 4.4.2", 1),
        (Stage::Dot, Behaviour::Silent, "451 4.4.2", 1),
        (Stage::Dot, Behaviour::Garbage, "451 4.4.2", 1),
    ] {
        scene.smarthost.set(stage, behaviour);
        let mut client = Client::hello(scene.appliance.smtp);
        let reply = match stage {
            Stage::Body => {
                client.begin(&scene.alias.email);
                client.send("Subject: half\r\n".repeat(2000));
                wait::until_equal("open connections", 0, || scene.smarthost.count(|record| record.open));
                client.send("\r\n.\r\n");
                client.reply()
            }
            _ => client.deliver(&scene.alias.email),
        };
        assert!(reply.text.starts_with(answer), "{behaviour:?} at {stage:?}: {reply:?}");
        drop(client);
        left -= spent;
        assert_eq!(scene.appliance.uses_left(&scene.alias), left, "{behaviour:?} at {stage:?}");
        wait::until_equal("open connections", 0, || scene.smarthost.count(|record| record.open));
        scene.smarthost.set(stage, Behaviour::Accept);
    }

    let (messages, cut) =
        (scene.smarthost.count(|r| r.messages.len()), scene.smarthost.count(|r| r.cut.len()));
    let mut client = Client::hello(scene.appliance.smtp);
    client.begin(&scene.alias.email);
    client.send("Subject: half\r\n\r\nhalf of it\r\n");
    drop(client);
    wait::until_equal("messages cut", cut + 1, || scene.smarthost.count(|record| record.cut.len()));
    assert_eq!(scene.smarthost.count(|record| record.messages.len()), messages, "a dot was sent");
    assert_eq!(scene.smarthost.count(|record| record.heard("QUIT")), 0);
    assert_eq!(scene.appliance.uses_left(&scene.alias), left);
    scene.ends_well();
}

#[test]
fn postfix_lets_us_in_with_tls_and_the_right_password() {
    if !is_root() {
        eprintln!("SKIPPED: Postfix starts with root's rights only");
        return;
    }
    let authority = Authority::new();
    let files = authority.certify(&NAMES).files();
    let address = free_address();
    let postfix = Postfix::smarthost(
        address,
        &format!(
            "smtpd_tls_security_level = encrypt\nsmtpd_tls_auth_only = yes\n\
             smtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\n\
             smtpd_sasl_auth_enable = yes\nsmtpd_sasl_local_domain = postfix.test\n\
             smtpd_recipient_restrictions = permit_sasl_authenticated, reject\n",
            files.chain.display(),
            files.key.display()
        ),
    );
    postfix.admit(USER, PASSWORD);
    let file = NamedTempFile::new().expect("a temporary file can be made");
    let ca_file = format!("{:?}", authority.file());
    for (password, code) in [("not it", 451), (PASSWORD, 250)] {
        fs::write(&file, format!("{password}\n")).expect("a file can be written");
        let mut appliance = Appliance::start_with(
            address,
            &[
                ("smarthost.tls", "\"starttls\""),
                ("smarthost.ca_file", &ca_file),
                ("smarthost.username", &format!("{USER:?}")),
                ("smarthost.password_file", &format!("{:?}", file.path())),
            ],
        );
        let alias = appliance.alias("target@mailbox.test", 2);
        assert_eq!(Client::hello(appliance.smtp).deliver(&alias.email).code(), code, "{password}");
        assert_eq!(appliance.uses_left(&alias), if code == 250 { 1 } else { 2 });
        assert!(appliance.stop().success());
    }
    let message = postfix.mailbox(1).remove(0);
    assert!(message.contains(" with ESMTPSA id ") && message.ends_with("\n\nhello\n"), "{message}");
}
