//! A letter: whom it is for, what it says, how its sender behaves, and what became of it.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::{ALIASES, MAX_SIZE};

/// What its sender is going to do.
pub(crate) struct Plan {
    pub(crate) number: usize,
    pub(crate) recipients: Vec<Recipient>,
    /// The text, its lines ending in CRLF, with no dot-stuffing.
    pub(crate) text: String,
    pub(crate) conduct: Conduct,
    /// MAIL, RCPT and DATA in one write.
    pub(crate) pipelined: bool,
    /// The session ends with this letter.
    pub(crate) is_last: bool,
}

/// Whom a letter is addressed to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Recipient {
    /// An alias, in one of its spellings.
    Alias(usize, Spelling),
    Postmaster,
    Unknown,
    Foreign,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Spelling {
    Canonical,
    Upper,
    Tagged,
    Quoted,
    Dotted,
}

/// How the sender behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    Proper,
    /// The text, octet by octet.
    Dribble,
    /// The text in this many pieces.
    Pieces(usize),
    /// A second MAIL, which is out of order, and on it goes.
    SecondMail,
    /// Over [`MAX_SIZE`].
    Oversize,
    /// A line that ends in LF, and a false end.
    BareLf,
    /// Hangs up after this many commands.
    HangUpAfterCommands(usize),
    /// Hangs up when so many parts in eight of the text are out.
    HangUpInText(usize),
    /// Hangs up when the final dot is out.
    GoneAfterDot,
    /// Says this after RCPT, and with that the letter is over.
    CallOff(&'static str),
}

/// What became of a letter, as far as its sender knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its final dot was not sent.
    Unsent,
    /// The answer to the final dot.
    Answered(String),
    /// The final dot was sent; the sender did not wait for the answer.
    Unheard,
}

/// A letter that is over.
pub(crate) struct Letter {
    pub(crate) plan: Plan,
    /// The recipient that was taken: never more than one.
    pub(crate) recipient: Option<Recipient>,
    pub(crate) fate: Fate,
}

impl Recipient {
    /// Whether both are one, in whatever spelling.
    pub(crate) fn is_same(self, other: Recipient) -> bool {
        match (self, other) {
            (Recipient::Alias(one, _), Recipient::Alias(other, _)) => one == other,
            (Recipient::Postmaster, Recipient::Postmaster) => true,
            _ => false,
        }
    }
}

impl Plan {
    /// What `seed` has in mind for letter `number`.
    pub(crate) fn new(seed: u64, number: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number as u64);
        let conduct = conduct(&mut rng);
        Plan {
            number,
            recipients: recipients(&mut rng),
            text: text(&mut rng, number, conduct == Conduct::Oversize),
            conduct,
            pipelined: rng.random_ratio(1, 4),
            is_last: rng.random_ratio(1, 3),
        }
    }

    /// The text as it goes over the wire, dots stuffed, without the final dot.
    pub(crate) fn stuffed(&self) -> String {
        let lines = self.text.split_inclusive('\n');
        lines.map(|line| if line.starts_with('.') { format!(".{line}") } else { line.to_owned() }).collect()
    }
}

fn conduct(rng: &mut StdRng) -> Conduct {
    match rng.random_range(0..100) {
        0..45 => Conduct::Proper,
        45..50 => Conduct::Dribble,
        50..57 => Conduct::Pieces(rng.random_range(2..9)),
        57..61 => Conduct::SecondMail,
        61..64 => Conduct::Oversize,
        64..68 => Conduct::BareLf,
        68..76 => Conduct::HangUpAfterCommands(rng.random_range(0..5)),
        76..84 => Conduct::HangUpInText(rng.random_range(0..9)),
        84..93 => Conduct::GoneAfterDot,
        _ => Conduct::CallOff(
            ["RSET", "EHLO again.test", "HELO again.test"].choose(rng).expect("there are some"),
        ),
    }
}

fn recipients(rng: &mut StdRng) -> Vec<Recipient> {
    let number = if rng.random_ratio(2, 3) { 1 } else { rng.random_range(1..5) };
    let mut recipients: Vec<_> = (0..number).map(|_| recipient(rng)).collect();
    if let Some(&Recipient::Alias(again, _)) = recipients.first()
        && rng.random_ratio(1, 6)
    {
        recipients.push(Recipient::Alias(again, spelling(rng)));
    }
    recipients
}

fn recipient(rng: &mut StdRng) -> Recipient {
    match rng.random_range(0..20) {
        0 => Recipient::Postmaster,
        1 => Recipient::Unknown,
        2 => Recipient::Foreign,
        _ => Recipient::Alias(rng.random_range(0..ALIASES), spelling(rng)),
    }
}

fn spelling(rng: &mut StdRng) -> Spelling {
    match rng.random_range(0..8) {
        0 => Spelling::Upper,
        1 => Spelling::Tagged,
        2 => Spelling::Quoted,
        3 => Spelling::Dotted,
        _ => Spelling::Canonical,
    }
}

/// Mostly a few lines, at times more than any buffer on the way; with dots where they hurt.
fn text(rng: &mut StdRng, number: usize, too_large: bool) -> String {
    let size = match rng.random_range(0..10) {
        _ if too_large => MAX_SIZE + rng.random_range(1..MAX_SIZE / 2),
        0 => rng.random_range(0..MAX_SIZE / 2),
        _ => rng.random_range(0..1000),
    };
    let mut text = format!("Subject: letter {number}\r\n\r\n");
    let end = text.len() + size;
    while text.len() < end {
        let line = match rng.random_range(0..8) {
            0 => ".".to_owned(),
            1 => "..".to_owned(),
            2 => String::new(),
            3 => format!(".{}", "d".repeat(rng.random_range(0..20))),
            4 if size > 4096 => "l".repeat(rng.random_range(1000..20_000)),
            _ => "x".repeat(rng.random_range(1..78)),
        };
        text.push_str(&line);
        text.push_str("\r\n");
    }
    if !too_large {
        text.truncate(MAX_SIZE / 8 * 7);
        let whole = text.rfind("\r\n").map_or(0, |end| end + 2);
        text.truncate(whole);
    }
    text
}
