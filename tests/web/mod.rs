//! The web from outside: a real ledger behind, HTTP as octets in front.

mod bodies;
mod clients;
mod create;
mod document;
mod doors;
mod form;
mod http;
mod manage;
mod page;
mod site;
