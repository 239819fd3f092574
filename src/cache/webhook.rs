//! Events that say what is no longer valid: whether one comes from who may say so, and for the first time.
//!
//! Events are signed as Standard Webhooks (standardwebhooks.com) say: an HMAC over their id, the time at which they were sent and
//! their body. An event is taken within five minutes of that time, and one of an id that has been carried out is not
//! carried out again, so whoever overhears one can do nothing with it.

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
/// The most events of the last minutes that one cache remembers; while there are so many it takes none.
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
        // One that was sent early may come until twice the tolerance after it was carried out. Who signs an id anew after that
        // means it.
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
mod tests {
    use super::*;
    use crate::clock;
    use crate::config::schema::cache::secret_bytes;

    const NOW: u64 = 1_800_000_000;

    fn webhook() -> WebhookSecrets {
        let secrets = ["a secret that is long enough", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"];
        WebhookSecrets::new(secrets.iter().filter_map(|written| secret_bytes(written)).collect())
    }

    fn signature(secret: &str, id: &str, timestamp: &str, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret_bytes(secret).unwrap()).unwrap();
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }

    fn verify(
        id: &str,
        timestamp: &str,
        signatures: &str,
        body: &str,
    ) -> Result<(), UntrustedEvent> {
        let [id, timestamp, signatures, body] =
            [id, timestamp, signatures, body].map(str::as_bytes);
        webhook().verify_event(&SignedEvent { id, timestamp, signatures, body }, NOW)
    }

    /// The example of the specification of Standard Webhooks.
    #[test]
    fn the_published_example_is_genuine() {
        let signed = SignedEvent {
            id: b"msg_p5jXN8AQM9LWM0D4loKWxJek",
            timestamp: b"1614265330",
            signatures: b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            body: b"{\"test\": 2432232314}",
        };
        assert_eq!(webhook().verify_event(&signed, 1_614_265_330), Ok(()));
        assert_eq!(webhook().verify_event(&signed, 1_614_265_631), Err(UntrustedEvent::Untimely));
    }

    #[test]
    fn only_what_was_signed_is_taken() {
        let now = NOW.to_string();
        let secret = "a secret that is long enough";
        let good = signature(secret, "1", &now, "{}");
        assert_eq!(verify("1", &now, &good, "{}"), Ok(()));
        assert_eq!(verify("1", &now, &format!("v1a,xx v1,zz {good}"), "{}"), Ok(()));
        assert_eq!(verify("2", &now, &good, "{}"), Err(UntrustedEvent::Forged));
        assert_eq!(verify("1", &now, &good, "{ }"), Err(UntrustedEvent::Forged));
        assert_eq!(verify("1", &(NOW + 1).to_string(), &good, "{}"), Err(UntrustedEvent::Forged));
        let other = signature("another secret, long enough", "1", &now, "{}");
        assert_eq!(verify("1", &now, "", "{}"), Err(UntrustedEvent::Unsigned));
        for wrong in ["v1,", " ", &good[3..], &good[..20], &other, &good.replace("v1,", "v2,")] {
            assert_eq!(verify("1", &now, wrong, "{}"), Err(UntrustedEvent::Forged), "{wrong}");
        }
        let many = format!("{}{good}", "v1,AAAA ".repeat(16));
        assert_eq!(verify("1", &now, &many, "{}"), Err(UntrustedEvent::Forged));
        for (id, timestamp) in [("", &*now), ("a.b", &now), ("1", ""), ("1", "+1"), ("1", "x")] {
            let signed = signature(secret, id, timestamp, "{}");
            assert_eq!(verify(id, timestamp, &signed, "{}"), Err(UntrustedEvent::Unsigned));
        }
    }

    #[test]
    fn an_event_counts_around_the_time_it_was_sent() {
        for (sent, taken) in
            [(NOW - 300, true), (NOW - 301, false), (NOW + 300, true), (NOW + 301, false)]
        {
            let sent = sent.to_string();
            let signed = signature("a secret that is long enough", "1", &sent, "{}");
            assert_eq!(verify("1", &sent, &signed, "{}").is_ok(), taken, "{sent}");
        }
    }

    fn is_new(events: &WebhookEvents, id: &[u8], now: u64) -> bool {
        match events.claim_event(id, now) {
            EventClaim::New(event) => {
                event.finish_event(now);
                true
            }
            EventClaim::UnderWay | EventClaim::Done | EventClaim::Full => false,
        }
    }

    #[test]
    fn an_event_is_carried_out_by_one_and_once() {
        let events = WebhookEvents::default();
        let EventClaim::New(first) = events.claim_event(b"1", NOW) else { panic!("it is new") };
        assert!(matches!(events.claim_event(b"1", NOW), EventClaim::UnderWay));
        assert!(is_new(&events, b"2", NOW));
        drop(first);
        let EventClaim::New(second) = events.claim_event(b"1", NOW) else { panic!("it failed") };
        second.finish_event(NOW);
        assert!(matches!(events.claim_event(b"1", NOW + 600), EventClaim::Done));
        assert!(is_new(&events, b"1", NOW + 601), "it was signed anew");
    }

    #[test]
    fn events_are_known_until_they_are_too_old_to_come_again() {
        let events = WebhookEvents::default();
        assert!(is_new(&events, b"first", NOW));
        for n in 1..MOST_EVENTS as u64 {
            assert!(is_new(&events, &n.to_be_bytes(), NOW + 1));
        }
        assert!(matches!(events.claim_event(b"more", NOW + 600), EventClaim::Full));
        assert!(matches!(events.claim_event(b"first", NOW + 600), EventClaim::Done));
        assert!(is_new(&events, b"more", NOW + 601));
        assert!(matches!(events.claim_event(b"other", NOW + 601), EventClaim::Full));
        assert!(is_new(&events, b"first", NOW + 602), "its time is over");
    }

    #[test]
    fn refusals_are_told_now_and_then() {
        let (lines, begin) =
            (WebhookEvents::default().refusal_lines, clock::now() + Duration::from_secs(1));
        let told = |after| lines.take(begin + Duration::from_secs(after)).is_some();
        let told: Vec<u64> = (0..25).filter(|after| told(*after)).collect();
        assert_eq!(told, [0, 10, 20]);
    }
}
