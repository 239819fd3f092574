//! Heads from their fields: what HTTP/2 says in pseudo-fields, in the form that all heads have here
//! (RFC 9113 §8.3), and what no head may have.

use super::Accept;
use crate::head::Fields;
use crate::hpack::{FieldMeaning, HpackField, Pseudo};
use crate::request::{Limits, MAX_METHOD, Underscores, is_token};
use crate::{
    Fault, Known, RequestHead, ResponseFault, ResponseHead, Version, grpc, remains, trailers,
};

/// Bytes that a field takes of a head as HTTP/1 would write it, beside its own.
const AROUND: usize = 4;

/// Bytes that are kept of each part of a head with a fault.
const REMAINS: usize = 256;

/// Fields that must not be there; `TE` may say one thing only (RFC 9113 §8.2.2).
fn is_misplaced(known: Known, value: &[u8]) -> bool {
    known.is_of_http_1() || known == Known::Te && !value.eq_ignore_ascii_case(b"trailers")
}

/// Returns whether another protocol can be meant: one token, as in the one `Upgrade` that is made
/// of it. HTTP/2 itself is not another protocol (RFC 9113 §3.1).
fn is_protocol(protocol: &[u8]) -> bool {
    !protocol.is_empty()
        && protocol.iter().all(|b| is_token(*b))
        && ![&b"h2c"[..], b"h2"].iter().any(|own| protocol.eq_ignore_ascii_case(own))
}

/// A part of the text that pseudo-fields are kept in.
type HeadPart = Option<(usize, usize)>;

/// The pseudo-fields of a request.
#[derive(Debug, Default)]
struct Own {
    method: HeadPart,
    scheme: HeadPart,
    authority: HeadPart,
    path: HeadPart,
    protocol: HeadPart,
}

/// The head of a request, field by field.
pub(super) struct Request<'a> {
    head: &'a mut RequestHead,
    limits: &'a Limits,
    accept: &'a mut dyn Accept,
    text: &'a mut Vec<u8>,
    cookie: &'a mut Vec<u8>,
    own: Own,
    /// Pseudo-fields have ended.
    begun: bool,
    fields: usize,
    bytes: usize,
    measured: bool,
    fault: Option<Fault>,
    /// Behind a fault, it was found to be a message of gRPC.
    grpc: bool,
}

impl<'a> Request<'a> {
    pub(super) fn new(
        head: &'a mut RequestHead,
        limits: &'a Limits,
        (text, cookie): (&'a mut Vec<u8>, &'a mut Vec<u8>),
        accept: &'a mut dyn Accept,
    ) -> Self {
        text.clear();
        cookie.clear();
        Self {
            head,
            limits,
            accept,
            text,
            cookie,
            own: Own::default(),
            begun: false,
            fields: 0,
            bytes: 0,
            measured: false,
            fault: None,
            grpc: false,
        }
    }

    /// The next one. After a fault nothing is kept any more: fields that are sent in a byte would
    /// take memory.
    pub(super) fn add_field(&mut self, field: HpackField<'_>) {
        if self.fault.is_some() {
            self.keep_remains(field);
        } else if let Err(fault) = self.take_field(field) {
            self.fault = Some(fault);
            self.keep_remains(field);
        }
    }

    fn take_field(&mut self, field: HpackField<'_>) -> Result<(), Fault> {
        let HpackField { name, value, is, never_indexed, sound } = field;
        self.bytes += name.len() + value.len() + AROUND;
        if self.bytes > self.limits.bytes {
            return Err(Fault::HeadTooLarge);
        }
        let known = match is {
            FieldMeaning::Pseudo(pseudo) => return self.take_pseudo(pseudo, value, sound),
            FieldMeaning::Field(known) if sound && !is_misplaced(known, value) => known,
            FieldMeaning::Field(_) | FieldMeaning::Bad => return Err(Fault::Field),
        };
        self.fields += 1;
        if self.fields > self.limits.fields {
            return Err(Fault::TooManyFields);
        }
        if !self.begun {
            self.begin_head()?;
        }
        match known {
            // RFC 9113 §8.2.3: what was split is put together again.
            Known::Cookie => {
                if !self.cookie.is_empty() {
                    self.cookie.extend_from_slice(b"; ");
                }
                self.cookie.extend_from_slice(value);
                return Ok(());
            }
            Known::Host if self.head_part(self.own.authority) == Some(value) => return Ok(()),
            // A tunnel has one of the proxy's own.
            Known::SecWebSocketKey if self.own.protocol.is_some() => return Ok(()),
            Known::ContentLength => self.measured = true,
            Known::Other if name.contains(&b'_') => match self.limits.underscores {
                Underscores::Drop => return Ok(()),
                Underscores::Refuse => return Err(Fault::Underscore),
                Underscores::Keep => {}
            },
            _ => {}
        }
        self.head.fields.push_known(name, value, known);
        if never_indexed {
            self.head.fields.guard_last();
        }
        Ok(())
    }

