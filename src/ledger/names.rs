//! Names: taken out of the keyspace at random, and for good.

use rusqlite::Connection;

use super::LedgerError;
use crate::alias::AliasName;

/// Takes a free name. Each collision makes all later names one character longer, which makes the
/// keyspace 32 times as large.
pub(super) fn reserve(connection: &Connection) -> Result<AliasName, LedgerError> {
    loop {
        let name =
            AliasName::random(length(connection)?).map_err(|cause| LedgerError::Random(cause.to_string()))?;
        let taken = connection
            .prepare_cached("INSERT INTO names (name) VALUES (?1) ON CONFLICT DO NOTHING")?
            .execute([name.as_str()])?;
        if taken == 1 {
            return Ok(name);
        }
        connection.execute("UPDATE state SET name_length = name_length + 1", [])?;
    }
}

fn length(connection: &Connection) -> Result<usize, LedgerError> {
    let length: i64 =
        connection.prepare_cached("SELECT name_length FROM state")?.query_row([], |row| row.get(0))?;
    Ok(usize::try_from(length).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A keyspace in which every name of up to `taken` characters has been handed out.
    fn keyspace(taken: usize) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE names (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
                 CREATE TABLE state (name_length INTEGER NOT NULL) STRICT;
                 INSERT INTO state VALUES (1);",
            )
            .unwrap();
        for length in 1..=taken {
            while count(&connection, length) < 32usize.pow(u32::try_from(length).unwrap()) {
                let name = AliasName::random(length).unwrap();
                connection.execute("INSERT OR IGNORE INTO names VALUES (?1)", [name.as_str()]).unwrap();
            }
        }
        connection
    }

    fn count(connection: &Connection, length: usize) -> usize {
        let length = i64::try_from(length).unwrap();
        let count: i64 = connection
            .query_row("SELECT count(*) FROM names WHERE length(name) = ?1", [length], |row| row.get(0))
            .unwrap();
        usize::try_from(count).unwrap()
    }

    #[test]
    fn each_collision_makes_names_one_character_longer_for_good() {
        for taken in 0..=2 {
            let connection = keyspace(taken);
            assert_eq!(reserve(&connection).unwrap().as_str().len(), taken + 1);
            assert_eq!(length(&connection).unwrap(), taken + 1);
        }
    }
}
