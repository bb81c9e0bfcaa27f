//! The envelope of one mail transaction: MAIL, RCPT, and DATA up to its 354.
//!
//! RCPT only *reads* the ledger; the first recipient that is somebody opens the smarthost. What
//! comes after the 354 is in [`super::settlement`]. Dropping a [`Transaction`] closes the
//! smarthost's connection without a dot, and has spent nothing.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Mx;
use super::command::Mail;
use super::recipient::{Recipient, resolve};
use super::reply::{self, Reply};
use super::settlement::Settlement;
use super::trace::HeaderWatch;
use super::verdict::Verdict;
use crate::address::Mailbox;
use crate::alias::AliasName;
use crate::bounce::BounceOf;
use crate::clock;
use crate::crash;
use crate::dnsbl::Listing;
use crate::relay::{Connection, Envelope, RelayError};
use crate::throttle::{Claim, ClientNet, Lease, lesser_limit};

/// What MAIL and RCPT have gathered.
pub(super) struct Transaction<'a> {
    mx: &'a Mx,
    client: ClientNet,
    mail: Mail,
    recipients: Vec<Recipient>,
    upstream: Upstream,
    preempted: CancellationToken,
}

/// The smarthost's part in it.
enum Upstream {
    /// Not needed yet.
    Closed,
    /// MAIL was said for `sender`. Boxed: most sessions never get here.
    Open { connection: Box<Connection>, lease: Lease, sender: BounceOf, since: Instant },
    /// The message cannot go anywhere any more, and one attempt is enough: what every further
    /// recipient hears.
    Failed(Verdict),
}

impl<'a> Transaction<'a> {
    /// MAIL.
    ///
    /// # Errors
    /// When the declared size is over the limit, ours or the smarthost's.
    pub(super) fn begin(mx: &'a Mx, client: ClientNet, mail: Mail) -> Result<Self, Reply> {
        let limit = mx.max_size();
        if limit > 0 && mail.size.is_some_and(|size| size > limit) {
            return Err(reply::TOO_LARGE);
        }
        Ok(Transaction {
            mx,
            client,
            mail,
            recipients: Vec::new(),
            upstream: Upstream::Closed,
            preempted: CancellationToken::new(),
        })
    }

    /// RCPT, our part: who `path` is, and whether the message may go to them. `None`: they are a
    /// recipient already.
    pub(super) fn admit(&self, path: &str) -> Result<Option<Recipient>, Verdict> {
        if self.mx.limits.max_recipients > 0 && self.recipients.len() >= self.mx.limits.max_recipients {
            return Err(Verdict::new(reply::TOO_MANY_RECIPIENTS, "too-many-recipients"));
        }
        let recipient = resolve(self.mx, path, self.mail.null_sender, clock::now()).map_err(Verdict::from)?;
        if self.recipients.contains(&recipient) {
            return Ok(None);
        }
        let is_bounce = matches!(recipient, Recipient::Bounce(_));
        if self.bounce().is_some() || is_bounce && !self.recipients.is_empty() {
            return Err(Verdict::new(reply::BOUNCE_ALONE, "bounce-not-alone"));
        }
        Ok(Some(recipient))
    }

    /// RCPT, the others' part: the DNS lists', then the smarthost's.
    pub(super) async fn offer(&mut self, recipient: Recipient, listing: &mut Listing) -> Result<(), Verdict> {
        if let Some(list) = listing.listed_by().await {
            return Err(Verdict::new(reply::listed(list), "listed"));
        }
        let target = recipient.target().cloned();
        if let Some(target) = target
            && !self.targets().any(|known| *known == target)
        {
            crash::point("envelope");
            self.open(&recipient).await?;
            self.rcpt(&target).await?;
            crash::point("rcpt");
        }
        self.recipients.push(recipient);
        Ok(())
    }

    /// Since when the smarthost is waiting for DATA.
    pub(super) fn smarthost_waits_since(&self) -> Option<Instant> {
        match self.upstream {
            Upstream::Open { since, .. } => Some(since),
            _ => None,
        }
    }

    /// Cancelled when the connection to the smarthost is wanted for somebody else.
    pub(super) fn preempted(&self) -> &CancellationToken {
        &self.preempted
    }

    /// Whether MAIL has asked for SMTPUTF8.
    pub(super) fn is_utf8(&self) -> bool {
        self.mail.utf8
    }

    /// Whether this is a bounce, and of what.
    pub(super) fn bounce(&self) -> Option<&BounceOf> {
        match self.recipients.as_slice() {
            [Recipient::Bounce(whom)] => Some(whom),
            _ => None,
        }
    }

    /// The alias, when it is the only recipient.
    pub(super) fn sole_alias(&self) -> Option<String> {
        match self.recipients.as_slice() {
            [Recipient::Alias { name, domain, .. }] => Some(format!("{name}@{domain}")),
            _ => None,
        }
    }

    /// A word for the log: the first alias's name, shortened.
    pub(super) fn log_name(&self) -> String {
        self.aliases().next().map_or_else(|| "-".to_owned(), AliasName::shortened)
    }

