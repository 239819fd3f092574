//! The form of a response in a tier outside this process.
//!
//! What is read from there may come from another version, from another program, or from nobody
//! knows where: whatever is not exactly what [`StoredResponse::write`] wrote is no response. A
//! change of the form changes `RESPONSE` and `VARIANTS`, so that versions pass over each other's
//! values.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::history::Epoch;
use super::key::StoreKey;
use super::object;
use super::policy::Timing;
use crate::wire::head::Fields;
use crate::wire::response::{HeadLimits, MOST_FIELDS, ResponseParser};
use crate::wire::{Known, ResponseHead, encode, trailers};

/// What the value of a response begins with.
const RESPONSE: &[u8; 4] = b"TGR1";
/// What the value begins with that says how the responses of a key are selected.
const VARIANTS: &[u8; 4] = b"TGV1";

/// The largest value, in bytes. A larger response stays in memory alone: one value must not hold up
/// the connection that all of them share.
pub const LARGEST: usize = 1 << 20;
/// The most names that select a response.
const MOST_NAMES: usize = 32;

/// A response that is kept elsewhere.
#[derive(Debug)]
pub struct StoredResponse {
    /// The last purge that was known when it was asked for.
    pub epoch: Epoch,
    /// What it answers.
    pub key: StoreKey,
    /// When and how it may be used.
    pub timing: Timing,
    /// The status and fields.
    pub head: ResponseHead,
    /// What follows its body.
    pub trailers: Option<Fields>,
    /// The body.
    pub body: Bytes,
}

/// A value in a tier.
#[derive(Debug)]
pub enum StoredValue {
    /// A response.
    Response(Box<StoredResponse>),
    /// The request fields that select a response of this key, in lower case.
    Variants(StoreKey, Box<[Box<[u8]>]>),
}

impl StoredValue {
    /// Reads a value; `None` for whatever this version did not write.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        let (magic, rest) = value.split_at_checked(4)?;
        let (sum, rest) = rest.split_at_checked(8)?;
        if value.len() > LARGEST || xxh3_64(rest).to_be_bytes() != *sum {
            return None;
        }
        let mut reader = StoredReader { rest };
        let read = if magic == RESPONSE {
            Self::Response(Box::new(StoredResponse::read_response(&mut reader)?))
        } else if magic == VARIANTS {
            let key = StoreKey::from_bytes(reader.read_block()?)?;
            let count = usize::try_from(reader.read_number()?).ok().filter(|n| *n <= MOST_NAMES)?;
            let names =
                (0..count).map(|_| reader.read_block().map(Box::from)).collect::<Option<_>>()?;
            Self::Variants(key, names)
        } else {
            return None;
        };
        reader.rest.is_empty().then_some(read)
    }
}

/// A value with its checksum, of what it begins with and what follows: for tests of what lies
/// behind the checksum.
#[cfg(any(test, fuzzing))]
#[must_use]
pub fn sealed(magic: &[u8], rest: &[u8]) -> Vec<u8> {
    [magic, &xxh3_64(rest).to_be_bytes(), rest].concat()
}

/// Writes which request fields select a response of a key; `None` when there are too many.
#[must_use]
pub fn write_variants(key: &StoreKey, names: &[Box<[u8]>]) -> Option<Vec<u8>> {
    let mut out = begin_value(VARIANTS);
    put_block(&mut out, key.as_bytes());
    put_number(&mut out, names.len() as u64);
    names.iter().for_each(|name| put_block(&mut out, name));
    if names.len() > MOST_NAMES { None } else { seal_value(out) }
}

/// What of a response is written.
#[derive(Debug, Clone, Copy)]
pub struct StoredParts<'a> {
    /// The last purge that was known when it was asked for.
    pub epoch: Epoch,
    /// What it answers.
    pub key: &'a StoreKey,
    /// When and how it may be used.
    pub timing: &'a Timing,
    /// The status and fields.
    pub head: &'a ResponseHead,
    /// What follows its body.
    pub trailers: Option<&'a Fields>,
}

