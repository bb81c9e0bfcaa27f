//! SIGHUP: what changes at once, what waits for a restart, and what stays when the new configuration
//! cannot be used. The certificate alone is in `tests/tls_in/`.

use std::fs;

use serde_json::json;

use crate::support::appliance::Appliance;
use crate::support::certificates::{Authority, Certificate, Validity};
use crate::support::client::Client;
use crate::support::smarthost::Smarthost;
use crate::support::wait;

const RELOADED: &str = "configuration reloaded";
const REFUSED: &str = "the new configuration cannot be used; the old one stays in force";

/// The only line of the log with `words`, once there is one.
#[track_caller]
fn line(appliance: &Appliance, words: &str) -> String {
    let found = wait::until(words, || {
        let lines = appliance.stderr().into_iter().filter(|line| line.contains(words)).collect::<Vec<_>>();
        (!lines.is_empty()).then_some(lines)
    });
    assert_eq!(found.len(), 1, "{found:#?}");
    found.concat()
}

/// The keys that a line names as changed, in the order of the configuration.
fn changed(line: &str) -> &str {
    line.split_once("changed=\"").and_then(|(_, rest)| rest.split_once('"')).expect("it names keys").0
}

/// What EHLO is answered.
fn ehlo(appliance: &Appliance) -> String {
    let mut client = Client::connect(appliance.smtp);
    client.expect("220");
    client.command("EHLO client.test", "250").text
}

/// Status and answer of an order for an alias with 50 uses.
fn order(appliance: &Appliance) -> (u16, serde_json::Value) {
    let order = json!({"target": "target@mailbox.test", "days": 1, "max-usage": 50});
    let request = ureq::post(format!("http://{}/aliases", appliance.http));
    let request = request.config().http_status_as_error(false).build();
    let mut response = request.send_json(order).expect("the API answers");
    (response.status().as_u16(), response.body_mut().read_json().expect("the answer is JSON"))
}

#[test]
fn what_can_change_does_at_once_and_sessions_keep_what_they_began_with() {
    let (first, second) = (Smarthost::start(), Smarthost::start());
    let appliance = Appliance::start(&first);
    let alias = appliance.alias("target@mailbox.test", 3);
    let mut early = Client::hello(appliance.smtp);
    assert_eq!(order(&appliance).1["max_usage"], 50);

    let port = second.address().port().to_string();
    appliance.configure(&[
        ("hostname", "\"new.alias.test\""),
        ("smtp.max_size", "\"10 KiB\""),
        ("smarthost.port", &port),
        ("aliases.max_usage", "7"),
        ("http.name", "\"Renamed\""),
        ("log.level", "\"warn\""),
    ]);
    appliance.hang_up();
    let told = line(&appliance, RELOADED);
    assert_eq!(
        changed(&told),
        "aliases.max_usage, hostname, http.name, log.level, smarthost.port, smtp.max_size"
    );

    let mut late = Client::connect(appliance.smtp);
    late.expect("220 new.alias.test");
    assert!(late.command("EHLO client.test", "250").text.contains("SIZE 10240"));
    assert_eq!(late.deliver(&alias.email).code(), 250);
    assert_eq!((first.accepted(), second.accepted()), (0, 1));
    assert_eq!(early.deliver(&alias.email).code(), 250);
    assert_eq!((first.accepted(), second.accepted()), (1, 1));
    assert_eq!(order(&appliance).1["max_usage"], 7);
    let page = ureq::get(format!("http://{}/site.json", appliance.http)).call().expect("the page is there");
    assert!(page.into_body().read_to_string().expect("it is text").contains("Renamed"));
    assert_eq!(appliance.logged("delivered"), 0, "the level was not set");
}

#[test]
fn what_cannot_change_is_named_and_stays() {
    let smarthost = Smarthost::start();
    let appliance = Appliance::start(&smarthost);
    let elsewhere = tempfile::tempdir().expect("a directory can be made");
    let elsewhere = format!("{:?}", elsewhere.path());
    appliance.configure(&[
        ("data_dir", &elsewhere),
        ("smtp.listen", "[\"127.0.0.1:1\"]"),
        ("metrics.listen", "[\"127.0.0.1:0\"]"),
        ("http.jsonp", "true"),
    ]);
    let words = "a restart is needed for some of the new configuration changed=\"data_dir, metrics.listen, smtp.listen\"";
    for reloads in 1..=2 {
        appliance.hang_up();
        wait::until_equal("reloads that name what stays", reloads, || appliance.logged(words));
    }
    assert_eq!(appliance.logged("a restart is needed"), 2);
    let alias = order(&appliance).1["email"].as_str().expect("it has an address").to_owned();
    assert_eq!(Client::hello(appliance.smtp).deliver(&alias).code(), 250);
}

