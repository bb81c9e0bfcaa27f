//! Restoring a backup: it replaces the ledger as a whole or not at all, and nothing is thrown away.
//!
//! What a ledger must never forget is carried over from the one that is replaced, as far as that
//! can still be read: which names were handed out, which aliases are gone, and how many uses were
//! spent. Where it cannot be known which names were handed out, later ones are longer.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::backup::{self, Phase};
use super::error::BackupError;
use super::part::Part;
use super::replaced::Replaced;
use super::{DataDirLock, FILE_NAME, aliases, files, names, open, owner, source, verify};
use crate::clock::Timestamp;
use crate::ledger::OpenError;

/// What becomes of aliases that were revoked, or used up and purged, since the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// They stay gone.
    StayGone,
    /// They are as they were in the backup: that they were revoked is what is to be undone.
    ComeBack,
}

/// What a write-ahead log beside a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupLog {
    /// A reason to refuse the backup: any user who can make files there may have written it.
    Refused,
    /// Part of the backup, which is a copy of the files of a ledger that was in use.
    Counts,
}

/// What became of a restore.
#[derive(Debug, PartialEq, Eq)]
pub struct Restored {
    /// Aliases that are in the ledger now.
    pub aliases: u32,
    /// Where the replaced ledger is now, if there was one.
    pub set_aside: Option<PathBuf>,
    /// What was known since; `None` when there was no ledger, or it could not be read.
    pub carried_over: Option<CarriedOver>,
}

/// What the replaced ledger knew and the backup did not.
#[derive(Debug, PartialEq, Eq)]
pub struct CarriedOver {
    /// Names that were handed out since the backup.
    pub names: usize,
    /// Aliases of which uses were spent since.
    pub spent: u32,
    /// Aliases that were revoked, or over and purged, since.
    pub revoked: u32,
    /// The backup is an earlier state of the replaced ledger. If not, that one was begun anew, or
    /// from an older backup, and what was in between is not known.
    pub is_all: bool,
}

impl Restored {
    /// Whether uses may have been spent, and names handed out, of which the ledger knows nothing.
    pub fn has_forgotten(&self) -> bool {
        self.carried_over.as_ref().is_none_or(|since| !since.is_all)
    }
}

/// Replaces the ledger in `data_dir` by the backup `file`. The ledger is kept under a name with
/// the instant `now` in it; says by `report` how far it is. Root acts as the owner of the ledger as
/// soon as `file` is open.
///
/// # Errors
/// When a server or a command uses the ledger, or `file` is not a whole ledger of tempalias. Then
/// nothing has changed, unless it is [`BackupError::Unsettled`].
pub fn restore(
    data_dir: &Path,
    file: &Path,
    log: BackupLog,
    revoked: Revoked,
    now: Timestamp,
    report: impl Fn(Phase),
) -> Result<Restored, BackupError> {
    report(Phase::CheckingBackup);
    let source = open_backup(file, &data_dir.join(FILE_NAME), log)?;
    owner::acting_in(data_dir, || {
        let _server = DataDirLock::take(data_dir)?;
        let _openers =
            open::lock_directory(data_dir).map_err(|cause| owner::directory_error(data_dir, cause))?;
        replace_by(&data_dir.join(FILE_NAME), &source, file, revoked, now, report)
    })
}

/// The copy of `source`, which is at `file`, becomes `ledger`.
fn replace_by(
    ledger: &Path,
    source: &Connection,
    file: &Path,
    revoked: Revoked,
    now: Timestamp,
    report: impl Fn(Phase),
) -> Result<Restored, BackupError> {
    verify::check(source, file)?;
    let part = Part::begin(ledger)?;
    report(Phase::Copying);
    backup::copy(source, file, &part)?;
    report(Phase::CarryingOver);
    let is_there = fs::exists(ledger).map_err(BackupError::file(ledger))?;
    let is_readable = is_there && fold(ledger)?;
    let carried_over = complete(part.path(), is_readable.then_some(ledger), revoked)?;
    report(Phase::CheckingResult);
    verify::verify(part.path())?;
    let (aliases, set_aside) = replace(ledger, part, now)?;
    Ok(Restored { aliases, set_aside, carried_over })
}

/// Gives `part` the name of `ledger`; how many aliases there are now, and where the replaced ledger is.
fn replace(ledger: &Path, part: Part, now: Timestamp) -> Result<(u32, Option<PathBuf>), BackupError> {
    let replaced = Replaced::rename(ledger, now)?;
    part.finish(ledger)?;
    let set_aside = replaced.keep();
    match settle(ledger) {
        Ok(aliases) => Ok((aliases, set_aside)),
        Err(cause) => Err(BackupError::Unsettled { cause: cause.into(), set_aside }),
    }
}

