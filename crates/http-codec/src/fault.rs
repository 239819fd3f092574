//! Every reason for which the codec refuses bytes: one row each, with status, stable code and rule.
//!
//! Where RFC 9112 leaves a choice the strict side is taken: a message that two parsers could read
//! differently is never forwarded. All of these close the connection, because after a framing
//! error nobody knows where the next message starts.

use thiserror::Error;

/// A reason why a request was refused before it was routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// RFC 9112 §2.2: a line ended in LF alone. Accepting it is optional and splits peers.
    #[error("a line ends in LF without CR")]
    BareLf,
    /// RFC 9112 §2.2: more empty lines before the request line than one could send by mistake.
    #[error("too many empty lines before the request line")]
    EmptyLines,
    /// RFC 9112 §3: the request line has another form than `method SP target SP version`.
    #[error("malformed request line")]
    RequestLine,
    /// RFC 8446 §5.1: a record of TLS, on a port where it is not spoken.
    #[error("this looks like TLS, which is not spoken on this port")]
    Tls,
    /// RFC 9112 §3, RFC 9110 §9.1: no method of this length exists.
    #[error("unknown method")]
    MethodTooLong,
    /// RFC 9110 §15.5.15: the request line does not fit into `header_bytes`.
    #[error("request target is too long")]
    TargetTooLong,
    /// RFC 9110 §15.6.6: a well-formed version that is not HTTP/1.0 or HTTP/1.1.
    #[error("this HTTP version is not supported here")]
    Version,
    /// RFC 9112 §5: a field line with a bad name, a bad value, folding or space before the colon.
    #[error("malformed header field")]
    Field,
    /// RFC 6585 §5: the head does not fit into `header_bytes`.
    #[error("header fields are too large")]
    HeadTooLarge,
    /// RFC 6585 §5: more fields than `headers` allows.
    #[error("too many header fields")]
    TooManyFields,
    /// A field name with an underscore while `strict.underscores = "refuse"`.
    #[error("underscore in a header field name")]
    Underscore,
    /// RFC 9112 §6.3 (5), RFC 9110 §8.6: not one decimal number in one line.
    #[error("invalid content-length")]
    ContentLength,
    /// RFC 9112 §6.1: both framings in one message, the classic smuggling vector.
    #[error("content-length and transfer-encoding in one request")]
    LengthAndEncoding,
    /// RFC 9112 §6.1: transfer-encoding in an HTTP/1.0 message is faulty framing.
    #[error("transfer-encoding in an HTTP/1.0 request")]
    EncodingInHttp10,
    /// RFC 9112 §6.1, §6.3 (4): chunked repeated, not last, with parameters, or an empty list item.
    #[error("invalid transfer-encoding")]
    TransferEncoding,
    /// RFC 9112 §6.1: a coding that would have to be decoded before it could be forwarded.
    #[error("transfer coding is not supported")]
    UnknownCoding,
    /// RFC 9112 §7.1: the chunk size line is not 1*16HEXDIG with an optional extension and CRLF.
    #[error("malformed chunk size")]
    ChunkSize,
    /// RFC 9112 §7.1.1: a control byte in an extension, or more than 4 KiB of them in one body.
    #[error("malformed or oversized chunk extension")]
    ChunkExtension,
    /// RFC 9112 §7.1: chunk data is not followed by CRLF.
    #[error("chunk data does not end where its size says")]
    ChunkEnd,
    /// RFC 9112 §7.1.2: the trailer section is malformed or too large.
    #[error("malformed or oversized trailer section")]
    Trailer,
}

impl Fault {
    /// The status a client sees for this fault.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Fault::MethodTooLong | Fault::UnknownCoding => 501,
            Fault::TargetTooLong => 414,
            Fault::Version => 505,
            Fault::HeadTooLarge | Fault::TooManyFields => 431,
            Fault::BareLf
            | Fault::EmptyLines
            | Fault::RequestLine
            | Fault::Tls
            | Fault::Field
            | Fault::Underscore
            | Fault::ContentLength
            | Fault::LengthAndEncoding
            | Fault::EncodingInHttp10
            | Fault::TransferEncoding
            | Fault::ChunkSize
            | Fault::ChunkExtension
            | Fault::ChunkEnd
            | Fault::Trailer => 400,
        }
    }
}

/// A reason why bytes from a server are not a response. All of them are 502 to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ResponseFault {
    /// RFC 9112 §2.2.
    #[error("a line ends in LF without CR")]
    BareLf,
    /// RFC 9112 §4: no status line, for example an HTTP/0.9 answer or another protocol.
    #[error("malformed status line")]
    StatusLine,
    /// RFC 9110 §15: a status outside 100 to 599.
    #[error("status code out of range")]
    Status,
    /// RFC 9112 §5.
    #[error("malformed header field")]
    Field,
    /// The head exceeds `upstream.limits.response_header_bytes`.
    #[error("response head is too large")]
    HeadTooLarge,
    /// The head has more fields than `upstream.limits.response_headers`.
    #[error("too many header fields in the response")]
    TooManyFields,
    /// The connection ended inside the head.
    #[error("the connection ended inside the response head")]
    Unfinished,
    /// RFC 9110 §7.8: 101 to a request that asked for no other protocol.
    #[error("101 to a request that asked for no other protocol")]
    Switch,
    /// More informational responses than anybody has a use for.
    #[error("too many informational responses")]
    Interim,
    /// RFC 9113 §5.4.1: the HTTP/2 connection ended because of an error in what the server sent.
    #[error("the HTTP/2 connection ended in a protocol error")]
    Protocol,
    /// RFC 9112 §6.3 (5).
    #[error("invalid or repeated content-length")]
    ContentLength,
    /// RFC 9112 §6.1 and §6.3: unknown, repeated, or together with Content-Length or HTTP/1.0.
    #[error("invalid transfer-encoding")]
    TransferEncoding,
    /// RFC 9112 §7.1.
    #[error("malformed chunked body")]
    Chunk,
}

impl ResponseFault {
    /// The configuration key that would change it, if one would.
    #[must_use]
    pub fn key(self) -> Option<&'static str> {
        match self {
            ResponseFault::HeadTooLarge => Some("upstream.limits.response_header_bytes"),
            ResponseFault::TooManyFields => Some("upstream.limits.response_headers"),
            ResponseFault::BareLf
            | ResponseFault::StatusLine
            | ResponseFault::Status
            | ResponseFault::Field
            | ResponseFault::Unfinished
            | ResponseFault::Switch
            | ResponseFault::Interim
            | ResponseFault::Protocol
            | ResponseFault::ContentLength
            | ResponseFault::TransferEncoding
            | ResponseFault::Chunk => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_limits_have_their_own_status_codes() {
        assert_eq!(Fault::TargetTooLong.status(), 414);
        assert_eq!(Fault::TooManyFields.status(), 431);
        assert_eq!(Fault::HeadTooLarge.status(), 431);
        assert_eq!(Fault::Version.status(), 505);
        assert_eq!(Fault::UnknownCoding.status(), 501);
        assert_eq!(Fault::LengthAndEncoding.status(), 400);
    }
}
