//! Idempotency keys: a request that may come twice (a double click, a lost answer) gives one alias.
//!
//! A client marks such a request with a key of its own (`Idempotency-Key`). For a day the ledger
//! recognises such a request, also after a restart, and answers with the same alias and the same
//! manage key. Neither the manage key nor the target is kept for that:
//!
//! - the client's key is found by its SHA-256;
//! - what was asked for is compared by an HMAC under the client's key, so that only
//!   its holder can try addresses against what is stored;
//! - the manage key of such an alias is not random but an HMAC of both under the ledger's secret: it
//!   can be made again from the repeated request, and not from the ledger.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};

use super::request::Issued;
use crate::alias::ManageKey;

/// Sets these HMACs apart from others under the same secret.
const MANAGE_KEY: &[u8] = b"manage-key:";

/// How a request is recognised.
#[derive(Clone)]
pub struct IdempotencyKey {
    pub(super) id: [u8; 32],
    pub(super) request: [u8; 32],
    pub(super) manage_key: ManageKey,
}

/// What became of a request with an [`IdempotencyKey`].
#[derive(Clone, Debug)]
pub enum Issuance {
    /// It came for the first time: a new alias.
    New(Issued),
    /// It came before: its alias, as it is now.
    Replayed(Issued),
    /// The client's key came before, with another request.
    Conflict,
}

/// Makes manage keys that can be made again.
#[derive(Clone)]
pub(super) struct KeyMaker(hmac::Key);

impl KeyMaker {
    /// From the ledger's `secret`.
    pub(super) fn new(secret: &[u8]) -> Self {
        KeyMaker(hmac::Key::new(HMAC_SHA256, secret))
    }

    /// For a `request` that came with the client's `key`.
    pub(super) fn idempotency_key(&self, key: &str, request: &str) -> IdempotencyKey {
        let id = array(digest(&SHA256, key.as_bytes()).as_ref());
        let client = hmac::Key::new(HMAC_SHA256, key.as_bytes());
        let request: [u8; 32] = array(hmac::sign(&client, request.as_bytes()).as_ref());
        let mut context = hmac::Context::with_key(&self.0);
        for part in [MANAGE_KEY, &request, key.as_bytes()] {
            context.update(part);
        }
        let manage_key = ManageKey::from(array(&context.sign().as_ref()[..20]));
        IdempotencyKey { id, request, manage_key }
    }
}

fn array<const N: usize>(octets: &[u8]) -> [u8; N] {
    octets.try_into().expect("the output of SHA-256 is long enough")
}
