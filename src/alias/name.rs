//! Names: random local parts in lower-case Crockford base 32.
//!
//! The alphabet has no `i`, `l`, `o` and `u`, so that a name can be read aloud and typed off
//! paper; when a name is parsed, `i` and `l` mean `1` and `o` means `0`
//! (<https://www.crockford.com/base32.html>).

use std::fmt;
use std::str::FromStr;

use rand::TryRng;
use rand::rngs::SysRng;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The longest name that could ever be handed out: 32^26 is over 2^128.
const MAX_LEN: usize = 26;

/// The local part of an alias in its one canonical spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AliasName(String);

/// The string cannot be the name of any alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an alias name")]
pub struct NameError;

impl AliasName {
    /// Characters that a name is made of.
    pub const ALPHABET_SIZE: i64 = ALPHABET.len() as i64;

    /// A new name of `len` characters, 5 bits each, from the operating system's generator.
    ///
    /// # Errors
    /// When the generator fails; no name is better than a guessable one.
    pub fn random(len: usize) -> Result<Self, rand::rngs::SysError> {
        let mut bytes = [0u8; MAX_LEN];
        let bytes = &mut bytes[..len.min(MAX_LEN)];
        SysRng.try_fill_bytes(bytes)?;
        // 256 is a multiple of 32: every character is equally likely.
        Ok(AliasName(bytes.iter().map(|b| char::from(ALPHABET[usize::from(b % 32)])).collect()))
    }

    /// The name as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first two characters, for the log: enough to follow one alias through an hour of it, too
    /// few to write to it.
    pub fn shortened(&self) -> String {
        let start: String = self.0.chars().take(2).collect();
        format!("{start}…")
    }
}

/// Reads the local part of an address: any case, with or without a `+tag`.
impl FromStr for AliasName {
    type Err = NameError;

    fn from_str(local: &str) -> Result<Self, NameError> {
        let name = local.split_once('+').map_or(local, |(name, _tag)| name);
        if name.is_empty() || name.len() > MAX_LEN {
            return Err(NameError);
        }
        name.bytes()
            .map(|b| match b.to_ascii_lowercase() {
                b'i' | b'l' => Ok('1'),
                b'o' => Ok('0'),
                b if ALPHABET.contains(&b) => Ok(char::from(b)),
                _ => Err(NameError),
            })
            .collect::<Result<String, NameError>>()
            .map(AliasName)
    }
}

impl fmt::Display for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_spelling_of_a_name_is_the_same_alias() {
        let canonical: AliasName = "k7m2q1".parse().unwrap();
        for spelling in ["K7M2Q1", "k7m2q1+shop", "k7m2ql", "k7m2qI", "K7m2Q1+"] {
            assert_eq!(spelling.parse::<AliasName>().unwrap(), canonical, "{spelling}");
        }
    }

    #[test]
    fn what_was_never_handed_out_does_not_parse() {
        for local in ["", "+tag", "a.b", "b.k7m2q1.abcd", "user", "ä", "a b", "a@b", &"0".repeat(27)] {
            assert_eq!(local.parse::<AliasName>(), Err(NameError), "{local}");
        }
    }

    /// Pearson's chi-squared of `counts` against all being equally likely.
    fn chi_squared(counts: &[u32]) -> f64 {
        let total: u32 = counts.iter().sum();
        let expected = f64::from(total) / counts.len() as f64;
        counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum()
    }

    /// No more than chi-squared of so many cells exceeds by chance once in a thousand million tests:
    /// six standard deviations of its cube root, which is nearly normal (Wilson and Hilferty,
    /// PNAS 17, 1931).
    fn limit(cells: usize) -> f64 {
        let freedom = (cells - 1) as f64;
        let variance = 2.0 / (9.0 * freedom);
        freedom * (1.0 - variance + 6.0 * variance.sqrt()).powi(3)
    }

    #[test]
    fn every_character_is_equally_likely_at_every_place_and_after_every_other() {
        const NAMES: usize = 200_000;
        let mut places = [[0u32; 32]; 6];
        let mut pairs = [[0u32; 1024]; 5];
        for _ in 0..NAMES {
            let name = AliasName::random(6).unwrap();
            let numbers: Vec<usize> = name
                .as_str()
                .bytes()
                .map(|character| ALPHABET.iter().position(|&known| known == character).unwrap())
                .collect();
            for (place, &number) in numbers.iter().enumerate() {
                places[place][number] += 1;
            }
            for (place, pair) in numbers.windows(2).enumerate() {
                pairs[place][pair[0] * 32 + pair[1]] += 1;
            }
        }
        for counts in &places {
            assert!(chi_squared(counts) < limit(32), "{counts:?}");
        }
        for counts in &pairs {
            assert!(chi_squared(counts) < limit(1024), "{counts:?}");
        }
    }

    #[test]
    fn a_character_that_comes_a_sixth_too_often_would_be_noticed() {
        let mut counts = [6250; 32];
        assert!(chi_squared(&counts) < limit(32));
        counts[7] += 6250 / 6;
        assert!(chi_squared(&counts) > limit(32));
    }

    #[test]
    fn random_names_have_the_asked_length_parse_back_and_differ() {
        let names: HashSet<_> = (0..1000).map(|_| AliasName::random(10).unwrap()).collect();
        assert_eq!(names.len(), 1000);
        for name in names {
            assert_eq!(name.as_str().len(), 10);
            assert_eq!(name.as_str().parse::<AliasName>().unwrap(), name);
        }
    }
}
