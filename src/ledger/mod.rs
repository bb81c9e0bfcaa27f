//! The ledger: aliases, their uses, their names and their keys. No SQL and no SMTP stands here: the engine
//! that keeps them is SQLite.
//!
//! Every promise about a use is kept by the engine: a spend is one conditional change, durable before it is
//! answered. A look-up waits for a reader without blocking, and then runs on the thread of its caller.
//!
//! Time is an argument everywhere, so that tests need no sleeping. Its unit is the second;
//! fractions are cut off.
//!
//! | file | what is in it |
//! |---|---|
//! | [`request`] | what can be asked, and the answers |
//! | [`record`] | all that is kept of an alias; what moves to another ledger |
//! | [`policy`] | the rules: names, rows of bounces, amendments, how long what is kept |
//! | [`idempotency`] | requests that may come twice and give one alias |
//! | [`error`] | what can go wrong, whatever the engine |
//! | [`counters`] | what is counted |
//! | [`sqlite`] | the engine, and its files: lock, backup, restore |

mod counters;
mod error;
mod idempotency;
mod policy;
mod record;
mod request;
mod sqlite;

pub use error::{LedgerError, Nature, OpenError, Result};
pub use idempotency::{IdempotencyKey, Issuance};
pub use record::{Clash, Moved, Record};
pub use request::{AmendOutcome, Amendment, Bounced, Issued, NewAlias, Purged, SpendOutcome};
pub use sqlite::{
    BackupError, BackupLog, CarriedOver, DataDirLock, FILE_NAME, Phase, Restored, Revoked, Summary, back_up,
    part_of, restore, summary,
};

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::alias::{Alias, AliasName, Caps, ManageKey};
use crate::bounce::Failure;
use crate::clock::Timestamp;
use crate::message_id::MessageId;
use crate::metrics::{Metrics, seconds};
use counters::Counters;
use idempotency::KeyMaker;
use sqlite::Engine;

