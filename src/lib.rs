//! tempalias hands out e-mail addresses that destroy themselves, and forwards what arrives in time.
//!
//! One process is MX, REST API and web page for a domain; SQLite is inside, a smarthost behind.
//! `docs/flow.md` tells the life of a message.
//!
//! The layers, top to bottom. A module uses only modules in rows below its own: `tests/layers.rs` reads this
//! table and checks it.
//!
//! | module | responsibility |
//! |---|---|
//! | [`cli`] | one file per subcommand: `serve`, `demo`, `check`, `health`, `alias`, `backup`, `restore`, … |
//! | [`daemon`] | wires listeners, timers and signals; start, reload and orderly stop |
//! | [`fuzzing`] | entry points for `fuzz/` and its tests, which feed them random bytes; not in a release |
//! | [`mx`], [`web`], [`sink`] | the three servers: the MX, API and page, the demo's built-in smarthost |
//! | [`relay`] | the client of the smarthost |
//! | [`events`] | what happens that is worth telling, for the log and the metrics |
//! | [`dnsbl`] | DNS lists of clients that send junk |
//! | [`resolve`] | names to addresses: `/etc/hosts` and the DNS |
//! | [`smtp`] | SMTP as server and client both need it: lines, commands, replies, dots, trace fields |
//! | [`net`] | connections below SMTP and HTTP: with and without TLS, and limits for each client |
//! | [`ledger`] | aliases, their uses and their names; the only SQL |
//! | [`telemetry`] | the log, on standard error |
//! | [`descriptors`], [`systemd`] | open files and other resources of the process; the service manager and its sockets |
//! | [`config`] | what the operator can set, read from a file and the environment, and checked |
//! | [`metrics`] | what is counted, for Prometheus |
//! | [`crash`] | crashes on request, for tests; not in a release |
//! | [`bounce`] | the envelope sender of forwarded mail |
//! | [`alias`], [`message_id`] | plain data: an alias with its name, limits and key; the id of a message |
//! | [`address`], [`clock`] | plain data: mail addresses and domains; instants |

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
