//! One stored response, or one on its way into the store.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use super::body::{CachedBody, OwnedBody};
use super::directives::ResponseDirectives;
use super::history;
use super::key::StoreKey;
use super::memory::{Reservation, allocated};
use super::policy::{self, Millis, Timing};
use super::search::SearchRule;
use crate::wire::head::Fields;
use crate::wire::{Known, ResponseHead};

/// Memory of an entry beside its key, head and body, in bytes: the object, its places in the table,
/// in the order of eviction and in the list of expiries, as the resident memory of a process grows
/// with each of many small ones.
pub const OVERHEAD: u64 = 1104;

/// Memory that a body takes beside its bytes while it is a chain for those who read what is still
/// coming, in bytes.
const CHAIN_OVERHEAD: u64 = 480;

/// The highest count of uses that is remembered.
const MOST_USES: u8 = 3;

/// The number of the next response, whichever store it is for.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

/// The number that the next response will have.
pub(super) fn next_number() -> u64 {
    NEXT_NUMBER.load(Ordering::Acquire)
}

/// A response.
#[derive(Debug)]
pub struct Object {
    /// A number that no other response of this process has. Whoever keeps this instead of a weak
    /// handle keeps no memory of what has left.
    pub number: u64,
    /// What it answers.
    pub key: Arc<StoreKey>,
    /// The hash of the values of those request fields that it was selected by.
    pub variant: u64,
    /// The status, and its fields without those of a connection.
    pub head: ResponseHead,
    /// The length of its body, once it is known.
    pub length: Option<u64>,
    /// When and how it may be used.
    pub timing: Timing,
    /// Fields that wait for a server's word before they are sent again.
    withheld: Option<Arc<ResponseDirectives>>,
    /// The body.
    pub body: OwnedBody,
    /// What it says of queries that it answers too; its key has the canonical form of them.
    pub search: Option<Arc<SearchRule>>,
    /// The names of the tags it may be purged by.
    pub tags: Box<[Box<[u8]>]>,
    /// The moment of the request for it, by the store's clock: a purge after that counts for it.
    pub asked_at: Millis,
    /// Uses since its place in the order of eviction was last looked at, up to [`MOST_USES`].
    uses: AtomicU8,
    /// All uses.
    hits: AtomicU64,
    /// A soft purge: stale from now on, whatever its timing says.
    softly_purged: AtomicBool,
    /// The response that was stored in its place while clients were sent it: their uses count
    /// there.
    successor: OnceLock<Weak<Self>>,
    /// What it takes of its store's memory beside its body.
    pub reservation: Reservation,
}

/// What a response is made of.
#[derive(Debug)]
pub struct ObjectParts {
    /// The key of the request that it was fetched for.
    pub asked: Arc<StoreKey>,
    /// The hash of the values of those request fields that it was selected by.
    pub variant: u64,
    /// The status, and its fields without those of a connection.
    pub head: ResponseHead,
    /// When and how it may be used.
    pub timing: Timing,
    /// The body.
    pub body: CachedBody,
    /// The length of its body, if it is known.
    pub length: Option<u64>,
    /// The moment of the request for it, by the store's clock.
    pub asked_at: Millis,
}

impl Object {
    /// A response that was just received for a request: it is stored under that request's key, or
    /// under what its own rule about queries makes of it.
    #[must_use]
    pub fn new(parts: ObjectParts, reservation: Reservation) -> Self {
        let ObjectParts { asked, variant, head, timing, body, length, asked_at } = parts;
        let said = ResponseDirectives::read(&head.fields);
        let withholds = !said.no_cache_fields.is_empty() || !said.private_fields.is_empty();
        let rule = SearchRule::read_rule(&head.fields);
        let canonical = rule.and_then(|rule| Some((asked.to_canonical(&rule)?, rule)));
        let (key, search) = match canonical {
            Some((key, rule)) => (Arc::new(key), Some(Arc::new(rule))),
            None => (asked, None),
        };
        Self {
            number: NEXT_NUMBER.fetch_add(1, Ordering::AcqRel),
            key,
            search,
            variant,
            tags: read_tags(&head.fields),
            head,
            length,
            timing,
            withheld: withholds.then(|| Arc::new(said)),
            body: OwnedBody::new(body),
            asked_at,
            uses: AtomicU8::new(0),
            hits: AtomicU64::new(0),
            softly_purged: AtomicBool::new(false),
            successor: OnceLock::new(),
            reservation,
        }
    }