/// Checks it once more under its name, as the server will find it; how many aliases there are.
fn settle(ledger: &Path) -> Result<u32, BackupError> {
    files::sync_directory_of(ledger).map_err(BackupError::file(ledger))?;
    verify::verify(ledger)?;
    let restored = source::open_source(ledger, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    aliases::count(&restored).map_err(BackupError::sqlite(ledger))
}

/// A file beside `file` is taken for part of it only if it is a log that counts: more users may be able to
/// make files there than to change this one.
fn open_backup(file: &Path, ledger: &Path, log: BackupLog) -> Result<Connection, BackupError> {
    let length = fs::metadata(file).map_err(BackupError::file(file))?.len();
    if fs::canonicalize(file).ok() == fs::canonicalize(ledger).ok() {
        return Err(BackupError::Itself(file.to_owned()));
    }
    if length == 0 {
        return Err(BackupError::unsound(file, "it is empty"));
    }
    // SQLite follows a link, and opens the files beside its target.
    let real = fs::canonicalize(file).map_err(BackupError::file(file))?;
    let is_log = files::sidecar(&real, &[files::LOG]).is_some();
    let refused = match log {
        BackupLog::Refused => &files::SIDECARS[..],
        BackupLog::Counts => &[files::JOURNAL],
    };
    if let Some(beside) = files::sidecar(&real, refused) {
        return Err(BackupError::Journal { beside, is_log });
    }
    let backup = source::open_foreign(file, is_log).map_err(|cause| match cause {
        // To restore a backup is no advice here.
        BackupError::Open(OpenError::Corrupt { path, cause }) => BackupError::Unsound { path, cause },
        other => other,
    })?;
    let page: u64 = backup
        .pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0))
        .map_err(BackupError::sqlite(file))?
        .into();
    // SQLite reads the missing part of a page as zeros, which may pass as an empty page.
    if length % page != 0 {
        return Err(BackupError::unsound(file, "its last page is cut off"));
    }
    Ok(backup)
}

/// Makes one file of `ledger` and its log; false when it cannot be read, which may be why a backup is
/// restored.
fn fold(ledger: &Path) -> Result<bool, BackupError> {
    match try_to_fold(ledger) {
        Ok(()) => Ok(true),
        Err(BackupError::Open(cause)) if cause.is_about_access() => Err(cause.into()),
        Err(cause @ (BackupError::Open(_) | BackupError::Unsound { .. })) => {
            tracing::warn!(%cause, "the ledger that is replaced cannot be read");
            Ok(false)
        }
        Err(cause) => Err(cause),
    }
}

