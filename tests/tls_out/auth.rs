//! User and password: said as they are, to the right one, and refused.

use std::fs;

use data_encoding::BASE64;
use tempfile::{NamedTempFile, TempDir};

use super::{NAMES, PASSWORD, Scene, USER, USES};
use crate::support::appliance::Appliance;
use crate::support::certificates::Authority;
use crate::support::client::{Client, Reply};
use crate::support::postfix::{Postfix, free_address};
use crate::support::program::is_root;
use crate::support::record::Login;
use crate::support::script::Script;
use crate::support::smarthost::{Behaviour, Smarthost, Stage};
use crate::support::wait;

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
fn a_password_comes_from_a_systemd_credential() {
    let authority = Authority::new();
    let mut scene = Scene::new("implicit", &authority, Smarthost::under_tls(&authority.certify(&NAMES)));
    assert!(scene.appliance.stop().success());
    let credentials = TempDir::new().expect("a temporary directory can be made");
    fs::write(credentials.path().join("smarthost"), "of systemd\n").expect("a file can be written");
    scene.appliance.restart_with(&[
        ("CREDENTIALS_DIRECTORY", &credentials.path().to_string_lossy()),
        ("TEMPALIAS_SMARTHOST__PASSWORD_FILE", "smarthost"),
    ]);
    scene.delivers(true, "a credential");
    let password = |scene: &Scene| scene.smarthost.record().logins.pop().map(|login| login.password);
    assert_eq!(password(&scene).as_deref(), Some("of systemd"));
    scene.ends_well();
    // A whole path is what it says.
    scene.appliance.restart_with(&[("CREDENTIALS_DIRECTORY", &credentials.path().to_string_lossy())]);
    scene.delivers(true, "a file");
    assert_eq!(password(&scene).as_deref(), Some(PASSWORD));
    scene.ends_well();
}

