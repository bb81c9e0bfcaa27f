//! The kit of the process-level tests: they start the real program and talk bytes.
//!
//! | piece | what it is |
//! |---|---|
//! | [`appliance`] | the program with a configuration of its own, on free ports, and its aliases |
//! | [`process`] | the program while it serves |
//! | [`client`] | an SMTP client that sends what it is told, and checks each reply for leaks |
//! | [`smarthost`] | the relay behind the appliance, which can fail at every stage |
//! | [`record`] | what it remembers of it |
//! | [`script`] | a smarthost that says what the test writes, to the octet |
//! | [`channel`], [`certificates`] | what both speak through, in clear text or under TLS; whom they trust |
//! | [`program`], [`postfix`] | foreign programs; a Postfix of our own |
//! | [`dns`] | a name server that knows a few names, and can fail |
//! | [`network`] | a network of a test's own, with public addresses |
//! | [`wait`] | bounded waiting for a condition |
//!
//! Addresses: we are `mx.alias.test` for `alias.test` and `second.test`; every target and the
//! postmaster live in `mailbox.test`. That name and [`LEAK_MARKER`], which is in every text of the
//! smarthost's, must never reach a client or the log.

pub mod appliance;
pub mod certificates;
pub mod channel;
pub mod client;
pub mod dns;
pub mod network;
pub mod postfix;
pub mod process;
pub mod program;
pub mod record;
pub mod script;
pub mod smarthost;
pub mod wait;

/// The domain of all targets: as secret as they are.
pub const TARGET_DOMAIN: &str = "mailbox.test";

/// Part of everything the smarthost says.
pub const LEAK_MARKER: &str = "LEAK-MARKER";

/// Panics when `text`, seen at `place`, holds something of the smarthost's or of a target's.
#[track_caller]
pub fn assert_no_leak(place: &str, text: &str) {
    let lower = text.to_ascii_lowercase();
    for secret in [TARGET_DOMAIN, &LEAK_MARKER.to_ascii_lowercase()] {
        assert!(!lower.contains(secret), "{place} shows {secret}: {text}");
    }
}
