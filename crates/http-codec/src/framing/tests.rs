use super::*;

fn request(version: Version, fields: &[(&str, &str)]) -> Result<Framing, Fault> {
    let mut head = RequestHead::default();
    head.set(b"POST", b"/", version);
    for (name, value) in fields {
        head.fields.push(name.as_bytes(), value.as_bytes());
    }
    of_request(&head)
}

fn response(
    status: u16,
    head_request: bool,
    fields: &[(&str, &str)],
) -> Result<Framing, ResponseFault> {
    let mut head = ResponseHead::default();
    head.set(status, b"x");
    for (name, value) in fields {
        head.fields.push(name.as_bytes(), value.as_bytes());
    }
    of_response(&head, head_request)
}

#[test]
fn request_without_framing_has_no_body() {
    assert_eq!(request(Version::Http11, &[]), Ok(Framing::None));
    assert_eq!(request(Version::Http10, &[]), Ok(Framing::None));
}

#[test]
fn content_length_is_one_line_of_digits() {
    assert_eq!(request(Version::Http11, &[("Content-Length", "5")]), Ok(Framing::Length(5)));
    assert_eq!(request(Version::Http11, &[("Content-Length", "005")]), Ok(Framing::Length(5)));
    assert_eq!(request(Version::Http11, &[("Content-Length", "0")]), Ok(Framing::None));
    for bad in [
        "",
        "+5",
        "-1",
        "0x5",
        "1 0",
        "5, 5",
        "5,10",
        "18446744073709551621",
        "9223372036854775808",
        "5;",
    ] {
        assert_eq!(
            request(Version::Http11, &[("Content-Length", bad)]),
            Err(Fault::ContentLength),
            "{bad}"
        );
    }
    for pair in [["5", "5"], ["5", "6"], ["", "5"]] {
        let fields = pair.map(|v| ("Content-Length", v));
        assert_eq!(request(Version::Http11, &fields), Err(Fault::ContentLength));
    }
}

#[test]
fn only_plain_chunked_is_a_known_coding() {
    let te = |v| request(Version::Http11, &[("Transfer-Encoding", v)]);
    assert_eq!(te("chunked"), Ok(Framing::Chunked));
    assert_eq!(te("Chunked"), Ok(Framing::Chunked));
    for unknown in ["gzip, chunked", "xchunked", "identity"] {
        assert_eq!(te(unknown), Err(Fault::UnknownCoding), "{unknown}");
    }
    for bad in [
        "chunked, chunked",
        ",chunked",
        "chunked,",
        "chunked, gzip",
        "chunked;q=1",
        "\x0bchunked",
        "chunked chunked",
        "",
    ] {
        assert_eq!(te(bad), Err(Fault::TransferEncoding), "{bad:?}");
    }
    let two = [("Transfer-Encoding", "identity"), ("Transfer-Encoding", "chunked")];
    assert_eq!(request(Version::Http11, &two), Err(Fault::TransferEncoding));
}

#[test]
fn both_framings_or_http10_chunked_are_refused() {
    let both = [("Content-Length", "5"), ("Transfer-Encoding", "chunked")];
    assert_eq!(request(Version::Http11, &both), Err(Fault::LengthAndEncoding));
    assert_eq!(request(Version::Http10, &both[1..]), Err(Fault::EncodingInHttp10));
}

#[test]
fn bodiless_statuses_have_no_body_whatever_the_fields_say() {
    assert_eq!(response(204, false, &[("Content-Length", "5")]), Ok(Framing::None));
    assert_eq!(response(304, false, &[("Transfer-Encoding", "chunked")]), Ok(Framing::None));
    assert_eq!(response(200, true, &[("Content-Length", "5")]), Ok(Framing::None));
}

#[test]
fn responses_are_framed_as_strictly_as_requests() {
    assert_eq!(response(200, false, &[]), Ok(Framing::UntilClose));
    assert_eq!(response(200, false, &[("Transfer-Encoding", "chunked")]), Ok(Framing::Chunked));
    for bad in [
        &[("Transfer-Encoding", "gzip")][..],
        &[("Transfer-Encoding", "chunked, gzip")],
        &[("Transfer-Encoding", "chunked"), ("Content-Length", "2")],
    ] {
        assert_eq!(response(200, false, bad), Err(ResponseFault::TransferEncoding));
    }
    for bad in [
        &[("Content-Length", "2"), ("Content-Length", "4")][..],
        &[("Content-Length", "2, 4")],
        &[("Content-Length", "-1")],
    ] {
        assert_eq!(response(200, false, bad), Err(ResponseFault::ContentLength));
    }
}
