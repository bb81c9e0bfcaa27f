//! Uses: spent on a message that is about to be delivered, given back when it is refused.
//!
//! With each use that is spent its message becomes a *delivery*, which may be undone once: by the
//! refund when the smarthost refuses, or by a bounce ([`super::bounces`]).

use rusqlite::Connection;

use super::Engine;
use crate::alias::{AliasName, SUSPENDED_AFTER_BOUNCES};
use crate::clock::Timestamp;
use crate::ledger::{Result, SpendOutcome};
use crate::message_id::MessageId;

/// The heart of the program: a use is taken only from an alias that has one and may forward now.
/// The condition is [`State::Active`](crate::alias::State) of `Alias::state`, in SQL: it is decided and written
/// in one statement.
pub(super) const SPEND: &str = "
    UPDATE aliases SET used = used + 1, last_spent = ?2
    WHERE name = ?1
      AND (max_usage IS NULL OR used < max_usage)
      AND valid_from <= ?2
      AND (valid_until IS NULL OR ?2 < valid_until)
      AND NOT paused AND bounces < ?3";

pub(super) const REFUND: &str = "UPDATE aliases SET used = used - 1 WHERE name = ?1 AND used > 0";

const DELIVER: &str = "INSERT INTO deliveries (message, spent) VALUES (?1, ?2)";

pub(super) const UNDELIVER: &str = "DELETE FROM deliveries WHERE message = ?1";

impl Engine {
    /// Takes one use of `name` for `message`.
    pub async fn spend(&self, name: AliasName, message: MessageId, now: Timestamp) -> Result<SpendOutcome> {
        let spend = move |connection: &Connection| {
            let parameters = (name.as_str(), now.as_second(), SUSPENDED_AFTER_BOUNCES);
            if connection.prepare_cached(SPEND)?.execute(parameters)? == 0 {
                return Ok(SpendOutcome::Exhausted);
            }
            connection.prepare_cached(DELIVER)?.execute((message.as_octets(), now.as_second()))?;
            Ok(SpendOutcome::Spent)
        };
        self.writer.run(spend).await
    }

    /// Gives back the use of `name` that `message` has taken; false when that has been done before, or
    /// the message has bounced.
    pub async fn refund(&self, name: AliasName, message: MessageId) -> Result<bool> {
        let refund = move |connection: &Connection| {
            if connection.prepare_cached(UNDELIVER)?.execute([message.as_octets()])? == 0 {
                return Ok(false);
            }
            connection.prepare_cached(REFUND)?.execute([name.as_str()])?;
            Ok(true)
        };
        self.writer.run(refund).await
    }
}
