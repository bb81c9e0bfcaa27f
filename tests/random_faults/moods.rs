//! The smarthost's moods: some connections are good, most fail somewhere, at the first message or at
//! a later one.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::support::smarthost::{Behaviour, Mood, Stage};

/// Where it may fail; at the dot, where it matters most, more often.
const STAGES: [Stage; 9] = [
    Stage::Greeting,
    Stage::Ehlo,
    Stage::Mail,
    Stage::Rcpt,
    Stage::Data,
    Stage::Body,
    Stage::Dot,
    Stage::Dot,
    Stage::Dot,
];

/// Refusals, and what makes no sense anywhere.
const CODES: [u16; 11] = [421, 450, 451, 452, 500, 550, 552, 554, 334, 199, 601];

/// What `seed` has in mind for each connection, by its number.
pub(crate) fn by_number(seed: u64) -> impl Fn(usize) -> Mood + Send + 'static {
    move |number| {
        let mut rng = StdRng::seed_from_u64(!seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number as u64);
        let fault = rng.random_ratio(4, 5).then(|| {
            let stage = *STAGES.choose(&mut rng).expect("there are some");
            (stage, behaviour(&mut rng))
        });
        let mut spared: usize = if rng.random_ratio(1, 2) { 0 } else { rng.random_range(1..4) };
        Box::new(move |stage| match fault {
            Some((its_stage, _)) if stage == its_stage && spared > 0 => {
                spared -= 1;
                Behaviour::Accept
            }
            Some((its_stage, behaviour)) if stage == its_stage => behaviour,
            _ => Behaviour::Accept,
        })
    }
}

/// Silence is rare: each costs a second.
fn behaviour(rng: &mut StdRng) -> Behaviour {
    match rng.random_range(0..20) {
        0..9 => Behaviour::Answer(*CODES.choose(rng).expect("there are some")),
        9..13 => Behaviour::Drop,
        13..16 => Behaviour::Garbage,
        16..18 => Behaviour::Twice,
        18 => Behaviour::Silent,
        _ => *[Behaviour::EndlessReply, Behaviour::EndlessLine].choose(rng).expect("there are some"),
    }
}
