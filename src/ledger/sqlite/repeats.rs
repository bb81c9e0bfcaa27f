//! Requests that came with an idempotency key, and the names of the aliases that they gave.

use rusqlite::{Connection, OptionalExtension};

use super::{Engine, aliases};
use crate::alias::AliasName;
use crate::clock::Timestamp;
use crate::ledger::policy::IDEMPOTENCY_RETENTION;
use crate::ledger::{IdempotencyKey, Issuance, Issued, NewAlias, Result};

impl Engine {
    /// What the same request has given before, if its alias is still there.
    pub async fn find_issuance(&self, key: &IdempotencyKey, now: Timestamp) -> Result<Option<Issuance>> {
        find(&*self.readers.get().await?, key, now)
    }

    /// Hands out a new alias, or the one that the same request has given before.
    pub async fn issue_once(&self, new: NewAlias, key: IdempotencyKey, now: Timestamp) -> Result<Issuance> {
        let issue = move |connection: &Connection| {
            if let Some(known) = find(connection, &key, now)? {
                return Ok(known);
            }
            let IdempotencyKey { id, request, manage_key } = key;
            let issued = aliases::issue(connection, new, manage_key, now)?;
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO repeats (id, request, name, made) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute((id, request, issued.alias.name.as_str(), now.as_second()))?;
            Ok(Issuance::New(issued))
        };
        self.writer.run(issue).await
    }
}

fn find(connection: &Connection, key: &IdempotencyKey, now: Timestamp) -> Result<Option<Issuance>> {
    let IdempotencyKey { id, request, manage_key } = key;
    let known: Option<([u8; 32], String)> = connection
        .prepare_cached("SELECT request, name FROM repeats WHERE id = ?1 AND made > ?2")?
        .query_row((id, now.as_second() - IDEMPOTENCY_RETENTION), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((known, name)) = known else { return Ok(None) };
    if known != *request {
        return Ok(Some(Issuance::Conflict));
    }
    let name: AliasName = name.parse().map_err(|_| aliases::damaged(&name, "name"))?;
    let alias = aliases::lookup(connection, &name)?;
    Ok(alias.map(|alias| Issuance::Replayed(Issued { alias, key: manage_key.clone() })))
}
