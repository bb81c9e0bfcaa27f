//! The ledger: aliases, their uses and their names, in SQLite. The only SQL of the program.
//!
//! One **writer thread** owns the write connection and commits in groups ([`writer`]); readers
//! come from a pool and see the last commit (WAL). Every promise about a use is kept here: a
//! spend is one conditional `UPDATE`, durable before it is answered.
//!
//! Time is an argument everywhere, so that tests need no sleeping. Its unit is the second;
//! fractions are cut off.
//!
//! | file | what is in it |
//! |---|---|
//! | [`open`] | whose file is it, which schema, is it sound |
//! | [`writer`] | the thread that writes: groups, commits, answers |
//! | [`checkpointer`] | the thread that moves the write-ahead log into the database |
//! | [`aliases`] | one alias: handed out, read, changed, revoked |
//! | [`names`], [`targets`] | its name, never used again; its target, never left behind |
//! | [`repeats`] | requests that may come twice and give one alias |
//! | [`uses`] | spend and refund |
//! | [`bounces`] | what a message that came back changes |
//! | [`purge`] | the end of what is over |
//! | [`transfer`] | all of it, to be moved to another ledger |
//! | [`lock`] | one server for a data directory |
//! | [`backup`], [`restore`] | a copy of it, and back |
//! | [`aside`] | the ledger that a restore replaces |
//! | [`peek`] | a look from outside, which changes nothing |
//! | [`owner`], [`files`] | root in the service's directory; files that are private, and on the disk |
//! | [`counters`] | what is counted |
//! | [`error`] | what can go wrong, in the ledger's own words |

mod aliases;
mod aside;
mod backup;
mod bounces;
mod checkpointer;
mod counters;
mod error;
mod files;
mod lock;
mod names;
mod open;
mod owner;
mod peek;
mod purge;
mod repeats;
mod restore;
mod targets;
mod transfer;
mod uses;
mod writer;

pub use aliases::{AmendOutcome, Amendment, Issued, NewAlias};
pub use backup::{BackupError, Phase, back_up, part_of};
pub use bounces::Bounced;
pub use error::{LedgerError, OpenError};
pub use lock::DataDirLock;
pub use peek::{Peek, peek};
pub use purge::Purged;
pub use repeats::{Repeatable, Repeated};
pub use restore::{BackupLog, CarriedOver, Restored, Revoked, restore};
pub use transfer::{Clash, Moved, Record};
pub use uses::SpendOutcome;

use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Instant;

use r2d2::Pool;
use r2d2_sqlite::SqliteConnectionManager;

use crate::alias::{Alias, AliasName, Caps, ManageKey};
use crate::bounce::{BounceKey, Failure};
use crate::clock::Timestamp;
use crate::message_id::MessageId;
use crate::metrics::{Metrics, seconds};
use checkpointer::Checkpointer;
use counters::Counters;
use repeats::RepeatKey;
use writer::Writer;

/// The file's name inside the data directory.
pub const FILE_NAME: &str = "tempalias.db";

const UNPOISONED: &str = "nobody panics while holding this lock";

/// A handle to the ledger; clones share the writer thread and the readers.
#[derive(Clone)]
pub struct Ledger {
    writer: Arc<Writer>,
    /// Taken out by [`Ledger::close`]: the writer has to be the last connection, only then does
    /// SQLite fold the write-ahead log into the database and delete it.
    readers: Arc<RwLock<Option<Pool<SqliteConnectionManager>>>>,
    bounce_key: BounceKey,
    repeat_key: RepeatKey,
    counters: Arc<Counters>,
}

impl Ledger {
    /// Opens the ledger in `data_dir`, or makes one whose first names have `initial_length`
    /// characters.
    ///
    /// # Errors
    /// When it cannot be opened, is damaged, read-only, another program's, or was written by a
    /// newer version. Then nothing in it has been touched.
    pub fn open(data_dir: &Path, initial_length: usize) -> Result<Self, OpenError> {
        let counters = Arc::<Counters>::default();
        owner::acting_in(data_dir, || {
            let opened = open::open(&data_dir.join(FILE_NAME), initial_length)?;
            Ok(Ledger {
                writer: Arc::new(Writer::start(
                    opened.write,
                    Checkpointer::start(opened.mover),
                    counters.clone(),
                )),
                readers: Arc::new(RwLock::new(Some(opened.readers))),
                bounce_key: BounceKey::new(&opened.bounce_secret),
                repeat_key: RepeatKey::new(&opened.bounce_secret),
                counters,
            })
        })
    }

