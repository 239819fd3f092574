//! Field names that the proxy itself reads, replaces or removes, recognised once while parsing.

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
            pub fn name(self) -> &'static str {
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
    /// Returns whether a field concerns a connection of HTTP/1 and must not be in a message of HTTP/2 (RFC 9113 §8.2.2).
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

/// The names of each length; a lookup compares with two or three candidates, not with all.
static BY_LENGTH: [&[(Known, &str)]; 22] = {
    let mut table: [&[(Known, &str)]; 22] = [&[]; 22];
    table[2] = &[(Known::Te, "te")];
    table[3] = &[(Known::Via, "via")];
    table[4] = &[(Known::Host, "host"), (Known::Date, "date")];
    table[6] = &[(Known::Cookie, "cookie"), (Known::Expect, "expect"), (Known::Server, "server")];
    table[7] = &[(Known::Upgrade, "upgrade"), (Known::Trailer, "trailer")];
    table[8] = &[(Known::Location, "location"), (Known::CdnLoop, "cdn-loop")];
    table[9] = &[(Known::Forwarded, "forwarded"), (Known::XRealIp, "x-real-ip")];
    table[10] = &[
        (Known::Connection, "connection"),
        (Known::KeepAlive, "keep-alive"),
        (Known::SetCookie, "set-cookie"),
    ];
    table[11] = &[(Known::Traceparent, "traceparent")];
    table[12] = &[(Known::XRequestId, "x-request-id"), (Known::MaxForwards, "max-forwards")];
    table[13] = &[(Known::Authorization, "authorization")];
    table[14] =
        &[(Known::ContentLength, "content-length"), (Known::Http2Settings, "http2-settings")];
    table[15] =
        &[(Known::XForwardedFor, "x-forwarded-for"), (Known::IdempotencyKey, "idempotency-key")];
    table[16] = &[
        (Known::XForwardedHost, "x-forwarded-host"),
        (Known::XForwardedPort, "x-forwarded-port"),
        (Known::ProxyConnection, "proxy-connection"),
    ];
    table[17] = &[
        (Known::TransferEncoding, "transfer-encoding"),
        (Known::XForwardedProto, "x-forwarded-proto"),
        (Known::SecWebSocketKey, "sec-websocket-key"),
    ];
    table[18] = &[(Known::ProxyAuthenticate, "proxy-authenticate")];
    table[19] = &[(Known::ProxyAuthorization, "proxy-authorization")];
    table[20] = &[(Known::SecWebSocketAccept, "sec-websocket-accept")];
    table[21] = &[(Known::SecWebSocketVersion, "sec-websocket-version")];
    table
};

/// Recognises a field name, whatever its case.
#[inline]
#[must_use]
pub fn lookup(name: &[u8]) -> Known {
    let Some(candidates) = BY_LENGTH.get(name.len()) else { return Known::Other };
    for (known, text) in *candidates {
        if name.eq_ignore_ascii_case(text.as_bytes()) {
            return *known;
        }
    }
    Known::Other
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
