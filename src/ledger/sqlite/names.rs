//! Names: taken out of the keyspace at random, and for good.

use rusqlite::Connection;

use crate::alias::AliasName;
use crate::ledger::policy::Keyspace;
use crate::ledger::{LedgerError, Result};

/// Reserves a name that was never used before. Each collision makes all later names longer.
pub(super) fn reserve(connection: &Connection) -> Result<AliasName> {
    let mut keyspace = keyspace(connection)?;
    loop {
        keyspace = keyspace.with_one_more();
        let name = AliasName::random(keyspace.length as usize)
            .map_err(|cause| LedgerError::Random(cause.to_string()))?;
        if take(connection, &name)? {
            write(connection, keyspace)?;
            return Ok(name);
        }
        keyspace = keyspace.lengthened();
    }
}

/// Reserves `name`; false when it was handed out before.
pub(super) fn take(connection: &Connection, name: &AliasName) -> rusqlite::Result<bool> {
    let insert = "INSERT INTO names (name) VALUES (?1) ON CONFLICT DO NOTHING";
    Ok(connection.prepare_cached(insert)?.execute([name.as_str()])? == 1)
}

/// Makes later names longer, where it has been forgotten which were handed out.
pub(super) fn lengthen(connection: &Connection) -> rusqlite::Result<()> {
    write(connection, keyspace(connection)?.lengthened())
}

/// After names have come from elsewhere, some of `longest` characters: no later name is shorter, and all count.
pub(super) fn recount(connection: &Connection, longest: usize) -> rusqlite::Result<()> {
    let length = keyspace(connection)?.length.max(longest as u32);
    let count = "SELECT count(*) FROM names WHERE length(name) = ?1";
    let handed_out = connection.query_row(count, [length], |row| row.get(0))?;
    write(connection, Keyspace { length, handed_out })
}

fn keyspace(connection: &Connection) -> rusqlite::Result<Keyspace> {
    let select = "SELECT name_length, names_of_length FROM state";
    connection
        .prepare_cached(select)?
        .query_row([], |row| Ok(Keyspace { length: row.get(0)?, handed_out: row.get(1)? }))
}

fn write(connection: &Connection, Keyspace { length, handed_out }: Keyspace) -> rusqlite::Result<()> {
    let update = "UPDATE state SET name_length = ?1, names_of_length = ?2";
    connection.prepare_cached(update)?.execute((length, handed_out)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ledger's part for names, whose next name has `length` characters.
    fn names(length: usize) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE names (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
                 CREATE TABLE state (name_length INTEGER NOT NULL, names_of_length INTEGER NOT NULL) STRICT;",
            )
            .unwrap();
        let length = i64::try_from(length).unwrap();
        connection.execute("INSERT INTO state VALUES (?1, 0)", [length]).unwrap();
        connection
    }

    #[test]
    fn each_collision_makes_names_one_character_longer_for_good() {
        let connection = names(3);
        // All 32^3 of them are taken, and were not counted.
        let all = (0..32u64.pow(3)).map(|number| {
            let character =
                |shift: u64| char::from(b"0123456789abcdefghjkmnpqrstvwxyz"[(number >> shift & 31) as usize]);
            [character(10), character(5), character(0)].iter().collect::<String>()
        });
        for name in all {
            connection.execute("INSERT INTO names VALUES (?1)", [name]).unwrap();
        }
        assert_eq!(reserve(&connection).unwrap().as_str().len(), 4);
        assert_eq!(keyspace(&connection).unwrap(), Keyspace { length: 4, handed_out: 1 });
    }

    #[test]
    fn a_guess_hits_a_name_that_was_ever_handed_out_once_in_ten_thousand_at_most() {
        let connection = names(1);
        let mut handed_out = [0u64; 26];
        for _ in 0..10_000 {
            handed_out[reserve(&connection).unwrap().as_str().len()] += 1;
            assert!(
                handed_out
                    .iter()
                    .zip(0..)
                    .all(|(&names, length)| names * 10_000 <= 32u64.saturating_pow(length))
            );
        }
        // Of a length are as many as may be, unless two names collided before.
        assert_eq!(handed_out[..3], [0, 0, 0]);
        assert!(handed_out[3] <= 3 && handed_out[4] <= 104 && handed_out[5] <= 3355);
        // Of 6,500 names of 6 characters two collide in one run of fifty; then the rest have 7.
        assert!(handed_out[6] + handed_out[7] > 6000, "{handed_out:?}");
    }
}