    /// Hands out a new alias under a name that was never used before.
    pub async fn issue(&self, new: NewAlias, now: Timestamp) -> Result<Issued, LedgerError> {
        let issued = self.writer.run(move |connection| aliases::issue(connection, new, now)).await?;
        self.counters.aliases.inc();
        Ok(issued)
    }

    /// How to know again, for a day, what came with the client's `key`: the `request`, in any
    /// form that is the same each time.
    pub fn repeatable(&self, key: &str, request: &str) -> Repeatable {
        self.repeat_key.repeatable(key, request)
    }

    /// What the same request has given before; `None` when it is new.
    pub fn repeated(&self, repeatable: &Repeatable, now: Timestamp) -> Result<Option<Repeated>, LedgerError> {
        repeats::find(&*self.reader()?, repeatable, now)
    }

    /// As [`Ledger::issue`], or the alias that the same request has given before.
    pub async fn issue_once(
        &self,
        new: NewAlias,
        repeatable: Repeatable,
        now: Timestamp,
    ) -> Result<Repeated, LedgerError> {
        let repeated =
            self.writer.run(move |connection| repeats::issue(connection, new, repeatable, now)).await?;
        if matches!(repeated, Repeated::New(_)) {
            self.counters.aliases.inc();
        }
        Ok(repeated)
    }

    /// Reads an alias; `None` when there never was one, or it has been purged or revoked.
    /// An alias past its end may still be there: ask [`Alias::state`]. The time tells nothing of whether
    /// there is one.
    pub fn lookup(&self, name: &AliasName) -> Result<Option<Alias>, LedgerError> {
        aliases::lookup_evenly(&*self.reader()?, name)
    }

    /// Reads an alias for the holder of its manage key. A wrong key and a missing alias take the
    /// same time and give the same answer.
    pub fn lookup_with_key(&self, name: &AliasName, key: &ManageKey) -> Result<Option<Alias>, LedgerError> {
        aliases::lookup_with_key(&*self.reader()?, name, key)
    }

    /// Shows every alias to `visit`, in the order of their names, until it fails. For the
    /// operator: some hundreds are read at once, and no reader is held while they are shown.
    ///
    /// # Errors
    /// What `visit` returned, or that the ledger could not be read on.
    pub fn for_each<E: From<LedgerError>>(
        &self,
        mut visit: impl FnMut(Alias) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut last = String::new();
        loop {
            let page = aliases::page_after(&*self.reader()?, &last)?;
            let Some(alias) = page.last() else { return Ok(()) };
            last = alias.name.to_string();
            page.into_iter().try_for_each(&mut visit)?;
        }
    }

    /// Shows everything to `visit` that is needed to go on with another ledger, as it is at one instant,
    /// until it fails. A reader is held meanwhile.
    ///
    /// # Errors
    /// As [`Ledger::for_each`].
    pub fn export<E: From<LedgerError>>(&self, visit: impl FnMut(Moved) -> Result<(), E>) -> Result<(), E> {
        let reader = self.reader()?;
        transfer::export(&reader, visit)
    }

    /// Takes in what another ledger has exported: all of it, or nothing when one of the names cannot
    /// be had. Then these, each with its place in `moved`.
    pub async fn import(&self, moved: Vec<Moved>) -> Result<Vec<(usize, Clash)>, LedgerError> {
        self.writer.run(move |connection| transfer::import(connection, &moved)).await
    }

    /// Takes one use of `name` for `message`; durable when this returns. Who stops waiting may have
    /// spent the use all the same.
    ///
    /// # Errors
    /// When it could not be written, or a use was spent on `message` before. Nothing was taken.
    pub async fn spend(
        &self,
        name: AliasName,
        message: MessageId,
        now: Timestamp,
    ) -> Result<SpendOutcome, LedgerError> {
        let outcome = self.writer.run(move |connection| uses::spend(connection, &name, message, now)).await?;
        if outcome == SpendOutcome::Spent {
            self.counters.spent.inc();
        }
        Ok(outcome)
    }

    /// Gives back the use of `name` that was spent on `message`: the smarthost has refused it. At
    /// most once, however often it is called, and not when the message has bounced meanwhile.
    pub async fn refund(&self, name: AliasName, message: MessageId) -> Result<(), LedgerError> {
        let is_refunded = self.writer.run(move |connection| uses::refund(connection, &name, message)).await?;
        self.counters.refunded.inc_by(is_refunded.into());
        Ok(())
    }

    /// Changes an alias for its holder, under the operator's `caps`.
    pub async fn amend(
        &self,
        name: AliasName,
        amendment: Amendment,
        caps: Caps,
        now: Timestamp,
    ) -> Result<AmendOutcome, LedgerError> {
        self.writer.run(move |connection| aliases::amend(connection, &name, &amendment, caps, now)).await
    }