/// A handle to the ledger; clones share the engine.
#[derive(Clone)]
pub struct Ledger {
    engine: Arc<Engine>,
    secret: Arc<[u8]>,
    latest: Option<Timestamp>,
    key_maker: KeyMaker,
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
        let (engine, secret, latest) = Engine::open(data_dir, initial_length, counters.clone())?;
        let key_maker = KeyMaker::new(&secret);
        Ok(Ledger { engine: Arc::new(engine), secret: secret.into(), latest, key_maker, counters })
    }

    /// Hands out a new alias under a name that was never used before.
    pub async fn issue(&self, new: NewAlias, now: Timestamp) -> Result<Issued> {
        let issued = self.engine.issue(new, now).await?;
        self.counters.aliases.inc();
        Ok(issued)
    }

    /// How to recognise, for a day, a request that came with the client's `key`. `request` is in any
    /// form that is the same each time.
    pub fn idempotency_key(&self, key: &str, request: &str) -> IdempotencyKey {
        self.key_maker.idempotency_key(key, request)
    }

    /// What the same request has given before; `None` when it is new.
    pub async fn repeated(&self, key: &IdempotencyKey, now: Timestamp) -> Result<Option<Issuance>> {
        self.engine.find_issuance(key, now).await
    }

    /// As [`Ledger::issue`], or the alias that the same request has given before.
    pub async fn issue_once(&self, new: NewAlias, key: IdempotencyKey, now: Timestamp) -> Result<Issuance> {
        let issuance = self.engine.issue_once(new, key, now).await?;
        if matches!(issuance, Issuance::New(_)) {
            self.counters.aliases.inc();
        }
        Ok(issuance)
    }

    /// Reads an alias; `None` when there never was one, or it has been purged or revoked.
    /// An alias past its end may still be there: ask [`Alias::state`]. The time does not tell whether
    /// there is one.
    pub async fn lookup(&self, name: &AliasName) -> Result<Option<Alias>> {
        self.engine.lookup(name).await
    }

    /// Reads an alias for the holder of its manage key. A wrong key and a missing alias take the
    /// same time and give the same answer.
    pub async fn lookup_with_key(&self, name: &AliasName, key: &ManageKey) -> Result<Option<Alias>> {
        self.engine.lookup_with_key(name, key).await
    }

    /// Shows every alias to `visit`, in the order of their names, until it fails. For the
    /// operator: some hundreds are read at once, and no reader is held while they are shown.
    ///
    /// # Errors
    /// What `visit` returned, or that the ledger could not be read on.
    pub async fn for_each<E: From<LedgerError>>(
        &self,
        mut visit: impl FnMut(Alias) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut last = String::new();
        loop {
            let page = self.engine.page_after(last).await?;
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
    pub async fn export<E: From<LedgerError>>(
        &self,
        visit: impl FnMut(Moved) -> Result<(), E>,
    ) -> Result<(), E> {
        self.engine.export(visit).await
    }

    /// Imports what another ledger has exported: all of it, or nothing when one of the names is taken.
    /// Then these, each with its index in `moved`.
    pub async fn import(&self, moved: Vec<Moved>) -> Result<Vec<(usize, Clash)>> {
        self.engine.import(moved).await
    }

    /// Takes one use of `name` for `message`; durable when this returns. A caller that stops waiting may have
    /// spent the use all the same.
    ///
    /// # Errors
    /// When it could not be written, or a use was spent on `message` before. Nothing was taken.
    pub async fn spend(&self, name: AliasName, message: MessageId, now: Timestamp) -> Result<SpendOutcome> {
        let outcome = self.engine.spend(name, message, now).await?;
        if outcome == SpendOutcome::Spent {
            self.counters.spent.inc();
        }
        Ok(outcome)
    }

    /// Gives back the use of `name` that was spent on `message`: the smarthost has refused it. At
    /// most once, however often it is called, and not when the message has bounced meanwhile: then false.
    pub async fn refund(&self, name: AliasName, message: MessageId) -> Result<bool> {
        let is_refunded = self.engine.refund(name, message).await?;
        self.counters.refunded.inc_by(is_refunded.into());
        Ok(is_refunded)
    }

    /// Changes an alias for its holder, under the operator's `caps`.
    pub async fn amend(
        &self,
        name: AliasName,
        amendment: Amendment,
        caps: Caps,
        now: Timestamp,
    ) -> Result<AmendOutcome> {
        self.engine.amend(name, amendment, caps, now).await
    }

    /// Deletes an alias with all its data but its name; false when it does not exist. The next
    /// purge clears what the engine's log still holds of it.
    pub async fn revoke(&self, name: AliasName) -> Result<bool> {
        let existed = self.engine.revoke(name).await?;
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
    ) -> Result<Bounced> {
        let bounced = self.engine.bounced(name, message, failure, now).await?;
        self.counters.refunded.inc_by(bounced.is_refunded.into());
        Ok(bounced)
    }

    /// Deletes every alias that is over, with all its data but its name, so that nothing of it,
    /// nor of those revoked since the last purge, is left in any file. (While a reader sees an old
    /// state, the engine's log must keep it; then a later commit or purge clears it.)
    ///
    /// # Errors
    /// When not everything could be deleted or cleared; what was deleted stays deleted.
    pub async fn purge(&self, now: Timestamp) -> Result<Purged> {
        let start = Instant::now();
        let purged = self.engine.purge(now).await;
        self.counters.purge_seconds.observe(seconds(start.elapsed()));
        self.counters.purges[usize::from(purged.is_err())].inc();
        if purged.is_ok() {
            self.counters.last_purge.set(now.as_second());
            match self.engine.count().await {
                Ok(count) => self.counters.aliases.set(count.into()),
                Err(cause) => tracing::warn!(%cause, "the aliases could not be counted"),
            }
        }
        purged
    }

    /// The latest instant that had been noted when it was opened: for [`crate::clock::has_been`].
    pub fn latest(&self) -> Option<Timestamp> {
        self.latest
    }

    /// Whether it can be read and written right now; what is written is that it has been `now`.
    pub async fn check(&self, now: Timestamp) -> Result<()> {
        self.engine.check(now).await
    }

    /// What is counted here.
    pub fn metrics(&self) -> &Metrics {
        &self.counters.metrics
    }

    /// A secret of 32 octets that was made with the ledger and stays with it, to derive keys from.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// Waits until nothing can be changed any more: after [`Ledger::close`], or when the engine
    /// has failed for good, which only a new process can repair.
    pub async fn closed(&self) {
        self.engine.closed().await;
    }

    /// Answers what is queued, then closes the engine. Later calls fail with [`LedgerError::Closed`].
    pub async fn close(&self) {
        self.engine.close().await;
    }
}
