//! The parts of a request target.

use std::borrow::Cow;

use super::PathMode;
use super::fault::TargetFault;
use crate::route::normal;

/// Splits an absolute-form target into authority and the rest.
pub(super) fn split_absolute(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let prefix = |scheme: &[u8]| {
        let head = target.get(..scheme.len())?;
        if head.eq_ignore_ascii_case(scheme) { target.get(scheme.len()..) } else { None }
    };
    let rest = prefix(b"http://").or_else(|| prefix(b"https://"))?;
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    Some(rest.split_at(end))
}

pub(super) fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', target) {
        Some(at) => {
            (target.get(..at).unwrap_or_default(), Some(target.get(at + 1..).unwrap_or_default()))
        }
        None => (target, None),
    }
}

pub(super) fn normal_path(path: &[u8], mode: PathMode) -> Result<Cow<'_, [u8]>, TargetFault> {
    match (normal::normalize_path(path)?, mode) {
        (Cow::Owned(_), PathMode::Refuse) => Err(TargetFault::NotNormal),
        (path, PathMode::Refuse | PathMode::Normalize) => Ok(path),
    }
}

pub(super) fn check_query(query: &[u8]) -> Result<(), TargetFault> {
    if query.iter().all(|b| normal::is_target_byte(*b)) {
        Ok(())
    } else {
        Err(TargetFault::Character)
    }
}

/// The port part of an authority; empty and default ports are the same as none.
pub(super) fn port_part(authority: &[u8]) -> &[u8] {
    let after_literal = authority.iter().rposition(|b| *b == b']').map_or(0, |at| at + 1);
    let tail = authority.get(after_literal..).unwrap_or_default();
    match memchr::memrchr(b':', tail) {
        Some(at) => match tail.get(at + 1..).unwrap_or_default() {
            b"80" | b"443" => b"",
            port => port,
        },
        None => b"",
    }
}
