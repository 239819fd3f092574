use super::*;

fn parse(bytes: &[u8]) -> Result<Option<(usize, ResponseHead)>, ResponseFault> {
    let mut head = ResponseHead::default();
    let used = ResponseParser::default().parse(bytes, &mut head)?;
    Ok(used.map(|n| (n, head)))
}

#[test]
fn a_head_is_split_into_its_parts() {
    let (used, head) = parse(b"HTTP/1.1 404 Not Found\r\nServer: x\r\n\r\nrest").unwrap().unwrap();
    assert_eq!((used, head.status, head.reason()), (37, 404, &b"Not Found"[..]));
    assert_eq!(head.fields.first(super::super::Known::Server), Some(&b"x"[..]));
}

#[test]
fn a_missing_reason_phrase_is_fine() {
    assert_eq!(parse(b"HTTP/1.1 200\r\n\r\n").unwrap().unwrap().1.reason(), b"");
    assert_eq!(parse(b"HTTP/1.0 200 \r\n\r\n").unwrap().unwrap().1.version, Version::Http10);
}

#[test]
fn garbage_is_refused_at_its_first_byte() {
    assert_eq!(parse(b"g").err(), Some(ResponseFault::StatusLine));
    assert_eq!(parse(b"<html>").err(), Some(ResponseFault::StatusLine));
    assert_eq!(parse(b"HTTP/2 200 OK\r\n\r\n").err(), Some(ResponseFault::StatusLine));
    assert!(parse(b"HTT").unwrap().is_none());
}

#[test]
fn statuses_outside_the_registry_range_are_refused() {
    for status in ["000", "099", "99", "1000", "600", "999"] {
        let bytes = format!("HTTP/1.1 {status} X\r\n\r\n");
        assert!(parse(bytes.as_bytes()).is_err(), "{status}");
    }
}

#[test]
fn malformed_fields_are_refused() {
    for line in ["A : b", "A: b\r\n c", "A: b\x00", "A: b\rc", "A b"] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n");
        assert!(parse(bytes.as_bytes()).is_err(), "{line:?}");
    }
    assert_eq!(parse(b"HTTP/1.1 200 OK\nA: b\n\n").err(), Some(ResponseFault::BareLf));
}

#[test]
fn a_fault_does_not_depend_on_how_the_bytes_arrive() {
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\nB", "a".repeat(HEAD_BYTES));
    let mut parser = ResponseParser::default();
    let mut head = ResponseHead::default();
    for arrived in [1, HEAD_BYTES - 1] {
        assert_eq!(parser.parse(&long.as_bytes()[..arrived], &mut head), Ok(None));
    }
    let whole = ResponseParser::default().parse(long.as_bytes(), &mut head);
    assert_eq!(parser.parse(&long.as_bytes()[..HEAD_BYTES], &mut head), whole);
    assert_eq!(whole, Err(ResponseFault::HeadTooLarge));
}

#[test]
fn oversized_heads_are_refused() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(5000));
    assert_eq!(parse(many.as_bytes()).err(), Some(ResponseFault::TooManyFields));
    let limits = HeadLimits { bytes: 100, fields: 2 };
    let within = |text: &str| {
        let mut head = ResponseHead::default();
        ResponseParser::default().parse_within(text.as_bytes(), limits, &mut head).err()
    };
    assert_eq!(within("HTTP/1.1 200 OK\r\nA: b\r\nA: b\r\n\r\n"), None);
    let three = "HTTP/1.1 200 OK\r\nA: b\r\nA: b\r\nA: b\r\n\r\n";
    assert_eq!(within(three), Some(ResponseFault::TooManyFields));
    assert_eq!(within(&"HTTP/1.1 200 ".repeat(8)), Some(ResponseFault::HeadTooLarge));
    let long = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(200_000));
    assert_eq!(parse(long.as_bytes()).err(), Some(ResponseFault::HeadTooLarge));
}
