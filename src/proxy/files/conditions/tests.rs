use proptest::prelude::*;

use super::*;

const AT: SystemTime = SystemTime::UNIX_EPOCH;

fn file() -> Validators {
    let changed = AT + Duration::from_millis(1_000_000_500);
    Validators::new((10, None), changed, AT + Duration::from_secs(2_000_000))
}

fn shared(lines: &[(&str, &str)]) -> FileShare {
    let mut fields = Fields::default();
    lines.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
    choose_share(&fields, &file(), 10, false)
}

fn parts(range: &str) -> FileShare {
    shared(&[("Range", range)])
}

#[test]
fn no_two_codings_have_the_same_tag() {
    let tag = |coding| Validators::new((10, coding), AT, AT).etag;
    assert_eq!(tag(Some("br")), format!("{}-br\"", tag(None).trim_end_matches('"')));
    assert_ne!(tag(Some("br")), tag(Some("gzip")));
}

#[test]
fn conditions_are_asked_in_their_order() {
    let etag = file().etag;
    let (same, weak) = (&*etag, &*format!("W/{etag}"));
    let (before, at) = ("Mon, 12 Jan 1970 13:46:39 GMT", "Mon, 12 Jan 1970 13:46:40 GMT");
    for (lines, expected) in [
        (&[("If-Match", same)][..], FileShare::Whole),
        (&[("If-Match", "*")], FileShare::Whole),
        (&[("If-Match", "\"x\"")], FileShare::Failed),
        (&[("If-Match", weak)], FileShare::Failed),
        (&[("If-Match", "\"x\""), ("If-Match", same)], FileShare::Whole),
        (&[("If-Match", same), ("If-Unmodified-Since", before)], FileShare::Whole),
        (&[("If-Unmodified-Since", before)], FileShare::Failed),
        (&[("If-Unmodified-Since", at)], FileShare::Whole),
        (&[("If-Unmodified-Since", "soon")], FileShare::Whole),
        (&[("If-None-Match", same)], FileShare::NotModified),
        (&[("If-None-Match", weak)], FileShare::NotModified),
        (&[("If-None-Match", "\"x\", *")], FileShare::NotModified),
        (&[("If-None-Match", "\"x\""), ("If-Modified-Since", at)], FileShare::Whole),
        (&[("If-Modified-Since", at)], FileShare::NotModified),
        (&[("If-Modified-Since", before)], FileShare::Whole),
        (&[("If-Modified-Since", at), ("If-Modified-Since", at)], FileShare::Whole),
        (&[("If-None-Match", same), ("If-Match", "\"x\"")], FileShare::Failed),
        (&[("Range", "bytes=0-0"), ("If-None-Match", same)], FileShare::NotModified),
        (&[("Range", "bytes=0-0"), ("If-Range", same)], FileShare::Parts(vec![(0, 0)])),
        (&[("Range", "bytes=0-0"), ("If-Range", weak)], FileShare::Whole),
        (&[("Range", "bytes=0-0"), ("If-Range", "\"x\"")], FileShare::Whole),
        (&[("Range", "bytes=0-0"), ("If-Range", at)], FileShare::Parts(vec![(0, 0)])),
        (&[("Range", "bytes=0-0"), ("If-Range", before)], FileShare::Whole),
        (&[("Range", "bytes=0-0"), ("If-Range", "x")], FileShare::Whole),
    ] {
        assert_eq!(shared(lines), expected, "{lines:?}");
    }
}

#[test]
fn ranges_are_parts_or_nothing() {
    for (range, expected) in [
        ("bytes=0-4", FileShare::Parts(vec![(0, 4)])),
        ("Bytes=5-", FileShare::Parts(vec![(5, 9)])),
        ("bytes=-3", FileShare::Parts(vec![(7, 9)])),
        ("bytes=-30", FileShare::Parts(vec![(0, 9)])),
        ("bytes=9-99999999999999999999999", FileShare::Parts(vec![(9, 9)])),
        ("bytes=0-1, 4-5", FileShare::Parts(vec![(0, 1), (4, 5)])),
        ("bytes=4-5,0-1,,20-30", FileShare::Parts(vec![(4, 5), (0, 1)])),
        ("bytes=10-", FileShare::Unsatisfiable),
        ("bytes=-0", FileShare::Unsatisfiable),
        ("bytes=10-,20-", FileShare::Unsatisfiable),
        ("bytes=99999999999999999999999-", FileShare::Unsatisfiable),
        ("bytes=0-9,0-9", FileShare::Whole),
        ("bytes=5-4", FileShare::Whole),
        ("bytes=0-1,x", FileShare::Whole),
        ("bytes=", FileShare::Whole),
        ("bytes=,", FileShare::Whole),
        ("bytes=--1", FileShare::Whole),
        ("bytes=0x1-2", FileShare::Whole),
        ("bytes 0-1", FileShare::Whole),
        ("lines=0-1", FileShare::Whole),
        ("b", FileShare::Whole),
    ] {
        assert_eq!(parts(range), expected, "{range}");
    }
    assert_eq!(shared(&[("Range", "bytes=0-0"), ("Range", "bytes=1-1")]), FileShare::Whole);
    let many: Vec<String> = (0..1000).map(|_| "0-0".to_owned()).collect();
    assert_eq!(parts(&format!("bytes={}", many.join(","))), FileShare::Whole);
    let mut fields = Fields::default();
    fields.push(b"Range", b"bytes=0-0");
    assert_eq!(choose_share(&fields, &file(), 10, true), FileShare::Whole);
    assert_eq!(choose_share(&fields, &file(), 0, false), FileShare::Whole);
}

proptest! {
    #[test]
    fn every_part_is_inside(range in "bytes=[0-9,\\- ]{0,40}", length in 1_u64..50) {
        let mut fields = Fields::default();
        fields.push(b"range", range.as_bytes());
        if let FileShare::Parts(parts) = choose_share(&fields, &file(), length, false) {
            prop_assert!(!parts.is_empty() && parts.len() <= MOST_PARTS);
            for (first, last) in parts {
                prop_assert!(first <= last && last < length);
            }
        }
    }
}
