//! What a head costs: reading one from bytes, and writing it as a server must see it.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidegate::exchange::HeaderEdits;
use tidegate::exchange::forward::{RequestForm, response_fields, write_request};
use tidegate::exchange::identity::{ClientField, Identity, OtherEnd};
use tidegate::wire::hpack::{Encoder, HpackDecoder};
use tidegate::wire::request::{Limits, RequestParser};
use tidegate::wire::response::ResponseParser;
use tidegate::wire::{RequestHead, ResponseHead};

const SMALL: &str = "GET /api/orders/42 HTTP/1.1\r\nHost: shop.example.com\r\nAccept: */*\r\n\r\n";
const BROWSER: &str = "GET /api/orders/42?page=2 HTTP/1.1\r\nHost: shop.example.com\r\n\
    Connection: keep-alive\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=1\r\n\
    Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: none\r\n\
    Cache-Control: max-age=0\r\n\r\n";
const RESPONSE: &str = "HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 12:00:00 GMT\r\nServer: app\r\n\
    Content-Type: application/json\r\nContent-Length: 128\r\nCache-Control: no-cache\r\n\
    X-Request-Cost: 3\r\n\r\n";

fn read(c: &mut Criterion) {
    let mut group = c.benchmark_group("read");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for (kind, bytes) in [("small", SMALL), ("browser", BROWSER)] {
        let mut head = RequestHead::default();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(kind, |b| {
            b.iter(|| {
                let bytes = black_box(bytes.as_bytes());
                RequestParser::default().parse(bytes, &Limits::default(), &mut head)
            });
        });
    }
    let mut head = ResponseHead::default();
    group.throughput(Throughput::Bytes(RESPONSE.len() as u64));
    group.bench_function("response", |b| {
        b.iter(|| ResponseParser::default().parse(black_box(RESPONSE.as_bytes()), &mut head));
    });
    group.finish();
}

fn write(c: &mut Criterion) {
    let mut group = c.benchmark_group("write");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let set = [("x-env", "prod")];
    let edited = HeaderEdits::new(set.into_iter(), [].into_iter(), ["cookie"].into_iter());
    let none = HeaderEdits::default();
    for (kind, bytes, edits) in
        [("small", SMALL, &none), ("browser", BROWSER, &none), ("edited", BROWSER, &edited)]
    {
        let mut head = RequestHead::default();
        let parsed =
            RequestParser::default().parse(bytes.as_bytes(), &Limits::default(), &mut head);
        assert!(matches!(parsed, Ok(Some(_))));
        let peer = OtherEnd {
            ip: Some([192, 0, 2, 7].into()),
            text: Some("192.0.2.7"),
            trusted: false,
            scheme: "http",
            certificate: None,
        };
        let identity =
            Identity::new(peer, &head.fields, &ClientField::ForwardedFor, |_| false, |_| true);
        let form = RequestForm {
            head: &head,
            path: b"/api/orders/42",
            query: None,
            host: b"shop.example.com",
            original_host: b"shop.example.com",
            hidden: &[],
            added: &[],
            if_match: None,
            facts: None,
            traceparent: None,
            b3: None,
            prefix: None,
            left: None,
            request_id: b"0123456789abcdef0123456789abcdef",
            identity: &identity,
            edits,
            upgrade: None,
            expects_continue: false,
            length: Some(0),
            attempt: 1,
        };
        let mut out = Vec::with_capacity(2048);
        group.bench_function(kind, |b| {
            b.iter(|| {
                out.clear();
                write_request(&mut out, black_box(&form));
                black_box(out.len())
            });
        });
    }
    let mut head = ResponseHead::default();
    let parsed = ResponseParser::default().parse(RESPONSE.as_bytes(), &mut head);
    assert!(matches!(parsed, Ok(Some(_))));
    let mut out = Vec::with_capacity(2048);
    group.bench_function("response", |b| {
        b.iter(|| {
            out.clear();
            response_fields(black_box(&head), &mut out);
            black_box(out.len())
        });
    });
    group.finish();
}

/// HPACK: the head of a browser's request, as one that was sent before and as one that was not, and
/// that of a response.
fn hpack(c: &mut Criterion) {
    let mut group = c.benchmark_group("hpack");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let mut request = RequestHead::default();
    let bytes = BROWSER.as_bytes();
    let parsed = RequestParser::default().parse(bytes, &Limits::default(), &mut request);
    assert!(matches!(parsed, Ok(Some(_))));
    let block = |encoder: &mut Encoder, out: &mut Vec<u8>| {
        out.clear();
        encoder.begin(out);
        for field in request.fields.iter() {
            encoder.field(out, field.name, field.value, field.known);
        }
    };
    let (mut encoder, mut out) = (Encoder::default(), Vec::new());
    (0..3).for_each(|_| block(&mut encoder, &mut out));
    group.bench_function("write/again", |b| {
        b.iter(|| {
            block(&mut encoder, &mut out);
            black_box(out.len())
        });
    });
    let mut first = Vec::new();
    group.bench_function("write/first", |b| {
        b.iter(|| {
            block(&mut Encoder::default(), &mut first);
            black_box(first.len())
        });
    });
    let mut read = |name: &str, decoder: &mut HpackDecoder, block: &[u8]| {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut bytes = 0;
                let read =
                    decoder.decode(black_box(block), &mut |field| bytes += field.value.len());
                assert!(read.is_ok());
                bytes
            });
        });
    };
    read("read/first", &mut HpackDecoder::default(), &first);
    let (mut encoder, mut decoder) = (Encoder::default(), HpackDecoder::default());
    for _ in 0..3 {
        block(&mut encoder, &mut out);
        assert!(decoder.decode(&out, &mut |_| {}).is_ok());
    }
    read("read/again", &mut decoder, &out);
    group.finish();
}

criterion_group!(benches, read, write, hpack);
criterion_main!(benches);
