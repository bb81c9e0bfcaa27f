//! A fresh ledger, aliases to put into it, and what is in its files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempalias::alias::{Alias, AliasName, Caps, LimitRequest, Limits};
use tempalias::bounce::{BounceKey, Failed, Failure};
use tempalias::clock::Timestamp;
use tempalias::ledger::{
    self, AmendOutcome, Amendment, BackupError, Bounced, FILE_NAME, Issued, Ledger, LedgerError, NewAlias,
    SpendOutcome,
};
use tempalias::message_id::MessageId;
use tempfile::TempDir;

/// `seconds` after some instant that serves as the beginning of time.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// A new ledger in a directory of its own.
pub fn fresh() -> (TempDir, Ledger) {
    let dir = TempDir::new().unwrap();
    let ledger = Ledger::open(dir.path(), 6).unwrap();
    (dir, ledger)
}

/// A backup whose progress is not shown.
pub fn back_up(data_dir: &Path, file: &Path) -> Result<(), BackupError> {
    ledger::back_up(data_dir, file, |_| ())
}

pub fn limits(from: i64, until: Option<i64>, max_usage: Option<u32>) -> Limits {
    Limits { valid_from: at(from), valid_until: until.map(at), max_usage }
}

pub fn new_alias(target: &str, limits: Limits) -> NewAlias {
    NewAlias { domain: "demo.test".parse().unwrap(), target: target.parse().unwrap(), limits }
}

/// An alias for `uses` messages, at any time.
pub async fn with_uses(ledger: &Ledger, uses: u32) -> AliasName {
    with_limits(ledger, limits(0, None, Some(uses))).await
}

pub async fn with_limits(ledger: &Ledger, limits: Limits) -> AliasName {
    issue(ledger, limits).await.alias.name
}

pub async fn issue(ledger: &Ledger, limits: Limits) -> Issued {
    ledger.issue(new_alias("someone@example.net", limits), at(0)).await.unwrap()
}

/// More than any test asks for.
pub const CAPS: Caps = Caps { max_days: 60, max_usage: 100 };

/// A wish for so many uses in all.
pub fn uses(max_usage: u32) -> LimitRequest {
    LimitRequest { max_usage: Some(max_usage), ..LimitRequest::default() }
}

/// Carries out a wish for other `limits`, just after the beginning of time.
pub async fn amend(ledger: &Ledger, name: &AliasName, limits: LimitRequest) -> AmendOutcome {
    let amendment = Amendment { limits, paused: None };
    ledger.amend(name.clone(), amendment, CAPS, at(1)).await.unwrap()
}

/// Switches `name` off or on.
pub async fn pause(ledger: &Ledger, name: &AliasName, paused: bool) {
    let amendment = Amendment { paused: Some(paused), ..Amendment::default() };
    let AmendOutcome::Amended(alias, _) = ledger.amend(name.clone(), amendment, CAPS, at(1)).await.unwrap()
    else {
        panic!("{name} exists");
    };
    assert_eq!(alias.paused, paused);
}

/// Whether one use of `name` could be spent at `now`.
pub async fn spent(ledger: &Ledger, name: &AliasName, now: Timestamp) -> bool {
    let outcome = ledger.spend(name.clone(), MessageId::new(now), now).await.unwrap();
    outcome == SpendOutcome::Spent
}

/// The message on which one use of `name` was spent at `now`.
pub async fn message(ledger: &Ledger, name: &AliasName, now: Timestamp) -> MessageId {
    let id = MessageId::new(now);
    assert_eq!(ledger.spend(name.clone(), id, now).await.unwrap(), SpendOutcome::Spent);
    id
}

/// Only this recipient has not got a message.
pub fn failure(recipient: Option<&str>, is_mailbox_fault: bool) -> Failure {
    let recipient = recipient.map(|recipient| recipient.parse().unwrap());
    Failure { failed: vec![Failed { recipient, is_mailbox_fault }], is_all: true }
}

/// The mailbox is gone; whose it is, the report does not say, so it gives nothing back.
pub fn gone() -> Failure {
    failure(None, true)
}

/// What the bounce of `message` changes, hours later.
pub async fn bounced(ledger: &Ledger, name: &AliasName, message: MessageId) -> Bounced {
    let later = message.began() + Duration::from_secs(3 * 3600);
    ledger.bounced(name.clone(), message, gone(), later).await.unwrap()
}

/// Spends a use on a message that bounces; how many have in a row.
pub async fn spent_on_a_bounce(ledger: &Ledger, name: &AliasName) -> Option<u32> {
    let id = message(ledger, name, at(1)).await;
    bounced(ledger, name, id).await.in_a_row
}

/// Signs and recognises bounce addresses.
pub fn bounce_key(ledger: &Ledger) -> BounceKey {
    BounceKey::new(ledger.secret())
}

pub async fn used(ledger: &Ledger, name: &AliasName) -> u32 {
    ledger.lookup(name).await.unwrap().expect("the alias exists").used
}

pub async fn all(ledger: &Ledger) -> Vec<Alias> {
    let mut aliases = Vec::new();
    let push = |alias| {
        aliases.push(alias);
        Ok::<_, LedgerError>(())
    };
    ledger.for_each(push).await.unwrap();
    aliases
}

/// How often `text` occurs in the files of the ledger.
///
/// Another process reads them: a descriptor that this one closes would take SQLite's locks away.
pub fn occurrences(dir: &Path, text: &[u8]) -> usize {
    let bytes = Command::new("sh").args(["-c", "cat ./*"]).current_dir(dir).output().unwrap();
    assert!(bytes.status.success());
    assert!(bytes.stdout.len() > 4096, "there is a ledger in {dir:?}");
    bytes.stdout.windows(text.len()).filter(|window| *window == text).count()
}

/// The files as they are on the disk at this instant, in another directory.
pub fn snapshot(dir: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    for suffix in ["", "-wal"] {
        let file = dir.join(format!("{FILE_NAME}{suffix}"));
        assert!(Command::new("cp").arg(file).arg(copy.path()).status().unwrap().success());
    }
    copy
}

/// A small file system of its own.
pub struct Mount(PathBuf);

impl Mount {
    /// Mounts a tmpfs on `path`; `None`, and a line on the terminal, where that is not permitted.
    pub fn tmpfs(path: &Path, size: &str) -> Option<Mount> {
        std::fs::create_dir(path).unwrap();
        let option = format!("size={size}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &option, "tmpfs"]).arg(path).output();
        let refusal = match mount {
            Ok(done) if done.status.success() => return Some(Mount(path.to_owned())),
            Ok(refused) => String::from_utf8_lossy(&refused.stderr).into_owned(),
            Err(cause) => cause.to_string(),
        };
        skip(refusal.lines().next().unwrap_or("a tmpfs cannot be mounted"));
        None
    }

    /// From now on nothing can be written.
    pub fn freeze(&self) {
        let remount = Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0).status().unwrap();
        assert!(remount.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, since a failing test may still hold files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Says that the test ends here, and why: past the harness, which would swallow it.
pub fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    std::io::stderr().write_all(format!("SKIPPED {test}: {reason}\n").as_bytes()).unwrap();
}