    /// Behind a fault: who sent it, and how it is to be told, even so.
    fn keep_remains(&mut self, HpackField { name, value, is, .. }: HpackField<'_>) {
        let part = match is {
            FieldMeaning::Pseudo(Pseudo::Method) => &mut self.own.method,
            FieldMeaning::Pseudo(Pseudo::Authority) => &mut self.own.authority,
            FieldMeaning::Pseudo(Pseudo::Path) => &mut self.own.path,
            FieldMeaning::Pseudo(_) | FieldMeaning::Field(_) | FieldMeaning::Bad => {
                self.grpc |= name == b"content-type" && grpc::is_type(value);
                return;
            }
        };
        if part.is_none() {
            let value = remains::first_bytes(value);
            *part = Some((self.text.len(), value.len()));
            self.text.extend_from_slice(value);
        }
    }

    fn take_pseudo(&mut self, pseudo: Pseudo, value: &[u8], sound: bool) -> Result<(), Fault> {
        let part = match pseudo {
            Pseudo::Method => &mut self.own.method,
            Pseudo::Scheme => &mut self.own.scheme,
            Pseudo::Authority => &mut self.own.authority,
            Pseudo::Path => &mut self.own.path,
            Pseudo::Protocol => &mut self.own.protocol,
            Pseudo::Status => return Err(Fault::RequestLine),
        };
        // In front of all others, and once.
        if self.begun || part.is_some() || !sound {
            return Err(Fault::RequestLine);
        }
        *part = Some((self.text.len(), value.len()));
        self.text.extend_from_slice(value);
        Ok(())
    }

    fn head_part(&self, part: HeadPart) -> Option<&[u8]> {
        let (start, length) = part?;
        self.text.get(start..start + length)
    }

    /// The pseudo-fields are there: what the request line of HTTP/1 would say, and `Host`.
    fn begin_head(&mut self) -> Result<(), Fault> {
        self.begun = true;
        let Self { own, text, head, .. } = self;
        let part =
            |part: HeadPart| part.and_then(|(start, length)| text.get(start..start + length));
        let method = part(own.method).filter(|m| !m.is_empty() && m.iter().all(|b| is_token(*b)));
        let method = method.ok_or(Fault::RequestLine)?;
        if method.len() > MAX_METHOD {
            return Err(Fault::MethodTooLong);
        }
        let (scheme, path, protocol) = (part(own.scheme), part(own.path), part(own.protocol));
        let authority = part(own.authority);
        if authority.is_some_and(|authority| authority.contains(&b'@')) {
            return Err(Fault::RequestLine);
        }
        let connect = method == b"CONNECT";
        if connect && protocol.is_none() {
            // RFC 9113 §8.5.
            if scheme.is_some() || path.is_some() {
                return Err(Fault::RequestLine);
            }
            head.set(method, authority.ok_or(Fault::RequestLine)?, Version::Http2);
        } else {
            let scheme = scheme.ok_or(Fault::RequestLine)?;
            let is_scheme = |b: &u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
            let path = path.ok_or(Fault::RequestLine)?;
            if !scheme.iter().all(is_scheme)
                || !(path.starts_with(b"/") || path == b"*")
                || path.iter().any(|b| *b <= b' ')
                || protocol.is_some() && (!connect || authority.is_none())
                || !protocol.is_none_or(is_protocol)
            {
                return Err(Fault::RequestLine);
            }
            // Where HTTP/2 connects with a protocol, HTTP/1.1 gets with an upgrade (RFC 8441 §4 and
            // §5).
            let method = if protocol.is_some() { b"GET" } else { method };
            head.set(method, path, Version::Http2);
        }
        if let Some(authority) = authority {
            head.fields.push_known(b"host", authority, Known::Host);
        }
        if let Some(protocol) = protocol {
            head.fields.push_known(b"connection", b"upgrade", Known::Connection);
            head.fields.push_known(b"upgrade", protocol, Known::Upgrade);
            if protocol.eq_ignore_ascii_case(b"websocket") {
                // Servers that speak HTTP/1.1 ask for one.
                let key = self.accept.key();
                head.fields.push(b"sec-websocket-key", key.as_bytes());
            }
        }
        Ok(())
    }

    /// Keeps no more of a head with a fault than tells who sent it, and how to answer.
    fn leave_remains(&mut self) {
        let grpc = self.grpc || self.head.fields.named(b"content-type").any(grpc::is_type);
        let Self { own, text, head, .. } = self;
        let part = |part: HeadPart| {
            let text = part.and_then(|(start, length)| text.get(start..start + length));
            text.map(|text| text.get(..REMAINS).unwrap_or(text)).unwrap_or_default()
        };
        let method = part(own.method);
        let sound = method.len() <= MAX_METHOD && method.iter().all(|b| is_token(*b));
        // What it has taken is given back: a flood of them must not pile up.
        **head = RequestHead::default();
        head.set(if sound { method } else { b"" }, part(own.path), Version::Http2);
        if own.authority.is_some() {
            head.fields.push_known(b"host", part(own.authority), Known::Host);
        }
        if grpc {
            head.fields.push(b"content-type", b"application/grpc");
        }
    }

