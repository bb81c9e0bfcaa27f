//! The ways in for fuzzers, and what they may rely on: each function takes any octets, and panics
//! when a promise is broken. Compiled for `fuzz/` and for tests, never into the program.
//!
//! The tests here replay what is in `fuzz/corpus` and `tests/fuzz_regressions`, as it is and a
//! little changed.

use std::str;

use crate::address::{Domain, MAX_ADDRESS_LEN, Mailbox};
use crate::alias::AliasName;
use crate::bounce::{BounceKey, BounceOf};
pub use crate::mx::fuzzing::{command, report};
pub use crate::smtp::fuzzing::{data, header, stuffing};

/// What parses as an address, a domain or an alias's name fits into an SMTP path as it is, and
/// means itself.
pub fn address(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(mailbox) = text.parse::<Mailbox>() {
        let address = mailbox.as_str();
        assert!(address.is_ascii() && address.len() <= MAX_ADDRESS_LEN, "{address:?}");
        let is_unsafe = |b: u8| b.is_ascii_control() || b.is_ascii_whitespace() || b"<>\"".contains(&b);
        assert!(!address.bytes().any(is_unsafe), "{address:?} ends its path");
        assert_eq!(address.split_once('@').map(|(_, domain)| domain), Some(mailbox.domain()), "{address:?}");
        assert_eq!(address.parse().as_ref(), Ok(&mailbox), "{address:?}");
        assert_eq!(mailbox.domain().parse::<Domain>().as_ref().map(Domain::as_str), Ok(mailbox.domain()));
    }
    if let Ok(domain) = text.parse::<Domain>() {
        let name = domain.as_str();
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        assert!(name.bytes().all(fits) && name.len() <= 253, "{name:?}");
        assert_eq!(name.parse().as_ref(), Ok(&domain), "{name:?}");
    }
    if let Ok(name) = text.parse::<AliasName>() {
        assert!(name.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{name}");
        assert_eq!(name.as_str().parse().as_ref(), Ok(&name));
        assert!(!text.starts_with(name.shortened().as_str()), "{name} is not shortened");
    }
}

/// A bounce address of ours is known again; what is not letter for letter one of ours is not.
pub fn bounce(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let key = BounceKey::new(&[7; 32]);
    let (local, domain) = text.rsplit_once('@').unwrap_or((text, "alias.test"));
    let Ok(domain) = domain.parse::<Domain>() else { return };
    if let Some(whom) = key.verify(local, &domain) {
        let ours = key.address(&whom, &domain);
        assert_eq!(ours, format!("{}@{domain}", local.to_ascii_lowercase()), "{local:?} is not ours");
    }
    let id = "01234567890123ab".parse().expect("this is an id");
    let whom = local.parse().map_or(BounceOf::Nobody, |name| BounceOf::Message(name, id));
    let address = key.address(&whom, &domain);
    let (ours, _) = address.split_once('@').expect("an address has an @");
    assert_eq!(key.verify(ours, &domain), Some(whom), "{ours:?}");
    for forged in [format!("{ours}a"), format!("{}a", &ours[..ours.len() - 1]), ours.replacen('.', "..", 1)] {
        assert!(forged == ours || key.verify(&forged, &domain).is_none(), "{forged:?} is not ours");
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::{fs, panic};

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    type Target = fn(&[u8]);

    /// Changed inputs that each target gets.
    const MUTATIONS: usize = 3_000;

    /// As long as an input may become.
    const MAX_LEN: usize = 4096;

    const SEED: u64 = 0x7e3b_a11a;

    /// What a parser may stumble over.
    const WORDS: [&[u8]; 17] = [
        b"\r\n.\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b".",
        b"\0",
        b"\x1e",
        b"RSET\r\n",
        b"DATA\r\n\x1e",
        b"MAIL FROM:<>\r\n",
        b"RCPT TO:<",
        b"Received: ",
        b"\xc3\xbc",
        b"@",
        b">",
        b"\"",
        b" ",
    ];

    fn inputs(directory: &str, target: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory).join(target);
        let Ok(entries) = fs::read_dir(&directory) else { return Vec::new() };
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    /// A few cuts, repeats and insertions.
    fn mutate(input: &mut Vec<u8>, seeds: &[(PathBuf, Vec<u8>)], rng: &mut StdRng) {
        for _ in 0..rng.random_range(1..=6) {
            let at = rng.random_range(0..=input.len());
            let to = rng.random_range(at..=input.len()).min(at + 64);
            match rng.random_range(0..6) {
                0 => drop(input.drain(at..to)),
                1 => drop(input.splice(at..at, input[at..to].to_vec())),
                2 => drop(input.splice(at..at, WORDS[rng.random_range(0..WORDS.len())].iter().copied())),
                3 => input.insert(at, rng.random()),
                4 if at < to => input[at] ^= 1 << rng.random_range(0..8),
                _ => {
                    let (_, other) = &seeds[rng.random_range(0..seeds.len())];
                    input.truncate(at);
                    input.extend_from_slice(&other[rng.random_range(0..=other.len())..]);
                }
            }
        }
        input.truncate(MAX_LEN);
    }

    /// Runs `target`; a panic says what the input was.
    fn run(name: &str, target: Target, input: &[u8], origin: &str) {
        let outcome = panic::catch_unwind(|| target(input));
        assert!(outcome.is_ok(), "{name} fails on {:?}, which is {origin}", input.escape_ascii().to_string());
    }

    /// Feeds `target` with what is in the folders called `name`.
    fn replay(name: &str, target: Target) {
        for (path, input) in inputs("tests/fuzz_regressions", name) {
            run(name, target, &input, &path.display().to_string());
        }
        let seeds = inputs("fuzz/corpus", name);
        assert!(!seeds.is_empty(), "no corpus for {name}");
        for (path, input) in &seeds {
            run(name, target, input, &path.display().to_string());
        }
        let mut rng = StdRng::seed_from_u64(SEED);
        for number in 0..MUTATIONS {
            let mut input = seeds[number % seeds.len()].1.clone();
            mutate(&mut input, &seeds, &mut rng);
            run(name, target, &input, &format!("mutation {number}"));
        }
    }

    #[test]
    fn addresses_fit_into_paths() {
        replay("address", address);
    }

    #[test]
    fn only_our_own_bounce_addresses_are_ours() {
        replay("bounce", bounce);
    }

    #[test]
    fn a_session_ends_and_answers_well_whatever_it_hears() {
        replay("command", command);
    }

    #[test]
    fn a_text_is_decoded_the_same_however_it_is_cut() {
        replay("data", data);
    }

    #[test]
    fn a_header_is_judged_the_same_however_it_is_cut() {
        replay("header", header);
    }

    #[test]
    fn a_report_is_judged_the_same_however_it_is_cut() {
        replay("report", report);
    }

    #[test]
    fn a_text_arrives_as_it_was_sent() {
        replay("stuffing", stuffing);
    }
}
