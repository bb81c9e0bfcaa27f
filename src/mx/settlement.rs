//! The text of a message on its way, and what it costs in the end.
//!
//! 1. The text streams to the smarthost, all but the final dot.
//! 2. One use of the alias is taken, durably: **the decrement is the gate to the final dot.**
//! 3. The smarthost's answer settles: delivered, given back, or in doubt (and spent).
//!
//! Dropping a [`Settlement`] before [`Settlement::settle`] closes the smarthost's connection
//! without a dot, and has spent nothing.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::Mx;
use super::reply;
use super::verdict::Verdict;
use crate::alias::AliasName;
use crate::clock::Timestamp;
use crate::crash;
use crate::ledger::{Ledger, LedgerError, SpendOutcome};
use crate::message_id::MessageId;
use crate::relay::{Body, Lease, Outcome};
use crate::smtp::headers::{HeaderWatch, joint};

/// Octets of the text that decide how it is joined to our fields: `>From `.
const HEAD: usize = 6;

/// How long a use may take to be taken: longer than the ledger waits for a lock, shorter than a
/// client's patience.
const SPEND_TIMEOUT: Duration = Duration::from_secs(30);

/// A refund that fails is tried again, at first after this long, then after twice the time as before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// At last after this long.
const REFUND_PAUSE: Duration = Duration::from_secs(64);

/// And so often: half an hour, within the hour for which the ledger keeps used-up aliases.
const REFUND_TRIES: u32 = 32;

/// A message between 354 and the answer to its final dot.
pub(super) struct Settlement<'a> {
    mx: &'a Mx,
    id: MessageId,
    /// Whose use the message takes; `None`: the postmaster's mail is not counted.
    alias: Option<AliasName>,
    body: Body,
    /// The connection's; given back after it.
    lease: Lease,
    /// Our header fields, until they have been sent.
    fields: Option<String>,
    /// The first octets of the text, until the fields have been sent.
    head: Vec<u8>,
    watch: HeaderWatch,
    /// 0: no limit.
    max_size: u64,
    received: u64,
}

impl<'a> Settlement<'a> {
    /// `max_size` counts the client's octets only, not those of `fields`.
    pub(super) fn new(
        mx: &'a Mx,
        id: MessageId,
        alias: Option<AliasName>,
        (body, lease): (Body, Lease),
        fields: String,
        watch: HeaderWatch,
        max_size: u64,
    ) -> Self {
        let (fields, head) = (Some(fields), Vec::new());
        Settlement { mx, id, alias, body, lease, fields, head, watch, max_size, received: 0 }
    }

    /// Passes on a piece of the text. On an error the message is to be given up.
    pub(super) async fn write(&mut self, piece: &[u8]) -> Result<(), Verdict> {
        self.received += piece.len() as u64;
        if self.max_size > 0 && self.received > self.max_size {
            return Err(Verdict::new(reply::TOO_LARGE, "too-large"));
        }
        self.watch.examine(piece)?;
        if self.fields.is_none() {
            return self.body.write(piece).await.map_err(|cause| Verdict::lost(&cause));
        }
        self.head.extend_from_slice(piece);
        if self.head.len() < HEAD {
            return Ok(());
        }
        self.write_head().await
    }

    /// The client's end of data has been read: steps 2 and 3.
    ///
    /// To be awaited to its end whatever becomes of the client, which has said its last word.
    pub(super) async fn settle(mut self, now: Timestamp) -> Verdict {
        self.lease.keep();
        if let Err(verdict) = self.complete(now).await {
            return verdict;
        }
        let refund = || give_back(self.mx, self.alias, self.id);
        match self.body.finish().await {
            Outcome::Accepted => {
                self.mx.counters.octets.inc_by(self.received);
                crash::point("answered");
                Verdict::new(reply::accepted(self.id), "delivered")
            }
            Outcome::Unknown => Verdict::new(reply::OUTCOME_UNKNOWN, "in-doubt"),
            Outcome::NotSent => {
                refund().await;
                Verdict::new(reply::SMARTHOST_UNAVAILABLE, "smarthost-lost")
            }
            Outcome::Refused(code) => {
                crash::point("refused");
                refund().await;
                crash::point("refunded");
                Verdict::message_refused(code)
            }
        }
    }

    /// Everything up to the final dot, and the use that opens the way to it.
    async fn complete(&mut self, now: Timestamp) -> Result<(), Verdict> {
        self.write_head().await?;
        self.body.flush().await.map_err(|cause| Verdict::lost(&cause))?;
        crash::point("text");
        self.spend(now).await?;
        crash::point("spent");
        Ok(())
    }

    async fn write_head(&mut self) -> Result<(), Verdict> {
        let Some(fields) = self.fields.take() else { return Ok(()) };
        let head = std::mem::take(&mut self.head);
        for part in [fields.as_bytes(), joint(&head), &head] {
            self.body.write(part).await.map_err(|cause| Verdict::lost(&cause))?;
        }
        Ok(())
    }

    /// Takes one use of the alias, or tells why not.
    async fn spend(&self, now: Timestamp) -> Result<(), Verdict> {
        let Some(name) = self.alias.clone() else { return Ok(()) };
        let (ledger, id) = (self.mx.ledger.clone(), self.id);
        let mut spending = Box::pin(async move { ledger.spend(name, id, now).await });
        match timeout(SPEND_TIMEOUT, &mut spending).await {
            Ok(Ok(SpendOutcome::Spent)) => Ok(()),
            Ok(Ok(SpendOutcome::Exhausted)) => Err(Verdict::new(reply::NO_ALIAS, "used-up")),
            Ok(Err(cause)) => Err(Verdict::ledger(&cause)),
            Err(_) => {
                // No dot goes out for this; what is taken all the same belongs back.
                let (ledger, name) = (self.mx.ledger.clone(), self.alias.clone());
                self.mx.refunds.spawn(async move {
                    if let (Ok(SpendOutcome::Spent), Some(name)) = (spending.await, name) {
                        keep_giving_back(ledger, name, id, Duration::ZERO).await;
                    }
                });
                tracing::error!("the ledger is too slow to take a use");
                Err(Verdict::new(reply::NO_ROOM, "ledger-failed"))
            }
        }
    }
}

/// Gives back the use that `message` has taken of `alias`. When that fails at first it goes on behind
/// the scenes, so that the client is not kept waiting.
async fn give_back(mx: &Mx, alias: Option<AliasName>, message: MessageId) {
    let Some(name) = alias else { return };
    if try_refund(&mx.ledger, &name, message).await.is_ok() {
        return;
    }
    mx.refunds.spawn(keep_giving_back(mx.ledger.clone(), name, message, FIRST_PAUSE));
}

/// Gives back the use that `message` has taken of `name`, after `pause`, and again and again until
/// that succeeds.
async fn keep_giving_back(ledger: Ledger, name: AliasName, message: MessageId, mut pause: Duration) {
    for _ in 0..REFUND_TRIES {
        sleep(pause).await;
        pause = (pause * 2).clamp(FIRST_PAUSE, REFUND_PAUSE);
        match try_refund(&ledger, &name, message).await {
            Ok(()) => return,
            Err(LedgerError::Closed) => break,
            Err(_) => {}
        }
    }
    tracing::error!(id = %message, alias = name.shortened(), "the use of a message that was not delivered is lost");
}

async fn try_refund(ledger: &Ledger, name: &AliasName, message: MessageId) -> Result<(), LedgerError> {
    ledger.refund(name.clone(), message).await.inspect_err(|cause| {
        tracing::warn!(%cause, "a use that was not delivered could not be given back yet");
    })
}
