use super::*;
use crate::cache::body::{self, CachedBody};
use crate::cache::key::StoreKey;
use crate::cache::memory::Reservation;
use crate::cache::object::ObjectParts;
use crate::cache::policy::Timing;
use crate::wire::ResponseHead;

fn object(lines: &[(&str, &str)]) -> Object {
    let key = Arc::new(StoreKey::new("c", b"http", b"a", b"/", None, &[]));
    let mut head = ResponseHead::default();
    head.set(200, b"");
    for (name, value) in lines {
        head.fields.push(name.as_bytes(), value.as_bytes());
    }
    let parts = ObjectParts {
        asked: key,
        variant: 0,
        head,
        timing: Timing::default(),
        body: CachedBody::whole(Bytes::from_static(b"0123456789")),
        length: Some(10),
        asked_at: 0,
    };
    Object::new(parts, Reservation::default())
}

fn shared(object: &Object, lines: &[(&str, &str)]) -> ServedShare {
    let mut fields = Fields::default();
    for (name, value) in lines {
        fields.push(name.as_bytes(), value.as_bytes());
    }
    choose_share(object, &fields)
}

#[test]
fn ranges_are_cut_out_of_what_is_whole() {
    let stored = object(&[("etag", "\"a\"")]);
    let of = |range: &str| shared(&stored, &[("range", range)]);
    assert_eq!(of("bytes=2-4"), ServedShare::Range(2, 4, 10));
    assert_eq!(of("bytes=2-"), ServedShare::Range(2, 9, 10));
    assert_eq!(of("bytes=-3"), ServedShare::Range(7, 9, 10));
    assert_eq!(of("bytes=-30"), ServedShare::Range(0, 9, 10));
    assert_eq!(of("bytes=0-99"), ServedShare::Range(0, 9, 10));
    assert_eq!(of("bytes=10-"), ServedShare::Unsatisfiable(10));
    assert_eq!(of("bytes=-0"), ServedShare::Unsatisfiable(10));
    for ignored in ["bytes=1-2,4-5", "bytes=4-2", "bytes=-", "bytes=a-b", "pages=1-2", "bytes=+1-2"]
    {
        assert_eq!(of(ignored), ServedShare::Whole, "{ignored}");
    }
    assert_eq!(
        shared(&stored, &[("range", "bytes=0-1"), ("if-range", "\"b\"")]),
        ServedShare::Whole
    );
    assert_eq!(
        shared(&stored, &[("range", "bytes=0-1"), ("if-range", "\"a\"")]),
        ServedShare::Range(0, 1, 10)
    );
}

#[test]
fn conditions_compare_weakly_and_tags_come_before_dates() {
    let date = "Thu, 18 Aug 2050 02:01:18 GMT";
    let stored = object(&[("etag", "W/\"a\""), ("last-modified", date)]);
    let of = |lines: &[(&str, &str)]| shared(&stored, lines) == ServedShare::NotModified;
    assert!(of(&[("if-none-match", "\"x\", \"a\"")]) && of(&[("if-none-match", "*")]));
    assert!(!of(&[("if-none-match", "\"x\""), ("if-modified-since", date)]));
    assert!(of(&[("if-modified-since", date)]));
    assert!(!of(&[("if-modified-since", "Thu, 18 Aug 2050 02:01:17 GMT")]));
    assert!(!of(&[("if-modified-since", "yesterday")]));
}

#[tokio::test]
async fn a_body_on_its_way_is_read_as_it_comes_and_a_cut_is_noticed() {
    let (mut writer, body) = body::new_body();
    let mut source = StoredBody::whole(body.new_reader());
    let read = tokio::spawn(async move {
        let mut out = Vec::new();
        loop {
            match std::future::poll_fn(|cx| source.poll_fill(cx)).await {
                Ok(Fill::Data) => {
                    out.extend_from_slice(source.body_data());
                    let n = source.body_data().len();
                    source.consume_body(n);
                }
                Ok(Fill::End) => return (out, true),
                Err(_) => return (out, false),
            }
        }
    });
    for part in [&b"ab"[..], b"c"] {
        tokio::task::yield_now().await;
        writer.push_part(Bytes::copy_from_slice(part));
    }
    tokio::task::yield_now().await;
    drop(writer);
    assert_eq!(read.await.unwrap(), (b"abc".to_vec(), false));
}

#[test]
fn pages_are_found_of_data_of_any_length_and_place_and_none_of_it_changes() {
    let pattern: Vec<u8> =
        (0..(MOST_PAGES + 4) * PAGE).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let all = Bytes::from(pattern.clone());
    let page = all.as_ptr().align_offset(PAGE);
    let places = [
        (page, 0),
        (page, 1),
        (page + PAGE - 1, 1),
        // Across the end of a page.
        (page + PAGE - 1, 2),
        (page, PAGE - 1),
        (page, PAGE),
        (page, PAGE + 1),
        (page + PAGE - 1, PAGE + 1),
        (page + 1, 2 * PAGE),
        (page + 17, 3 * PAGE + 5),
        (page + PAGE - 1, 3 * PAGE),
        // More than are looked up at a time.
        (page, MOST_PAGES * PAGE),
        (page + 1, (MOST_PAGES + 2) * PAGE),
    ];
    let mut cx = Context::from_waker(std::task::Waker::noop());
    for (from, length) in places {
        let data = all.slice(from..from + length);
        find_pages(&data);
        // The same as a client is sent it.
        let mut source = StoredBody::whole(CachedBody::whole(data).new_reader());
        assert!(matches!(source.poll_fill(&mut cx), Poll::Ready(Ok(_))));
        assert!(source.body_data() == &pattern[from..from + length], "{length} bytes at {from}");
    }
    assert!(all == pattern);
}
