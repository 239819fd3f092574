//! HTTP/1 as the parties of a test understand it: strict, small, and unrelated to the parser under
//! test. Text is Latin-1, so that every byte survives and can be compared.

/// A field list in the order of the wire.
pub(crate) type Fields = Vec<(String, String)>;

#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Which accepted connection of the origin carried it, from 0.
    pub connection: usize,
    /// Which request of that connection it is, from 0.
    pub index: usize,
    pub method: String,
    pub target: String,
    pub version: String,
    pub headers: Fields,
    /// The head exactly as received, blank line included.
    pub head: Vec<u8>,
    /// The body, decoded.
    pub body: Vec<u8>,
    pub trailers: Fields,
    pub chunked: bool,
    /// False while the body is incomplete, and for ever when it never ended.
    pub complete: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Response {
    pub status: u16,
    pub version: String,
    pub reason: String,
    pub headers: Fields,
    pub head: Vec<u8>,
    pub body: Vec<u8>,
    pub trailers: Fields,
    pub chunked: bool,
    /// The interim (1xx) responses that came before.
    pub interim: Vec<Response>,
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Empty,
    Length(usize),
    Chunked,
    UntilClose,
}

pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(*b)).collect()
}

/// Bytes for a failure message: everything unprintable escaped, at most 600 bytes.
pub fn escape(bytes: &[u8]) -> String {
    let shown = bytes.get(..600).unwrap_or(bytes).escape_ascii().to_string();
    if bytes.len() > 600 { format!("{shown}… ({} bytes)", bytes.len()) } else { shown }
}

pub(crate) fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
}

pub(crate) fn all<'a>(fields: &'a Fields, name: &str) -> Vec<&'a str> {
    fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.headers, name)
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        all(&self.headers, name)
    }

    pub fn text(&self) -> String {
        latin1(&self.body)
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.headers, name)
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        all(&self.headers, name)
    }

    pub fn text(&self) -> String {
        latin1(&self.body)
    }

    /// Whether the response says that the connection ends with it.
    pub fn says_close(&self) -> bool {
        let named = |token: &str| {
            self.all("connection")
                .iter()
                .any(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
        };
        named("close") || (self.version == "HTTP/1.0" && !named("keep-alive"))
    }
}

/// The length of the head including its blank line, once complete.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4)
}

/// Splits a head into its start line and fields.
///
/// # Errors
/// A sentence about the first byte that RFC 9112 does not allow.
pub(crate) fn parse_head(head: &[u8]) -> Result<(String, Fields), String> {
    let text = latin1(head);
    let text = text.strip_suffix("\r\n\r\n").ok_or("no blank line at the end of the head")?;
    let mut lines = text.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    check_bytes(&start)?;
    Ok((start, lines.map(parse_field).collect::<Result<_, _>>()?))
}

fn parse_field(line: &str) -> Result<(String, String), String> {
    let (name, value) =
        line.split_once(':').ok_or_else(|| format!("field without a colon: {line:?}"))?;
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(token) {
        return Err(format!("bad field name in {line:?}"));
    }
    check_bytes(value)?;
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

fn check_bytes(line: &str) -> Result<(), String> {
    if line.chars().any(|c| (c < ' ' && c != '\t') || c == '\x7f') {
        return Err(format!("control byte in {line:?}"));
    }
    Ok(())
}

/// Request framing by RFC 9112 §6.3.
///
/// # Errors
/// When the two framing fields do not allow exactly one reading.
pub(crate) fn framing(fields: &Fields) -> Result<Option<Framing>, String> {
    let coded = all(fields, "transfer-encoding");
    let lengths = all(fields, "content-length");
    match (coded.as_slice(), lengths.as_slice()) {
        ([], []) => Ok(None),
        ([one], []) if one.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        ([], [one]) if !one.is_empty() && one.bytes().all(|b| b.is_ascii_digit()) => {
            one.parse().map(|n| Some(Framing::Length(n))).map_err(|_| format!("length {one:?}"))
        }
        _ => Err(format!("ambiguous framing: TE {coded:?}, CL {lengths:?}")),
    }
}

/// An incremental reader of a chunked body.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    pub body: Vec<u8>,
    pub trailers: Fields,
    left: usize,
    after_data: bool,
    in_trailers: bool,
}

impl Chunks {
    /// Takes what it can from the front of `buffer`; true once the body has ended.
    ///
    /// # Errors
    /// A sentence about the first byte that breaks the grammar; extensions are refused too.
    pub(crate) fn advance(&mut self, buffer: &mut Vec<u8>) -> Result<bool, String> {
        loop {
            if self.left > 0 {
                let n = self.left.min(buffer.len());
                self.body.extend(buffer.drain(..n));
                self.left -= n;
                if self.left > 0 {
                    return Ok(false);
                }
            }
            let Some(end) = buffer.windows(2).position(|w| w == b"\r\n") else {
                return if buffer.len() > 65536 {
                    Err("chunk line without end".into())
                } else {
                    Ok(false)
                };
            };
            let line = latin1(&buffer[..end]);
            buffer.drain(..end + 2);
            if std::mem::take(&mut self.after_data) {
                if !line.is_empty() {
                    return Err(format!("bytes after chunk data: {line:?}"));
                }
            } else if self.in_trailers {
                if line.is_empty() {
                    return Ok(true);
                }
                self.trailers.push(parse_field(&line)?);
            } else {
                self.size_line(&line)?;
            }
        }
    }

    fn size_line(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() || !line.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("chunk size line {line:?}"));
        }
        self.left = usize::from_str_radix(line, 16).map_err(|_| format!("chunk size {line:?}"))?;
        self.in_trailers = self.left == 0;
        self.after_data = self.left > 0;
        Ok(())
    }
}
