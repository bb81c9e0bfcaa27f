//! Load over HTTP: wrk (<https://github.com/wg/wrk>).

use std::process::Command;
use std::time::Duration;

/// Requests a second of `clients` connections to `url`, with further `arguments`.
///
/// # Panics
/// When one of the answers is no success.
pub fn requests_per_second(url: &str, clients: usize, time: Duration, arguments: &[&str]) -> f64 {
    let seconds = time.as_secs().max(1);
    let output = Command::new("wrk")
        .args(["-t2", &format!("-c{clients}"), &format!("-d{seconds}s")])
        .args(arguments)
        .arg(url)
        .output()
        .expect("wrk is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && !text.contains("Non-2xx") && !text.contains("Socket errors"),
        "{text}"
    );
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).expect("wrk says the rate");
    rate.trim().parse().expect("the rate is a number")
}
