//! The text of a message on its way, and what it costs in the end.
//!
//! 1. The text streams to the smarthost, all but the final dot.
//! 2. One use of every alias is taken, durably: **the decrement is the gate to the final dot.**
//! 3. The smarthost's answer settles: delivered, given back, or in doubt (and spent).
//!
//! Dropping a [`Settlement`] before [`Settlement::settle`] closes the smarthost's connection
//! without a dot, and has spent nothing.

use super::Mx;
use super::reply;
use super::trace::{HeaderWatch, joint};
use super::verdict::Verdict;
use crate::alias::AliasName;
use crate::clock::Timestamp;
use crate::ledger::SpendOutcome;
use crate::relay::{Body, Outcome};

/// Octets of the text that decide how it is joined to our fields: `>From `.
const HEAD: usize = 6;

/// A message between 354 and the answer to its final dot.
pub(super) struct Settlement<'a> {
    mx: &'a Mx,
    names: Vec<AliasName>,
    body: Body,
    /// Our header fields, until they have been sent.
    fields: Option<String>,
    /// The first octets of the text, until the fields have been sent.
    head: Vec<u8>,
    watch: HeaderWatch,
    max_size: u64,
    received: u64,
}

impl<'a> Settlement<'a> {
    /// `max_size` counts the client's octets only, not those of `fields`.
    pub(super) fn new(
        mx: &'a Mx,
        names: Vec<AliasName>,
        body: Body,
        fields: String,
        watch: HeaderWatch,
        max_size: u64,
    ) -> Self {
        Settlement { mx, names, body, fields: Some(fields), head: Vec::new(), watch, max_size, received: 0 }
    }

    /// Passes on a piece of the text. On an error the message is to be given up.
    pub(super) async fn write(&mut self, piece: &[u8]) -> Result<(), Verdict> {
        self.received += piece.len() as u64;
        if self.received > self.max_size {
            return Err(Verdict::new(reply::TOO_LARGE, "too-large"));
        }
        self.watch.see(piece)?;
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
    pub(super) async fn settle(mut self, id: &str, now: Timestamp) -> Verdict {
        if let Err(verdict) = self.complete(now).await {
            return verdict;
        }
        match self.body.finish().await {
            Outcome::Accepted => Verdict::new(reply::accepted(id), "delivered"),
            Outcome::Unknown => Verdict::new(reply::OUTCOME_UNKNOWN, "in-doubt"),
            Outcome::Refused(code) => {
                refund(self.mx, self.names).await;
                match code {
                    552 => Verdict::new(reply::TOO_LARGE, "smarthost-refused-message"),
                    500.. => Verdict::new(reply::MESSAGE_REFUSED, "smarthost-refused-message"),
                    _ => Verdict::new(reply::MESSAGE_LATER, "smarthost-deferred-message"),
                }
            }
        }
    }

    /// Everything up to the final dot, and the uses that open the way to it.
    async fn complete(&mut self, now: Timestamp) -> Result<(), Verdict> {
        self.write_head().await?;
        self.body.flush().await.map_err(|cause| Verdict::lost(&cause))?;
        self.spend(now).await
    }

    async fn write_head(&mut self) -> Result<(), Verdict> {
        let Some(fields) = self.fields.take() else { return Ok(()) };
        let head = std::mem::take(&mut self.head);
        for part in [fields.as_bytes(), joint(&head), &head] {
            self.body.write(part).await.map_err(|cause| Verdict::lost(&cause))?;
        }
        Ok(())
    }

    /// Takes one use of every alias, or tells why not.
    async fn spend(&self, now: Timestamp) -> Result<(), Verdict> {
        if self.names.is_empty() {
            return Ok(()); // the postmaster's mail is not counted
        }
        match self.mx.ledger.spend(self.names.clone(), now).await {
            Ok(SpendOutcome::Spent(_)) => Ok(()),
            Ok(SpendOutcome::Exhausted(lost)) if lost.len() < self.names.len() => {
                Err(Verdict::new(reply::SOME_USED_UP, "some-used-up"))
            }
            Ok(SpendOutcome::Exhausted(_)) => Err(Verdict::new(reply::NO_ALIAS, "used-up")),
            Err(cause) => Err(Verdict::ledger(&cause)),
        }
    }
}

async fn refund(mx: &Mx, names: Vec<AliasName>) {
    if names.is_empty() {
        return;
    }
    if let Err(cause) = mx.ledger.refund(names).await {
        tracing::error!(%cause, "a use that was not delivered could not be given back");
    }
}
