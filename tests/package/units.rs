//! The units: well-formed, and how much they leave to an intruder.

use std::fs;

use tempalias::config::{Http, Smarthost, Smtp};
use tempfile::TempDir;

use crate::support::program::succeed;

/// Where systemd looks, with our units in it.
fn installed(drop_in: bool) -> TempDir {
    let root = TempDir::new().expect("a temporary directory can be made");
    let units = root.path().join("usr/lib/systemd/system");
    fs::create_dir_all(&units).expect("a directory can be made");
    for unit in ["tempalias.service", "tempalias-smtp.socket", "tempalias-http.socket"] {
        fs::copy(format!("systemd/{unit}"), units.join(unit)).expect("a file can be copied");
    }
    if drop_in {
        let dir = root.path().join("etc/systemd/system/tempalias.service.d");
        fs::create_dir_all(&dir).expect("a directory can be made");
        fs::copy("systemd/sockets.conf", dir.join("sockets.conf")).expect("a file can be copied");
    }
    root
}

/// `systemd-analyze security` counts what a service could still do to its host: 0 is nothing.
fn exposure(drop_in: bool) -> f64 {
    let root = installed(drop_in);
    let root = format!("--root={}", root.path().display());
    let report = succeed("systemd-analyze", ["security", "--offline=true", &root, "tempalias.service"], b"");
    let (_, figure) = report.split_once("tempalias.service: ").expect("there is a result");
    figure.split(' ').next().and_then(|figure| figure.parse().ok()).expect("it is a number")
}

#[test]
fn a_start_takes_as_long_as_it_takes_and_a_stop_as_long_as_messages_in_flight_may() {
    let unit = fs::read_to_string("systemd/tempalias.service").expect("the unit can be read");
    // The ledger may be migrated before it is ready, and would be again after a start that was cut off.
    assert_eq!(setting(&unit, "TimeoutStartSec"), ["infinity"]);
    // 60 s for them, and twice as long as SQLite waits for a lock: at the last commit, and at the close.
    assert_eq!(setting(&unit, "TimeoutStopSec"), ["90s"]);
}

#[test]
fn its_memory_ends_before_that_of_a_small_host_and_after_what_the_defaults_allow() {
    let unit = fs::read_to_string("systemd/tempalias.service").expect("the unit can be read");
    assert_eq!(setting(&unit, "MemoryMax"), ["1G"]);
    // Ended by the kernel, it is started again.
    assert_eq!(setting(&unit, "Restart"), ["always"]);
    assert_eq!(setting(&unit, "OOMPolicy"), [""; 0]);
    // The defaults that the figure is reckoned from.
    let Smtp { max_connections: sessions, .. } = Smtp::default();
    let Http { max_connections: requests, .. } = Http::default();
    let Smarthost { max_connections: messages, .. } = Smarthost::default();
    assert_eq!((sessions, requests, messages), (10_000, 1_000, 40));
    // In KB, as docs/install.md has them under Sizing: the program and SQLite's caches, a session under TLS
    // with an unfinished text and record, an HTTP connection at the peak, a message in flight.
    let needed = 15_000 + 36_000 + 45 * sessions + 136 * requests + 250 * messages;
    let granted =
        setting(&unit, "MemoryMax")[0].trim_end_matches('G').parse::<usize>().expect("it is a number");
    let granted = granted * 1024 * 1024 * 1024 / 1000;
    assert!(needed * 3 < granted * 2, "{needed} of {granted}");
}

/// What `unit` says of `key`, as often as it does.
fn setting<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn the_service_is_confined() {
    let exposure = exposure(false);
    assert!(exposure <= 1.6, "{exposure}");
}

#[test]
fn with_sockets_from_systemd_it_is_confined_further() {
    let exposure = exposure(true);
    assert!(exposure <= 1.2, "{exposure}");
}
