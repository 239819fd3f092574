//! Which fields are asked about, and which of an answer are passed on.

use http::HeaderMap;
use http::header;

use super::TOLD;
use crate::exchange::{FieldPair, forward};
use crate::wire::head::list_items;
use crate::wire::{Known, known};

/// Returns whether a client's field is a condition on what it asked for, or asks for a part of that
/// (RFC 9110 §13, §14): an authentication server that held to it would say 304, 412 or 206 of a
/// client that it knows.
pub(super) fn is_condition(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"if-";
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
        || name.eq_ignore_ascii_case(b"range")
}

/// Returns whether a client's field goes to the authentication server: nothing about the connection
/// or the body.
pub(super) fn is_passed_on(known: Known) -> bool {
    !matches!(
        known,
        Known::Host
            | Known::Connection
            | Known::KeepAlive
            | Known::Te
            | Known::Trailer
            | Known::TransferEncoding
            | Known::ContentLength
            | Known::Upgrade
            | Known::Expect
            | Known::ProxyConnection
            | Known::ProxyAuthenticate
            | Known::Http2Settings
    )
}

/// All fields but those of the connection, those that say where the body ends, and the date, which
/// every answer has.
pub(super) fn shown_fields(headers: &HeaderMap) -> Vec<FieldPair> {
    let lists = headers.get_all(header::CONNECTION).iter();
    let nominated: Vec<&[u8]> = lists.flat_map(|list| list_items(list.as_bytes())).collect();
    let kept = headers.iter().filter(|(name, _)| {
        let name = name.as_str().as_bytes();
        let known = known::lookup(name);
        !forward::is_hop_by_hop(known)
            && !matches!(known, Known::Trailer | Known::Date)
            && !nominated.iter().any(|nominated| nominated.eq_ignore_ascii_case(name))
    });
    kept.map(|(name, value)| (name.as_str().as_bytes().into(), value.as_bytes().into())).collect()
}

pub(super) fn told_fields(headers: &HeaderMap) -> Vec<(&'static [u8], Vec<u8>)> {
    let each = TOLD.iter().flat_map(|(name, text)| {
        headers.get_all(name).iter().map(move |value| (*text, value.as_bytes().to_vec()))
    });
    each.collect()
}
