//! Schemathesis against the API: it reads the document that we serve, makes requests of all kinds
//! out of it, and looks whether every answer is one that the document knows.

use std::path::Path;
use std::process::Command;

use crate::support::appliance::Appliance;
use crate::support::smarthost::Smarthost;

/// Where `scripts/install-test-deps` has put it, from `target/TUPLE/tmp`.
const PROGRAM: &str = "../../python/bin/schemathesis";

/// What no schema says: that a domain must be ours, that an end must lie ahead.
const BEYOND_SCHEMAS: &str = "positive_data_acceptance,negative_data_rejection";

#[test]
fn no_request_gets_an_answer_that_the_document_does_not_know() {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PROGRAM);
    assert!(program.exists(), "schemathesis is missing, install it: ./scripts/install-test-deps");
    let smarthost = Smarthost::start();
    let mut appliance = Appliance::start(&smarthost);
    let document = format!("http://{}/openapi.json", appliance.http);
    let output = Command::new(program)
        .args(["run", &document, "--checks", "all", "--exclude-checks", BEYOND_SCHEMAS])
        .args(["--max-examples", "40", "--seed", "1", "--continue-on-failure"])
        .args(["--no-color", "--warnings", "off", "--generation-database", ":memory:"])
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Tested: 6"), "{said}");
    assert!(appliance.stop().success());
}