#[test]
fn a_reload_without_a_change_says_so_and_reads_the_password_again() {
    let smarthost = Smarthost::start();
    smarthost.offer(&["AUTH PLAIN"]);
    let dir = tempfile::tempdir().expect("a directory can be made");
    let password = dir.path().join("password");
    fs::write(&password, "old\n").expect("a file can be written");
    let file = format!("{password:?}");
    let settings = [("smarthost.username", "\"us\""), ("smarthost.password_file", file.as_str())];
    let appliance = Appliance::start_with(smarthost.address(), &settings);
    let alias = appliance.alias("target@mailbox.test", 2).email;
    assert_eq!(Client::hello(appliance.smtp).deliver(&alias).code(), 250);

    fs::write(&password, "new\n").expect("a file can be written");
    appliance.hang_up();
    line(&appliance, "configuration reloaded: nothing has changed");
    assert_eq!(Client::hello(appliance.smtp).deliver(&alias).code(), 250);
    let passwords: Vec<_> = smarthost.record().logins.iter().map(|login| login.password.clone()).collect();
    assert_eq!(passwords, ["old", "new"]);
}

#[test]
fn a_broken_configuration_leaves_the_old_one_and_is_explained_in_one_line() {
    let smarthost = Smarthost::start();
    let appliance = Appliance::start(&smarthost);
    let alias = appliance.alias("target@mailbox.test", 9).email;
    let file = appliance.config_file().display().to_string();
    for (nth, (key, value, why)) in [
        ("smtp.max_size", "\"huge\"", ": smtp.max_size: \"huge\": not a size"),
        ("smtp.idle", "1", ": smtp.idle: no such key"),
        ("smarthost.password_file", "\"/nowhere\"", ": smarthost.password_file: needs smarthost.username"),
        ("smtp.listen", "[", "not TOML"),
    ]
    .into_iter()
    .enumerate()
    {
        appliance.configure(&[("hostname", "\"new.alias.test\""), (key, value)]);
        appliance.hang_up();
        wait::until_equal("complaints", nth + 1, || appliance.logged(REFUSED));
        let log = appliance.stderr();
        let complaint = log.iter().rfind(|line| line.contains(REFUSED)).expect("it was counted");
        assert!(complaint.contains(&file) && complaint.contains(why), "{complaint}");
        let mut client = Client::connect(appliance.smtp);
        client.expect("220 mx.alias.test");
        client.command("EHLO client.test", "250");
        assert_eq!(client.deliver(&alias).code(), 250);
    }
    fs::remove_file(appliance.config_file()).expect("it was there");
    appliance.hang_up();
    wait::until_equal("complaints", 5, || appliance.logged(REFUSED));
    appliance.configure(&[("hostname", "\"new.alias.test\"")]);
    appliance.hang_up();
    line(&appliance, RELOADED);
    Client::connect(appliance.smtp).expect("220 new.alias.test");
}

#[test]
fn a_file_that_is_missing_keeps_everything_as_it_was() {
    let appliance = Appliance::start(&Smarthost::start());
    let cert = [("smtp.tls_cert", "\"/nowhere/mx.crt\""), ("smtp.tls_key", "\"/nowhere/mx.key\"")];
    appliance.configure(&[&cert[..], &[("hostname", "\"new.alias.test\"")]].concat());
    appliance.hang_up();
    let complaint = line(&appliance, REFUSED);
    assert!(complaint.contains("smtp.tls_cert: /nowhere/mx.crt: "), "{complaint}");
    Client::connect(appliance.smtp).expect("220 mx.alias.test");
}

