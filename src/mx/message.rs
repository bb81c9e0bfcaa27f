//! A message within a session: DATA, the text, and the answer that settles it.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::conversation::Verb;
use super::counters::{ABORTED, PREEMPTED};
use super::reply;
use super::report::Report;
use super::session::{Next, Protocol, Session, network};
use super::settlement::Settlement;
use super::transaction::Transaction;
use super::verdict::Verdict;
use super::wire::DataError;
use crate::bounce::BounceOf;
use crate::clock;
use crate::smtp::headers::Received;

impl<'a> Session<'a> {
    /// DATA: 354, the text, and the answer to it.
    pub(super) async fn data(&mut self) -> Next {
        if let Err(refusal) = self.in_order(Verb::Data) {
            return self.say(&refusal);
        }
        if self.wire.has_spoken() {
            return self.interrupted("-", "-");
        }
        let transaction = self.transaction.take().expect("RCPT came before DATA");
        let preempted = transaction.preempted().clone();
        // As at RCPT. A client that does not read must not delay the waiter that preempted it.
        if preempted.run_until_cancelled(self.wire.flush()).await.is_none() {
            return self.give_up(&DataError::Preempted);
        }
        match transaction.bounce().cloned() {
            Some(of) if transaction.has_null_sender() => self.take_bounce(of).await,
            Some(_) => {
                self.conversation.reset();
                self.conclude("-", "-", Verdict::new(reply::BOUNCES_ONLY, "not-a-bounce"))
            }
            // Boxed, as at RCPT.
            None => Box::pin(self.forward(transaction, &preempted)).await,
        }
    }

    async fn forward(&mut self, transaction: Transaction<'a>, preempted: &CancellationToken) -> Next {
        let (id, name) = (transaction.id().to_string(), transaction.log_name());
        let alias = transaction.alias().cloned();
        let fields = self.received(&id, transaction.alias_address().as_deref(), transaction.is_utf8());
        let settlement = match preempted.run_until_cancelled(transaction.data(fields)).await {
            None => return self.give_up(&DataError::Preempted),
            Some(Ok(settlement)) => settlement,
            Some(Err(verdict)) => {
                self.conversation.reset();
                return self.conclude(&id, &name, verdict);
            }
        };
        if self.wire.has_spoken() {
            return self.interrupted(&id, &name);
        }
        self.start_data();
        match self.stream(settlement, preempted).await {
            Ok(verdict) => {
                if verdict.reply.code == 250 {
                    self.mx.note_delivery(self.peer.into(), alias.as_ref());
                }
                self.conversation.end_of_data();
                self.conclude(&id, &name, verdict)
            }
            Err(cause) => self.give_up(&cause),
        }
    }

    /// Text before the 354 is no mail client's (RFC 2920 §3.1).
    fn interrupted(&mut self, id: &str, alias: &str) -> Next {
        self.conclude(id, alias, Verdict::new(reply::OUT_OF_TURN, "out-of-turn"));
        Next::Close
    }

    /// The message did not come to its end.
    fn give_up(&mut self, cause: &DataError) -> Next {
        let is_preempted = matches!(cause, DataError::Preempted);
        self.mx.counters.messages.count(if is_preempted { PREEMPTED } else { ABORTED });
        match cause {
            DataError::Slow => self.close_with(&reply::IDLE),
            DataError::Preempted => self.give_way(),
            DataError::Endless => self.close_with(&reply::ENDLESS),
            DataError::Gone => Next::Close,
        }
    }

    /// Octets of a message that are read at the most, to refuse it at its end as it should be.
    fn patience_in_octets(&self) -> u64 {
        match self.mx.limits.max_size {
            0 => u64::MAX,
            size => size.saturating_mul(2).saturating_add(1 << 20),
        }
    }

