//! Key sets (RFC 7517): read from a file or fetched from a URL by a thread of its own, and the last
//! good one kept whatever happens.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::{Request, header};
use http_body_util::{BodyExt, Limited};
use jsonwebtoken::jwk::{JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use tokio::runtime::Builder;
use tokio::sync::watch;

use crate::clock::{self, Instant};
use crate::files;
use crate::net::fetch::{FetchError, Remote, RequestBody};

/// The largest key set.
const LARGEST: usize = 1 << 20;
/// The pause between two fetches of a key set,
const EVERY: Duration = Duration::from_secs(300);
/// and how soon after it failed while there is none.
const AGAIN: Duration = Duration::from_secs(2);
/// The readings for tokens whose key is not in it: so many times at once, and then once in so many
/// milliseconds. Anybody can make such tokens up.
const AT_ONCE: u64 = 5;
const WANTED: u64 = 10_000;
/// The longest time for a fetch.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two looks of the thread for something that is due.
const LOOK: Duration = Duration::from_millis(200);

/// The origin of a key set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySetSource {
    /// A file, looked at every few seconds.
    File(PathBuf),
    /// A URL.
    Url(Remote),
}

/// A key that can verify.
#[derive(Debug)]
pub struct TokenKey {
    /// `kid`.
    pub id: Option<String>,
    /// `alg`.
    pub algorithm: Option<Algorithm>,
    /// The key itself.
    pub decoding: DecodingKey,
}

/// A key set.
#[derive(Debug)]
pub struct KeySet {
    /// The keys of the set, as far as they can verify.
    pub list: Vec<TokenKey>,
    /// Counts the sets of a source.
    pub generation: u64,
    text: Vec<u8>,
}

/// The keys of one source. They survive reloads that name the same one.
#[derive(Debug)]
pub struct Keys {
    /// The origin of the keys.
    pub source: KeySetSource,
    set: ArcSwapOption<KeySet>,
    generation: AtomicU64,
    wanted: AtomicBool,
    /// The moment at which all that was wanted is paid for, in the clock's milliseconds.
    paid: AtomicU64,
    /// The number of times that it has been read, well or not.
    read: watch::Sender<u64>,
    /// The thread that reads it.
    thread: OnceLock<Thread>,
}

impl Keys {
    /// Starts to keep the keys of a source. Those of a file are there when this returns.
    ///
    /// # Errors
    /// The file is no key set, or the thread cannot be started.
    pub fn start_keeping(source: KeySetSource) -> Result<Arc<Self>, String> {
        let keys = Self::inspect(source, true)?;
        let watcher = KeySetWatcher { keys: Arc::downgrade(&keys), last: None, complained: false };
        let thread = thread::Builder::new().name("jwks".into());
        let started =
            thread.spawn(move || watcher.run_watcher()).map_err(|error| error.to_string())?;
        // Nobody else sets it.
        let _first = keys.thread.set(started.thread().clone());
        Ok(keys)
    }

    /// The keys of a source that nobody keeps up to date; those of a file are there if it may be
    /// read.
    ///
    /// # Errors
    /// The file is no key set.
    pub fn inspect(source: KeySetSource, read: bool) -> Result<Arc<Self>, String> {
        let keys = Arc::new(Self {
            source,
            set: ArcSwapOption::empty(),
            generation: AtomicU64::new(0),
            wanted: AtomicBool::new(false),
            paid: AtomicU64::new(0),
            read: watch::Sender::new(0),
            thread: OnceLock::new(),
        });
        if let (KeySetSource::File(path), true) = (&keys.source, read) {
            let text = files::read_bounded(path, LARGEST as u64)?;
            keys.replace_set(text)?;
        }
        Ok(keys)
    }

    /// The keys, if any have been read yet.
    #[must_use]
    pub fn current_set(&self) -> Option<Arc<KeySet>> {
        self.set.load_full()
    }

    /// Returns the number of the set.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// Waits until the set has been read once more, for a token that none of its keys has signed.
    /// `false` when it has been read too often lately, or takes too long.
    ///
    /// Cancel safety: it is read all the same.
    pub async fn refetch_set(&self) -> bool {
        let Some(thread) = self.thread.get() else { return false };
        let mut read = self.read.subscribe();
        if !self.wanted.load(Relaxed) {
            if !self.pay_for_read(clock::millis(clock::now())) {
                return false;
            }
            self.wanted.store(true, Relaxed);
            thread.unpark();
        }
        let read = tokio::time::timeout(PATIENCE + LOOK, read.changed()).await;
        read.is_ok_and(|read| read.is_ok())
    }