    /// The same response with another form of its body, in no more memory than it needs.
    #[must_use]
    pub fn with_body(&self, body: CachedBody, reservation: Reservation) -> Self {
        Self {
            number: NEXT_NUMBER.fetch_add(1, Ordering::AcqRel),
            key: self.key.clone(),
            variant: self.variant,
            // What grew while it was received is as large as it must be in a copy.
            head: self.head.clone(),
            length: self.length,
            timing: self.timing,
            withheld: self.withheld.clone(),
            body: OwnedBody::new(body),
            search: self.search.clone(),
            tags: self.tags.clone(),
            asked_at: self.asked_at,
            uses: AtomicU8::new(self.uses()),
            hits: AtomicU64::new(self.hits()),
            softly_purged: AtomicBool::new(self.softly_purged.load(Ordering::Acquire)),
            successor: OnceLock::new(),
            reservation,
        }
    }

    /// Names what is stored in its place from now on.
    pub fn set_successor(&self, successor: &Arc<Self>) {
        let _set_once = self.successor.set(Arc::downgrade(successor));
    }

    /// Returns what it takes of the store's memory without its body, in bytes.
    #[must_use]
    pub fn head_size(&self) -> u64 {
        let tags: usize = self.tags.iter().map(|tag| tag.len() + size_of::<Box<[u8]>>()).sum();
        let rule = self.search.as_ref().map_or(0, |rule| rule.size());
        let head = self.head.fields.capacity() + self.key.len() + tags + rule;
        // A piece counts what follows it; a chain does not, as that comes when it has been counted.
        let chain = if self.body.is_one_piece() {
            0
        } else {
            CHAIN_OVERHEAD + trailers_size(self.body.trailers())
        };
        OVERHEAD + chain + allocated(head as u64)
    }

    /// Returns what it takes of the store's memory, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.head_size() + self.body.size()
    }

    /// The part of [`Object::size`] that is not counted so far.
    #[must_use]
    pub fn uncounted_size(&self) -> u64 {
        self.head_size() + self.body.uncounted_size()
    }

    /// Notes that [`Object::uncounted_size`] was taken of its store's memory.
    pub fn set_counted(&self) {
        self.reservation.add_bytes(self.head_size());
        self.body.set_counted(self.reservation.memory());
    }

    /// The length of its body in bytes: as announced, or as received once it is whole.
    #[must_use]
    pub fn known_length(&self) -> Option<u64> {
        self.length.or_else(|| self.body.is_whole().then(|| self.body.written()))
    }

    /// The length that a client is told; `None` where fields follow the body, which HTTP/1 can only
    /// send behind chunks.
    #[must_use]
    pub fn told_length(&self) -> Option<u64> {
        self.length.or_else(|| self.known_length().filter(|_| self.body.trailers().is_none()))
    }

    /// Counts a use. A counter that is full is not written to, so that an entry everybody asks for
    /// costs no traffic between cores.
    pub fn count_use(&self) {
        if let Some(successor) = self.successor.get().and_then(Weak::upgrade) {
            return successor.count_use();
        }
        let uses = self.uses.load(Ordering::Relaxed);
        if uses < MOST_USES {
            self.uses.store(uses + 1, Ordering::Relaxed);
        }
        self.count_first_use();
    }

    /// Counts the use by the request for which it was fetched. That says nothing of whether anybody
    /// will ask again, so it does not keep the entry: a scan would keep all of it.
    pub fn count_first_use(&self) {
        if let Some(successor) = self.successor.get().and_then(Weak::upgrade) {
            return successor.count_first_use();
        }
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often it was used since it was stored.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Returns whether it was used since last asked; costs it one use.
    #[must_use]
    pub fn spend_use(&self) -> bool {
        let uses = self.uses.load(Ordering::Relaxed);
        if uses > 0 {
            self.uses.store(uses - 1, Ordering::Relaxed);
        }
        uses > 0
    }

    /// Returns how often it was used lately, from 0 to 3.
    #[must_use]
    pub fn uses(&self) -> u8 {
        self.uses.load(Ordering::Relaxed)
    }

    /// Makes it stale: it is used once a server has said so, or while none can.
    pub fn purge_softly(&self) {
        self.softly_purged.store(true, Ordering::Release);
    }

    /// Returns whether it answers requests of this key.
    #[must_use]
    pub fn answers_key(&self, key: &StoreKey) -> bool {
        history::is_for(key, &self.key, self.search.as_deref())
    }

    /// The timing as of now.
    #[must_use]
    pub fn timing(&self) -> Timing {
        let mut timing = self.timing;
        if self.softly_purged.load(Ordering::Acquire) {
            timing.lifetime = 0;
            timing.initial_age = timing.initial_age.max(1);
        }
        timing
    }

    /// Returns whether a field is sent with answers that no server has been asked about.
    #[must_use]
    pub fn sends_field(&self, name: &[u8]) -> bool {
        !name.eq_ignore_ascii_case(b"age")
            && self.withheld.as_ref().is_none_or(|said| !policy::is_withheld(said, name))
    }

    /// Returns the head without the fields that are withheld; `None` where none is.
    #[must_use]
    pub fn shared_head(&self) -> Option<ResponseHead> {
        let said = self.withheld.as_ref()?;
        let mut shared = ResponseHead::default();
        shared.set(self.head.status, self.head.reason());
        for field in self.head.fields.iter().filter(|f| !policy::is_withheld(said, f.name)) {
            shared.fields.push_known(field.name, field.value, field.known);
        }
        Some(shared)
    }

    /// Returns what names the fields that are withheld.
    #[must_use]
    pub fn withheld(&self) -> Option<Arc<ResponseDirectives>> {
        self.withheld.clone()
    }

    /// Returns whether a field ends with a 304, because it was for the one who was sent it first.
    /// The 304 may bring a `Cache-Control` that says nothing of it any more.
    fn ends_with_update(&self, name: &[u8]) -> bool {
        let Some(said) = &self.withheld else { return false };
        let is_private = said.private_fields.iter().any(|known| name.eq_ignore_ascii_case(known));
        let is_cookie = name.eq_ignore_ascii_case(b"set-cookie");
        is_private || is_cookie && policy::is_withheld(said, name)
    }

    /// The `ETag`.
    #[must_use]
    pub fn etag(&self) -> Option<&[u8]> {
        self.head.fields.named(b"etag").next()
    }

    /// The `Last-Modified`.
    #[must_use]
    pub fn last_modified(&self) -> Option<&[u8]> {
        self.head.fields.named(b"last-modified").next()
    }

    /// The fields after a 304 (RFC 9111 §3.2): those of the 304 take the place of stored ones of
    /// the same name, except for those that describe the stored body. A cookie in it is for the one
    /// who asked, and not stored for others.
    #[must_use]
    pub fn updated_fields(&self, update: &Fields) -> Fields {
        let replaces = |name: &[u8]| {
            let describes = [
                &b"content-length"[..],
                b"content-encoding",
                b"content-range",
                b"content-type",
                b"transfer-encoding",
                b"etag",
                b"set-cookie",
            ];
            !describes.iter().any(|own| name.eq_ignore_ascii_case(own))
        };
        let mut fields = Fields::default();
        for field in self.head.fields.iter() {
            let newer = update.named(field.name).next().is_some();
            // An age that a 304 does not tell is not that of the response it confirms.
            let is_age = field.name.eq_ignore_ascii_case(b"age");
            let ends = newer && replaces(field.name) || self.ends_with_update(field.name);
            if !is_age && !ends {
                fields.push(field.name, field.value);
            }
        }
        for field in update.iter().filter(|field| replaces(field.name)) {
            fields.push(field.name, field.value);
        }
        fields
    }
}

