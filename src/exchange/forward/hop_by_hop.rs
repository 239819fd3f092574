//! Fields that belong to one connection, and those that no connection may take away.

use crate::wire::Known;
use crate::wire::head::{Fields, list_items};

/// Fields that concern one connection only (RFC 9110 §7.6.1), and those the proxy writes itself.
pub(crate) fn is_hop_by_hop(known: Known) -> bool {
    matches!(
        known,
        Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::ProxyAuthenticate
            | Known::Te
            | Known::TransferEncoding
            | Known::ContentLength
            | Known::Upgrade
            | Known::Http2Settings
    )
}

/// Fields that `Connection` must not nominate: removing them would change what the message is
/// (RFC 9110 §7.6.1 forbids it to senders; some proxies obey anyway).
const PROTECTED: [Known; 7] = [
    Known::Host,
    Known::ContentLength,
    Known::TransferEncoding,
    Known::Cookie,
    Known::Authorization,
    Known::Expect,
    Known::Date,
];

/// Options of `Connection` that are no field names to be removed.
pub(crate) fn is_option(item: &[u8]) -> bool {
    [&b"close"[..], b"keep-alive", b"upgrade", b"te"].iter().any(|o| item.eq_ignore_ascii_case(o))
}

/// Returns whether `Connection` nominates a field that is protected.
#[must_use]
pub fn nominates_protected(fields: &Fields) -> bool {
    fields.values(Known::Connection).flat_map(list_items).any(is_protected)
}

/// Returns whether a field is one that `Connection` must not nominate.
pub(crate) fn is_protected(name: &[u8]) -> bool {
    let known = crate::wire::known::lookup(name);
    PROTECTED.contains(&known) || name.eq_ignore_ascii_case(b"content-type")
}

/// Returns whether `Connection` nominates any field for removal. Usually it does not, and no field
/// has to be compared with it.
pub(super) fn nominates_any(fields: &Fields) -> bool {
    fields.has(Known::Connection)
        && fields.values(Known::Connection).flat_map(list_items).any(|item| !is_option(item))
}

pub(super) fn is_nominated(fields: &Fields, name: &[u8]) -> bool {
    fields
        .values(Known::Connection)
        .flat_map(list_items)
        .any(|item| !is_option(item) && item.eq_ignore_ascii_case(name))
}
