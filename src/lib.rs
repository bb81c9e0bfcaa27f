//! tempalias hands out e-mail addresses that destroy themselves, and forwards what arrives in time.
//!
//! One process is MX, REST API and web page for a domain; SQLite is inside, a smarthost behind.
//! `docs/flow.md` tells the life of a message. The house, from the roof down; a room uses only
//! rooms below it:
//!
//! | room | who lives there |
//! |---|---|
//! | [`cli`] | one file per subcommand: `serve`, `demo`, `check`, `health`, `alias`, `backup`, `restore`, … |
//! | [`daemon`] | wires listeners, timers and signals; owns the start and the orderly stop |
//! | [`mx`], [`web`] | the two front doors, which never know each other |
//! | [`sink`] | the demo's built-in smarthost |
//! | [`relay`] | the client side towards the smarthost |
//! | [`events`] | what happens that is worth telling, for the log and the metrics |
//! | [`dnsbl`] | lists of clients that others have found to send junk |
//! | [`resolve`] | names to addresses: `/etc/hosts` and the DNS |
//! | [`smtp`] | SMTP as server and client both need it: lines, commands, replies, dots, trace fields |
//! | [`net`] | connections below SMTP and HTTP: with and without TLS, and limits for each client |
//! | [`ledger`] | the only SQL: aliases, their uses, their names |
//! | [`descriptors`] | open files, their limit, and what else the process takes |
//! | [`systemd`] | the service manager: what it hears from us, and its sockets |
//! | [`config`] | what the operator can set: read from a file and the environment, and checked |
//! | [`telemetry`] | the log, on standard error |
//! | [`metrics`] | what is counted, for Prometheus |
//! | [`crash`] | crashes to order, for tests; not in a release |
//! | [`fuzzing`] | what `fuzz/` and the tests feed with octets from nowhere; not in a release |
//! | [`alias`], [`address`], [`bounce`], [`message_id`], [`clock`] | plain data and pure functions; no I/O but the clock and random numbers |

// `eprintln!` panics when nobody can read it any more.
#![warn(clippy::print_stderr)]

pub mod address;
pub mod alias;
pub mod bounce;
pub mod cli;
pub mod clock;
pub mod config;
mod crash;
pub mod daemon;
pub mod descriptors;
pub mod dnsbl;
pub mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod ledger;
pub mod message_id;
pub mod metrics;
pub mod mx;
pub mod net;
pub mod relay;
pub mod resolve;
pub mod sink;
mod smtp;
pub mod systemd;
pub mod telemetry;
pub mod web;
