//! `auth.NAME.basic`: clients known by name and password (RFC 7617), kept as bcrypt or argon2 hashes in the form
//! of Apache's htpasswd.
//!
//! Verifying one takes as long as it is meant to take, so it happens on threads of its own, two at a time per policy, and is
//! remembered for a few minutes. Who asks for more at a time than can wait is turned away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use argon2::password_hash::PasswordVerifier;
use argon2::{Argon2, PasswordHash};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

/// Passwords verified at a time, over all workers.
const AT_ONCE: usize = 2;
/// Requests that may wait for that.
const WAITING: u32 = 64;
/// How long they may.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a password that was right counts as such, in seconds.
pub const REMEMBERED: u64 = 300;
/// The longest credentials that are looked at; bcrypt itself looks at 72 bytes of a password.
const LONGEST: usize = 1024;

/// One `basic`.
pub struct Basic {
    id: u32,
    /// Makes what is remembered useless elsewhere.
    salt: [u8; 16],
    users: Arc<BTreeMap<String, String>>,
    places: Arc<Semaphore>,
    waiting: AtomicU32,
}

impl std::fmt::Debug for Basic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Basic").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Who.
    pub user: String,
    password: Vec<u8>,
}

/// Why nobody knows whether credentials are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

impl Basic {
    /// Reads a users file.
    ///
    /// # Errors
    /// What is wrong with which line; never a hash.
    pub fn new(text: &str) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut users = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what: &str| format!("line {}: {what}", at + 1);
            let (user, hash) = line.split_once(':').ok_or_else(|| wrong("write user:hash"))?;
            let known = hash.starts_with("$2") && hash.len() == 60
                || hash.starts_with("$argon2") && PasswordHash::new(hash).is_ok();
            if !known {
                return Err(wrong("neither a bcrypt nor an argon2 hash (htpasswd -B makes one)"));
            }
            if users.insert(user.to_owned(), hash.to_owned()).is_some() {
                return Err(wrong(&format!("`{user}` is there twice")));
            }
        }
        if users.is_empty() {
            return Err("there is no user in it".to_owned());
        }
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
        Ok(Self {
            id: NEXT.fetch_add(1, Relaxed),
            salt,
            users: Arc::new(users),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: AtomicU32::new(0),
        })
    }

    /// What right credentials are remembered by.
    #[must_use]
    pub fn fingerprint(&self, credentials: &Credentials) -> [u8; 32] {
        let hash = Sha256::new().chain_update(self.salt).chain_update(self.id.to_le_bytes());
        let hash = hash.chain_update((credentials.user.len() as u64).to_le_bytes());
        hash.chain_update(&credentials.user).chain_update(&credentials.password).finalize().into()
    }

    /// Whether credentials are right.
    ///
    /// # Errors
    /// [`Busy`] when too many others ask.
    pub async fn verify(&self, credentials: Credentials) -> Result<bool, Busy> {
        if self.waiting.fetch_add(1, Relaxed) >= WAITING {
            self.waiting.fetch_sub(1, Relaxed);
            return Err(Busy);
        }
        let _waiting = Waiting(&self.waiting);
        let place = tokio::time::timeout(PATIENCE, self.places.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(Busy) };
        let users = self.users.clone();
        let verified = tokio::task::spawn_blocking(move || {
            // The place is taken until the work is done, even if nobody waits for it any more.
            let _place = place;
            // A name that does not exist takes as long as one that does.
            let known = users.get(&credentials.user);
            let hash = known.or_else(|| users.values().next());
            hash.is_some_and(|hash| matches(hash, &credentials.password)) && known.is_some()
        });
        verified.await.map_err(|_| Busy)
    }
}

struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn matches(hash: &str, password: &[u8]) -> bool {
    if hash.starts_with("$argon2") {
        let parsed = PasswordHash::new(hash);
        return parsed.is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok());
    }
    bcrypt::verify(password, hash).unwrap_or(false)
}

impl Credentials {
    /// Reads an `Authorization` field.
    #[must_use]
    pub fn of(field: &[u8]) -> Option<Self> {
        let (scheme, coded) = field.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") || coded.len() > LONGEST {
            return None;
        }
        let plain = STANDARD.decode(coded.trim_ascii()).ok()?;
        let colon = plain.iter().position(|byte| *byte == b':')?;
        let (user, password) = plain.split_at_checked(colon)?;
        let user = std::str::from_utf8(user).ok()?.to_owned();
        Some(Self { user, password: password.get(1..)?.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_users_is_read_or_explained() {
        let good = bcrypt::hash("secret", 4).unwrap();
        let basic = Basic::new(&format!("# staff\n\nanna:{good}\n")).unwrap();
        assert!(!format!("{basic:?}").contains(&good));
        for (text, why) in [
            ("", "there is no user in it"),
            ("anna", "line 1: write user:hash"),
            ("\nanna:secret", "line 2: neither"),
            ("anna:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "line 1: neither"),
            (&format!("a:{good}\na:{good}"), "line 2: `a` is there twice"),
        ] {
            let error = Basic::new(text).unwrap_err();
            assert!(error.starts_with(why), "{error}");
            assert!(!error.contains("secret"));
        }
    }

    #[test]
    fn credentials_are_read() {
        // printf 'anna:se:cret' | base64
        let read = Credentials::of(b"Basic YW5uYTpzZTpjcmV0").unwrap();
        assert_eq!((read.user.as_str(), &*read.password), ("anna", &b"se:cret"[..]));
        for none in [&b"Bearer x"[..], b"Basic", b"Basic !!", b"Basic YW5uYQ==", b""] {
            assert!(Credentials::of(none).is_none());
        }
    }

    #[tokio::test]
    async fn too_many_at_a_time_are_turned_away() {
        let basic = Basic::new(&format!("a:{}", bcrypt::hash("x", 4).unwrap())).unwrap();
        basic.waiting.store(WAITING, Relaxed);
        let anna = || Credentials { user: "a".into(), password: b"x".to_vec() };
        assert_eq!(basic.verify(anna()).await, Err(Busy));
        basic.waiting.store(0, Relaxed);
        assert_eq!(basic.verify(anna()).await, Ok(true));
        assert_eq!(basic.waiting.load(Relaxed), 0);
    }
}
