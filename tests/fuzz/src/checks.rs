//! What must hold for any bytes. Each function panics when it does not.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tidegate::gate::admit;
use tidegate::gate::target::{PathMode, Target};
use tidegate::wire::request::{Limits, RequestParser, Underscores, is_token};
use tidegate::wire::response::ResponseParser;
use tidegate::wire::{Decoder, Framing, RequestHead, ResponseHead, encode, framing, trailers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Nothing is dropped, so that everything can be compared.
const LIMITS: Limits = Limits { bytes: 32 * 1024, fields: 100, underscores: Underscores::Keep };

/// A head is read alike at every split; what is accepted is well-formed and survives being written.
pub fn request(data: &[u8]) {
    let Some((step, bytes)) = data.split_first() else { return };
    let whole = read_request(bytes, bytes.len().max(1));
    let pieces = read_request(bytes, usize::from(*step).max(1));
    match (&whole, &pieces) {
        (None, None) => return,
        (Some((a, used_a)), Some((b, used_b))) => {
            assert_eq!(used_a, used_b);
            assert_eq!(parts(a), parts(b));
        }
        _ => panic!("another verdict at another split"),
    }
    let Some((head, used)) = whole else { return };
    assert!(used <= bytes.len());
    assert!(bytes[..used].ends_with(b"\r\n\r\n"));
    assert!(head.method().iter().all(|b| is_token(*b)));
    for field in head.fields.iter() {
        assert!(!field.name.is_empty() && field.name.iter().all(|b| is_token(*b)));
        assert!(!field.value.iter().any(|b| matches!(b, 0..=8 | 10..=31 | 127)));
    }
    let _framing = framing::of_request(&head);
    let mut again = [head.method(), b" ", head.target(), b" HTTP/1.1\r\n"].concat();
    for field in head.fields.iter() {
        encode::field(&mut again, field.name, field.value);
    }
    again.extend_from_slice(b"\r\n");
    let (second, _) = read_request(&again, again.len()).expect("what was accepted is accepted");
    assert_eq!(parts(&head).1, parts(&second).1);
    assert_eq!(head.target(), second.target());
}

type Parts<'a> = (&'a [u8], Vec<(&'a [u8], &'a [u8])>);

fn parts(head: &RequestHead) -> Parts<'_> {
    (head.method(), head.fields.iter().map(|f| (f.name, f.value)).collect())
}

/// Reads one head that arrives in pieces of `step` bytes; `None` when refused or incomplete.
fn read_request(bytes: &[u8], step: usize) -> Option<(RequestHead, usize)> {
    let mut parser = RequestParser::default();
    let mut head = RequestHead::default();
    let mut end = 0;
    while end < bytes.len() {
        end = (end + step).min(bytes.len());
        match parser.parse(&bytes[..end], &LIMITS, &mut head) {
            Ok(Some(used)) => return Some((head, used)),
            Ok(None) => {}
            Err(_) => return None,
        }
    }
    None
}

/// The same for responses.
pub fn response(data: &[u8]) {
    let Some((step, bytes)) = data.split_first() else { return };
    let read = |step: usize| {
        let mut parser = ResponseParser::default();
        let mut head = ResponseHead::default();
        let mut end = 0;
        while end < bytes.len() {
            end = (end + step).min(bytes.len());
            match parser.parse(&bytes[..end], &mut head) {
                Ok(Some(used)) => return Some((head, used)),
                Ok(None) => {}
                Err(_) => return None,
            }
        }
        None
    };
    let whole = read(bytes.len().max(1));
    let pieces = read(usize::from(*step).max(1));
    assert_eq!(whole.as_ref().map(|w| w.1), pieces.as_ref().map(|p| p.1));
    let Some((head, used)) = whole else { return };
    assert!((100..=599).contains(&head.status));
    assert!(bytes[..used].ends_with(b"\r\n\r\n"));
    for head_request in [false, true] {
        let _framing = framing::of_response(&head, head_request);
    }
    let mut store = [httparse::EMPTY_HEADER; 256];
    let mut plain = httparse::Response::new(&mut store);
    assert!(matches!(plain.parse(bytes), Ok(httparse::Status::Complete(n)) if n == used));
    assert_eq!(plain.code, Some(head.status));
}

