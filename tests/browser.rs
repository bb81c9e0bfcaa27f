//! The page in a real browser, in front of the real program and a smarthost: `tests/browser/`.

use std::path::Path;
use std::process::Command;

use crate::support::appliance::Appliance;
use crate::support::smarthost::Smarthost;

const FOLDER: &str = "tests/browser";

/// In seconds; a test that hangs is ended. axe on every page takes half a minute on a quiet machine,
/// and was seen to take 152 s on one with two cores that compiled for several others.
const WITHIN: &str = "300";

/// Runs one file of tests; afterwards the log must be free of what is secret.
#[track_caller]
fn run(name: &str) {
    run_with(name, &[]);
}

/// As [`run`], in front of an appliance with `settings`.
#[track_caller]
fn run_with(name: &str, settings: &[(&str, &str)]) {
    let modules = Path::new(FOLDER).join("node_modules/playwright-core");
    assert!(modules.exists(), "playwright-core is missing, install it: ./scripts/install-test-deps");
    let smarthost = Smarthost::start();
    let mut appliance = Appliance::start_with(smarthost.address(), settings);
    let output = Command::new("timeout")
        .args([WITHIN, "node", "--test", &format!("{name}.test.mjs")])
        .current_dir(FOLDER)
        .env("ORIGIN", format!("http://{}", appliance.http))
        .env("SMTP", appliance.smtp.to_string())
        .output()
        .expect("node is installed: ./scripts/install-test-deps");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(appliance.stop().success());
}

#[test]
fn the_life_of_an_alias() {
    run("life");
}

#[test]
fn the_form() {
    run("form");
}

#[test]
fn access() {
    run("access");
}

#[test]
fn the_bookmarklet() {
    run("bookmarklet");
}

#[test]
fn the_layout() {
    let settings = [
        ("http.name", "\"Wegwerf\""),
        ("http.accent", "\"#0a7d5a\""),
        ("http.imprint", "\"https://example.com/imprint\""),
        ("http.contact", "\"abuse@example.com\""),
        ("http.source", "\"https://example.com/source\""),
    ];
    run_with("layout", &settings);
}
