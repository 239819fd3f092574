//! Table A: where a request ends (RFC 9112 §6). Two readings of one message are request smuggling,
//! so everything that allows two is refused.

use crate::row::{
    BAD, BAD_OR_UNIMPLEMENTED, Expect, Row, SMUGGLED, UNIMPLEMENTED, passes, post_with, row, run,
};

const CHUNKED: &str = "5\r\nhello\r\n0\r\n\r\n";

pub fn rows() -> Vec<Row> {
    let mut rows = lengths();
    rows.extend(codings());
    rows.extend(bodies_of_other_methods());
    rows
}

fn lengths() -> Vec<Row> {
    let end_and_more = format!("0\r\n\r\n{SMUGGLED}");
    let bad =
        |id, name, lines: &str| row(id, name, &post_with(lines, "hello"), Expect::Refused(BAD));
    vec![
        row(
            "A1",
            "length, then coding",
            &post_with("Content-Length: 4\r\nTransfer-Encoding: chunked", &end_and_more),
            Expect::Refused(BAD),
        ),
        row(
            "A2",
            "coding, then length",
            &post_with("Transfer-Encoding: chunked\r\nContent-Length: 4", &end_and_more),
            Expect::Refused(BAD),
        ),
        bad("A3", "two different lengths", "Content-Length: 5\r\nContent-Length: 6"),
        bad("A4", "two equal lengths", "Content-Length: 5\r\nContent-Length: 5"),
        bad("A5", "a list of equal lengths", "Content-Length: 5, 5"),
        bad("A6", "a list of different lengths", "Content-Length: 5, 10"),
        bad("A7", "plus sign", "Content-Length: +5"),
        bad("A7", "minus sign", "Content-Length: -1"),
        bad("A7", "hexadecimal", "Content-Length: 0x5"),
        bad("A7", "inner space", "Content-Length: 1 0"),
        bad("A7", "empty", "Content-Length:"),
        bad("A7", "empty, then valid", "Content-Length:\r\nContent-Length: 5"),
        bad("A7", "2^64 + 5", "Content-Length: 18446744073709551621"),
        row(
            "A8",
            "leading zeros",
            &post_with("Content-Length: 005", "hello"),
            passes().field("content-length", "5").body("hello").into(),
        ),
        bad("A9", "space before the colon of the length", "Content-Length : 5"),
        row(
            "A9",
            "space before the colon of the coding",
            &post_with("Transfer-Encoding : chunked", CHUNKED),
            Expect::Refused(BAD),
        ),
        row(
            "A22",
            "the client ends its side before the body is complete",
            &post_with("Content-Length: 10", "hello"),
            Expect::BrokenBody,
        )
        .then_half_close(),
        row(
            "A22",
            "the client ends its side within a chunk",
            &post_with("Transfer-Encoding: chunked", "a\r\nhello"),
            Expect::BrokenBody,
        )
        .then_half_close(),
    ]
}

fn codings() -> Vec<Row> {
    let with = |id, name, lines: &str, statuses| {
        row(id, name, &post_with(lines, CHUNKED), Expect::Refused(statuses))
    };
    let either = BAD_OR_UNIMPLEMENTED;
    vec![
        with("A10", "xchunked", "Transfer-Encoding: xchunked", either),
        with("A10", "identity", "Transfer-Encoding: identity", either),
        with("A10", "empty", "Transfer-Encoding:", either),
        with("A10", "a parameter", "Transfer-Encoding: chunked;q=1", either),
        with("A10", "VT before the value", "Transfer-Encoding: \x0bchunked", either),
        with("A10", "FF before the value", "Transfer-Encoding: \x0cchunked", either),
        with("A11", "chunked is not final", "Transfer-Encoding: chunked, gzip", BAD),
        with("A12", "chunked twice", "Transfer-Encoding: chunked, chunked", BAD),
        with("A13", "gzip below chunked", "Transfer-Encoding: gzip, chunked", UNIMPLEMENTED),
        with(
            "A14",
            "identity and chunked on two lines",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            either,
        ),
        with(
            "A15",
            "chunked on two lines",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            BAD,
        ),
        with("A16", "an empty list item first", "Transfer-Encoding: ,chunked", BAD),
        with("A16", "an empty list item last", "Transfer-Encoding: chunked,", BAD),
        with("A17", "folded", "Transfer-Encoding:\r\n chunked", BAD),
        row(
            "A18",
            "a name with an underscore that looks like the coding",
            &post_with("Transfer_Encoding: chunked\r\nContent-Length: 5", "hello"),
            passes().without(&["transfer_encoding", "transfer-encoding"]).body("hello").into(),
        ),
        row(
            "A18",
            "any name with an underscore",
            &post_with("X_Any: 1\r\nContent-Length: 5", "hello"),
            passes().without(&["x_any"]).body("hello").into(),
        ),
        row(
            "A19",
            "a coding on HTTP/1.0",
            &format!(
                "POST /row HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKED}"
            ),
            Expect::Refused(BAD),
        ),
        row(
            "A19",
            "a coding and a length on HTTP/1.0",
            &format!(
                "POST /row HTTP/1.0\r\nHost: a.test\r\nContent-Length: 5\r\n\
                 Transfer-Encoding: chunked\r\n\r\n{CHUNKED}"
            ),
            Expect::Refused(BAD),
        ),
    ]
}

fn bodies_of_other_methods() -> Vec<Row> {
    let sized = |method| {
        format!("{method} /row HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello")
    };
    let chunked = |method| {
        format!(
            "{method} /row HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKED}"
        )
    };
    let whole = || Expect::from(passes().body("hello"));
    vec![
        row("A21", "GET with a length", &sized("GET"), whole()),
        row("A21", "GET with chunks", &chunked("GET"), whole()),
        row("A21", "HEAD with a length", &sized("HEAD"), whole()),
        row("A21", "HEAD with chunks", &chunked("HEAD"), whole()),
        row("A21", "OPTIONS with a length", &sized("OPTIONS"), whole()),
        row("A21", "OPTIONS with chunks", &chunked("OPTIONS"), whole()),
    ]
}

#[test]
fn every_request_has_one_end_or_is_refused() {
    run(&rows());
}