impl StoredParts<'_> {
    /// Writes a response with a body of so many bytes; `None` when it is too large.
    #[must_use]
    pub fn write_response(
        &self,
        length: u64,
        body: impl Iterator<Item = Bytes>,
    ) -> Option<Vec<u8>> {
        let length = usize::try_from(length).ok().filter(|length| *length < LARGEST)?;
        let Timing {
            received,
            initial_age,
            lifetime,
            while_revalidating,
            if_error,
            stale_allowed,
            validate_always,
            has_validator,
            shared,
        } = *self.timing;
        let mut out = begin_value(RESPONSE);
        out.reserve(length + 1024);
        let Epoch(ms, seq) = self.epoch;
        for number in [ms, seq, received, initial_age, lifetime, while_revalidating, if_error] {
            put_number(&mut out, number);
        }
        let flags = [stale_allowed, validate_always, has_validator, shared];
        out.push(flags.iter().enumerate().fold(0, |all, (at, on)| all | u8::from(*on) << at));
        put_block(&mut out, self.key.as_bytes());
        let mut head = format!("HTTP/1.1 {} ", self.head.status).into_bytes();
        head.extend_from_slice(self.head.reason());
        head.extend_from_slice(b"\r\n");
        self.head.fields.iter().for_each(|f| encode::field(&mut head, f.name, f.value));
        head.extend_from_slice(b"\r\n");
        put_block(&mut out, &head);
        let mut behind = Vec::new();
        let fields = self.trailers.into_iter().flat_map(Fields::iter);
        fields.for_each(|f| encode::field(&mut behind, f.name, f.value));
        put_block(&mut out, &behind);
        put_number(&mut out, length as u64);
        let before = out.len();
        body.for_each(|part| out.extend_from_slice(&part));
        if out.len() - before == length { seal_value(out) } else { None }
    }
}

impl StoredResponse {
    /// The same as [`StoredParts::write_response`], of a response that was read.
    #[must_use]
    pub fn write(&self) -> Option<Vec<u8>> {
        let Self { epoch, key, timing, head, trailers, body } = self;
        let parts = StoredParts { epoch: *epoch, key, timing, head, trailers: trailers.as_ref() };
        parts.write_response(body.len() as u64, std::iter::once(body.clone()))
    }

    fn read_response(reader: &mut StoredReader<'_>) -> Option<Self> {
        let epoch = Epoch(reader.read_number()?, reader.read_number()?);
        let mut timing = Timing {
            received: reader.read_number()?,
            initial_age: reader.read_number()?,
            lifetime: reader.read_number()?,
            while_revalidating: reader.read_number()?,
            if_error: reader.read_number()?,
            ..Timing::default()
        };
        let flags = *reader.take_bytes(1)?.first()?;
        if flags > 15 {
            return None;
        }
        timing.stale_allowed = flags & 1 != 0;
        timing.validate_always = flags & 2 != 0;
        timing.has_validator = flags & 4 != 0;
        timing.shared = flags & 8 != 0;
        let key = StoreKey::from_bytes(reader.read_block()?)?;
        let text = reader.read_block()?;
        let mut head = ResponseHead::default();
        let limits = HeadLimits { bytes: LARGEST, fields: MOST_FIELDS };
        let read = ResponseParser::default().parse_within(text, limits, &mut head).ok()??;
        let behind = trailers::parse(reader.read_block()?)?;
        let length = usize::try_from(reader.read_number()?).ok()?;
        let body = reader.take_bytes(length)?;
        let sound = read == text.len()
            && (200..=599).contains(&head.status)
            && !matches!(head.status, 206 | 304)
            && head.fields.iter().all(|field| object::is_stored(field.known, field.name))
            && is_of_length(&head, length);
        let trailers = (!behind.is_empty()).then_some(behind);
        sound.then(|| Self {
            epoch,
            key,
            timing,
            head,
            trailers,
            body: Bytes::copy_from_slice(body),
        })
    }
}

