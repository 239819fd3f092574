//! Events that say what is no longer valid: whether one comes from who may say so, and for the
//! first time.
//!
//! Events are signed as Standard Webhooks (standardwebhooks.com) say: an HMAC over their id, the
//! time at which they were sent and their body. An event is taken within five minutes of that time,
//! and one of an id that has been carried out is not carried out again, so whoever overhears one
//! can do nothing with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use papaya::HashMap;
use sha2::{Digest, Sha256};

use crate::quota::LineQuota;

/// How far the time of an event may be from now, in seconds.
pub const TOLERANCE: u64 = 300;
/// The longest id, in bytes.
const LONGEST_ID: usize = 256;
/// The most signatures of one event that are looked at.
const MOST_SIGNATURES: usize = 16;
/// The most events of the last minutes that one cache remembers; while there are so many it takes
/// none.
const MOST_EVENTS: usize = 65_536;
/// The shortest time between two log lines about events that were refused.
const QUIET: Duration = Duration::from_secs(10);

/// Secrets by which the events of a cache are signed.
pub struct WebhookSecrets {
    secrets: Box<[Box<[u8]>]>,
}

impl std::fmt::Debug for WebhookSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.secrets.len())
    }
}

/// A reason why an event is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UntrustedEvent {
    /// A field is missing, more than once there, or malformed.
    #[error("`webhook-id`, `webhook-timestamp` and `webhook-signature` are needed, each once")]
    Unsigned,
    /// It was sent too long ago, or will be.
    #[error("`webhook-timestamp` is more than five minutes from now")]
    Untimely,
    /// No signature is that of a secret.
    #[error("no signature is that of this cache's secret over id, timestamp and body")]
    Forged,
}

/// What an event is signed over, as its fields have it.
#[derive(Debug, Clone, Copy)]
pub struct SignedEvent<'e> {
    /// `webhook-id`.
    pub id: &'e [u8],
    /// `webhook-timestamp`: seconds since 1970.
    pub timestamp: &'e [u8],
    /// `webhook-signature`: `v1,` and Base64, several between blanks.
    pub signatures: &'e [u8],
    /// The body as it came.
    pub body: &'e [u8],
}

impl WebhookSecrets {
    /// Takes events that are signed by one of these.
    #[must_use]
    pub fn new(secrets: Box<[Box<[u8]>]>) -> Self {
        Self { secrets }
    }

    /// Decides whether an event may be carried out at a time, in seconds since 1970.
    ///
    /// # Errors
    /// [`UntrustedEvent`].
    pub fn verify_event(&self, event: &SignedEvent<'_>, now: u64) -> Result<(), UntrustedEvent> {
        let SignedEvent { id, timestamp, signatures, body } = *event;
        // A full stop ends the id in what is signed.
        let sound = !id.is_empty() && id.len() <= LONGEST_ID && !id.contains(&b'.');
        let digits = !timestamp.is_empty() && timestamp.iter().all(u8::is_ascii_digit);
        let sent = std::str::from_utf8(timestamp).ok().and_then(|text| text.parse::<u64>().ok());
        let sound = sound && digits && !signatures.is_empty();
        let sent = sent.filter(|_| sound).ok_or(UntrustedEvent::Unsigned)?;
        let given = signatures.split(|byte| *byte == b' ').take(MOST_SIGNATURES);
        let given = given.filter_map(|one| STANDARD.decode(one.strip_prefix(b"v1,")?).ok());
        let given: Vec<Vec<u8>> = given.collect();
        // All are compared, each in a time that does not depend on where it differs.
        let mut genuine = false;
        for secret in &self.secrets {
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { continue };
            for part in [id, b".", timestamp, b".", body] {
                mac.update(part);
            }
            for one in &given {
                genuine |= mac.clone().verify_slice(one).is_ok();
            }
        }
        if !genuine {
            return Err(UntrustedEvent::Forged);
        }
        if sent.abs_diff(now) > TOLERANCE { Err(UntrustedEvent::Untimely) } else { Ok(()) }
    }
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum EventResult {
    /// It was carried out.
    Done,
    /// It had been carried out before.
    Repeated,
    /// A field of its signature is missing, more than once there, or malformed.
    Unsigned,
    /// It was sent more than five minutes ago, or will be.
    Untimely,
    /// No signature is that of a secret.
    BadSignature,
    /// It is too large, no JSON, or asks for nothing that can be purged here.
    Malformed,
    /// It is being carried out, or so many came that it could not be remembered.
    Busy,
    /// It was not carried out everywhere.
    Failed,
}

impl EventResult {
    /// All of them, with their words in metrics.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Done, "done"),
        (Self::Repeated, "repeated"),
        (Self::Unsigned, "unsigned"),
        (Self::Untimely, "untimely"),
        (Self::BadSignature, "bad_signature"),
        (Self::Malformed, "malformed"),
        (Self::Busy, "busy"),
        (Self::Failed, "failed"),
    ];

