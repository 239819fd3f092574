//! Messages of HTTP/1 as httparse and RFC 9112 §6 read them, without any code of the proxy's.

/// More fields than the proxy lets through.
const FIELDS: usize = 1100;

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// A message, as far as it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The method of a request, nothing for a response.
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    /// Of a response.
    pub status: u16,
    pub body: Vec<u8>,
    pub whole: bool,
    pub framing: Framing,
    /// How long it is on the wire, if it is whole.
    pub used: usize,
}

/// What the bytes are the beginning of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The head is not complete.
    Nothing,
    /// It is none.
    Malformed,
    Message(Message),
}

/// Who wrote the chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// The proxy: chunks have nothing but a size.
    Proxy,
    /// Somebody else: they may have extensions, and servers may put blanks behind the size.
    Other,
}

/// Reads a request.
pub fn request(bytes: &[u8], writer: Writer) -> Read {
    let mut fields = vec![httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Read::Nothing,
        Err(_) => return Read::Malformed,
    };
    let method = head.method.unwrap_or_default().as_bytes().to_vec();
    let target = head.path.unwrap_or_default().as_bytes().to_vec();
    let Some(framing) = framing(head.headers, Framing::Length(0)) else { return Read::Malformed };
    body(
        bytes,
        length,
        writer,
        Message { method, target, status: 0, body: Vec::new(), whole: false, framing, used: 0 },
    )
}

/// Reads a response, interim ones before it left out. `empty` says that it has no body whatever its
/// head says.
pub fn response(bytes: &[u8], writer: Writer, to_head: bool) -> Read {
    let mut start = 0;
    loop {
        let rest = &bytes[start..];
        let mut fields = vec![httparse::EMPTY_HEADER; FIELDS];
        let mut head = httparse::Response::new(&mut fields);
        let length = match head.parse(rest) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Read::Nothing,
            Err(_) => return Read::Malformed,
        };
        let status = head.code.unwrap_or_default();
        if (100..200).contains(&status) && status != 101 {
            start += length;
            continue;
        }
        let framing = match framing(head.headers, Framing::UntilClose) {
            _ if to_head || matches!(status, 204 | 304) => Framing::Length(0),
            Some(framing) => framing,
            None => return Read::Malformed,
        };
        let (method, target) = (Vec::new(), Vec::new());
        return body(
            bytes,
            start + length,
            writer,
            Message { method, target, status, body: Vec::new(), whole: false, framing, used: 0 },
        );
    }
}

fn framing(fields: &[httparse::Header<'_>], neither: Framing) -> Option<Framing> {
    let named = |name: &str| {
        fields
            .iter()
            .filter(|f| f.name.eq_ignore_ascii_case(name))
            .map(|f| f.value.trim_ascii())
            .collect::<Vec<_>>()
    };
    match (&*named("transfer-encoding"), &*named("content-length")) {
        ([], []) => Some(neither),
        ([one], []) => one.eq_ignore_ascii_case(b"chunked").then_some(Framing::Chunked),
        ([], [one]) if !one.is_empty() && one.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(one).ok()?.parse().ok().map(Framing::Length)
        }
        _ => None,
    }
}

fn body(bytes: &[u8], head: usize, writer: Writer, mut message: Message) -> Read {
    let rest = &bytes[head..];
    match message.framing {
        Framing::Length(length) => {
            message.body = rest[..length.min(rest.len())].to_vec();
            message.whole = rest.len() >= length;
            message.used = head + message.body.len();
        }
        Framing::UntilClose => {
            message.body = rest.to_vec();
            message.used = bytes.len();
        }
        Framing::Chunked => match chunks(rest, writer, &mut message.body) {
            Ok(Some(used)) => {
                message.whole = true;
                message.used = head + used;
            }
            Ok(None) => {}
            Err(()) => return Read::Malformed,
        },
    }
    Read::Message(message)
}

/// Decodes chunks: how long they are, if the last one is there.
fn chunks(bytes: &[u8], writer: Writer, body: &mut Vec<u8>) -> Result<Option<usize>, ()> {
    let line = |at: usize| {
        let rest = &bytes[at..];
        rest.windows(2).position(|window| window == b"\r\n").map(|end| &rest[..end])
    };
    let mut at = 0;
    loop {
        let Some(text) = line(at) else { return Ok(None) };
        at += text.len() + 2;
        let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let rest = text[digits..].trim_ascii_start();
        if writer == Writer::Proxy && digits != text.len() || !rest.is_empty() && rest[0] != b';' {
            return Err(());
        }
        let text = std::str::from_utf8(&text[..digits]).map_err(|_| ())?;
        let size = usize::from_str_radix(text, 16).map_err(|_| ())?;
        if size == 0 {
            break;
        }
        let Some(end) = at.checked_add(size) else { return Err(()) };
        body.extend_from_slice(&bytes[at..end.min(bytes.len())]);
        match bytes.get(end..end.saturating_add(2)) {
            Some(b"\r\n") => at = end + 2,
            Some(_) => return Err(()),
            None => return Ok(None),
        }
    }
    // Trailers, up to an empty line.
    loop {
        match line(at) {
            None => return Ok(None),
            Some(b"") => return Ok(Some(at + 2)),
            Some(field) if field.contains(&b':') && !field.contains(&b'\n') => {
                at += field.len() + 2
            }
            Some(_) => return Err(()),
        }
    }
}
