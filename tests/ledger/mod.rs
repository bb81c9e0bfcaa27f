//! The ledger, through its public face: each promise of `src/ledger` and how it could be broken.
mod backup;
mod bounces;
mod concurrent;
mod durable;
mod full;
mod issue;
mod manage;
mod model;
mod names;
mod open;
mod purge;
mod repeats;
mod restore;
mod spend;
mod support;
