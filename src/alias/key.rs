//! Manage keys: the holder of an alias's key may read, change and revoke it.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE};
use rand::TryRng;
use rand::rngs::SysRng;

/// 160 random bits, as 32 characters of base 32. Shown once, when the alias is handed out.
#[derive(Clone, PartialEq, Eq)]
pub struct ManageKey([u8; 20]);

/// SHA-256 of a [`ManageKey`]: what the ledger keeps. The key has full entropy, so a plain hash
/// is as good as a slow one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl ManageKey {
    /// A new key from the operating system's generator.
    ///
    /// # Errors
    /// When the generator fails.
    pub fn random() -> Result<Self, rand::rngs::SysError> {
        let mut bits = [0; 20];
        SysRng.try_fill_bytes(&mut bits)?;
        Ok(ManageKey(bits))
    }

    /// What to store instead of the key.
    pub fn hash(&self) -> KeyHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, &self.0).as_ref());
        KeyHash(hash)
    }
}

impl From<[u8; 20]> for ManageKey {
    /// As good a key as its bits are hard to guess.
    fn from(bits: [u8; 20]) -> Self {
        ManageKey(bits)
    }
}

impl fmt::Display for ManageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
    }
}

impl FromStr for ManageKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bits = BASE32_NOPAD_NOCASE.decode(text.as_bytes()).map_err(|_| ())?;
        bits.try_into().map(ManageKey).map_err(|_| ())
    }
}

impl fmt::Debug for ManageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ManageKey(…)")
    }
}

impl KeyHash {
    /// The hash as stored.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Compares in constant time.
    pub fn matches(&self, other: &KeyHash) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl From<[u8; 32]> for KeyHash {
    fn from(hash: [u8; 32]) -> Self {
        KeyHash(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_being_written_down_and_read_in_any_case() {
        let key = ManageKey::random().unwrap();
        let text = key.to_string();
        assert_eq!(text.len(), 32);
        assert_eq!(text.parse(), Ok(key.clone()));
        assert_eq!(text.to_uppercase().parse(), Ok(key));
    }

    #[test]
    fn only_the_key_itself_matches_its_hash() {
        let (key, other) = (ManageKey::random().unwrap(), ManageKey::random().unwrap());
        assert!(key.hash().matches(&key.hash()));
        assert!(!key.hash().matches(&other.hash()));
    }

    #[test]
    fn a_string_of_the_wrong_length_or_alphabet_is_no_key() {
        for text in ["", "a", &"a".repeat(31), &"a".repeat(33), &"1".repeat(32)] {
            assert!(text.parse::<ManageKey>().is_err(), "{text}");
        }
    }
}