/// Returns whether a head announces a body of this length, or none; statuses without a body have
/// none.
fn is_of_length(head: &ResponseHead, length: usize) -> bool {
    let mut told = head.fields.values(Known::ContentLength);
    let bodiless = matches!(head.status, 204 | 205);
    told.all(|told| told == itoa::Buffer::new().format(length).as_bytes())
        && !(bodiless && length > 0)
}

fn begin_value(magic: &[u8; 4]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(magic);
    out.extend_from_slice(&[0; 8]);
    out
}

fn seal_value(mut out: Vec<u8>) -> Option<Vec<u8>> {
    let sum = xxh3_64(out.get(12..)?).to_be_bytes();
    out.get_mut(4..12)?.copy_from_slice(&sum);
    (out.len() <= LARGEST).then_some(out)
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn put_block(out: &mut Vec<u8>, block: &[u8]) {
    put_number(out, block.len() as u64);
    out.extend_from_slice(block);
}

/// Reads from the front of a value.
struct StoredReader<'v> {
    rest: &'v [u8],
}

impl<'v> StoredReader<'v> {
    fn take_bytes(&mut self, n: usize) -> Option<&'v [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(taken)
    }

    fn read_number(&mut self) -> Option<u64> {
        self.take_bytes(8)?.try_into().ok().map(u64::from_be_bytes)
    }

    fn read_block(&mut self) -> Option<&'v [u8]> {
        let length = usize::try_from(self.read_number()?).ok()?;
        self.take_bytes(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> StoredResponse {
        let mut head = ResponseHead::default();
        head.set(200, b"Fine");
        head.fields.push(b"Cache-Tag", b"red");
        head.fields.push(b"X-Empty", b"");
        let mut trailers = Fields::default();
        trailers.push(b"X-Sum", b"7");
        let timing = Timing {
            received: 1,
            initial_age: 2,
            lifetime: 3,
            while_revalidating: 4,
            if_error: 5,
            stale_allowed: true,
            has_validator: true,
            ..Timing::default()
        };
        StoredResponse {
            epoch: Epoch(9, 1),
            key: StoreKey::new("c", b"https", b"a.test", b"/x", Some(b"q"), &[None, Some(b"")]),
            timing,
            head,
            trailers: Some(trailers),
            body: Bytes::from_static(b"hello"),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let written = stored().write().unwrap();
        let Some(StoredValue::Response(read)) = StoredValue::read(&written) else {
            panic!("not read")
        };
        let of = |fields: &Fields| {
            fields.iter().map(|f| (f.name.to_vec(), f.value.to_vec())).collect::<Vec<_>>()
        };
        assert_eq!(
            (read.epoch, &read.key, read.timing),
            (Epoch(9, 1), &stored().key, stored().timing)
        );
        assert_eq!((read.head.status, read.head.reason()), (200, &b"Fine"[..]));
        assert_eq!(of(&read.head.fields), of(&stored().head.fields));
        assert_eq!(of(&read.trailers.clone().unwrap()), [(b"X-Sum".to_vec(), b"7".to_vec())]);
        assert_eq!(read.body, "hello");
        assert_eq!(read.write().unwrap(), written);
        let key = stored().key;
        let names = [Box::from(&b"accept"[..]), Box::from(&b"dpr"[..])];
        let written = write_variants(&key, &names).unwrap();
        let Some(StoredValue::Variants(of, read)) = StoredValue::read(&written) else {
            panic!("not read")
        };
        assert_eq!((of, &*read), (key, &names[..]));
    }

    #[test]
    fn seeds_of_the_fuzz_target_are_values() {
        let read = |seed: &[u8]| {
            let (magic, rest) = seed.split_at(4);
            StoredValue::read(&sealed(magic, rest))
        };
        for seed in [
            &include_bytes!("../../tests/fuzz/seeds/stored/response")[..],
            include_bytes!("../../tests/fuzz/seeds/stored/trailers"),
            include_bytes!("../../tests/fuzz/seeds/stored/empty"),
        ] {
            assert!(
                matches!(read(seed), Some(StoredValue::Response(_))),
                "{}",
                seed.escape_ascii()
            );
        }
        let variants = read(include_bytes!("../../tests/fuzz/seeds/stored/variants"));
        assert!(matches!(variants, Some(StoredValue::Variants(_, names)) if names.len() == 2));
    }

    #[test]
    fn what_is_garbled_behind_its_checksum_is_nothing_or_is_written_again() {
        let mut random = crate::clock::Random::seeded(18);
        let written = stored().write().unwrap();
        let (mut read, mut refused) = (0, 0);
        for _ in 0..20_000 {
            let mut rest = written[12..].to_vec();
            for _ in 0..=random.below(3) {
                let at = random.below(rest.len() as u64) as usize;
                match random.below(3) {
                    0 => rest[at] = random.next_u64() as u8,
                    1 => rest.truncate(at.max(1)),
                    _ => rest.insert(at, random.next_u64() as u8),
                }
            }
            match StoredValue::read(&sealed(RESPONSE, &rest)) {
                Some(StoredValue::Response(one)) => {
                    let again = one.write().unwrap();
                    assert!(matches!(StoredValue::read(&again), Some(StoredValue::Response(two))
                        if two.write().as_deref() == Some(&*again)));
                    read += 1;
                }
                Some(StoredValue::Variants(..)) => panic!("{}", rest.escape_ascii()),
                None => refused += 1,
            }
        }
        assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
    }

    #[test]
    fn whatever_was_changed_is_nothing() {
        let written = stored().write().unwrap();
        for at in 0..written.len() {
            let mut changed = written.clone();
            changed[at] ^= 0x20;
            assert!(StoredValue::read(&changed).is_none(), "byte {at}");
            assert!(StoredValue::read(&written[..at]).is_none(), "cut at {at}");
        }
        assert!(StoredValue::read(&[written, b"x".to_vec()].concat()).is_none());
        for foreign in [&b""[..], b"OK", b"TGR1", b"{\"status\":200}", &[0; 64]] {
            assert!(StoredValue::read(foreign).is_none());
        }
    }

    #[test]
    fn what_no_cache_could_have_stored_is_nothing() {
        let is_read = |change: &dyn Fn(&mut StoredResponse)| {
            let mut stored = stored();
            change(&mut stored);
            StoredValue::read(&stored.write().unwrap()).is_some()
        };
        assert!(is_read(&|_| {}));
        assert!(is_read(&|s| s.head.fields.push(b"Content-Length", b"5")));
        assert!(!is_read(&|s| s.head.fields.push(b"Content-Length", b"4")));
        assert!(!is_read(&|s| s.head.fields.push(b"Transfer-Encoding", b"chunked")));
        assert!(!is_read(&|s| s.head.fields.push(b"Connection", b"close")));
        assert!(!is_read(&|s| s.head.fields.push(b"X-A", b"1\r\nSet-Cookie: a=1\x00")));
        assert!(!is_read(&|s| s.head.fields.push(b"X A", b"1")));
        for status in [100, 206, 304, 600] {
            assert!(!is_read(&|s| s.head.status = status), "{status}");
        }
        assert!(!is_read(&|s| s.head.status = 204));
    }

    #[test]
    fn values_are_bounded() {
        let mut large = stored();
        large.body = vec![0; LARGEST].into();
        assert_eq!(large.write(), None);
        large.body = vec![0; LARGEST - 1024].into();
        assert!(large.write().is_some_and(|written| written.len() <= LARGEST));
        let names: Vec<Box<[u8]>> = (0..33_u8).map(|n| vec![n].into()).collect();
        assert_eq!(write_variants(&large.key, &names), None);
    }
}
