//! Names: taken out of the keyspace at random, and for good.

use rusqlite::Connection;

use super::LedgerError;
use crate::alias::AliasName;

/// Of so many possible names of a length at most one is handed out: the chance of a guess
/// (docs/design.md, "Names").
const THINNESS: u64 = 10_000;

/// Takes a free name. Each collision makes all later names one character longer, which makes the
/// keyspace 32 times as large; so does a keyspace in which guessing would begin to pay.
pub(super) fn reserve(connection: &Connection) -> Result<AliasName, LedgerError> {
    loop {
        let (length, handed_out) = count_one(connection)?;
        if is_crowded(length, handed_out) {
            lengthen(connection)?;
            continue;
        }
        let name = AliasName::random(length).map_err(|cause| LedgerError::Random(cause.to_string()))?;
        let taken = connection
            .prepare_cached("INSERT INTO names (name) VALUES (?1) ON CONFLICT DO NOTHING")?
            .execute([name.as_str()])?;
        if taken == 1 {
            return Ok(name);
        }
        lengthen(connection)?;
    }
}

/// Whether so many names of `length` would make a guess more likely than 1 in [`THINNESS`].
fn is_crowded(length: usize, handed_out: u64) -> bool {
    let keyspace = u32::try_from(length).ok().and_then(|length| AliasName::ALPHABET_SIZE.checked_pow(length));
    // Of a keyspace too large for the type, nobody takes a ten-thousandth.
    keyspace.is_some_and(|keyspace| handed_out.saturating_mul(THINNESS) > keyspace)
}

/// From here on names are longer. So they are, too, where it has been forgotten which were handed out: a
/// fresh part of the keyspace holds none of these.
pub(super) fn lengthen(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("UPDATE state SET name_length = name_length + 1, names_of_length = 0", [])?;
    Ok(())
}

/// After names have come from elsewhere, some of `longest` characters: no later name is shorter, and all count.
pub(super) fn recount(connection: &Connection, longest: usize) -> rusqlite::Result<()> {
    connection.execute(
        "UPDATE state SET name_length = max(name_length, ?1)",
        [i64::try_from(longest).unwrap_or(i64::MAX)],
    )?;
    let count =
        "UPDATE state SET names_of_length = (SELECT count(*) FROM names WHERE length(name) = name_length)";
    connection.execute(count, [])?;
    Ok(())
}

/// Counts one more name: the length it has to have, and how many of that length there are with it.
fn count_one(connection: &Connection) -> Result<(usize, u64), LedgerError> {
    // Not `RETURNING`: for that SQLite makes a table in memory each time.
    connection.prepare_cached("UPDATE state SET names_of_length = names_of_length + 1")?.execute([])?;
    let (length, handed_out): (i64, i64) = connection
        .prepare_cached("SELECT name_length, names_of_length FROM state")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((usize::try_from(length).unwrap_or(usize::MAX), u64::try_from(handed_out).unwrap_or(u64::MAX)))
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
        // All 32^3 of them are taken, and nobody has counted.
        let all = (0..32u64.pow(3)).map(|number| {
            let character =
                |shift: u64| char::from(b"0123456789abcdefghjkmnpqrstvwxyz"[(number >> shift & 31) as usize]);
            [character(10), character(5), character(0)].iter().collect::<String>()
        });
        for name in all {
            connection.execute("INSERT INTO names VALUES (?1)", [name]).unwrap();
        }
        assert_eq!(reserve(&connection).unwrap().as_str().len(), 4);
        assert_eq!(count_one(&connection).unwrap(), (4, 2));
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

    #[test]
    fn the_longest_names_are_never_crowded() {
        assert!(is_crowded(4, 105) && !is_crowded(4, 104));
        assert!(!is_crowded(13, u64::MAX) && !is_crowded(26, u64::MAX));
    }
}
