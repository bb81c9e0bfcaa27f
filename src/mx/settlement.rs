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
use crate::alias::AliasName;
use crate::clock::Timestamp;
use crate::crash;
use crate::events::{Delivery, Event, Events, Outcome};
use crate::ledger::{Ledger, LedgerError, SpendOutcome};
use crate::message_id::MessageId;
use crate::relay::{self, Body};
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
    pub(super) mx: &'a Mx,
    pub(super) id: MessageId,
    /// Whose use the message takes; `None`: the postmaster's mail is not counted.
    pub(super) alias: Option<AliasName>,
    pub(super) body: Body,
    /// Our header fields, until they have been sent.
    pub(super) fields: Option<String>,
    /// The first octets of the text, until the fields have been sent.
    pub(super) head: Vec<u8>,
    pub(super) watch: HeaderWatch,
    /// Of the octets from the client, without our fields; 0: no limit.
    pub(super) max_size: u64,
    /// Octets that have come from the client.
    pub(super) received: u64,
}

impl Settlement<'_> {
    /// Passes on a piece of the text. On an error the message is to be given up.
    pub(super) async fn write(&mut self, piece: &[u8]) -> Result<(), Outcome> {
        self.received += piece.len() as u64;
        if self.max_size > 0 && self.received > self.max_size {
            return Err(Outcome::TooLarge);
        }
        self.watch.examine(piece)?;
        if self.fields.is_none() {
            return self.body.write(piece).await.map_err(|cause| Outcome::in_text(&cause));
        }
        self.head.extend_from_slice(piece);
        if self.head.len() < HEAD {
            return Ok(());
        }
        self.write_head().await
    }

    /// The client's end of data has been read: steps 2 and 3.
    ///
    /// May be dropped only until it has found that the smarthost's connection is not preempted; that is
    /// decided before it first waits.
    pub(super) async fn settle(mut self, now: Timestamp) -> Outcome {
        if !self.body.keep() {
            return Outcome::Preempted;
        }
        if let Err(outcome) = self.complete(now).await {
            return outcome;
        }
        let Settlement { mx, id, alias, body, received, .. } = self;
        // When that fails at first it goes on in the background, so that the client is not kept waiting.
        let give_back = async || {
            if let Some(refund) = Refund::of(mx, alias, id)
                && refund.attempt().await.is_err()
            {
                mx.refunds.spawn(refund.keep_trying(FIRST_PAUSE));
            }
        };
        match body.finish().await {
            relay::Outcome::Accepted => {
                crash::point("answered");
                Outcome::Delivered(Delivery { id, octets: received })
            }
            relay::Outcome::Unknown => Outcome::InDoubt,
            relay::Outcome::NotSent => {
                give_back().await;
                Outcome::SmarthostLost
            }
            relay::Outcome::Refused(code) => {
                crash::point("refused");
                give_back().await;
                crash::point("refunded");
                Outcome::refused(code)
            }
        }
    }

    /// Everything up to the final dot, and the use that opens the way to it.
    async fn complete(&mut self, now: Timestamp) -> Result<(), Outcome> {
        self.write_head().await?;
        self.body.flush().await.map_err(|cause| Outcome::in_text(&cause))?;
        crash::point("text");
        self.spend(now).await?;
        crash::point("spent");
        Ok(())
    }

    async fn write_head(&mut self) -> Result<(), Outcome> {
        let Some(fields) = self.fields.take() else { return Ok(()) };
        let head = std::mem::take(&mut self.head);
        for part in [fields.as_bytes(), joint(&head), &head] {
            self.body.write(part).await.map_err(|cause| Outcome::in_text(&cause))?;
        }
        Ok(())
    }

    /// Takes one use of the alias, or tells why not.
    async fn spend(&self, now: Timestamp) -> Result<(), Outcome> {
        let Some(name) = self.alias.clone() else { return Ok(()) };
        let (ledger, id) = (self.mx.ledger.clone(), self.id);
        let mut spending = Box::pin(async move { ledger.spend(name, id, now).await });
        match timeout(SPEND_TIMEOUT, &mut spending).await {
            Ok(Ok(SpendOutcome::Spent)) => Ok(()),
            Ok(Ok(SpendOutcome::Exhausted)) => Err(Outcome::UsedUp),
            Ok(Err(cause)) => {
                tracing::error!(%cause, "no use could be taken");
                Err(Outcome::LedgerFailed)
            }
            Err(_) => {
                // No dot goes out for this; what is taken all the same belongs back.
                let refund = Refund::of(self.mx, self.alias.clone(), id);
                self.mx.refunds.spawn(async move {
                    if let (Ok(SpendOutcome::Spent), Some(refund)) = (spending.await, refund) {
                        refund.keep_trying(Duration::ZERO).await;
                    }
                });
                tracing::error!("the ledger is too slow to take a use");
                Err(Outcome::LedgerFailed)
            }
        }
    }
}

/// The use that a message has taken of an alias, to be given back.
struct Refund {
    ledger: Ledger,
    events: Events,
    alias: AliasName,
    id: MessageId,
}

impl Refund {
    /// That of the message `id` to `alias`, if it takes one.
    fn of(mx: &Mx, alias: Option<AliasName>, id: MessageId) -> Option<Self> {
        Some(Refund { ledger: mx.ledger.clone(), events: mx.events.clone(), alias: alias?, id })
    }

    /// Gives it back after `pause`, and again and again until that succeeds.
    async fn keep_trying(self, mut pause: Duration) {
        for _ in 0..REFUND_TRIES {
            sleep(pause).await;
            pause = (pause * 2).clamp(FIRST_PAUSE, REFUND_PAUSE);
            match self.attempt().await {
                Ok(_) => return,
                Err(LedgerError::Closed) => break,
                Err(_) => {}
            }
        }
        let Refund { id, alias, .. } = self;
        tracing::error!(%id, alias = alias.shortened(), "the use of a message that was not delivered is lost");
    }

    /// False: it has been given back before.
    async fn attempt(&self) -> Result<bool, LedgerError> {
        let refunded = self.ledger.refund(self.alias.clone(), self.id).await;
        match &refunded {
            Ok(true) => self.events.tell(Event::Refunded { id: self.id, alias: &self.alias }),
            Ok(false) => {}
            Err(cause) => tracing::warn!(%cause, "a use that was not delivered could not be given back yet"),
        }
        refunded
    }
}