    /// Streams the text through, and settles. After the first fault the connection to the
    /// smarthost is closed, and the text is read to its end all the same: only then may we answer.
    async fn stream(
        &mut self,
        settlement: Settlement<'a>,
        preempted: &CancellationToken,
    ) -> Result<Verdict, DataError> {
        let most = self.patience_in_octets();
        let mx = self.mx;
        let mut data = self.wire.data(|| mx.pace(), most);
        let mut so_far = Ok(settlement);
        let text = async {
            while let Some(piece) = data.next().await? {
                if let Ok(settlement) = &mut so_far
                    && let Err(verdict) = settlement.write(piece).await
                {
                    so_far = Err(verdict);
                    data.discard();
                }
            }
            Ok(())
        };
        preempted.run_until_cancelled(text).await.unwrap_or(Err(DataError::Preempted))?;
        if let Some(violation) = data.violation() {
            tracing::debug!(what = violation.as_str(), "the message is not made of lines");
            return Ok(Verdict::new(reply::BAD_TEXT, "bad-line"));
        }
        match so_far {
            Ok(settlement) => Ok(settlement.settle(clock::now()).await),
            Err(verdict) => Ok(verdict),
        }
    }

    /// Reads what comes back of something we forwarded; nobody gets it.
    async fn take_bounce(&mut self, of: BounceOf) -> Next {
        self.start_data();
        let report = match self.read_report().await {
            Ok(report) => report,
            Err(cause) => return self.give_up(&cause),
        };
        self.conversation.end_of_data();
        let failure = report.map(Report::failure);
        let (id, alias) = match &of {
            BounceOf::Message(name, id) => (id.to_string(), name.shortened()),
            BounceOf::Nobody => ("-".into(), "-".into()),
        };
        let verdict = match (failure, of) {
            (Err(verdict), _) => verdict,
            (Ok(Some(failure)), BounceOf::Message(name, id)) => self.mx.note_bounce(name, id, failure).await,
            _ => Verdict::new(reply::BOUNCE_TAKEN, "bounce-ignored"),
        };
        self.conclude(&id, &alias, verdict)
    }

    async fn read_report(&mut self) -> Result<Result<Report, Verdict>, DataError> {
        let (most, max_size) = (self.patience_in_octets(), self.mx.limits.max_size);
        let (mut report, mut size) = (Report::default(), 0);
        let mx = self.mx;
        let mut data = self.wire.data(|| mx.pace(), most);
        data.discard();
        while let Some(piece) = data.next().await? {
            size += piece.len() as u64;
            report.see(piece);
        }
        Ok(match data.violation() {
            Some(_) => Err(Verdict::new(reply::BAD_TEXT, "bad-line")),
            None if max_size > 0 && size > max_size => Err(Verdict::new(reply::TOO_LARGE, "too-large")),
            None => Ok(report),
        })
    }

    fn start_data(&mut self) {
        self.conversation.advance(Verb::Data);
        self.wire.reply(&reply::START_DATA);
    }

    /// One line in the log and one to the client for every message.
    fn conclude(&mut self, id: &str, alias: &str, verdict: Verdict) -> Next {
        let Verdict { reply, reason, .. } = verdict;
        self.mx.counters.messages.count(reason);
        (self.idle_commands, self.vain_recipients) = (0, 0);
        if reply.code == 250 {
            self.fruitless_since = Instant::now();
        }
        tracing::info!(id, reason, code = reply.code, alias, client = network(self.peer), "message");
        self.say(&reply)
    }

    fn received(&self, id: &str, alias: Option<&str>, utf8: bool) -> String {
        let (helo, protocol) = self.hello.as_ref().expect("HELO came before DATA");
        let protocol = match protocol {
            // RFC 3848, RFC 6531 §4.3.
            Protocol::Smtp => "SMTP",
            Protocol::Esmtp if utf8 && self.is_encrypted => "UTF8SMTPS",
            Protocol::Esmtp if utf8 => "UTF8SMTP",
            Protocol::Esmtp if self.is_encrypted => "ESMTPS",
            Protocol::Esmtp => "ESMTP",
        };
        let at = clock::now();
        Received { helo, peer: self.peer, hostname: &self.mx.hostname, protocol, id, alias, at }.fields()
    }
}