    /// Deletes an alias with all its data but its name; false when it does not exist. The next
    /// purge clears what the write-ahead log still holds of it.
    pub async fn revoke(&self, name: AliasName) -> Result<bool, LedgerError> {
        let existed = self.writer.run(move |connection| aliases::revoke(connection, &name)).await?;
        self.counters.aliases.sub(existed.into());
        Ok(existed)
    }

    /// Notes that `message` to the target of `name` came back with `failure`. Good once for each
    /// [`Ledger::spend`] that was not refunded, and for a week.
    pub async fn bounced(
        &self,
        name: AliasName,
        message: MessageId,
        failure: Failure,
        now: Timestamp,
    ) -> Result<Bounced, LedgerError> {
        let work = move |connection: &_| bounces::bounced(connection, &name, message, &failure, now);
        let bounced = self.writer.run(work).await?;
        self.counters.refunded.inc_by(bounced.is_refunded.into());
        Ok(bounced)
    }

    /// Deletes every alias that is over, with all its data but its name, so that nothing of it,
    /// nor of those revoked since the last purge, is left in any file. (While somebody reads an old
    /// state, the write-ahead log must keep it; then a later commit or purge clears it.)
    ///
    /// # Errors
    /// When not everything could be deleted or cleared; what was deleted stays deleted.
    pub async fn purge(&self, now: Timestamp) -> Result<Purged, LedgerError> {
        let start = Instant::now();
        let purged = self.delete_what_is_over(now).await;
        self.counters.purge_seconds.observe(seconds(start.elapsed()));
        self.counters.purges[usize::from(purged.is_err())].inc();
        if purged.is_ok() {
            self.counters.last_purge.set(now.as_second());
            self.count_aliases().await;
        }
        purged
    }

    /// Counts the aliases that are left, which takes its time when they are many.
    async fn count_aliases(&self) {
        let ledger = self.clone();
        let counting = tokio::task::spawn_blocking(move || aliases::count(&*ledger.reader()?));
        match counting.await {
            Ok(Ok(count)) => self.counters.aliases.set(count),
            Ok(Err(cause)) => tracing::warn!(%cause, "the aliases could not be counted"),
            Err(_) => tracing::warn!("the aliases could not be counted"),
        }
    }

    async fn delete_what_is_over(&self, now: Timestamp) -> Result<Purged, LedgerError> {
        let mut purged = Purged::default();
        loop {
            // In portions: a spend that comes meanwhile is not kept waiting for all of them.
            let portion = self.writer.run(move |connection| purge::portion(connection, now)).await?;
            if portion.is_empty() {
                break;
            }
            purged += portion;
        }
        while self.writer.run(move |connection| purge::repeats(connection, now)).await? > 0 {}
        while self.writer.run(move |connection| purge::deliveries(connection, now)).await? > 0 {}
        self.writer.run(move |connection| purge::note(connection, now)).await?;
        self.writer.checkpoint().await?;
        Ok(purged)
    }

    /// The latest instant that was noted: for [`crate::clock::has_been`].
    pub fn latest(&self) -> Result<Option<Timestamp>, LedgerError> {
        purge::latest(&*self.reader()?)
    }

    /// Whether it can be read and written right now; what is written is that it has been `now`.
    pub async fn check(&self, now: Timestamp) -> Result<(), LedgerError> {
        self.reader()?.query_row("SELECT 1 FROM state", [], |_| Ok(()))?;
        self.writer.run(move |connection| purge::note(connection, now)).await
    }

    /// What is counted here.
    pub fn metrics(&self) -> &Metrics {
        &self.counters.metrics
    }

    /// What our bounce addresses are signed with.
    pub fn bounce_key(&self) -> &BounceKey {
        &self.bounce_key
    }

    /// Waits until nothing can be changed any more: after [`Ledger::close`], or when the writer thread
    /// has died, which only a new process can mend.
    pub async fn closed(&self) {
        self.writer.closed().await;
    }

    /// Answers what is queued, then closes the database. Later calls fail with
    /// [`LedgerError::Closed`].
    pub async fn close(&self) {
        self.readers.write().expect(UNPOISONED).take();
        self.writer.close().await;
    }

    fn reader(&self) -> Result<r2d2::PooledConnection<SqliteConnectionManager>, LedgerError> {
        let pool = self.readers.read().expect(UNPOISONED).clone();
        Ok(pool.ok_or(LedgerError::Closed)?.get()?)
    }
}
