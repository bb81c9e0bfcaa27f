//! Our certificate: renewed while we serve, and told apart from what is none.

use std::fs::File;

use super::{NAMES, Scene};
use crate::support::certificates::{Certificate, replace};
use crate::support::program::{said, succeed};
use crate::support::wait;

#[test]
fn a_new_certificate_is_used_at_sighup_and_disturbs_no_session() {
    let scene = Scene::new();
    let mut client = scene.client();
    client.begin(&scene.alias.email);
    client.send("Subject: hello\r\n\r\nhe");
    let mut early = scene.before_handshake();

    let new = scene.authority.certify(&NAMES);
    scene.files.replace(&new);
    scene.appliance.hang_up();
    scene.comes_to_present(&new);

    early.try_handshake(&scene.authority.client()).expect("the handshake succeeds");
    early.command("EHLO client.test", "250");
    client.send("llo\r\n.\r\n");
    client.expect("250 2.0.0");
    client.command("QUIT", "221");
    client.expect_close();
}

#[test]
fn a_new_certificate_is_found_without_a_signal_whatever_the_time_of_its_file() {
    let scene = Scene::new();
    let times = [&scene.files.chain, &scene.files.key].map(|path| {
        let file = path.metadata().expect("the file is there");
        file.modified().expect("files have times")
    });
    // Copied with their times, or from a store where all files have the same.
    let new = scene.authority.certify(&NAMES);
    let other = new.files();
    for ((from, to), time) in
        [(&other.chain, &scene.files.chain), (&other.key, &scene.files.key)].into_iter().zip(times)
    {
        let file = File::options().write(true).open(from).expect("the file is there");
        file.set_modified(time).expect("it is our file");
        std::fs::rename(from, to).expect("a file can be renamed");
    }
    scene.comes_to_present(&new);
}

#[test]
fn a_bad_certificate_changes_nothing_and_is_reported_once() {
    const COMPLAINT: &str = "the new certificate cannot be used; the old one stays in use";
    let scene = Scene::new();
    let other = scene.authority.certify(&NAMES);
    let complaints = || scene.appliance.logged(COMPLAINT);
    for (nth, (path, text)) in [
        (&scene.files.chain, "no certificate"),
        (&scene.files.chain, &other.chain),
        (&scene.files.key, &scene.certificate.chain),
    ]
    .into_iter()
    .enumerate()
    {
        replace(path, text);
        scene.appliance.hang_up();
        wait::until_equal("complaints", nth + 1, complaints);
        let log = scene.appliance.stderr();
        let complaint = log.iter().rfind(|line| line.contains(COMPLAINT)).expect("it was counted");
        assert!(complaint.contains(&*path.to_string_lossy()), "{complaint}");
        assert!(scene.presents(&scene.certificate));
        scene.appliance.hang_up();
    }
    scene.files.replace(&other);
    scene.appliance.hang_up();
    scene.comes_to_present(&other);
    // Between the two files' replacement one of them did not fit, if anybody looked just then.
    assert!((3..=4).contains(&complaints()), "{:#?}", scene.appliance.stderr());
}

/// What `arguments` say on standard error, and that they end with a configuration error.
#[track_caller]
fn refused(scene: &Scene, argument: &str) -> String {
    let output = scene.appliance.run(&[argument]);
    assert_eq!(output.status.code(), Some(78), "{}", said(&output));
    String::from_utf8(output.stderr).expect("it is text")
}

/// `check` has nothing against the files.
#[track_caller]
fn passes(scene: &Scene, what: &str) {
    let output = scene.appliance.run(&["check", "--offline"]);
    let findings = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{what}: {findings}");
}

#[test]
fn check_and_serve_name_the_file_that_is_bad() {
    let scene = Scene::new();
    let Certificate { chain, key } = &scene.certificate;
    let other = scene.authority.certify(&NAMES);
    let (chain_file, key_file) = (scene.files.chain.display(), scene.files.key.display());
    let broken = |kind: &str| format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n");
    for (new_chain, new_key, complaint) in [
        ("", key.as_str(), format!("smtp.tls_cert: {chain_file}: holds no certificate\n")),
        (key, key, format!("smtp.tls_cert: {chain_file}: holds no certificate\n")),
        (&broken("CERTIFICATE"), key, format!("smtp.tls_cert: {chain_file}: ")),
        (chain, "", format!("smtp.tls_key: {key_file}: holds no private key, or an encrypted one\n")),
        (chain, chain, format!("smtp.tls_key: {key_file}: holds no private key, or an encrypted one\n")),
        (
            chain,
            &broken("ENCRYPTED PRIVATE KEY"),
            format!("smtp.tls_key: {key_file}: holds no private key, or an encrypted one\n"),
        ),
        (chain, &broken("PRIVATE KEY"), format!("smtp.tls_key: {key_file}: ")),
        (
            chain,
            &other.key,
            format!("smtp.tls_key: {key_file}: does not belong to the certificate in {chain_file}\n"),
        ),
    ] {
        replace(&scene.files.chain, new_chain);
        replace(&scene.files.key, new_key);
        for argument in ["check", "serve"] {
            let shown = refused(&scene, argument);
            assert!(shown.contains(&complaint) && shown.lines().count() == 1, "{shown}, not {complaint}");
        }
    }
    for file in [&scene.files.chain, &scene.files.key] {
        scene.files.replace(&scene.certificate);
        passes(&scene, "put right");
        std::fs::remove_file(file).expect("it was there");
        for argument in ["check", "serve"] {
            let shown = refused(&scene, argument);
            assert!(shown.contains(&format!("{}: ", file.display())), "{shown}");
        }
    }
}

#[test]
fn keys_of_every_common_form_are_taken() {
    let scene = Scene::new();
    let at = |file: &std::path::Path| file.to_string_lossy().into_owned();
    let (chain, key) = (at(&scene.files.chain), at(&scene.files.key));
    for (kind, option) in [("rsa", "rsa:2048"), ("ec", "ec"), ("ed25519", "ed25519")] {
        let curve = ["-pkeyopt", "ec_paramgen_curve:P-384"];
        let curve = if kind == "ec" { &curve[..] } else { &[] };
        let request = [
            "req",
            "-x509",
            "-newkey",
            option,
            "-nodes",
            "-subj",
            "/CN=mx",
            "-addext",
            "subjectAltName=DNS:mx.alias.test",
        ];
        let files = ["-keyout", &key, "-out", &chain];
        succeed("openssl", [&request[..], curve, &files].concat(), b"");
        passes(&scene, &format!("PKCS #8, {kind}"));
        if kind != "ed25519" {
            // PKCS #1 and SEC 1, as older programs write them.
            let old = scene.files.key.with_extension("old");
            succeed("openssl", ["pkey", "-traditional", "-in", &key, "-out", &at(&old)], b"");
            std::fs::rename(old, &scene.files.key).expect("a file can be renamed");
            passes(&scene, &format!("its own form, {kind}"));
        }
    }
    // Both in one file, as some programs keep them.
    let both = [&*scene.certificate.key, &scene.certificate.chain].concat();
    replace(&scene.files.chain, &both);
    replace(&scene.files.key, &both);
    passes(&scene, "one file");
}
