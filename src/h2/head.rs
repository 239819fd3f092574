//! The head of a stream in the form that all requests have here (RFC 9113 §8.3).

use h2::RecvStream;
use http::Request;
use http::request::Parts;

use crate::wire::request::{Limits, Underscores};
use crate::wire::{Fault, RequestHead, Version};

/// Turns the head of a request into `head` and returns its body.
///
/// # Errors
/// A [`Fault`], where HTTP/1.1 would have one too.
pub fn read(
    request: Request<RecvStream>,
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<RecvStream, Fault> {
    let (parts, body) = request.into_parts();
    let Parts { method, uri, headers, .. } = parts;
    // Crumbs of a cookie count one by one, as they arrived: they are what an attacker sends many of.
    if headers.len() > limits.fields {
        return Err(Fault::TooManyFields);
    }
    let target = uri.path_and_query().map_or("*", |target| target.as_str());
    if !target.starts_with('/') && target != "*" {
        return Err(Fault::RequestLine);
    }
    head.set(method.as_str().as_bytes(), target.as_bytes(), Version::Http2);
    let authority = uri.authority().map(http::uri::Authority::as_str);
    if let Some(authority) = authority {
        head.fields.push(b"host", authority.as_bytes());
    }
    let mut cookie = Vec::new();
    let mut measured = false;
    for (name, value) in &headers {
        let (name, value) = (name.as_str(), value.as_bytes().trim_ascii());
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
    if !measured && !body.is_end_stream() {
        // How HTTP/1.1 says that only its end tells how long a body is. It goes no further: framing is written anew.
        head.fields.push(b"transfer-encoding", b"chunked");
    }
    Ok(body)
}
