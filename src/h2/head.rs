//! The head of a stream in the form that all requests have here (RFC 9113 §8.3).

use h2::RecvStream;
use h2::ext::Protocol;
use http::Request;
use http::request::Parts;

use crate::wire::request::{Limits, Underscores};
use crate::wire::{Fault, Known, RequestHead, Version};

/// Whether a stream is to become a tunnel: what [`read`] makes of `CONNECT` with a protocol, and of nothing else.
#[must_use]
pub fn asks_for_tunnel(head: &RequestHead) -> bool {
    head.fields.has(Known::Upgrade)
}

/// Whether a head has more fields than it may have. Crumbs of a cookie count one by one, as they arrived: they are
/// what an attacker sends many of.
#[must_use]
pub fn is_too_large(request: &Request<RecvStream>, limits: &Limits) -> bool {
    request.headers().len() > limits.fields
}

/// Turns the head of a request into `head` and returns its body. A tunnel for WebSocket gets a `key` of the proxy's own,
/// because servers that speak HTTP/1.1 ask for one.
///
/// # Errors
/// A [`Fault`], where HTTP/1.1 would have one too.
pub fn read(
    request: Request<RecvStream>,
    limits: &Limits,
    head: &mut RequestHead,
    key: impl FnOnce() -> String,
) -> Result<RecvStream, Fault> {
    let (parts, body) = request.into_parts();
    let Parts { method, uri, headers, extensions, .. } = parts;
    let protocol = extensions.get::<Protocol>().map(Protocol::as_str);
    let target = uri.path_and_query().map_or("*", |target| target.as_str());
    if !target.starts_with('/') && target != "*" {
        return Err(Fault::RequestLine);
    }
    // Where HTTP/2 connects with a protocol, HTTP/1.1 gets with an upgrade (RFC 8441 §4 and §5).
    let method = if protocol.is_some() { "GET" } else { method.as_str() };
    head.set(method.as_bytes(), target.as_bytes(), Version::Http2);
    let authority = uri.authority().map(http::uri::Authority::as_str);
    if let Some(authority) = authority {
        if authority.contains('@') {
            return Err(Fault::RequestLine);
        }
        head.fields.push(b"host", authority.as_bytes());
    }
    if let Some(protocol) = protocol {
        head.fields.push(b"connection", b"upgrade");
        head.fields.push(b"upgrade", protocol.as_bytes());
        if protocol == "websocket" {
            head.fields.push(b"sec-websocket-key", key().as_bytes());
        }
    }
    let mut cookie = Vec::new();
    let mut measured = false;
    for (name, value) in &headers {
        let (name, value) = (name.as_str(), value.as_bytes());
        if value.trim_ascii().len() < value.len() {
            // RFC 9113 §8.2.1. Some servers cut it off and some do not.
            return Err(Fault::Field);
        }
        match name {
            // RFC 9113 §8.2.3: what was split is put together again.
            "cookie" => {
                if !cookie.is_empty() {
                    cookie.extend_from_slice(b"; ");
                }
                cookie.extend_from_slice(value);
                continue;
            }
            "host" if authority.is_some_and(|authority| authority.as_bytes() == value) => continue,
            "content-length" => measured = true,
            "sec-websocket-key" if protocol.is_some() => continue,
            // Neither belongs here, and the one that is ours is written below.
            "transfer-encoding" | "connection" | "upgrade" => return Err(Fault::RequestLine),
            name if name.contains('_') => match limits.underscores {
                Underscores::Drop => continue,
                Underscores::Refuse => return Err(Fault::Underscore),
                Underscores::Keep => {}
            },
            _ => {}
        }
        head.fields.push(name.as_bytes(), value);
    }
    if !cookie.is_empty() {
        head.fields.push(b"cookie", &cookie);
    }
    if !measured && !body.is_end_stream() && protocol.is_none() {
        // How HTTP/1.1 says that only its end tells how long a body is. It goes no further: framing is written anew.
        head.fields.push(b"transfer-encoding", b"chunked");
    }
    Ok(body)
}
