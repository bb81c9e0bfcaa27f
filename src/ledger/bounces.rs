//! Bounces: what the report of a failure changes, once for a delivery.

use rusqlite::{Connection, OptionalExtension};

use super::{LedgerError, aliases};
use crate::alias::AliasName;
use crate::bounce::Failure;
use crate::clock::Timestamp;
use crate::message_id::MessageId;

/// For so many seconds, a week, a message may bounce: senders give up after four or five days
/// (RFC 5321 §4.5.4.1).
pub(super) const AWAITED_FOR: i64 = 7 * 24 * 3600;

/// So many seconds after its use was spent, the bounce of a message may give it back. What the next
/// host refuses comes back at once; a mailbox that reads its mail and bounces it then has had it.
const REFUND_WINDOW: i64 = 60;

/// What a bounce has changed; nothing, when there is no such delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounced {
    /// Bounces in a row, when this one counts.
    pub in_a_row: Option<u32>,
    /// The use of the message was given back.
    pub is_refunded: bool,
}

pub(super) const BOUNCE: &str = "DELETE FROM deliveries WHERE message = ?1 RETURNING spent";

/// Bounces are in a row as long as nearly every message since the row began has bounced. One may be
/// missing, for the bounce of the latest message may still be on its way; two missing are a
/// delivery, and the row begins anew with this bounce.
///
/// What is missing is `used - row_start - bounces`, before this bounce is counted. A use that is
/// given back (`?2` is 1) is no longer in `used`, so it is taken off `row_start` as well.
pub(super) const COUNT: &str = "
    UPDATE aliases SET
        used      = max(used - ?2, 0),
        bounces   = iif(used - row_start <= bounces + 2, bounces + 1, 1),
        row_start = iif(used - row_start <= bounces + 2, row_start, used - 1) - ?2
    WHERE name = ?1 RETURNING bounces";

/// The bounce of `message` to `name`: whether it counts, and whether it gives the use back.
pub(super) fn bounced(
    connection: &Connection,
    name: &AliasName,
    message: MessageId,
    failure: &Failure,
    now: Timestamp,
) -> Result<Bounced, LedgerError> {
    if now.as_second() - message.began().as_second() >= AWAITED_FOR {
        return Ok(Bounced::default());
    }
    let spent: Option<i64> =
        connection.prepare_cached(BOUNCE)?.query_row([message.as_octets()], |row| row.get(0)).optional()?;
    let (Some(spent), Some(alias)) = (spent, aliases::lookup(connection, name)?) else {
        return Ok(Bounced::default());
    };
    let is_refunded = now.as_second() - spent < REFUND_WINDOW && failure.is_only_of(&alias.target);
    let in_a_row = if failure.is_fault_of(&alias.target) {
        let parameters = (name.as_str(), i64::from(is_refunded));
        Some(connection.prepare_cached(COUNT)?.query_row(parameters, |row| row.get(0))?)
    } else {
        if is_refunded {
            connection.prepare_cached(super::uses::REFUND)?.execute([name.as_str()])?;
        }
        None
    };
    Ok(Bounced { in_a_row, is_refunded })
}
