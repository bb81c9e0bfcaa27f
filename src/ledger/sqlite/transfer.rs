//! Moving: all that makes an alias, to be handed over to another ledger.

use rusqlite::Connection;
use tokio::sync::mpsc;

use super::{Engine, aliases, blocking, names};
use crate::alias::AliasName;
use crate::ledger::{Clash, LedgerError, Moved, Result};

/// Records that are read ahead of the one that is shown.
const READ_AHEAD: usize = 500;

/// Every other name that was ever handed out.
const RETIRED: &str = "SELECT name FROM names WHERE name NOT IN (SELECT name FROM aliases) ORDER BY name";

impl Engine {
    /// Shows everything to `visit`, as it is at one instant, until that fails.
    pub async fn export<E: From<LedgerError>>(
        &self,
        mut visit: impl FnMut(Moved) -> Result<(), E>,
    ) -> Result<(), E> {
        let reader = self.readers.get().await?;
        let (sender, mut receiver) = mpsc::channel(READ_AHEAD);
        let reading = blocking(move || read(&reader, &sender));
        // When `visit` fails, the receiver is dropped, which ends the reading.
        let showing = async move {
            while let Some(moved) = receiver.recv().await {
                visit(moved)?;
            }
            Ok::<_, E>(())
        };
        let (read, shown) = tokio::join!(reading, showing);
        shown?;
        Ok(read?)
    }

    /// Imports all of `moved`, or nothing when there is a clash: then all clashes, each with its index in
    /// `moved`. A retired name that is retired here, too, is no clash; one whose alias is alive here is: the
    /// alias was moved before, or lives in both.
    pub async fn import(&self, moved: Vec<Moved>) -> Result<Vec<(usize, Clash)>> {
        self.writer.run(move |connection| import(connection, &moved)).await
    }
}

/// Sends every alias, and then every other name that was ever handed out, each in the order of their names;
/// until the receiver is dropped.
fn read(connection: &Connection, sender: &mpsc::Sender<Moved>) -> Result<()> {
    // Both statements see one state.
    let state = connection.unchecked_transaction()?;
    let mut statement = state.prepare(&format!("{} ORDER BY name", aliases::SELECT_RECORD))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if sender.blocking_send(Moved::Alias(aliases::read_record(row)?)).is_err() {
            return Ok(());
        }
    }
    let mut statement = state.prepare(RETIRED)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let parsed = name.parse().map_err(|_| aliases::damaged(&name, "name"))?;
        if sender.blocking_send(Moved::Name(parsed)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn import(connection: &Connection, moved: &[Moved]) -> Result<Vec<(usize, Clash)>> {
    let mut clashes = Vec::new();
    connection.execute_batch("SAVEPOINT import")?;
    for (index, one) in moved.iter().enumerate() {
        let is_free = names::take(connection, one.name())?;
        match one {
            Moved::Alias(record) if is_free => aliases::insert(connection, record)?,
            Moved::Alias(record) => {
                let is_alive = is_alive(connection, &record.alias.name)?;
                clashes.push((index, if is_alive { Clash::Alias } else { Clash::Name }));
            }
            Moved::Name(name) if !is_free && is_alive(connection, name)? => {
                clashes.push((index, Clash::Alive))
            }
            Moved::Name(_) => {}
        }
    }
    let longest = moved.iter().map(|one| one.name().as_str().len()).max().unwrap_or(0);
    names::recount(connection, longest)?;
    let end = if clashes.is_empty() { "RELEASE import" } else { "ROLLBACK TO import; RELEASE import" };
    connection.execute_batch(end)?;
    Ok(clashes)
}

fn is_alive(connection: &Connection, name: &AliasName) -> Result<bool> {
    Ok(aliases::lookup(connection, name)?.is_some())
}
