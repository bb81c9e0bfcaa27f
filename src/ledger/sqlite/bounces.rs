//! Bounces: what the report of a failure changes, once for a delivery.

use rusqlite::{Connection, OptionalExtension};

use super::{Engine, aliases};
use crate::alias::AliasName;
use crate::bounce::Failure;
use crate::clock::Timestamp;
use crate::ledger::policy::may_bounce;
use crate::ledger::{Bounced, Result};
use crate::message_id::MessageId;

pub(super) const BOUNCE: &str = "DELETE FROM deliveries WHERE message = ?1 RETURNING spent";

impl Engine {
    /// The bounce of `message` to `name`: whether it counts, and whether it gives the use back.
    pub async fn bounced(
        &self,
        name: AliasName,
        message: MessageId,
        failure: Failure,
        now: Timestamp,
    ) -> Result<Bounced> {
        if !may_bounce(message, now) {
            return Ok(Bounced::default());
        }
        let bounce = move |connection: &Connection| {
            let spent: Option<i64> = connection
                .prepare_cached(BOUNCE)?
                .query_row([message.as_octets()], |row| row.get(0))
                .optional()?;
            let (Some(spent), Some(mut record)) = (spent, aliases::lookup_record(connection, &name)?) else {
                return Ok(Bounced::default());
            };
            let bounced = record.bounce(&failure, spent, now);
            if bounced != Bounced::default() {
                aliases::update(connection, &record)?;
            }
            Ok(bounced)
        };
        self.writer.run(bounce).await
    }
}
