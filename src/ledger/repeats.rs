//! Requests that may come twice and are to give one alias: a double click, a lost answer.
//!
//! A client marks such a request with a key of its own (`Idempotency-Key`). For a day the ledger
//! knows such a request again, also after a restart, and answers with the same alias and the same
//! manage key. Neither the manage key nor the target is kept for that:
//!
//! - the client's key is found by its SHA-256;
//! - what was asked for is compared by an HMAC under the client's key, so that nobody without it
//!   can try addresses against what is stored;
//! - the manage key of such an alias is not random but an HMAC of both under a secret of ours: it
//!   can be made again from the repeated request, and not from the ledger.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use rusqlite::{Connection, OptionalExtension};

use super::{Issued, LedgerError, NewAlias, aliases};
use crate::alias::ManageKey;
use crate::clock::Timestamp;

/// A repeated request is known so long, in seconds.
pub(super) const KNOWN_FOR: i64 = 24 * 3600;

/// Sets these HMACs apart from others under the same secret.
const MANAGE_KEY: &[u8] = b"manage-key:";

/// Makes manage keys that can be made again; from a secret that lives in the ledger.
#[derive(Clone)]
pub(super) struct RepeatKey(hmac::Key);

/// How a request is known again.
#[derive(Clone)]
pub struct Repeatable {
    id: [u8; 32],
    request: [u8; 32],
    key: ManageKey,
}

/// What became of a request that may have come before.
#[derive(Clone, Debug)]
pub enum Repeated {
    /// It had not: a new alias.
    New(Issued),
    /// It had: its alias, as it is by now.
    Again(Issued),
    /// The client's key has come with another request.
    Differs,
}

impl RepeatKey {
    pub(super) fn new(secret: &[u8]) -> Self {
        RepeatKey(hmac::Key::new(HMAC_SHA256, secret))
    }

    /// For a `request` that came with the client's `key`.
    pub(super) fn repeatable(&self, key: &str, request: &str) -> Repeatable {
        let id = array(digest(&SHA256, key.as_bytes()).as_ref());
        let client = hmac::Key::new(HMAC_SHA256, key.as_bytes());
        let request: [u8; 32] = array(hmac::sign(&client, request.as_bytes()).as_ref());
        let mut context = hmac::Context::with_key(&self.0);
        for part in [MANAGE_KEY, &request, key.as_bytes()] {
            context.update(part);
        }
        Repeatable { id, request, key: ManageKey::from(array(&context.sign().as_ref()[..20])) }
    }
}

/// What the same request has given before, if its alias is still there.
pub(super) fn find(
    connection: &Connection,
    repeatable: &Repeatable,
    now: Timestamp,
) -> Result<Option<Repeated>, LedgerError> {
    let Repeatable { id, request, key } = repeatable;
    let known: Option<([u8; 32], String)> = connection
        .prepare_cached("SELECT request, name FROM repeats WHERE id = ?1 AND made > ?2")?
        .query_row((id, now.as_second() - KNOWN_FOR), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((known, name)) = known else { return Ok(None) };
    if known != *request {
        return Ok(Some(Repeated::Differs));
    }
    let name = name.parse().map_err(|_| LedgerError::Damaged { name: name.clone(), what: "name" })?;
    let alias = aliases::lookup(connection, &name)?;
    Ok(alias.map(|alias| Repeated::Again(Issued { alias, key: key.clone() })))
}

/// Hands out a new alias, or the one that the same request has given before.
pub(super) fn issue(
    connection: &Connection,
    new: NewAlias,
    repeatable: Repeatable,
    now: Timestamp,
) -> Result<Repeated, LedgerError> {
    if let Some(known) = find(connection, &repeatable, now)? {
        return Ok(known);
    }
    let Repeatable { id, request, key } = repeatable;
    let issued = aliases::issue_with_key(connection, new, key, now)?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO repeats (id, request, name, made) VALUES (?1, ?2, ?3, ?4)")?
        .execute((id, request, issued.alias.name.as_str(), now.as_second()))?;
    Ok(Repeated::New(issued))
}

fn array<const N: usize>(octets: &[u8]) -> [u8; N] {
    octets.try_into().expect("the output of SHA-256 is long enough")
}
