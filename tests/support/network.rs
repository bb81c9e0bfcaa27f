//! A network of a test's own, so that it can have public addresses without leaving this machine.

use std::env;
use std::process::Command;

use super::program::said;

/// Set inside.
const INSIDE: &str = "INSIDE_A_NETWORK_OF_ITS_OWN";

/// Runs the test `name` of this program once more, in a network where `addresses` (with prefix
/// length) are this machine's; nothing outside can be reached there. True when that is where we
/// are: do the test. False when it is done.
///
/// # Panics
/// When the test fails inside, or this user may not make networks.
#[track_caller]
pub fn isolated(name: &str, addresses: &[&str]) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let add = |address: &&str| format!("ip address add {address} dev lo nodad && ");
    let script = format!("ip link set lo up && {}exec \"$@\"", addresses.iter().map(add).collect::<String>());
    let this = env::current_exe().expect("this program has a path");
    let unshare = |program: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--net", "--map-root-user", "sh", "-c", &script, "sh"]).args(program);
        command.env(INSIDE, "1");
        command.output().unwrap_or_else(|error| panic!("unshare does not run: {error}"))
    };
    let allowed = unshare(&["true"]);
    assert!(allowed.status.success(), "this user may make no network: {}", said(&allowed));
    let output = unshare(&[&this.to_string_lossy(), name, "--include-ignored", "--nocapture"]);
    assert!(output.status.success(), "inside: {}", said(&output));
    assert!(said(&output).contains("ok. 1 passed;"), "there is no test {name}: {}", said(&output));
    false
}