    /// Returns whether the set may be read out of turn at `now`, in the clock's milliseconds.
    fn pay_for_read(&self, now: u64) -> bool {
        let next = |paid: u64| {
            let paid = paid.max(now);
            (paid + WANTED <= now + AT_ONCE * WANTED).then_some(paid + WANTED)
        };
        self.paid.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    /// Puts a set in the place of the last one, unless it is no set or has no key that can verify.
    fn replace_set(&self, text: Vec<u8>) -> Result<(), String> {
        if self.set.load().as_ref().is_some_and(|set| set.text == text) {
            return Ok(());
        }
        if text.len() > LARGEST {
            return Err(format!("a key set of more than {LARGEST} bytes"));
        }
        let set: JwkSet = serde_json::from_slice(&text).map_err(|e| format!("no key set: {e}"))?;
        let list: Vec<TokenKey> = set.keys.iter().filter_map(verifying_key).collect();
        if list.is_empty() {
            return Err("no key in it can verify a signature".to_owned());
        }
        let generation = self.generation.load(Relaxed) + 1;
        self.set.store(Some(Arc::new(KeySet { list, generation, text })));
        self.generation.store(generation, Relaxed);
        Ok(())
    }
}

/// A key of a set; `None` for those that cannot verify.
fn verifying_key(jwk: &jsonwebtoken::jwk::Jwk) -> Option<TokenKey> {
    let common = &jwk.common;
    if common.public_key_use == Some(PublicKeyUse::Encryption) {
        return None;
    }
    let algorithm = match common.key_algorithm {
        None => None,
        Some(KeyAlgorithm::HS256) => Some(Algorithm::HS256),
        Some(KeyAlgorithm::HS384) => Some(Algorithm::HS384),
        Some(KeyAlgorithm::HS512) => Some(Algorithm::HS512),
        Some(KeyAlgorithm::RS256) => Some(Algorithm::RS256),
        Some(KeyAlgorithm::RS384) => Some(Algorithm::RS384),
        Some(KeyAlgorithm::RS512) => Some(Algorithm::RS512),
        Some(KeyAlgorithm::PS256) => Some(Algorithm::PS256),
        Some(KeyAlgorithm::PS384) => Some(Algorithm::PS384),
        Some(KeyAlgorithm::PS512) => Some(Algorithm::PS512),
        Some(KeyAlgorithm::ES256) => Some(Algorithm::ES256),
        Some(KeyAlgorithm::ES384) => Some(Algorithm::ES384),
        Some(KeyAlgorithm::EdDSA) => Some(Algorithm::EdDSA),
        Some(_) => return None,
    };
    let decoding = DecodingKey::from_jwk(jwk).ok()?;
    Some(TokenKey { id: common.key_id.clone(), algorithm, decoding })
}

/// Keeps a source's keys up to date, for as long as somebody uses them.
struct KeySetWatcher {
    keys: Weak<Keys>,
    last: Option<Instant>,
    complained: bool,
}

impl KeySetWatcher {
    fn run_watcher(mut self) {
        let Ok(runtime) = Builder::new_current_thread().enable_all().build() else {
            return tracing::error!("key sets cannot be fetched: no runtime");
        };
        while let Some(keys) = self.keys.upgrade() {
            if self.is_due(&keys) {
                self.last = Some(clock::now());
                keys.wanted.store(false, Relaxed);
                let read = match &keys.source {
                    KeySetSource::File(path) => files::read_bounded(path, LARGEST as u64),
                    KeySetSource::Url(remote) => runtime.block_on(read_in_time(remote)),
                };
                self.report_result(&keys, read.and_then(|text| keys.replace_set(text)));
                keys.read.send_modify(|read| *read += 1);
            }
            drop(keys);
            thread::park_timeout(LOOK);
        }
    }

    fn is_due(&self, keys: &Keys) -> bool {
        let Some(last) = self.last else { return true };
        if keys.wanted.load(Relaxed) {
            return true;
        }
        let every = match &keys.source {
            KeySetSource::File(_) => AGAIN,
            KeySetSource::Url(_) if keys.set.load().is_none() => AGAIN,
            KeySetSource::Url(_) => EVERY,
        };
        last.elapsed() >= every
    }

    /// Says when it begins to fail and when it works again.
    fn report_result(&mut self, keys: &Keys, result: Result<(), String>) {
        let source = match &keys.source {
            KeySetSource::File(path) => path.display().to_string(),
            KeySetSource::Url(remote) => remote.uri().to_string(),
        };
        match result {
            Ok(()) if self.complained => {
                self.complained = false;
                tracing::info!(source, "the key set can be read again");
            }
            Err(error) if !self.complained => {
                self.complained = true;
                let key = "auth.jwt.jwks";
                tracing::error!(
                    source,
                    error,
                    key,
                    "the key set cannot be read; the last good one is used"
                );
            }
            Ok(()) | Err(_) => {}
        }
    }
}

async fn read_in_time(remote: &Remote) -> Result<Vec<u8>, String> {
    let read = tokio::time::timeout(PATIENCE, fetch_set(remote)).await;
    read.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
        .map_err(|error| error.to_string())
}

async fn fetch_set(remote: &Remote) -> Result<Vec<u8>, FetchError> {
    let request = Request::builder().header(header::ACCEPT, "application/json");
    let response = remote.send_request(request.body(RequestBody::default())?).await?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("the answer was {status}").into());
    }
    Ok(Limited::new(response.into_body(), LARGEST).collect().await?.to_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p16_tokens_made_up_cannot_have_a_set_read_all_the_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.json");
        std::fs::write(&path, "{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}").unwrap();
        let keys = Keys::start_keeping(KeySetSource::File(path)).unwrap();
        let paid = |now: u64| (0..20).filter(|_| keys.pay_for_read(now)).count();
        assert_eq!(paid(1000), 5);
        assert_eq!(paid(10_999), 0);
        assert_eq!(paid(11_000), 1);
        assert_eq!(paid(1_000_000), 5);
    }
}