#[test]
fn starttls_can_begin_move_and_end() {
    let smarthost = Smarthost::start();
    let appliance = Appliance::start(&smarthost);
    let authority = Authority::new();
    let certificates = [authority.certify(&["mx.alias.test"]), authority.certify(&["mx.alias.test"])];
    let offers = || ehlo(&appliance).contains("STARTTLS");
    assert!(!offers());
    for (nth, certificate) in certificates.iter().enumerate() {
        let files = certificate.files();
        let settings = files.settings();
        appliance.configure(&settings.each_ref().map(|(key, value)| (*key, value.as_str())));
        appliance.hang_up();
        wait::until_equal("reloads", nth + 1, || appliance.logged(RELOADED));
        let client = Client::encrypted(appliance.smtp, &authority.client());
        let shown = client.tls().peer_certificates().expect("a server shows its certificate");
        assert_eq!(shown, [certificate.der()]);
    }
    appliance.configure(&[]);
    appliance.hang_up();
    wait::until_equal("reloads", 3, || appliance.logged(RELOADED));
    assert!(!offers());
}

#[test]
fn https_can_move_to_other_files_but_begins_with_a_restart_only() {
    let appliance = Appliance::start(&Smarthost::start());
    let files = Authority::new().certify(&["localhost"]).files();
    let (cert, key) = (format!("{:?}", files.chain), format!("{:?}", files.key));
    appliance.configure(&[("http.tls_cert", &cert), ("http.tls_key", &key)]);
    appliance.hang_up();
    let told = line(&appliance, "a restart is needed");
    assert_eq!(changed(&told), "http.tls_cert, http.tls_key");
    assert_eq!(order(&appliance).0, 201, "it does not speak HTTP any more");
}

#[test]
fn an_expired_certificate_does_not_replace_one_that_is_good() {
    let authority = Authority::new();
    let good = authority.certify(&["mx.alias.test"]);
    let files = good.files();
    let settings = files.settings();
    let settings = settings.each_ref().map(|(key, value)| (*key, value.as_str()));
    let appliance = Appliance::start_with(Smarthost::start().address(), &settings);
    let presents = |certificate: &Certificate| {
        let client = Client::encrypted(appliance.smtp, &authority.client());
        client.tls().peer_certificates().expect("a server shows its certificate") == [certificate.der()]
    };

    let expired = authority.certify_when(&["mx.alias.test"], Validity::Past);
    files.replace(&expired);
    appliance.hang_up();
    let complaint = wait::until("the complaint", || {
        appliance.stderr().into_iter().rfind(|line| line.contains("has expired"))
    });
    assert!(complaint.contains("the old one stays in use"), "{complaint}");
    assert!(complaint.contains(&*files.chain.to_string_lossy()), "{complaint}");
    assert!(presents(&good));
}

#[test]
fn a_certificate_that_has_expired_already_is_shown_and_reported_once() {
    let authority = Authority::new();
    let files = authority.certify_when(&["mx.alias.test"], Validity::Past).files();
    let settings = files.settings();
    let settings = settings.each_ref().map(|(key, value)| (*key, value.as_str()));
    let appliance = Appliance::start_with(Smarthost::start().address(), &settings);
    let warning = line(&appliance, "the certificate has expired; it is used until there is a new one");
    assert!(warning.contains("WARN") && warning.contains("smtp.tls_cert: "), "{warning}");
    assert!(ehlo(&appliance).contains("STARTTLS"));
    appliance.hang_up();
    line(&appliance, "configuration reloaded: nothing has changed");
    assert_eq!(appliance.logged("has expired"), 1);
    files.replace(&authority.certify(&["mx.alias.test"]));
    appliance.hang_up();
    wait::until_equal("renewals", 1, || appliance.logged("a new certificate is in use"));
}

#[test]
fn a_shorter_purge_interval_holds_at_once() {
    let appliance = Appliance::start(&Smarthost::start());
    let start = tempalias::clock::now() - std::time::Duration::from_secs(3600);
    let end = tempalias::clock::now() - std::time::Duration::from_secs(60);
    let limits = tempalias::alias::Limits { valid_from: start, valid_until: Some(end), max_usage: None };
    let listed = || {
        let output = appliance.run(&["alias", "list", "--json"]);
        String::from_utf8(output.stdout).expect("the list is text").lines().count()
    };
    appliance.configure(&[("aliases.purge_interval", "\"1s\"")]);
    appliance.hang_up();
    line(&appliance, RELOADED);
    for _ in 0..2 {
        appliance.alias_issued_at(start, "target@mailbox.test", limits);
        wait::until_equal("aliases", 0, listed);
    }
}
