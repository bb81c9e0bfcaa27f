//! User and password: said as they are, to the right one, and refused.

use std::fs;

use tempfile::{NamedTempFile, TempDir};

use crate::support::appliance::Appliance;
use crate::support::certificates::Authority;
use crate::support::client::Client;
use crate::support::postfix::{Postfix, free_address};
use crate::support::program::is_root;
use crate::support::record::Login;
use crate::support::smarthost::{Behaviour, Smarthost, Stage};
use crate::support::wait;
use crate::{NAMES, PASSWORD, Scene, USER, USES};

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
