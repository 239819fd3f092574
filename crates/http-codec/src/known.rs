//! Field names that the proxy itself reads, replaces or removes, recognised once while parsing.

use crate::words;

macro_rules! known {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A field name with a meaning for the proxy; [`Known::Other`] for all the rest.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Known {
            /// A name that is passed on without being understood.
            Other,
            $(#[doc = concat!("`", $name, "`")] $variant,)+
        }

        impl Known {
            /// Every known name in lower case.
            pub const ALL: &[(Known, &str)] = &[$((Known::$variant, $name)),+];

            /// The name in lower case; empty for [`Known::Other`].
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    Known::Other => "",
                    $(Known::$variant => $name,)+
                }
            }
        }
    };
}

known! {
    Host = "host",
    Connection = "connection",
    ContentLength = "content-length",
    TransferEncoding = "transfer-encoding",
    Te = "te",
    Trailer = "trailer",
    Upgrade = "upgrade",
    Expect = "expect",
    KeepAlive = "keep-alive",
    ProxyConnection = "proxy-connection",
    ProxyAuthorization = "proxy-authorization",
    ProxyAuthenticate = "proxy-authenticate",
    Http2Settings = "http2-settings",
    Forwarded = "forwarded",
    XForwardedFor = "x-forwarded-for",
    XForwardedProto = "x-forwarded-proto",
    XForwardedHost = "x-forwarded-host",
    XForwardedPort = "x-forwarded-port",
    XRealIp = "x-real-ip",
    XRequestId = "x-request-id",
    Traceparent = "traceparent",
    Via = "via",
    CdnLoop = "cdn-loop",
    Cookie = "cookie",
    SetCookie = "set-cookie",
    Authorization = "authorization",
    MaxForwards = "max-forwards",
    SecWebSocketKey = "sec-websocket-key",
    SecWebSocketVersion = "sec-websocket-version",
    SecWebSocketAccept = "sec-websocket-accept",
    IdempotencyKey = "idempotency-key",
    Date = "date",
    Server = "server",
    Location = "location",
}

impl Known {
    /// Returns whether a field concerns a connection of HTTP/1 and must not be in a message of
    /// HTTP/2 (RFC 9113 §8.2.2).
    #[must_use]
    pub fn is_of_http_1(self) -> bool {
        matches!(
            self,
            Known::Connection
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::TransferEncoding
                | Known::Upgrade
        )
    }
}

/// Names of one length, as [`words::of`] takes them apart.
type KnownNames = &'static [([u64; 3], Known)];

/// The names of each length; a lookup compares with two or three candidates, not with all.
static BY_LENGTH: [KnownNames; 22] = {
    const fn row(known: Known) -> ([u64; 3], Known) {
        (words::of(known.name().as_bytes()), known)
    }
    const fn rows<const N: usize>(names: [Known; N]) -> [([u64; 3], Known); N] {
        let mut rows = [row(Known::Other); N];
        let mut n = 0;
        while n < N {
            rows[n] = row(names[n]);
            n += 1;
        }
        rows
    }
    let mut table: [KnownNames; 22] = [&[]; 22];
    table[2] = &const { rows([Known::Te]) };
    table[3] = &const { rows([Known::Via]) };
    table[4] = &const { rows([Known::Host, Known::Date]) };
    table[6] = &const { rows([Known::Cookie, Known::Expect, Known::Server]) };
    table[7] = &const { rows([Known::Upgrade, Known::Trailer]) };
    table[8] = &const { rows([Known::Location, Known::CdnLoop]) };
    table[9] = &const { rows([Known::Forwarded, Known::XRealIp]) };
    table[10] = &const { rows([Known::Connection, Known::KeepAlive, Known::SetCookie]) };
    table[11] = &const { rows([Known::Traceparent]) };
    table[12] = &const { rows([Known::XRequestId, Known::MaxForwards]) };
    table[13] = &const { rows([Known::Authorization]) };
    table[14] = &const { rows([Known::ContentLength, Known::Http2Settings]) };
    table[15] = &const { rows([Known::XForwardedFor, Known::IdempotencyKey]) };
    table[16] =
        &const { rows([Known::XForwardedHost, Known::XForwardedPort, Known::ProxyConnection]) };
    table[17] =
        &const { rows([Known::TransferEncoding, Known::XForwardedProto, Known::SecWebSocketKey]) };
    table[18] = &const { rows([Known::ProxyAuthenticate]) };
    table[19] = &const { rows([Known::ProxyAuthorization]) };
    table[20] = &const { rows([Known::SecWebSocketAccept]) };
    table[21] = &const { rows([Known::SecWebSocketVersion]) };
    table
};

/// Recognises a field name, whatever its case.
#[inline]
#[must_use]
pub fn lookup(name: &[u8]) -> Known {
    let Some(candidates) = BY_LENGTH.get(name.len()) else { return Known::Other };
    if candidates.is_empty() {
        return Known::Other;
    }
    let words = words::of(name).map(words::to_lower);
    let found = candidates.iter().find(|(known, _)| *known == words);
    found.map_or(Known::Other, |(_, known)| *known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for (known, name) in Known::ALL {
            assert_eq!(lookup(name.as_bytes()), *known, "{name}");
            assert_eq!(lookup(name.to_uppercase().as_bytes()), *known, "{name}");
            assert_eq!(known.name(), *name);
        }
    }

    #[test]
    fn other_names_are_other() {
        for name in ["", "x", "hosts", "x-forwarded-foo", "content_length", &"a".repeat(300)] {
            assert_eq!(lookup(name.as_bytes()), Known::Other, "{name}");
        }
    }
}
