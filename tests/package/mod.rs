//! The Debian package: built from the program under test, installed into a Debian 12 that is booted
//! for the test, with its own systemd. Needs root's rights and systemd-nspawn.
//!
//! Each script of `tests/package` runs inside, after `kit.sh`.

mod debian;
mod operator;
mod pages;
mod proxies;
mod readme;
mod units;

use crate::support::program::succeed;
use debian::{Deb, boot};

#[test]
fn lintian_has_no_complaint() {
    let Some(deb) = Deb::build("0.1.0-1") else { return };
    let gates = ["--allow-root", "--fail-on", "error,warning"];
    succeed("lintian", gates.into_iter().chain([deb.path()]), b"");
}

#[test]
fn the_package_brings_what_an_operator_expects_and_starts_nothing() {
    boot("install.sh", include_str!("install.sh"), &["0.1.0-1"]);
}

#[test]
fn the_service_works_under_all_that_its_unit_forbids() {
    boot("serve.sh", include_str!("serve.sh"), &["0.1.0-1"]);
}

#[test]
fn with_sockets_from_systemd_it_needs_no_capability_and_a_restart_loses_no_connection() {
    boot("sockets.sh", include_str!("sockets.sh"), &["0.1.0-1"]);
}

#[test]
fn without_a_configuration_the_sockets_give_up_until_there_is_one() {
    boot("unconfigured.sh", include_str!("unconfigured.sh"), &["0.1.0-1"]);
}

#[test]
fn a_bounce_finds_its_way_back_from_the_smarthost_on_the_same_host() {
    boot("bounce.sh", include_str!("bounce.sh"), &["0.1.0-1"]);
}

#[test]
fn a_process_that_hangs_is_started_anew() {
    boot("watchdog.sh", include_str!("watchdog.sh"), &["0.1.0-1"]);
}

#[test]
fn an_upgrade_finishes_the_message_in_flight_and_loses_no_use() {
    boot("upgrade.sh", include_str!("upgrade.sh"), &["0.1.0-1", "0.1.0-2"]);
}

#[test]
fn removal_keeps_the_data_and_purge_leaves_nothing() {
    boot("purge.sh", include_str!("purge.sh"), &["0.1.0-1"]);
}
