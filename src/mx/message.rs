//! The text of a message, from the 354 to the end of data: streamed to the smarthost, or read as a bounce.

use super::Setup;
use super::pace::Pace;
use super::report::Report;
use super::settlement::Settlement;
use super::wire::Wire;
use crate::alias::SUSPENDED_AFTER_BOUNCES;
use crate::bounce::BounceOf;
use crate::clock;
use crate::config::Smtp;
use crate::events::Outcome;
use crate::ledger::Bounced;
use crate::net::transport::Transport;

/// Streams the text through, and settles. After the first fault the connection to the smarthost is closed,
/// and the text is read to its end all the same: only then may we answer.
///
/// # Errors
/// The text did not come to its end, and so the session is over.
pub(super) async fn forward(
    wire: &mut Wire<Transport>,
    setup: &Setup<'_>,
    settlement: Settlement<'_>,
) -> Result<Outcome, Outcome> {
    let mut data = wire.data(|| pace(setup), most_octets(&setup.config.smtp));
    let mut so_far = Ok(settlement);
    while let Some(piece) = data.next().await? {
        if let Ok(settlement) = &mut so_far
            && let Err(outcome) = settlement.write(piece).await
        {
            so_far = Err(outcome);
            data.discard();
        }
    }
    if let Some(violation) = data.violation() {
        tracing::debug!(what = violation.as_str(), "the message is not made of lines");
        return Ok(Outcome::BadLine);
    }
    match so_far {
        Ok(settlement) => Ok(settlement.settle(clock::now()).await),
        Err(outcome) => Ok(outcome),
    }
}

/// Reads what comes back of something that was forwarded, and notes the failure that it reports. It
/// is not passed on.
///
/// # Errors
/// As [`forward`].
pub(super) async fn take_bounce(
    wire: &mut Wire<Transport>,
    setup: &Setup<'_>,
    of: &BounceOf,
) -> Result<Outcome, Outcome> {
    let max_size = setup.config.smtp.max_size;
    let (mut report, mut size) = (Report::default(), 0);
    let mut data = wire.data(|| pace(setup), most_octets(&setup.config.smtp));
    data.discard();
    while let Some(piece) = data.next().await? {
        size += piece.len() as u64;
        report.see(piece);
    }
    if data.violation().is_some() {
        return Ok(Outcome::BadLine);
    }
    if max_size > 0 && size > max_size {
        return Ok(Outcome::TooLarge);
    }
    Ok(match (of, report.failure()) {
        (BounceOf::Message(name, id), Some(failure)) => {
            let bounced = setup.mx.ledger.bounced(name.clone(), *id, failure, clock::now());
            match bounced.await {
                Ok(Bounced { in_a_row: Some(SUSPENDED_AFTER_BOUNCES), .. }) => Outcome::Suspended,
                Ok(Bounced { in_a_row: Some(_), .. }) => Outcome::Bounced,
                Ok(Bounced { is_refunded: true, .. }) => Outcome::BounceRefunded,
                Ok(_) => Outcome::BounceIgnored,
                Err(cause) => {
                    tracing::error!(%cause, "a bounce could not be noted");
                    Outcome::LedgerFailed
                }
            }
        }
        _ => Outcome::BounceIgnored,
    })
}

/// How fast a text must come; faster when sessions or connections to the smarthost are scarce.
fn pace(setup: &Setup<'_>) -> Pace {
    let smtp = &setup.config.smtp;
    if setup.mx.slots.are_scarce() || setup.smarthost.is_scarce() {
        Pace::hurried(smtp.min_data_rate, smtp.stress_timeout)
    } else {
        Pace::new(smtp.min_data_rate)
    }
}

/// Octets of a message that are read at most, to refuse it at its end as RFC 5321 wants it.
fn most_octets(smtp: &Smtp) -> u64 {
    match smtp.max_size {
        0 => u64::MAX,
        size => size.saturating_mul(2).saturating_add(1 << 20),
    }
}
