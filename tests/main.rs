//! The integration tests: one program, so that they link once. Each module is a subject.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod attacks;
mod backup;
mod bad_days;
mod browser;
mod cli;
mod clients;
mod commands;
mod config;
mod crash;
mod dns;

mod http_listeners;
mod layers;
mod ledger;
mod limits;
mod package;
mod peers;
mod privacy;
mod random_faults;
mod relay;
mod reload;
mod schemathesis;
mod sections;
mod settings;
mod signatures;
mod smarthost_faults;
mod smarthosts;
mod smuggling;
mod soak;
mod static_binary;
mod stop;
mod support;
mod systemd;
mod terminal;
mod tls_in;
mod tls_out;
mod watching;
mod web;