    /// Ends the fields; a body follows or not. Returns what is wrong with all of it, if anything
    /// is.
    pub(super) fn end_fields(mut self, ends: bool) -> Option<Fault> {
        if self.fault.is_none() && !self.begun {
            self.fault = self.begin_head().err();
        }
        if self.fault.is_some() {
            self.leave_remains();
            return self.fault;
        }
        let fields = &mut self.head.fields;
        if !self.cookie.is_empty() {
            fields.push_known(b"cookie", self.cookie, Known::Cookie);
        }
        if self.measured && self.own.protocol.is_some() {
            // RFC 9110 §9.3.6, RFC 9113 §8.5: what follows is a tunnel, and no body that could have
            // a length. A server would wait for it, and take the next request for it.
            return Some(Fault::ContentLength);
        }
        if self.measured {
            // RFC 9113 §8.1.1: it is as long as it was said to be.
            let none = fields.values(Known::ContentLength).all(|v| v.iter().all(|b| *b == b'0'));
            return (ends && !none).then_some(Fault::ContentLength);
        }
        if !ends && self.own.protocol.is_none() {
            // How HTTP/1.1 says that only its end tells how long a body is. It goes no further:
            // framing is written anew.
            fields.push_known(b"transfer-encoding", b"chunked", Known::TransferEncoding);
        }
        None
    }
}

/// The kind of a response's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseKind {
    /// Informational: others follow.
    Interim,
    /// The last one.
    Final,
}

/// The head of a response, field by field.
pub(super) struct Response<'a> {
    head: &'a mut ResponseHead,
    limits: Limits,
    status: Option<u16>,
    fields: usize,
    bytes: usize,
    fault: Option<ResponseFault>,
}

impl<'a> Response<'a> {
    pub(super) fn new(head: &'a mut ResponseHead, limits: Limits) -> Self {
        head.set(0, b"");
        Self { head, limits, status: None, fields: 0, bytes: 0, fault: None }
    }

    pub(super) fn add_field(&mut self, field: HpackField<'_>) {
        if self.fault.is_none()
            && let Err(fault) = self.take_field(field)
        {
            self.fault = Some(fault);
            self.head.set(0, b"");
        }
    }

    fn take_field(&mut self, field: HpackField<'_>) -> Result<(), ResponseFault> {
        let HpackField { name, value, is, never_indexed, sound } = field;
        self.bytes += name.len() + value.len() + AROUND;
        match is {
            FieldMeaning::Pseudo(Pseudo::Status) if self.status.is_none() && self.fields == 0 => {
                let number = std::str::from_utf8(value).ok().filter(|v| v.len() == 3);
                let status = number.and_then(|v| v.parse().ok());
                self.status = status.filter(|status| (100..=599).contains(status));
                self.status.map(|_| ()).ok_or(ResponseFault::Status)
            }
            FieldMeaning::Field(known)
                if sound && self.status.is_some() && !is_misplaced(known, value) =>
            {
                self.fields += 1;
                if self.bytes > self.limits.bytes {
                    return Err(ResponseFault::HeadTooLarge);
                }
                if self.fields > self.limits.fields {
                    return Err(ResponseFault::TooManyFields);
                }
                self.head.fields.push_known(name, value, known);
                if never_indexed {
                    self.head.fields.guard_last();
                }
                Ok(())
            }
            _ if self.status.is_none() => Err(ResponseFault::StatusLine),
            FieldMeaning::Pseudo(_) | FieldMeaning::Field(_) | FieldMeaning::Bad => {
                Err(ResponseFault::Field)
            }
        }
    }

    pub(super) fn end_fields(self, ends: bool) -> Result<ResponseKind, ResponseFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let status = self.status.ok_or(ResponseFault::StatusLine)?;
        self.head.status = status;
        match status {
            // RFC 9113 §8.6 has no 101, and nothing ends with an informational response.
            101 => Err(ResponseFault::Status),
            100..=199 if ends => Err(ResponseFault::StatusLine),
            100..=199 => Ok(ResponseKind::Interim),
            _ => Ok(ResponseKind::Final),
        }
    }
}

/// Fields behind a body, field by field.
#[derive(Debug, Default)]
pub(super) struct Trailers {
    kept: Fields,
    fields: usize,
    bad: bool,
}

impl Trailers {
    pub(super) fn add_field(&mut self, field: HpackField<'_>) {
        self.fields += 1;
        let fine = matches!(field.is, FieldMeaning::Field(_))
            && field.sound
            && self.fields <= trailers::MAX_FIELDS;
        self.bad |= !fine;
        if !self.bad && trailers::allowed(field.name) {
            self.kept.push(field.name, field.value);
            if field.never_indexed {
                self.kept.guard_last();
            }
        }
    }

    /// Returns those that may be passed on, if there are any; `None` if any of them must not be
    /// there at all (RFC 9113 §8.1).
    #[expect(clippy::option_option, reason = "malformed, none, some")]
    pub(super) fn end_fields(self) -> Option<Option<Fields>> {
        let kept = (!self.kept.is_empty()).then_some(self.kept);
        (!self.bad).then_some(kept)
    }
}