/// A chunked body is read alike at every split, and exactly as its grammar says.
pub fn chunked(data: &[u8]) {
    let Some((step, bytes)) = data.split_first() else { return };
    let whole = read_chunks(bytes, bytes.len().max(1));
    assert_eq!(whole, read_chunks(bytes, usize::from(*step).max(1)));
    if let Verdict::Complete(body, used) = &whole {
        let (expected, rest) = grammar(bytes).expect("accepted against the grammar");
        assert_eq!((body, bytes.len() - used), (&expected, rest.len()));
    } else if grammar(bytes).is_some() && bytes.len() < 4096 {
        panic!("refused although the grammar accepts it");
    }
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Complete(Vec<u8>, usize),
    Incomplete,
    Refused,
}

fn read_chunks(bytes: &[u8], step: usize) -> Verdict {
    let mut decoder = Decoder::default();
    let (mut body, mut used) = (Vec::new(), 0);
    for piece in bytes.chunks(step) {
        let mut piece = piece.to_vec();
        match decoder.decode(&mut piece, 0, 0) {
            Ok(progress) => {
                body.extend_from_slice(&piece[..progress.data_end]);
                used += progress.raw;
                if progress.done {
                    let _fields = trailers::parse(decoder.trailers());
                    return Verdict::Complete(body, used);
                }
            }
            Err(_) => return Verdict::Refused,
        }
    }
    Verdict::Incomplete
}

/// RFC 9112 §7.1 read naively: the body and what follows it, or `None`.
fn grammar(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let line = &rest[..end];
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        if digits == 0 || digits > 16 {
            return None;
        }
        let extension = &line[digits..];
        let quotes = extension_is_closed(extension)?;
        if !extension.is_empty() && (extension[0] != b';' || !quotes) {
            return None;
        }
        let size = u64::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        if size > i64::MAX as u64 {
            return None;
        }
        rest = &rest[end + 2..];
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).ok()?;
        if rest.len() < size.checked_add(2)? || &rest[size..size + 2] != b"\r\n" {
            return None;
        }
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let line = &rest[..end];
        if line.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
            return None;
        }
        rest = &rest[end + 2..];
        if line.is_empty() {
            return Some((body, rest));
        }
    }
}

/// Whether quotes in an extension are balanced; `None` for a byte that may not stand there.
fn extension_is_closed(extension: &[u8]) -> Option<bool> {
    let (mut quoted, mut escaped) = (false, false);
    for byte in extension {
        if !matches!(byte, b'\t' | b' '..=b'~' | 0x80..) {
            return None;
        }
        match byte {
            b'"' if !escaped => quoted = !quoted,
            b'\\' if quoted && !escaped => {
                escaped = true;
                continue;
            }
            _ => {}
        }
        escaped = false;
    }
    Some(!quoted)
}

/// A normal form is its own normal form, and forwards what was matched.
pub fn target(data: &[u8]) {
    let mut head = RequestHead::default();
    head.set(b"GET", data, tidegate::wire::Version::Http11);
    head.fields.push(b"Host", b"a.test");
    let Ok(first) = Target::of(&head, PathMode::Normalize) else { return };
    let mut again = RequestHead::default();
    again.set(b"GET", first.path(), tidegate::wire::Version::Http11);
    again.fields.push(b"Host", b"a.test");
    let second = Target::of(&again, PathMode::Refuse).expect("a normal form is normal");
    assert_eq!(first.path(), second.path());
    assert!(!first.path().split(|b| *b == b'/').any(|s| s == b"." || s == b".."));
}

