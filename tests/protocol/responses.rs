//! Table J: what a hostile or broken origin may do to a client. Responses are framed as strictly as
//! requests; an answer that cannot be trusted is a 502, one that breaks off never looks complete.

use crate::response_row::{Answer, Row, answer, bad_gateway, resets, row, run};
use support::Step;

const EARLY: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn hello() -> Answer {
    answer(200).body("hello")
}

pub fn framing_rows() -> Vec<Row> {
    let bad = |id, name, bytes: &str| row(id, name, bytes, bad_gateway());
    let with = |lines: &str, rest: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n{rest}");
    vec![
        row("-", "an ordinary answer", OK, hello().into()).keeps(),
        bad("J1", "two different lengths", &with("Content-Length: 2\r\nContent-Length: 4", "hell")),
        bad("J1", "a list of different lengths", &with("Content-Length: 2, 4", "hell")),
        bad("J1", "a negative length", &with("Content-Length: -1", "hell")),
        bad("J1", "2^64 + 2", &with("Content-Length: 18446744073709551618", "hell")),
        row(
            "J2",
            "coding and length",
            &with("Content-Length: 3\r\nTransfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
            hello().without(&["content-length"]).into(),
        )
        .or(bad_gateway()),
        bad("J3", "gzip alone", &with("Transfer-Encoding: gzip", "hello")).then(&[Step::Close]),
        bad("J3", "chunked is not final", &with("Transfer-Encoding: chunked, gzip", "hello"))
            .then(&[Step::Close]),
        row(
            "J4",
            "a coding on HTTP/1.0",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            answer(200).body("5\r\nhello\r\n0\r\n\r\n").into(),
        )
        .or(bad_gateway())
        .then(&[Step::Close]),
        row("J5", "HEAD with a body", OK, answer(200).body("").field("content-length", "5").into())
            .head(),
        row(
            "J5",
            "204 with a body",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
            answer(204).body("").without(&["content-length", "transfer-encoding"]).into(),
        ),
        row(
            "J5",
            "204 with chunks",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            answer(204).body("").without(&["content-length", "transfer-encoding"]).into(),
        ),
        row(
            "J5",
            "304 with a body",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
            answer(304).body("").without(&["transfer-encoding"]).into(),
        ),
        row(
            "J5",
            "an interim answer with a length",
            &format!("HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n{OK}"),
            hello().interim_without(&["content-length"]).into(),
        )
        .or(bad_gateway())
        .either_way(),
        row(
            "J6",
            "two answers at once",
            &format!("{OK}{}", OK.replace("hello", "evil!")),
            hello().into(),
        ),
    ]
}

pub fn interim_rows() -> Vec<Row> {
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    vec![
        row(
            "J7",
            "16 interim answers",
            &format!("{}{OK}", EARLY.repeat(16)),
            hello().interim(16).into(),
        )
        .keeps(),
        row("J7", "17 interim answers", &format!("{}{OK}", EARLY.repeat(17)), bad_gateway())
            .after_interim(),
        row("J7", "1 000 interim answers", &format!("{}{OK}", EARLY.repeat(1000)), bad_gateway())
            .after_interim(),
        row("J7", "10 000 times 100", &go_on.repeat(10_000), bad_gateway()).after_interim(),
        row("J8", "one 103", &format!("{EARLY}{OK}"), hello().interim(1).into()).keeps(),
        row(
            "J9",
            "101 that was not asked for",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
            bad_gateway(),
        ),
    ]
}

pub fn syntax_rows() -> Vec<Row> {
    let field = |id, name, line: &str| {
        let bytes = format!("HTTP/1.1 200 OK\r\n{line}\r\nContent-Length: 5\r\n\r\nhello");
        row(id, name, &bytes, bad_gateway())
    };
    let start = |id, name, line: &str| {
        row(id, name, &format!("{line}\r\nContent-Length: 5\r\n\r\nhello"), bad_gateway())
    };
    let many: String = (0..5000).map(|i| format!("X-{i}: 1\r\n")).collect();
    vec![
        field("J10", "a bare CR", "X-A: v\rX-B: w"),
        field("J10", "NUL", "X-A: v\0w"),
        field("J10", "a folded field", "X-A: v\r\n w"),
        field("J10", "space before the colon", "X-A : v"),
        field("J11", "a field of 200 KB", &format!("X-A: {}", "a".repeat(200_000))),
        field("J11", "5 000 fields", many.trim_end()),
        row("J12", "garbage", "garbage, more garbage\r\n\r\n", bad_gateway()).then(&[Step::Close]),
        row("J12", "HTTP/0.9", "<html>hello</html>", bad_gateway()).then(&[Step::Close]),
        start("J13", "status 99", "HTTP/1.1 99 Low"),
        start("J13", "status 000", "HTTP/1.1 000 Zero"),
        start("J13", "status 1000", "HTTP/1.1 1000 High"),
        start("J13", "status 2OO", "HTTP/1.1 2OO OK"),
    ]
}

pub fn truncation_rows() -> Vec<Row> {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let sized = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    vec![
        row("J14", "a bad chunk size", chunked, resets()).later(&[Step::Send(b"zz\r\n".to_vec())]),
        row("J14", "junk after chunk data", chunked, resets())
            .later(&[Step::Send(b"2\r\nhi!!\r\n0\r\n\r\n".to_vec())]),
        row("J14", "the end within a chunk", chunked, resets())
            .later(&[Step::Send(b"9\r\nhi".to_vec()), Step::Close]),
        row("J14", "the end between chunks", chunked, resets()).later(&[Step::Close]),
        row("J14", "the end before the length", sized, resets()).later(&[Step::Close]),
        row("J14", "a reset before the length", sized, resets()).later(&[Step::Reset]),
        row(
            "J14",
            "a reset of a body that ends with the connection",
            "HTTP/1.1 200 OK\r\n\r\nhello",
            resets(),
        )
        .later(&[Step::Reset]),
        row("J17", "closed without a byte", "", bad_gateway()).then(&[Step::Close]),
        row("J17", "reset without a byte", "", bad_gateway()).then(&[Step::Reset]),
        row("J17", "closed within the head", "HTTP/1.1 200 OK\r\nX-A:", bad_gateway())
            .then(&[Step::Close]),
    ]
}

pub fn field_rows() -> Vec<Row> {
    let trailers = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\
                    Content-Length: 4\r\nSet-Cookie: a=1\r\n\r\n";
    vec![
        row(
            "J15",
            "forbidden trailers",
            trailers,
            hello().without_trailers(&["content-length", "set-cookie"]).into(),
        )
        .keeps(),
        row(
            "J16",
            "a nominated field",
            "HTTP/1.1 200 OK\r\nConnection: X-Secret\r\nX-Secret: 1\r\nContent-Length: 5\r\n\r\nhello",
            hello().without(&["x-secret"]).into(),
        )
        .keeps(),
        row(
            "J23",
            "an internal Location",
            "HTTP/1.1 302 Found\r\nLocation: http://10.0.0.5/\r\nContent-Length: 5\r\n\r\nhello",
            answer(302).body("hello").field("location", "http://10.0.0.5/").into(),
        )
        .keeps(),
    ]
}

#[test]
fn an_answer_has_one_end_or_is_a_bad_gateway() {
    run(&framing_rows());
}

#[test]
fn interim_answers_pass_within_a_limit() {
    run(&interim_rows());
}

#[test]
fn answers_that_are_not_http_are_a_bad_gateway() {
    run(&syntax_rows());
}

#[test]
fn a_broken_off_answer_never_looks_complete() {
    run(&truncation_rows());
}

#[test]
fn fields_meant_for_the_proxy_stop_at_the_proxy() {
    run(&field_rows());
}
