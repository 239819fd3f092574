//! Loops: requests that come back to the route which sent them out, and how they are told from
//! others.
//!
//! A server's name that leads to the proxy itself, a mirror, an authentication server or a second
//! proxy that sends everything back would otherwise let one request become as many as the machine
//! can bear. `CDN-Loop` (RFC 8586) is the field for this; other proxies pass it on. Each route adds
//! a mark of its own, so that one route may lead to another of the same process. `Via` would do
//! too, but servers take it for a reason to leave out compression.
//!
//! A mark is keyed by a secret of the process: nobody can say of somebody else's request that it
//! has been here. Whoever sends a mark that a server has shown gets a refusal for this request,
//! which is held against no server and never stored.

use std::sync::OnceLock;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::clock::Random;
use crate::wire::Known;
use crate::wire::head::{Fields, list_items};

/// The field that marks are written into, in lower case.
pub(crate) const FIELD: &str = "cdn-loop";
/// The beginning of every mark of every process.
const PREFIX: &[u8] = b"tidegate-";
/// Marks of any process that a request may bear. A fleet that sends requests round among its
/// instances is found by the mark of the first that is met twice; this bounds what a large one does
/// until then.
const MOST: usize = 16;

/// The mark of the route with this name: the same for as long as the process lives.
#[must_use]
pub fn route_mark(route: &str) -> Box<str> {
    keyed_mark(process_key(), route)
}

fn keyed_mark(key: &[u8; 64], route: &str) -> Box<str> {
    let mut mac = Hmac::<Sha256>::new(key.into());
    mac.update(route.as_bytes());
    let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = mac.finalize().into_bytes().into();
    format!("tidegate-{:016x}", u64::from_be_bytes([a, b, c, d, e, f, g, h])).into()
}

/// Returns whether a request with these fields has been through the route of this mark, or through
/// more than it may.
#[inline]
#[must_use]
pub fn is_loop(fields: &Fields, mark: &str) -> bool {
    fields.has(Known::CdnLoop) && bears_mark(fields, mark.as_bytes())
}

#[cold]
fn bears_mark(fields: &Fields, mark: &[u8]) -> bool {
    let items = fields.values(Known::CdnLoop).flat_map(list_items);
    // Parameters are for others to add.
    let names = items.map(|item| item.split(|b| *b == b';').next().unwrap_or(item).trim_ascii());
    let mut marks = names.filter(|name| name.starts_with(PREFIX)).enumerate();
    marks.any(|(before, name)| name == mark || before + 1 >= MOST)
}

/// Made when it is first needed; ends with the process.
fn process_key() -> &'static [u8; 64] {
    static KEY: OnceLock<[u8; 64]> = OnceLock::new();
    KEY.get_or_init(|| {
        let mut key = [0_u8; 64];
        if let Err(error) = getrandom::fill(&mut key) {
            // What can be guessed still tells processes apart.
            tracing::error!(%error, "no randomness for the marks by which loops are found");
            let mut random = Random::from_entropy();
            key.chunks_mut(8)
                .for_each(|part| part.copy_from_slice(&random.next_u64().to_be_bytes()));
        }
        key
    })
}

#[cfg(test)]
mod tests;