/// One request as somebody understood it.
#[derive(Debug, PartialEq)]
struct Understood {
    method: String,
    target: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// What we would forward, hyper and httparse understand alike, request for request.
pub fn differential(data: &[u8]) {
    let ours = understood_by_us(data);
    if ours.is_empty() {
        return;
    }
    for (request, at) in &ours {
        let mut store = [httparse::EMPTY_HEADER; 128];
        let mut plain = httparse::Request::new(&mut store);
        let parsed = plain.parse(&data[*at..]);
        assert!(matches!(parsed, Ok(httparse::Status::Complete(_))), "httparse refuses it");
        assert_eq!(plain.method, Some(&*request.method));
    }
    let (theirs, refused) = understood_by_hyper(data);
    for ((our, _), their) in ours.iter().zip(&theirs) {
        assert_eq!(our, their);
    }
    assert!(!refused || theirs.len() >= ours.len(), "hyper refuses what we accept");
}

/// Path and query: what is left of a target once its form is taken away.
fn path_and_query(path: &str, query: Option<&str>) -> String {
    query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

/// The requests that would be forwarded from a connection with these bytes, each with its offset.
fn understood_by_us(data: &[u8]) -> Vec<(Understood, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let Some((head, used)) = read_request(&data[at..], data.len()) else { break };
        let (Ok(framing), Ok(admitted)) = (framing::of_request(&head), admit::admit(&head, true))
        else {
            break;
        };
        // A target that is forwarded in another form than it came in is not compared, and neither is a
        // query with characters that we pass on like nginx does and hyper refuses.
        let Ok(target) = Target::of(&head, PathMode::Refuse) else { break };
        let odd = |b: &u8| b"\"<>^`{|}\\".contains(b);
        if target.query().unwrap_or_default().iter().any(odd) || admitted.upgrade.is_some() {
            break;
        }
        let start = at + used;
        let (body, end) = match framing {
            Framing::None | Framing::UntilClose => (Vec::new(), start),
            Framing::Length(n) => {
                let end = usize::try_from(n).ok().and_then(|n| start.checked_add(n));
                match end.and_then(|end| data.get(start..end)) {
                    Some(body) => (body.to_vec(), start + body.len()),
                    None => break,
                }
            }
            Framing::Chunked => match read_chunks(&data[start..], data.len()) {
                Verdict::Complete(body, used) => (body, start + used),
                Verdict::Incomplete | Verdict::Refused => break,
            },
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let lower = |bytes: &[u8]| text(bytes).to_ascii_lowercase();
        let mut fields: Vec<_> =
            head.fields.iter().map(|f| (lower(f.name), f.value.to_vec())).collect();
        fields.sort();
        let method = text(head.method());
        let query = target.query().map(text);
        let target = path_and_query(&text(target.path()), query.as_deref());
        found.push((Understood { method, target, fields, body }, at));
        let last = head.fields.lists(tidegate::wire::Known::Connection, b"close")
            || head.version == tidegate::wire::Version::Http10;
        at = end;
        if last {
            break;
        }
    }
    found
}

/// The requests that hyper's server sees in these bytes, and whether it refused some of them.
fn understood_by_hyper(data: &[u8]) -> (Vec<Understood>, bool) {
    let seen: Arc<Mutex<Vec<Understood>>> = Arc::default();
    let record = seen.clone();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let refused = runtime.block_on(async {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let record = record.clone();
            async move {
                let (head, body) = request.into_parts();
                let Ok(body) = body.collect().await else {
                    return Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())));
                };
                let mut fields: Vec<_> = head
                    .headers
                    .iter()
                    .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                    .collect();
                fields.sort();
                record.lock().expect("one thread").push(Understood {
                    method: head.method.to_string(),
                    target: path_and_query(head.uri.path(), head.uri.query()),
                    fields,
                    body: body.to_bytes().to_vec(),
                });
                Ok(Response::new(Full::new(Bytes::new())))
            }
        });
        let server = hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .serve_connection(TokioIo::new(near), service);
        let client = async move {
            let sent = far.write_all(data).await;
            let ended = far.shutdown().await;
            let mut answers = Vec::new();
            let read = far.read_to_end(&mut answers).await;
            drop((sent, ended, read));
        };
        let both = async { tokio::join!(server, client).0 };
        match tokio::time::timeout(Duration::from_secs(5), both).await {
            Ok(Err(error)) => error.is_parse(),
            Ok(Ok(())) | Err(_) => false,
        }
    });
    let seen = std::mem::take(&mut *seen.lock().expect("one thread"));
    (seen, refused)
}
