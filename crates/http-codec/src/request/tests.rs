use super::*;

fn parse(bytes: &[u8]) -> Result<Option<(usize, RequestHead)>, Fault> {
    let mut head = RequestHead::default();
    let used = RequestParser::default().parse(bytes, &Limits::default(), &mut head)?;
    Ok(used.map(|n| (n, head)))
}

fn fault(bytes: &[u8]) -> Option<Fault> {
    parse(bytes).err()
}

#[test]
fn a_head_is_split_into_its_parts() {
    let (used, head) =
        parse(b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nX-Y:  z \r\n\r\nbody").unwrap().unwrap();
    assert_eq!(used, 42);
    assert_eq!(head.method(), b"GET");
    assert_eq!(head.target(), b"/a?b=c");
    assert_eq!(head.version, Version::Http11);
    let fields: Vec<_> = head.fields.iter().map(|f| (f.name, f.value)).collect();
    assert_eq!(fields, [(&b"Host"[..], &b"x"[..]), (b"X-Y", b"z")]);
}

#[test]
fn every_split_of_a_head_gives_the_same_result() {
    let bytes = b"\r\nPOST /p HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc";
    for cut in 0..bytes.len() {
        let mut parser = RequestParser::default();
        let mut head = RequestHead::default();
        let first = parser.parse(&bytes[..cut], &Limits::default(), &mut head).unwrap();
        let used = match first {
            Some(n) => n,
            None => parser.parse(bytes, &Limits::default(), &mut head).unwrap().unwrap(),
        };
        assert_eq!((used, head.method()), (41, &b"POST"[..]), "cut at {cut}");
    }
}

#[test]
fn noise_is_refused_before_a_line_ends() {
    assert_eq!(fault(b"\x16\x03\x01\x02\x00"), Some(Fault::RequestLine));
    assert_eq!(fault(&[b'A'; 33]), Some(Fault::MethodTooLong));
    assert_eq!(fault(b" GET"), Some(Fault::RequestLine));
}

#[test]
fn a_method_has_up_to_thirty_two_bytes() {
    let (longest, longer) = ("A".repeat(32), "A".repeat(33));
    assert!(parse(longest.as_bytes()).unwrap().is_none());
    let (_, head) = parse(format!("{longest} / HTTP/1.1\r\n\r\n").as_bytes()).unwrap().unwrap();
    assert_eq!(head.method(), longest.as_bytes());
    assert_eq!(fault(longer.as_bytes()), Some(Fault::MethodTooLong));
    let line = format!("{longer} / HTTP/1.1\r\n\r\n");
    assert_eq!(fault(line.as_bytes()), Some(Fault::MethodTooLong));
}

#[test]
fn a_fault_does_not_depend_on_how_the_bytes_arrive() {
    let limits = Limits { bytes: 40, ..Limits::default() };
    let line_of_41 = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(25));
    for (bytes, expected) in [
        (&b"\x16\x03\n"[..], Fault::RequestLine),
        (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n", Fault::MethodTooLong),
        (b"\r\n\nGET", Fault::RequestLine),
        (line_of_41.as_bytes(), Fault::TargetTooLong),
        (b"GET / HTTP/1.1\r\nA: 0123456789012345678901234567\n\r\n", Fault::HeadTooLarge),
        (b"GET /012345678901234567890123456789012345\n", Fault::TargetTooLong),
    ] {
        for cut in 0..=bytes.len() {
            let mut parser = RequestParser::default();
            let mut head = RequestHead::default();
            let first = parser.parse(&bytes[..cut], &limits, &mut head);
            let got = first.and_then(|_| parser.parse(bytes, &limits, &mut head));
            assert_eq!(got, Err(expected), "{} cut at {cut}", bytes.escape_ascii());
        }
    }
}

#[test]
fn a_cr_that_ends_no_line_is_refused_at_once() {
    assert!(parse(b"\r").unwrap().is_none());
    assert_eq!(fault(b"\rGET"), Some(Fault::RequestLine));
}

#[test]
fn versions_are_told_apart() {
    assert_eq!(fault(b"GET / HTTP/2.0\r\n\r\n"), Some(Fault::Version));
    assert_eq!(fault(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Some(Fault::Version));
    assert_eq!(fault(b"GET / HTTP/1.01\r\n\r\n"), Some(Fault::RequestLine));
    assert_eq!(fault(b"GET / http/1.1\r\n\r\n"), Some(Fault::RequestLine));
    assert_eq!(fault(b"GET /p\r\n\r\n"), Some(Fault::RequestLine));
    assert_eq!(fault(b"GET /p  HTTP/1.1\r\n\r\n"), Some(Fault::RequestLine));
    assert_eq!(fault(b"GET /p q HTTP/1.1\r\n\r\n"), Some(Fault::RequestLine));
}

#[test]
fn malformed_fields_are_refused() {
    for line in [
        "A : b",
        ": b",
        "A b",
        " A: b",
        "A: b\r\n c",
        "A: b\x00",
        "A: \x1b",
        "A: b\rc",
        "\u{e9}: b",
    ] {
        let bytes = format!("GET / HTTP/1.1\r\n{line}\r\n\r\n");
        assert!(
            matches!(fault(bytes.as_bytes()), Some(Fault::Field | Fault::RequestLine)),
            "{line:?} gave {:?}",
            parse(bytes.as_bytes())
        );
    }
}

#[test]
fn limits_have_their_own_faults() {
    let long_target = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000));
    assert_eq!(fault(long_target.as_bytes()), Some(Fault::TargetTooLong));
    assert_eq!(fault(&long_target.as_bytes()[..40_000]), Some(Fault::TargetTooLong));
    let long_field = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(40_000));
    assert_eq!(fault(long_field.as_bytes()), Some(Fault::HeadTooLarge));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(101));
    assert_eq!(fault(many.as_bytes()), Some(Fault::TooManyFields));
}

#[test]
fn one_or_two_empty_lines_are_ignored_and_three_are_not() {
    assert!(parse(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n").unwrap().is_some());
    assert_eq!(fault(b"\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n"), Some(Fault::EmptyLines));
}

#[test]
fn underscored_names_follow_the_setting() {
    let bytes = b"GET / HTTP/1.1\r\nX_A: b\r\n\r\n";
    assert!(parse(bytes).unwrap().unwrap().1.fields.is_empty());
    let mut head = RequestHead::default();
    let refuse = Limits { underscores: Underscores::Refuse, ..Limits::default() };
    let got = RequestParser::default().parse(bytes, &refuse, &mut head);
    assert_eq!(got, Err(Fault::Underscore));
}
