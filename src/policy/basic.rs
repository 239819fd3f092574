//! `auth.NAME.basic`: clients known by name and password (RFC 7617), kept as bcrypt or argon2
//! hashes in the form of Apache's htpasswd.
//!
//! Verifying one takes as long as it is meant to take, so it happens on threads of its own, two at
//! a time per policy, and is remembered for a few minutes, by all workers. Guesses are limited so
//! that they keep nobody else out: one client's are verified one at a time, and only a few for one
//! name may wait. Who is remembered waits for nobody.

mod credentials;
mod remembered;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use argon2::password_hash::PasswordVerifier;
use argon2::{Argon2, PasswordHash};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

pub use self::credentials::Credentials;
use self::remembered::KnownPasswords;
use crate::clock;

/// Passwords verified at a time, over all workers.
const AT_ONCE: usize = 2;
/// Requests that may wait for that,
const WAITING: u32 = 1024;
/// from one client,
const OF_CLIENT: u32 = 64;
/// and for one name.
const OF_NAME: u32 = 8;
/// The longest time that they may wait.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time for which a password that was right counts as such, in seconds.
const REMEMBERED: u64 = 300;
/// Passwords that are remembered, in sets of [`WAYS`].
const SETS: usize = 1024;
const WAYS: usize = 4;
/// Groups that clients, names and credentials fall into; those of one group share its limits.
const GROUPS: usize = 256;
const CREDENTIALS: usize = 1024;
/// The longest credentials that are looked at; bcrypt itself looks at 72 bytes of a password.
const LONGEST: usize = 1024;

/// One `basic`.
pub struct Basic {
    id: u32,
    /// Makes what is remembered useless elsewhere.
    salt: [u8; 16],
    users: Arc<BTreeMap<String, String>>,
    known: KnownPasswords,
    places: Arc<Semaphore>,
    waiting: AtomicU32,
    /// One verification at a time for the same credentials: whoever comes second finds it
    /// remembered.
    same: Box<[Semaphore]>,
    clients: Box<[VerifierGroup]>,
    names: Box<[AtomicU32]>,
}

/// Clients that share a place.
struct VerifierGroup {
    place: Semaphore,
    waiting: AtomicU32,
}

impl std::fmt::Debug for Basic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Basic").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

/// A reason why nobody knows if credentials are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// Too many others of the same client, or for the same name, are being verified.
    Guessing,
    /// Too many are being verified.
    Full,
}

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
            known: KnownPasswords::new(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: AtomicU32::new(0),
            same: (0..CREDENTIALS).map(|_| Semaphore::new(1)).collect(),
            clients: (0..GROUPS)
                .map(|_| VerifierGroup { place: Semaphore::new(1), waiting: AtomicU32::new(0) })
                .collect(),
            names: (0..GROUPS).map(|_| AtomicU32::new(0)).collect(),
        })
    }

    /// Returns whether the users are the same, so that what is remembered still counts.
    #[must_use]
    pub fn same_users(&self, other: &Self) -> bool {
        self.users == other.users
    }

    /// Returns the fingerprint that right credentials are remembered by.
    fn fingerprint_of(&self, credentials: &Credentials) -> [u8; 32] {
        let hash = Sha256::new().chain_update(self.salt).chain_update(self.id.to_le_bytes());
        let hash = hash.chain_update((credentials.user.len() as u64).to_le_bytes());
        hash.chain_update(&credentials.user).chain_update(&credentials.password).finalize().into()
    }

    /// Returns whether credentials that `client` sends are right.
    ///
    /// # Errors
    /// [`Busy`] when too many others ask.
    pub async fn verify_credentials(
        &self,
        credentials: Credentials,
        client: &[u8],
    ) -> Result<bool, Busy> {
        let fingerprint = self.fingerprint_of(&credentials);
        if self.known.has_fingerprint(&fingerprint, clock::unix_seconds()) {
            return Ok(true);
        }
        let verified = self.in_turn(credentials, &fingerprint, client);
        tokio::time::timeout(PATIENCE, verified).await.unwrap_or(Err(Busy::Full))
    }

    /// Waits for its turn among all, among those with the same credentials, for the same name and
    /// of the same client.
    async fn in_turn(
        &self,
        credentials: Credentials,
        fingerprint: &[u8; 32],
        client: &[u8],
    ) -> Result<bool, Busy> {
        let _waiting = WaitingPassword::try_enter(&self.waiting, WAITING).ok_or(Busy::Full)?;
        let same = u16::from_le_bytes([fingerprint[24], fingerprint[25]]);
        let same = self.same.get(usize::from(same) % CREDENTIALS).ok_or(Busy::Full)?;
        let _same = same.acquire().await.map_err(|_| Busy::Full)?;
        if self.known.has_fingerprint(fingerprint, clock::unix_seconds()) {
            return Ok(true);
        }
        let name = self.names.get(self.group_of(credentials.user.as_bytes())).ok_or(Busy::Full)?;
        let _name = WaitingPassword::try_enter(name, OF_NAME).ok_or(Busy::Guessing)?;
        let group = self.clients.get(self.group_of(client)).ok_or(Busy::Full)?;
        let _of_client =
            WaitingPassword::try_enter(&group.waiting, OF_CLIENT).ok_or(Busy::Guessing)?;
        let _turn = group.place.acquire().await.map_err(|_| Busy::Full)?;
        let place = self.places.clone().acquire_owned().await.map_err(|_| Busy::Full)?;
        let users = self.users.clone();
        let verified = tokio::task::spawn_blocking(move || {
            // The place is taken until the work is done, even if nobody waits for it any more.
            let _place = place;
            // A name that does not exist takes as long as one that does.
            let known = users.get(&credentials.user);
            let hash = known.or_else(|| users.values().next());
            hash.is_some_and(|hash| password_matches(hash, &credentials.password))
                && known.is_some()
        });
        let right = verified.await.map_err(|_| Busy::Full)?;
        if right {
            self.known.put_fingerprint(fingerprint, clock::unix_seconds() + REMEMBERED);
        }
        Ok(right)
    }

    /// The group of a client or a name. Nobody outside knows who shares one.
    fn group_of(&self, of: &[u8]) -> usize {
        let hash = Sha256::new().chain_update(self.salt).chain_update(of).finalize();
        usize::from(hash[0])
    }
}

/// Counts one that waits until it is dropped.
struct WaitingPassword<'a>(&'a AtomicU32);

impl<'a> WaitingPassword<'a> {
    /// `None` when `most` wait already.
    fn try_enter(count: &'a AtomicU32, most: u32) -> Option<Self> {
        let entered = Self(count);
        (count.fetch_add(1, Relaxed) < most).then_some(entered)
    }
}

impl Drop for WaitingPassword<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn password_matches(hash: &str, password: &[u8]) -> bool {
    if hash.starts_with("$argon2") {
        let parsed = PasswordHash::new(hash);
        return parsed.is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok());
    }
    bcrypt::verify(password, hash).unwrap_or(false)
}

#[cfg(test)]
mod tests;