/// Returns how much memory the fields behind a chain take, in bytes.
pub(super) fn trailers_size(trailers: Option<&Fields>) -> u64 {
    trailers.map_or(0, |trailers| allocated(trailers.capacity() as u64))
}

/// Fields that are not stored (RFC 9111 §3.1): those of one connection, and those of proxies on it.
#[must_use]
pub fn is_stored(known: Known, name: &[u8]) -> bool {
    let of_connection = matches!(
        known,
        Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::ProxyAuthenticate
            | Known::ProxyAuthorization
            | Known::Te
            | Known::Trailer
            | Known::TransferEncoding
            | Known::Upgrade
    );
    !of_connection && !name.eq_ignore_ascii_case(b"proxy-authentication-info")
}

/// The most tags of one response that are told apart.
const MOST_TAGS: usize = 64;
/// The longest tag that is told from others, in bytes.
const LONGEST_TAG: usize = 256;
/// The tag that stands for those that were left out: a purge by any tag concerns it.
pub(super) const ANY_TAG: &[u8] = b"";

/// Reads `Cache-Tag` (commas), `Surrogate-Key` and `xkey` (blanks).
pub(super) fn read_tags(fields: &Fields) -> Box<[Box<[u8]>]> {
    let mut tags: Vec<Box<[u8]>> = Vec::new();
    let names = [&b"cache-tag"[..], b"surrogate-key", b"xkey"];
    let lines = names.iter().flat_map(|name| fields.named(name));
    let listed = lines.flat_map(|line| line.split(|b| matches!(b, b',' | b' ' | b'\t')));
    for tag in listed.filter(|tag| !tag.is_empty()) {
        if tags.iter().any(|known| **known == *tag) {
            continue;
        }
        if tags.len() == MOST_TAGS || tag.len() > LONGEST_TAG {
            tags.push(ANY_TAG.into());
            break;
        }
        tags.push(tag.into());
    }
    tags.into_boxed_slice()
}

#[cfg(test)]
mod tests;
