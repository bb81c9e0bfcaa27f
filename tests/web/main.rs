//! The web from outside: a real ledger behind, HTTP as octets in front.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails its test, as it should")]

mod bodies;
mod clients;
mod create;
#[path = "../support/dns.rs"]
#[expect(dead_code, reason = "a kit that other tests share")]
mod dns;
mod document;
mod form;
mod http;
mod listeners;
mod manage;
mod page;
mod site;
