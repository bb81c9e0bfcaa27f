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