    /// DATA: the smarthost is ready for the text, which goes behind our own header `fields`.
    pub(super) async fn data(mut self, fields: String) -> Result<Settlement<'a>, Verdict> {
        self.fit_sender().await?;
        let names: Vec<_> = self.aliases().cloned().collect();
        let has_others = names.len() < self.recipients.len();
        let watch = HeaderWatch::new(&self.mx.hostname, self.sole_alias().as_deref());
        let Upstream::Open { connection, lease, .. } = self.upstream else {
            return Err(Verdict::no_smarthost());
        };
        let its_limit = connection.capabilities().max_size.unwrap_or(0);
        let max_size = lesser_limit(self.mx.limits.max_size, its_limit);
        match connection.data().await {
            Ok(body) => {
                crash::point("data");
                Ok(Settlement::new(self.mx, names, has_others, (body, lease), fields, watch, max_size))
            }
            Err(cause) => Err(Verdict::upstream(&cause, "data", |code| match code {
                400..500 => reply::MESSAGE_LATER,
                _ => reply::MESSAGE_REFUSED,
            })),
        }
    }

    fn aliases(&self) -> impl Iterator<Item = &AliasName> {
        self.recipients.iter().filter_map(|recipient| match recipient {
            Recipient::Alias { name, .. } => Some(name),
            _ => None,
        })
    }

    fn targets(&self) -> impl Iterator<Item = &Mailbox> {
        self.recipients.iter().filter_map(Recipient::target)
    }

    /// Opens the smarthost for the first recipient.
    async fn open(&mut self, first: &Recipient) -> Result<(), Verdict> {
        match &self.upstream {
            Upstream::Closed => {}
            Upstream::Open { .. } => return Ok(()),
            Upstream::Failed(verdict) => return Err(verdict.clone()),
        }
        let opened = self.opened(first).await;
        self.upstream = opened.inspect_err(|verdict| self.upstream = Upstream::Failed(verdict.clone()))?;
        Ok(())
    }

    async fn opened(&self, first: &Recipient) -> Result<Upstream, Verdict> {
        let sender = sender_for(std::slice::from_ref(first));
        let (client, alias, preempted) = (self.client, first.alias().cloned(), self.preempted.clone());
        let lease = self.mx.upstream_lease(Claim { client, alias, preempted }).await?;
        let connection = self.mx.smarthost.begin(&self.envelope(&sender, first)).await;
        let connection = connection
            .map_err(|cause| Verdict::upstream(&cause, "connect", |_| reply::SMARTHOST_UNAVAILABLE))?;
        crash::point("open");
        let (connection, since) = (Box::new(connection), Instant::now());
        Ok(Upstream::Open { connection, lease, sender, since })
    }

    async fn rcpt(&mut self, target: &Mailbox) -> Result<(), Verdict> {
        let Upstream::Open { connection, .. } = &mut self.upstream else {
            return Err(Verdict::no_smarthost());
        };
        connection.rcpt(target).await.map_err(|cause| {
            if !matches!(cause, RelayError::Refused(code) if code != 421) {
                self.upstream = Upstream::Failed(Verdict::no_smarthost());
            }
            Verdict::upstream(&cause, "rcpt", |code| match code {
                400..500 | 552 => reply::RECIPIENT_LATER,
                _ => reply::RECIPIENT_REFUSED,
            })
        })
    }

    /// Makes the smarthost's envelope fit the recipients that are left: MAIL was said for the first
    /// that was tried, and a message for several bears nobody's address.
    async fn fit_sender(&mut self) -> Result<(), Verdict> {
        let wanted = sender_for(&self.recipients);
        let envelope = self.recipients.first().map(|first| self.envelope(&wanted, first));
        let targets: Vec<_> = self.targets().cloned().collect();
        let (Upstream::Open { connection, sender, .. }, Some(envelope)) = (&mut self.upstream, envelope)
        else {
            return Err(Verdict::no_smarthost());
        };
        if *sender == wanted {
            return Ok(());
        }
        let renewed = connection.renew(&envelope, &targets).await;
        renewed.map_err(|cause| Verdict::upstream(&cause, "renewal", |_| reply::SMARTHOST_UNAVAILABLE))
    }

    fn envelope(&self, sender: &BounceOf, first: &Recipient) -> Envelope {
        let domain = self.recipients.iter().chain([first]).find_map(Recipient::domain);
        let domain = domain.unwrap_or_else(|| self.mx.default_domain());
        Envelope {
            sender: self.mx.ledger.bounce_key().address(sender, domain),
            size: self.mail.size,
            is_8bit: self.mail.is_8bit,
            utf8: self.mail.utf8,
        }
    }
}

/// Whose bounce address a message bears: a sole alias's, or nobody's.
fn sender_for(recipients: &[Recipient]) -> BounceOf {
    match recipients {
        [Recipient::Alias { name, .. }] => BounceOf::Alias(name.clone()),
        _ => BounceOf::Nobody,
    }
}
