//! The web from outside: a real ledger behind, HTTP as octets in front.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails its test, as it should")]

mod bodies;
mod create;
mod document;
mod form;
mod http;
mod manage;
mod page;
mod site;
