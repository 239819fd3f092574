//! What a request asks for, in one normal form: host, path, query.
//!
//! Peers forward the raw bytes and match on something else, which is how `/pub/../admin` gets past
//! a rule for `/admin`. Here the normal form is what routes are matched against *and* what is
//! forwarded. A target that already is in normal form, which is nearly every one, is recognised in
//! one pass and not copied.

mod fault;
mod parts;

use std::borrow::Cow;

pub use self::fault::TargetFault;
use self::parts::{check_query, normal_path, port_part, split_absolute, split_query};
use crate::route::normal;
use crate::route::{Spelling, authority};
use crate::wire::{Known, RequestHead, Version};

/// The treatment of a path that is not in normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PathMode {
    /// The path is brought into normal form.
    #[default]
    Normalize,
    /// The request is refused.
    Refuse,
}

/// A request's target in normal form.
#[derive(Debug)]
pub struct RequestTarget<'a> {
    host: Cow<'a, str>,
    sent_host: &'a [u8],
    path: Cow<'a, [u8]>,
    /// As received.
    raw: &'a [u8],
    /// The reason why the path has no normal form that routes may look at; it is as received then.
    fault: Option<TargetFault>,
    /// As servers read it that take encoded slashes for slashes, where it has no normal form for
    /// that.
    slashed: Option<Vec<u8>>,
    query: Option<&'a [u8]>,
}

/// Tells if paths are also kept as they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// All routes look at the normal form, so a path without one is refused.
    Normal,
    /// Some route looks at paths as they were sent.
    Raw,
}

impl<'a> RequestTarget<'a> {
    /// Reads the target of a request.
    ///
    /// # Errors
    /// [`TargetFault`].
    pub fn from_head(
        head: &'a RequestHead,
        mode: PathMode,
        keep: Keep,
    ) -> Result<Self, TargetFault> {
        let raw = head.target();
        let mut hosts = head.fields.values(Known::Host);
        let (first, second) = (hosts.next(), hosts.next());
        if second.is_some() || first.is_none() && head.version != Version::Http10 {
            return Err(TargetFault::HostCount);
        }
        let mut sent_host = first.unwrap_or_default();
        let mut host = match first {
            Some(value) => authority::canonical_host(value).ok_or(TargetFault::Host)?,
            None => Cow::Borrowed(""),
        };
        if raw == b"*" && head.method() == b"OPTIONS" {
            return Ok(Self::with_normal_path(host, sent_host, raw));
        }
        let origin_form = match split_absolute(raw) {
            None => raw,
            Some((authority, rest)) => {
                let named = authority::canonical_host(authority).ok_or(TargetFault::Host)?;
                if first.is_some()
                    && (named != host || port_part(authority) != port_part(sent_host))
                {
                    return Err(TargetFault::HostMismatch);
                }
                (host, sent_host) = (named, authority);
                // RFC 9112 §3.2.4: the last proxy turns this form back into `*`.
                if rest.is_empty() && head.method() == b"OPTIONS" {
                    return Ok(Self::with_normal_path(host, sent_host, b"*"));
                }
                if rest.is_empty() { b"/" } else { rest }
            }
        };
        let (path, query) = split_query(origin_form);
        if let Some(query) = query {
            check_query(query)?;
        }
        let raw = match (path.first(), query) {
            (Some(b'/'), _) => path,
            // "http://host?query" has an empty path, which means the root.
            (None, Some(_)) if split_absolute(raw).is_some() => b"/",
            _ => return Err(TargetFault::Form),
        };
        let whole = Self::with_normal_path(host, sent_host, raw);
        match normal_path(raw, mode) {
            Ok(path) => Ok(Self { path, query, ..whole }),
            Err(fault) if keep == Keep::Normal => Err(fault),
            Err(_) if !raw.iter().all(|b| normal::is_target_byte(*b)) => {
                Err(TargetFault::Character)
            }
            Err(fault) => {
                let slashed = normal::with_slashes(raw);
                Ok(Self { fault: Some(fault), slashed, query, ..whole })
            }
        }
    }

    /// A target whose path is in normal form.
    fn with_normal_path(host: Cow<'a, str>, sent_host: &'a [u8], raw: &'a [u8]) -> Self {
        Self {
            host,
            sent_host,
            path: Cow::Borrowed(raw),
            raw,
            fault: None,
            slashed: None,
            query: None,
        }
    }

    /// The path in the forms that routes may look at.
    #[must_use]
    pub fn path_spelling(&self) -> Spelling<'_> {
        match (&self.path, self.fault) {
            (Cow::Borrowed(path), None) => Spelling::Same(path),
            (Cow::Owned(path), None) => {
                Spelling::Differs { normal: Some(path), raw: self.raw, slashed: None }
            }
            (_, Some(_)) => {
                Spelling::Differs { normal: None, raw: self.raw, slashed: self.slashed.as_deref() }
            }
        }
    }

    /// Tells why the path has no normal form.
    #[must_use]
    pub fn fault(&self) -> Option<TargetFault> {
        self.fault
    }

    /// Takes the path as it was sent for the one that is sent on.
    ///
    /// # Errors
    /// [`TargetFault::DotSegment`].
    pub fn keep_raw(&mut self) -> Result<(), TargetFault> {
        if normal::has_dot_segments(self.raw) {
            return Err(TargetFault::DotSegment);
        }
        (self.path, self.fault) = (Cow::Borrowed(self.raw), None);
        Ok(())
    }

    /// The host for matching: lower case, without port and trailing dot. Empty when an HTTP/1.0
    /// client names none.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host as the client wrote it, port included.
    #[must_use]
    pub fn sent_host(&self) -> &[u8] {
        self.sent_host
    }

    /// The path in the form that is matched and sent: in normal form, or as received; `*` for
    /// `OPTIONS *`.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The query without `?`, as received.
    #[must_use]
    pub fn query(&self) -> Option<&[u8]> {
        self.query
    }
}

#[cfg(test)]
mod tests;
