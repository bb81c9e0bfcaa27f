//! Targets: the real mailboxes, each in a slot that is overwritten in place.
//!
//! Why slots: `migrations/sqlite/V1__aliases.sql`. A slot is freed by the trigger there, with its alias.

use rusqlite::{Connection, OptionalExtension};

use crate::address::Mailbox;
use crate::ledger::Result;

/// Slots are multiples of so many octets: few sizes, so that a free one of the right size is
/// likely, and little space wasted on an ordinary address.
const SLOT: usize = 32;

pub(super) const FREE: &str =
    "SELECT id FROM targets WHERE free = 1 AND length(address) = length(?1) LIMIT 1";

/// Puts `target` into a free slot, or a new one; the slot's number.
pub(super) fn store(connection: &Connection, target: &Mailbox) -> Result<i64> {
    let padded = pad(target.as_str());
    let free: Option<i64> =
        connection.prepare_cached(FREE)?.query_row([&padded], |row| row.get(0)).optional()?;
    if let Some(slot) = free {
        connection
            .prepare_cached("UPDATE targets SET address = ?1, free = 0 WHERE id = ?2")?
            .execute((&padded, slot))?;
        return Ok(slot);
    }
    connection.prepare_cached("INSERT INTO targets (address) VALUES (?1)")?.execute([&padded])?;
    Ok(connection.last_insert_rowid())
}

/// The mailbox in a slot; `None` when there is none that could be.
pub(super) fn unpad(slot: &[u8]) -> Option<Mailbox> {
    let address = slot.iter().position(|&octet| octet == 0).map_or(slot, |end| &slot[..end]);
    std::str::from_utf8(address).ok()?.parse().ok()
}

fn pad(address: &str) -> Vec<u8> {
    let mut slot = address.as_bytes().to_vec();
    slot.resize(slot.len().next_multiple_of(SLOT), 0);
    slot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_out_of_its_slot_as_it_went_in() {
        for length in [1, 20, 21, 52, 53, 64] {
            let mailbox: Mailbox = format!("{}@example.com", "x".repeat(length)).parse().unwrap();
            let slot = pad(mailbox.as_str());
            assert_eq!(slot.len() % SLOT, 0);
            assert_eq!(unpad(&slot), Some(mailbox));
        }
    }

    #[test]
    fn a_freed_or_damaged_slot_holds_no_mailbox() {
        assert_eq!(unpad(&[0; SLOT]), None);
        assert_eq!(unpad(b""), None);
        assert_eq!(unpad(b"\xff@example.com\0"), None);
    }
}
