use super::*;
use proptest::prelude::*;

const GOOD: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn a_trace_is_continued() {
    let mut random = Random::seeded(1);
    let parent = TraceContext::parse_field(GOOD).unwrap();
    let own = parent.child_span(&mut random);
    assert_eq!((own.trace, own.parent, own.sampled), (parent.trace, Some(parent.id), true));
    assert_ne!(own.id, parent.id);
    let sent = TraceContext::parse_field(&own.field_for(2)).unwrap();
    assert_eq!((sent.trace, sent.id, sent.sampled), (own.trace, own.attempt_id(2), true));
    assert_eq!(&own.trace_text(), b"0af7651916cd43dd8448eb211c80319c");
}

#[test]
fn what_is_not_valid_is_not_continued() {
    let changed = |at: usize, byte: u8| {
        let mut field = GOOD.to_vec();
        field[at] = byte;
        field
    };
    let bad: [Vec<u8>; 10] = [
        b"".to_vec(),
        b"00".to_vec(),
        GOOD[..54].to_vec(),
        [GOOD, b"-"].concat(),
        changed(0, b'f')
            .into_iter()
            .enumerate()
            .map(|(i, b)| if i == 1 { b'f' } else { b })
            .collect(),
        changed(5, b'A'),
        changed(2, b'_'),
        changed(35, b'0'),
        b"00-00000000000000000000000000000000-b7ad6b7169203331-01".to_vec(),
        b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01".to_vec(),
    ];
    for field in bad {
        assert_eq!(TraceContext::parse_field(&field), None, "{}", String::from_utf8_lossy(&field));
    }
}

#[test]
fn later_versions_are_read_as_far_as_they_are_known() {
    let later = [b"01", &GOOD[2..], b"-what-the-future-brings"].concat();
    assert_eq!(TraceContext::parse_field(&later), TraceContext::parse_field(GOOD));
    assert_eq!(TraceContext::parse_field(&[b"01", &GOOD[2..], b"x"].concat()), None);
}

#[test]
fn as_many_traces_are_sampled_as_the_share_says() {
    let mut random = Random::seeded(7);
    let sampled =
        (0..10_000).filter(|_| TraceContext::start_trace(0.1, &mut random).sampled).count();
    assert!((850..1150).contains(&sampled), "{sampled}");
    assert!((0..100).all(|_| TraceContext::start_trace(1.0, &mut random).sampled));
    assert!(!(0..100).any(|_| TraceContext::start_trace(0.0, &mut random).sampled));
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(field: Vec<u8>) {
        let _parsed = TraceContext::parse_field(&field);
        let _parsed = B3::parse_single(&field);
    }
}
