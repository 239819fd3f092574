//! Affinity by a cookie that the proxy sets: a client stays with the server it first got.
//!
//! The cookie holds a tag that stands for the server, when it ends, and a signature over both, so
//! that a client can neither choose a server nor learn its address. The key is made once per
//! process, so cookies survive reloads; instances that are given the same secret honour each
//! other's.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::balance::Member;

/// Bytes of the signature that are kept: 128 bits.
const SIGNATURE: usize = 16;
/// Tag, end, signature.
const LENGTH: usize = 8 + 8 + SIGNATURE;
/// The same in base64.
const TEXT: usize = LENGTH.div_ceil(3) * 4;

/// An upstream's affinity.
#[derive(Debug)]
pub struct Sticky {
    cookie: Box<str>,
    /// The cookie's attributes before and after its age.
    attributes: [Box<str>; 2],
    ttl: Duration,
    signer: Signer,
    /// Each server's tag and id, sorted by tag.
    servers: Box<[(u64, u32)]>,
}

/// The content of a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bond {
    /// The id of the client's server.
    pub id: u32,
    /// The cookie has more than half of its time left.
    pub fresh: bool,
}

impl Sticky {
    /// Affinity for the servers of an upstream. Without a secret, a key of the process's own is
    /// used.
    #[must_use]
    pub fn new(
        (upstream, cookie): (&str, &str),
        ttl: Duration,
        secret: Option<&str>,
        members: &[Member],
    ) -> Self {
        let key = secret.map_or_else(|| process_key().to_vec(), |s| s.as_bytes().to_vec());
        // Each upstream has a key of its own: its cookies mean nothing elsewhere.
        let signer =
            Signer::new(&Signer::new(&key).sign_parts(&[b"upstream", upstream.as_bytes()]));
        let attributes = ["Path=/", "HttpOnly; SameSite=Lax"].map(Into::into);
        let (cookie, servers) = (cookie.into(), Box::default());
        Self { cookie, attributes, ttl, signer, servers }.for_members(members, None)
    }

    /// The same affinity for other servers. The tags of those that were there `before` are known.
    #[must_use]
    pub fn for_members(&self, members: &[Member], before: Option<&Self>) -> Self {
        let Self { cookie, attributes, ttl, signer, servers: _ } = self;
        let before = before.filter(|before| before.signer.has_same_key(signer));
        let known: HashMap<u32, u64> = before
            .iter()
            .flat_map(|before| before.servers.iter())
            .map(|(t, id)| (*id, *t))
            .collect();
        let tag = |member: &Member| {
            let id = member.endpoint.id;
            (
                known.get(&id).copied().unwrap_or_else(|| signer.server_tag(&member.endpoint.name)),
                id,
            )
        };
        let mut servers: Box<[_]> = members.iter().map(tag).collect();
        servers.sort_unstable();
        let attributes = attributes.clone();
        Self { cookie: cookie.clone(), attributes, ttl: *ttl, signer: signer.clone(), servers }
    }

    /// With these attributes in the cookie, before and after its age.
    #[must_use]
    pub fn with_attributes(self, attributes: [Box<str>; 2]) -> Self {
        Self { attributes, ..self }
    }

    /// Reads a cookie's value; `None` unless it was made here, is still valid, and its server
    /// exists.
    #[must_use]
    pub fn read(&self, value: &[u8], unix_now: u64) -> Option<Bond> {
        if value.len() > TEXT {
            return None;
        }
        let mut bytes = [0_u8; TEXT];
        let n = URL_SAFE_NO_PAD.decode_slice(value, &mut bytes).ok()?;
        let (tag, rest) = bytes.get(..n)?.split_first_chunk::<8>()?;
        let (end, signature) = rest.split_first_chunk::<8>()?;
        if signature.len() != SIGNATURE
            || !self.signer.verify_parts(&[b"cookie", tag, end], signature)
        {
            return None;
        }
        let left = u64::from_be_bytes(*end).checked_sub(unix_now).filter(|left| *left > 0)?;
        let tag = u64::from_be_bytes(*tag);
        let at = self.servers.binary_search_by_key(&tag, |(tag, _)| *tag).ok()?;
        let (_, id) = *self.servers.get(at)?;
        Some(Bond { id, fresh: left > self.ttl.as_secs() / 2 })
    }

    /// The value of the `Set-Cookie` field that binds a client to a server. A server that is not
    /// one of the upstream's gets none.
    #[must_use]
    pub fn write_cookie(&self, id: u32, unix_now: u64) -> Option<Vec<u8>> {
        let (tag, _) = self.servers.iter().find(|(_, server)| *server == id)?;
        let ttl = self.ttl.as_secs();
        let (tag, end) = (tag.to_be_bytes(), unix_now.saturating_add(ttl).to_be_bytes());
        let signature = self.signer.sign_parts(&[b"cookie", &tag, &end]);
        let mut bytes = [tag, end].concat();
        bytes.extend_from_slice(signature.get(..SIGNATURE)?);
        let value = URL_SAFE_NO_PAD.encode(bytes);
        let cookie = &self.cookie;
        let [before, after] = &self.attributes;
        let text = format!("{cookie}={value}; {before}; Max-Age={ttl}; {after}");
        Some(text.into_bytes())
    }
}

/// HMAC-SHA-256 with a fixed key.
#[derive(Debug, Clone)]
struct Signer {
    mac: Hmac<Sha256>,
    /// The signature of nothing, which tells keys apart.
    mark: [u8; 32],
}

impl Signer {
    fn new(key: &[u8]) -> Self {
        // A block of zeros takes the place of a key that cannot be one; HMAC takes keys of any
        // length.
        let mac = Hmac::new_from_slice(key);
        let mac = mac.unwrap_or_else(|_| Hmac::new(&[0_u8; 64].into()));
        let mark = mac.clone().finalize().into_bytes().into();
        Self { mac, mark }
    }

    /// Returns whether it has the same key.
    fn has_same_key(&self, other: &Self) -> bool {
        self.mark == other.mark
    }

    /// The tag that stands for a server.
    fn server_tag(&self, server: &str) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.sign_parts(&[b"server", server.as_bytes()]);
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// Signs the parts, each with its length, so that they cannot be divided differently.
    fn mac_of(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }

    fn sign_parts(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.mac_of(parts).finalize().into_bytes().into()
    }

    fn verify_parts(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        self.mac_of(parts).verify_truncated_left(signature).is_ok()
    }
}

/// Made when it is first needed; ends with the process.
fn process_key() -> &'static [u8; 32] {
    static KEY: OnceLock<[u8; 32]> = OnceLock::new();
    KEY.get_or_init(|| {
        let mut key = [0_u8; 32];
        if let Err(error) = getrandom::fill(&mut key) {
            // Without randomness a cookie could be forged, which lets a client choose its server;
            // that is worth a line, not the service.
            tracing::error!(%error, "no randomness for the key of sticky cookies");
        }
        key
    })
}

#[cfg(test)]
mod tests;
