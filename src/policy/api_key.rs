//! `auth.NAME.api_key`: clients known by a secret in a header.

use sha2::{Digest, Sha256};

/// One `api_key`. Keys are kept as hashes, whether they were written as such or not.
#[derive(Debug)]
pub struct ApiKeys {
    /// The header, in lower case.
    pub header: Box<[u8]>,
    keys: Box<[(Box<str>, [u8; 32])]>,
}

impl ApiKeys {
    /// Takes names and keys; a key is plain, or `sha256:` and 64 hex digits.
    ///
    /// # Errors
    /// The name of a key that is neither.
    pub fn new<'a>(
        header: &str,
        keys: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, String> {
        let hashed = |(name, key): (&str, &str)| match key.strip_prefix("sha256:") {
            Some(digits) => {
                parse_hash(digits).map(|hash| (name.into(), hash)).ok_or(name.to_owned())
            }
            None if key.is_empty() => Err(name.to_owned()),
            None => Ok((name.into(), Sha256::digest(key).into())),
        };
        let keys = keys.map(hashed).collect::<Result<_, _>>()?;
        Ok(Self { header: header.to_ascii_lowercase().into_bytes().into(), keys })
    }

    /// Returns whose key it is. Takes the same time for every key, so that none can be guessed bit
    /// by bit.
    #[must_use]
    pub fn owner_of(&self, given: &[u8]) -> Option<&str> {
        let given: [u8; 32] = Sha256::digest(given).into();
        let mut found = None;
        for (name, key) in &self.keys {
            let different = key.iter().zip(&given).fold(0, |different, (a, b)| different | (a ^ b));
            if different == 0 {
                found = Some(&**name);
            }
        }
        found
    }
}

fn parse_hash(digits: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_hashed_keys_are_known() {
        // printf secret2 | sha256sum
        let hashed = "sha256:35224d0d3465d74e855f8d69a136e79c744ea35a675d3393360a327cbf6359a2";
        let keys = [("alice", "secret1"), ("bob", hashed)];
        let keys = ApiKeys::new("X-Api-Key", keys.into_iter()).unwrap();
        assert_eq!(keys.owner_of(b"secret1"), Some("alice"));
        assert_eq!(keys.owner_of(b"secret2"), Some("bob"));
        for wrong in [&b""[..], b"secret", b"secret11", hashed.as_bytes()] {
            assert_eq!(keys.owner_of(wrong), None);
        }
        assert!(!format!("{keys:?}").contains("secret1"));
    }

    #[test]
    fn a_hash_that_is_none_is_refused() {
        let [letters, signs] = ["x", "+f"].map(|digits| digits.repeat(64));
        let [letters, signs] = [letters, signs].map(|text| format!("sha256:{}", &text[..64]));
        for bad in ["sha256:12", "sha256:", "", &letters, &signs] {
            assert_eq!(ApiKeys::new("k", [("carol", bad)].into_iter()).err(), Some("carol".into()));
        }
    }
}
