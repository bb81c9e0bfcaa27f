//! The web from outside: a real ledger behind, HTTP as octets in front.

mod bodies;
mod clients;
mod create;
mod document;
mod form;
mod http;
mod listeners;
mod manage;
mod page;
mod site;