#[test]
fn a_byte_order_mark_before_a_password_is_no_part_of_it() {
    let authority = Authority::new();
    let mut scene = Scene::new("implicit", &authority, Smarthost::under_tls(&authority.certify(&NAMES)));
    assert!(scene.appliance.stop().success());
    let file = NamedTempFile::new().expect("a temporary file can be made");
    fs::write(&file, "\u{feff}of an editor\r\n").expect("a file can be written");
    let path = file.path().to_string_lossy();
    scene.appliance.restart_with(&[("TEMPALIAS_SMARTHOST__PASSWORD_FILE", &path)]);
    scene.delivers(true, "a file with a byte order mark");
    let password = scene.smarthost.record().logins.pop().map(|login| login.password);
    assert_eq!(password.as_deref(), Some("of an editor"));
    scene.ends_well();
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

/// An appliance with user and password before `script`, with its log at the fullest: the answer to RCPT.
#[track_caller]
fn attempt_before(script: &Script) -> Reply {
    let file = NamedTempFile::new().expect("a temporary file can be made");
    fs::write(&file, PASSWORD).expect("a file can be written");
    let mut appliance = Appliance::start_with(
        script.address(),
        &[
            ("smarthost.tls", "\"none\""),
            ("smarthost.username", &format!("{USER:?}")),
            ("smarthost.password_file", &format!("{:?}", file.path())),
            ("log.level", "\"trace\""),
        ],
    );
    let alias = appliance.alias("target@mailbox.test", 2);
    let mut client = Client::hello(appliance.smtp);
    client.command("MAIL FROM:<sender@client.test>", "250");
    client.send(format!("RCPT TO:<{}>\r\n", alias.email));
    let reply = client.reply();
    drop(client);
    assert!(appliance.stop().success());
    let secrets = [PASSWORD.to_owned(), BASE64.encode(PASSWORD.as_bytes()), plain_response()];
    for line in appliance.stderr() {
        assert!(!secrets.iter().any(|secret| line.contains(secret)), "the log shows the password: {line}");
    }
    reply
}

fn plain_response() -> String {
    BASE64.encode(format!("\0{USER}\0{PASSWORD}").as_bytes())
}

/// draft-murchison-sasl-login-00: the contents of both challenges are ignored.
#[test]
fn login_answers_whatever_the_prompts_are() {
    let encoded = |text: &str| format!("334 {}\r\n", BASE64.encode(text.as_bytes()));
    for (user, password) in [
        (encoded("Username:"), encoded("Password:")),
        (encoded("User Name\0"), encoded("Password\0")),
        (encoded("Benutzername:"), encoded("Passwort:")),
        (encoded("Password:"), encoded("Username:")),
        ("334 Username:\r\n".into(), "334 Password:\r\n".into()),
        ("334 \r\n".into(), "334 \r\n".into()),
        ("334\r\n".into(), "334\r\n".into()),
        (format!("334-one\r\n334 {}\r\n", "x".repeat(400)), "334 =\r\n".into()),
    ] {
        let mut expected = 0;
        let prompts = user.clone();
        let script = Script::start("220 relay.test\r\n", move |line| {
            expected = if line == "AUTH LOGIN" { 1 } else { expected + usize::from(expected > 0) };
            match expected {
                1 => user.clone(),
                2 => password.clone(),
                3 => "235 2.7.0\r\n".into(),
                _ if line.starts_with("EHLO") => "250-relay.test\r\n250 AUTH LOGIN\r\n".into(),
                _ => "250 ok\r\n".into(),
            }
        });
        let reply = attempt_before(&script);
        assert_eq!(reply.code(), 250, "{prompts:?}: {reply:?}");
        let said = [USER, PASSWORD].map(|text| BASE64.encode(text.as_bytes()));
        assert_eq!(script.heard()[1..4], ["AUTH LOGIN", &said[0], &said[1]], "{prompts:?}");
    }
}

/// RFC 4954 §4: the response may come with the command, or in answer to an empty challenge.
#[test]
fn plain_is_said_with_the_command_or_after_it() {
    let response = plain_response();
    let with_command = format!("AUTH PLAIN {response}");
    for (in_command, challenge, said) in [
        ("235 2.7.0", "334 ", vec![with_command.as_str()]),
        // The response in the command is not looked at, or refused, whatever is said of it.
        ("334 ", "334 ", vec![&with_command, &response]),
        ("501 5.5.4", "334 ", vec![&with_command, "AUTH PLAIN", &response]),
        ("500 5.5.6", "334", vec![&with_command, "AUTH PLAIN", &response]),
        ("504", "334 say it", vec![&with_command, "AUTH PLAIN", &response]),
    ] {
        let (secret, first) = (response.clone(), with_command.clone());
        let script = Script::start("220 relay.test\r\n", move |line| match line {
            "AUTH PLAIN" => format!("{challenge}\r\n"),
            _ if line == first => format!("{in_command} {first}\r\n"),
            _ if line == secret => "235 2.7.0\r\n".into(),
            _ if line.starts_with("EHLO") => "250-relay.test\r\n250 AUTH PLAIN\r\n".into(),
            _ => "250 ok\r\n".into(),
        });
        let reply = attempt_before(&script);
        assert_eq!(reply.code(), 250, "{in_command}: {reply:?}");
        let heard = script.heard();
        assert_eq!(heard[1..1 + said.len()], said, "{in_command}");
        assert!(heard[1 + said.len()].starts_with("MAIL "), "{in_command}: {heard:?}");
    }
}

/// A refusal may repeat what it was told; and one that asks on is told nothing more.
#[test]
fn a_login_that_fails_or_never_ends_shows_the_password_to_no_log() {
    for answer in ["334 ", "535 5.7.8", "454 4.7.0", "534 5.7.9", "250 ", "999 "] {
        let script = Script::start("220 relay.test\r\n", move |line| match line.starts_with("EHLO") {
            true => "250-relay.test\r\n250 AUTH PLAIN LOGIN\r\n".into(),
            false => format!("{answer} {line}\r\n"),
        });
        let reply = attempt_before(&script);
        assert!(reply.text.starts_with("451 4.4.1 "), "{answer}: {reply:?}");
        assert!(
            !script.heard().iter().any(|line| line.starts_with("MAIL")),
            "{answer}: {:?}",
            script.heard()
        );
    }
}

/// RFC 5321 §3.2: HELO has no extensions, so there is neither TLS nor a login.
#[test]
fn a_smarthost_that_knows_no_ehlo_is_shown_no_password() {
    let authority = Authority::new();
    for (tls, smarthost) in [
        ("starttls", Smarthost::start()),
        ("implicit", Smarthost::under_tls(&authority.certify(&NAMES))),
        ("none", Smarthost::start()),
    ] {
        smarthost.set_for("EHLO", Stage::Ehlo, Behaviour::Answer(502));
        let mut scene = Scene::new(tls, &authority, smarthost);
        scene.refuses_to_talk(tls);
        assert_eq!(scene.smarthost.count(|record| record.heard("HELO")), 1, "{tls}");
        scene.ends_well();
    }
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