    /// The word in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.get(self as usize).map_or("", |(_, word)| word)
    }
}

impl From<UntrustedEvent> for EventResult {
    fn from(why: UntrustedEvent) -> Self {
        match why {
            UntrustedEvent::Unsigned => Self::Unsigned,
            UntrustedEvent::Untimely => Self::Untimely,
            UntrustedEvent::Forged => Self::BadSignature,
        }
    }
}

/// How many events became what.
#[derive(Debug, Default)]
pub struct EventCounts([AtomicU64; EventResult::ALL.len()]);

impl EventCounts {
    /// Counts one.
    pub fn count(&self, result: EventResult) {
        if let Some(counter) = self.0.get(result as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how many became this.
    #[must_use]
    pub fn get(&self, result: EventResult) -> u64 {
        self.0.get(result as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

/// How far an event has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EventState {
    /// It is being carried out.
    UnderWay,
    /// It was carried out at this time, in seconds since 1970.
    Done(u64),
}

/// Events of one cache that were carried out, until they would not be taken any more for their age.
#[derive(Debug)]
pub struct WebhookEvents {
    known: HashMap<[u8; 32], EventState>,
    /// What became of events; it survives reloads.
    pub counts: EventCounts,
    /// Lines about events that were refused: strangers must not be able to flood the log.
    pub refusal_lines: LineQuota,
}

impl Default for WebhookEvents {
    fn default() -> Self {
        let refusal_lines = LineQuota::new(1, QUIET);
        Self { known: HashMap::default(), counts: EventCounts::default(), refusal_lines }
    }
}

/// What is known of an event that is to be carried out.
#[derive(Debug)]
pub enum EventClaim<'e> {
    /// Nothing: it is the holder's to carry out.
    New(EventUnderWay<'e>),
    /// Another request is carrying it out.
    UnderWay,
    /// It has been carried out.
    Done,
    /// So many others came in the last minutes that it could not be remembered.
    Full,
}

/// An event that is being carried out. Dropped before the end, it may come again.
#[derive(Debug)]
pub struct EventUnderWay<'e> {
    events: &'e WebhookEvents,
    name: [u8; 32],
    done: bool,
}

impl EventUnderWay<'_> {
    /// Remembers that it was carried out, at a time in seconds since 1970.
    pub fn finish_event(mut self, now: u64) {
        self.events.known.pin().insert(self.name, EventState::Done(now));
        self.done = true;
    }
}

impl Drop for EventUnderWay<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.events.known.pin().remove(&self.name);
        }
    }
}

impl WebhookEvents {
    /// Claims an event of this id, at a time in seconds since 1970, for one who carries it out.
    #[must_use]
    pub fn claim_event(&self, id: &[u8], now: u64) -> EventClaim<'_> {
        let name: [u8; 32] = Sha256::digest(id).into();
        let known = self.known.pin();
        // One that was sent early may come until twice the tolerance after it was carried out. Who
        // signs an id anew after that means it.
        let counts = |state: &EventState| match *state {
            EventState::UnderWay => true,
            EventState::Done(at) => at.saturating_add(2 * TOLERANCE) >= now,
        };
        if known.get(&name).is_some_and(|state| !counts(state)) {
            known.remove(&name);
        }
        if !known.contains_key(&name) && self.known.len() >= MOST_EVENTS {
            known.retain(|_, state| counts(state));
            if self.known.len() >= MOST_EVENTS {
                return EventClaim::Full;
            }
        }
        match known.try_insert(name, EventState::UnderWay) {
            Ok(_) => EventClaim::New(EventUnderWay { events: self, name, done: false }),
            Err(occupied) => match occupied.current {
                EventState::UnderWay => EventClaim::UnderWay,
                EventState::Done(_) => EventClaim::Done,
            },
        }
    }
}

#[cfg(test)]
mod tests;