fn try_to_fold(ledger: &Path) -> Result<(), BackupError> {
    let sqlite = BackupError::sqlite(ledger);
    let old = source::open_source(ledger, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    source::keep_log(&old, true).map_err(&sqlite)?;
    verify::check(&old, ledger)?;
    // Only the last connection can leave this mode: no other process uses the ledger.
    source::keep_log(&old, false).map_err(&sqlite)?;
    old.pragma_update(None, "journal_mode", "DELETE").map_err(&sqlite)
}

/// Makes of the copy `part` a ledger that can follow `old`.
fn complete(part: &Path, old: Option<&Path>, revoked: Revoked) -> Result<Option<CarriedOver>, BackupError> {
    let sqlite = BackupError::sqlite(part);
    let mut new = open::connect(part, OpenFlags::default())?;
    source::distrust(&new).map_err(&sqlite)?;
    // A stop in the middle leaves nothing: the next restore makes the part anew.
    new.pragma_update(None, "journal_mode", "MEMORY").map_err(&sqlite)?;
    new.pragma_update(None, "secure_delete", "ON").map_err(&sqlite)?;
    open::migrate(part, &mut new)?;
    // A bounce that has come since the backup must not be good for a second time.
    new.execute("DELETE FROM deliveries", []).map_err(&sqlite)?;
    let carried_over = old.map(|old| merge(&mut new, old, revoked)).transpose().map_err(&sqlite)?;
    if carried_over.as_ref().is_none_or(|since| !since.is_all) {
        names::lengthen(&new).map_err(&sqlite)?;
    }
    new.close().map_err(|(_, cause)| sqlite(cause))?;
    Ok(carried_over)
}

/// Of one origin (the secret is made with a ledger), and without a name that the other does not know.
const IS_EARLIER: &str = "
    SELECT (SELECT bounce_secret FROM main.state) = (SELECT bounce_secret FROM old.state)
       AND NOT EXISTS (SELECT * FROM main.names WHERE name NOT IN (SELECT name FROM old.names))";

/// Known to the old ledger, and gone there.
const REVOKED: &str = "
    FROM main.aliases WHERE name IN (SELECT name FROM old.names) AND name NOT IN (SELECT name FROM old.aliases)";

const SPENT: &str = "
    SELECT count(*) FROM main.aliases AS new JOIN old.aliases AS was USING (name) WHERE was.used > new.used";

/// Of two limits the tighter one holds: a restore never lets an alias do more than it might before.
const TIGHTEN: &str = "
    UPDATE main.aliases AS new SET
        used        = max(new.used, was.used),
        last_spent  = max(ifnull(new.last_spent, was.last_spent), ifnull(was.last_spent, new.last_spent)),
        max_usage   = min(ifnull(new.max_usage, was.max_usage), ifnull(was.max_usage, new.max_usage)),
        valid_until = min(ifnull(new.valid_until, was.valid_until), ifnull(was.valid_until, new.valid_until)),
        paused      = was.paused,
        bounces     = was.bounces,
        row_start   = was.row_start
    FROM old.aliases AS was WHERE was.name = new.name";

const LENGTH: &str =
    "UPDATE main.state SET name_length = max(name_length, (SELECT max(name_length) FROM old.state))";

const LATEST: &str = "
    UPDATE main.state SET latest = nullif(max(ifnull(latest, 0), (SELECT ifnull(max(latest), 0) FROM old.state)), 0)";

/// Only the replaced ledger knows which bounces have come.
const DELIVERIES: &str = "
    INSERT INTO main.deliveries SELECT message, spent FROM old.deliveries";

/// Takes over into `new` what the ledger at `old` knows better. That one may be of an older schema:
/// only what has been there from the first is taken for granted.
fn merge(new: &mut Connection, old: &Path, revoked: Revoked) -> rusqlite::Result<CarriedOver> {
    new.execute("ATTACH DATABASE ?1 AS old", [old.to_string_lossy()])?;
    let transaction = new.transaction()?;
    let count = |statement: &str| transaction.query_row(statement, [], |row| row.get(0));
    let is_all = transaction.query_row(IS_EARLIER, [], |row| row.get(0))?;
    let (spent, gone) = (count(SPENT)?, count(&format!("SELECT count(*) {REVOKED}"))?);
    if revoked == Revoked::StayGone {
        transaction.execute(&format!("DELETE {REVOKED}"), [])?;
    }
    transaction.execute(TIGHTEN, [])?;
    let names = transaction.execute("INSERT OR IGNORE INTO main.names SELECT name FROM old.names", [])?;
    transaction.execute(LENGTH, [])?;
    names::recount(&transaction, 0)?;
    if transaction.column_exists(Some("old"), "state", "latest")? {
        transaction.execute(LATEST, [])?;
    }
    if transaction.table_exists(Some("old"), "deliveries")? {
        transaction.execute(DELIVERIES, [])?;
    }
    transaction.commit()?;
    new.execute("DETACH DATABASE old", [])?;
    Ok(CarriedOver { names, spent, revoked: gone, is_all })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// The names in `dir` and what is in the files.
    fn contents(dir: &TempDir) -> Vec<(PathBuf, String)> {
        let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = files.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect();
        files.sort();
        files
    }

    /// A directory with what a restore is about to replace.
    fn before() -> (TempDir, PathBuf) {
        let dir = TempDir::new().unwrap();
        let ledger = dir.path().join(FILE_NAME);
        fs::write(&ledger, "the ledger").unwrap();
        fs::write(files::with_suffix(&ledger, "-wal"), "its log").unwrap();
        (dir, ledger)
    }

    #[test]
    fn when_the_new_ledger_cannot_take_its_place_the_old_one_is_as_it_was() {
        let (dir, ledger) = before();
        let were = contents(&dir);
        let part = Part::begin(&ledger).unwrap();
        fs::remove_file(part.path()).unwrap();
        replace(&ledger, part, Timestamp::MIN).unwrap_err();
        assert_eq!(contents(&dir), were);
    }

    #[test]
    fn what_fails_after_the_ledger_was_replaced_is_said_with_where_the_old_one_is() {
        let (_dir, ledger) = before();
        let part = Part::begin(&ledger).unwrap();
        fs::write(part.path(), "no ledger, whatever was found before").unwrap();
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let error = replace(&ledger, part, now).unwrap_err().to_string();
        let aside = files::with_suffix(&ledger, ".before-restore-20270115T080000Z");
        assert!(error.starts_with("restored, but "), "{error}");
        assert!(
            error.ends_with(&format!("; the ledger that was there is now {}", aside.display())),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&aside).unwrap(), "the ledger");
        assert_eq!(fs::read_to_string(files::with_suffix(&aside, "-wal")).unwrap(), "its log");
    }
}
