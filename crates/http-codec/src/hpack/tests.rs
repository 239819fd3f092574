use proptest::prelude::*;

use super::*;
use crate::Known;

type Pair = (Vec<u8>, Vec<u8>);

fn decode(decoder: &mut HpackDecoder, block: &[u8]) -> Result<Vec<Pair>, Broken> {
    let mut fields = Vec::new();
    let mut each = |field: HpackField<'_>| fields.push((field.name.to_vec(), field.value.to_vec()));
    decoder.decode(block, &mut each).map(|()| fields)
}

fn pairs(fields: &[(&str, &str)]) -> Vec<Pair> {
    fields.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// RFC 7541, C.3 and C.4: three requests on one connection, without Huffman codes and with them.
#[test]
fn the_requests_of_the_rfc_are_read() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let huffman = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    let host = (":authority", "www.example.com");
    let (get, http) = ((":method", "GET"), (":scheme", "http"));
    let expected = [
        vec![get, http, (":path", "/"), host],
        vec![get, http, (":path", "/"), host, ("cache-control", "no-cache")],
        vec![
            get,
            (":scheme", "https"),
            (":path", "/index.html"),
            host,
            ("custom-key", "custom-value"),
        ],
    ];
    for requests in [plain, huffman] {
        let mut decoder = HpackDecoder::default();
        for (block, fields) in requests.iter().zip(&expected) {
            assert_eq!(decode(&mut decoder, &hex(block)), Ok(pairs(fields)));
        }
    }
}

/// RFC 7541, C.6: three responses through a table of 256 bytes, which forgets some of its entries.
#[test]
fn a_small_table_forgets() {
    let blocks = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad
         1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2
         e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    let mut decoder = HpackDecoder::default();
    assert_eq!(decode(&mut decoder, &hex("3fe101")), Ok(Vec::new()));
    let date = ("date", "Mon, 21 Oct 2013 20:13:21 GMT");
    let location = ("location", "https://www.example.com");
    let first = [(":status", "302"), ("cache-control", "private"), date, location];
    assert_eq!(decode(&mut decoder, &hex(blocks[0])), Ok(pairs(&first)));
    let second = [(":status", "307"), ("cache-control", "private"), date, location];
    assert_eq!(decode(&mut decoder, &hex(blocks[1])), Ok(pairs(&second)));
    let third = [
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        location,
        ("content-encoding", "gzip"),
        ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ];
    assert_eq!(decode(&mut decoder, &hex(blocks[2])), Ok(pairs(&third)));
    // Of the three that were added last, the oldest one has index 64, and there is none behind it.
    assert!(decode(&mut decoder, &[0xc0]).is_ok());
    assert_eq!(decode(&mut decoder, &[0xc1]), Err(Broken));
}

#[test]
fn what_is_not_hpack_is_broken() {
    for block in [
        &[0x80][..],
        &[0xff, 0x7f],
        &[0xff; 40],
        &[0x3f, 0xff, 0xff, 0x7f],
        &[0x82, 0x20],
        &[0x20, 0x20, 0x20],
        &[0x00, 0x05, b'a'],
        &[0x00, 0x01],
        // The end of a string in it; eight bits of it at its end; an end that is not the beginning
        // of that.
        &[0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x00],
        &[0x00, 0x82, 0x1f, 0xff, 0x00],
        &[0x00, 0x81, 0x00, 0x00],
    ] {
        assert_eq!(decode(&mut HpackDecoder::default(), block), Err(Broken), "{block:x?}");
    }
}

#[test]
fn names_and_values_are_judged_once() {
    let mut decoder = HpackDecoder::default();
    let judge = |decoder: &mut HpackDecoder, block: &[u8]| {
        let mut seen = None;
        decoder.decode(block, &mut |field| seen = Some((field.is, field.sound))).unwrap();
        seen.unwrap()
    };
    for (block, is, sound) in [
        (&b"\x40\x03x-a\x02 b"[..], FieldMeaning::Field(Known::Other), false),
        (b"\xbe", FieldMeaning::Field(Known::Other), false),
        (b"\x40\x06cookie\x03a=b", FieldMeaning::Field(Known::Cookie), true),
        (b"\xbe", FieldMeaning::Field(Known::Cookie), true),
        (b"\x00\x03X-a\x01b", FieldMeaning::Bad, true),
        (b"\x00\x03:xy\x01b", FieldMeaning::Bad, true),
        (b"\x00\x00\x01b", FieldMeaning::Bad, true),
        (b"\x00\x03x a\x01b", FieldMeaning::Bad, true),
        (b"\x00\x07:status\x01\n", FieldMeaning::Pseudo(Pseudo::Status), false),
        (b"\x00\x01a\x03b\tc", FieldMeaning::Field(Known::Other), true),
        (b"\x00\x01a\x02b\t", FieldMeaning::Field(Known::Other), false),
        (b"\x00\x01a\x03\x7f\nb", FieldMeaning::Field(Known::Other), false),
        (b"\x00\x01a\x02\x7f\x7f", FieldMeaning::Field(Known::Other), false),
    ] {
        assert_eq!(judge(&mut decoder, block), (is, sound), "{}", block.escape_ascii());
    }
}

fn encode(encoder: &mut Encoder, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (name, value) in fields {
        let known = crate::known::lookup(name.as_bytes());
        encoder.field(&mut out, name.as_bytes(), value.as_bytes(), known);
    }
    out
}

#[test]
fn what_comes_again_becomes_a_reference_and_what_says_who_somebody_is_never_does() {
    let (mut encoder, mut decoder) = (Encoder::default(), HpackDecoder::default());
    let fields = [("Content-Type", "text/html"), ("x-frame-options", "deny")];
    let lengths: Vec<usize> = (0..3)
        .map(|_| {
            let block = encode(&mut encoder, &fields);
            let lower = pairs(&[("content-type", "text/html"), fields[1]]);
            assert_eq!(decode(&mut decoder, &block), Ok(lower));
            block.len()
        })
        .collect();
    assert!(lengths[1] < lengths[0] && lengths[2] == 2, "{lengths:?}");
    for _ in 0..3 {
        let block = encode(&mut encoder, &[("authorization", "Bearer x")]);
        assert_eq!(block[0], 0x1f, "never indexed");
        let block = encode(&mut encoder, &[("cookie", "a=b")]);
        assert_eq!(block[0], 0x1f, "never indexed");
    }
}

#[test]
fn what_never_comes_again_does_not_push_out_what_does() {
    let (mut encoder, mut decoder) = (Encoder::default(), HpackDecoder::default());
    let same = ("content-security-policy", "default-src 'self'; frame-ancestors 'none'");
    let mut last = 0;
    for n in 0..5_000 {
        let unique = format!("/a/rather/long/path/{n}");
        let fields = [("location", unique.as_str()), same];
        let block = encode(&mut encoder, &fields);
        last = block.len();
        assert_eq!(decode(&mut decoder, &block), Ok(pairs(&fields)));
    }
    assert!(last < 30, "{last}");
}

#[test]
fn a_table_that_the_other_side_makes_smaller_is_smaller() {
    let (mut encoder, mut decoder) = (Encoder::default(), HpackDecoder::default());
    let fields = [("x-a", "1"), ("x-b", "2")];
    for _ in 0..3 {
        let block = encode(&mut encoder, &fields);
        assert_eq!(decode(&mut decoder, &block), Ok(pairs(&fields)));
    }
    encoder.limit(0);
    encoder.limit(100);
    let block = encode(&mut encoder, &fields);
    assert_eq!(block[..3], [0x20, 0x3f, 69], "to nothing, and to 100");
    assert_eq!(decode(&mut decoder, &block), Ok(pairs(&fields)));
    encoder.limit(0);
    for _ in 0..3 {
        let block = encode(&mut encoder, &fields);
        assert_eq!(decode(&mut decoder, &block), Ok(pairs(&fields)));
        assert!(block.len() > 10);
    }
}

#[test]
fn codes_may_end_anywhere_in_a_word() {
    for (five, six, ten) in (0..3 * 15 * 15).map(|n| (n % 15, n / 15 % 15, n / 225)) {
        // Codes of 5, 6 and 10 bits, and longer ones.
        let short = [vec![b'0'; five], vec![b'b'; six], vec![b'!'; ten]].concat();
        let text = [&short[..], &[b'a'; 40], b"\xf6", &short].concat();
        let mut coded = Vec::new();
        huffman::encode_huffman(&text, &mut coded);
        let mut again = Vec::new();
        assert_eq!(huffman::decode_huffman(&coded, &mut again), Some(()));
        assert_eq!(again, text);
    }
}

proptest! {
    /// Whatever is written is read again, over many blocks and changes of the table's size.
    #[test]
    fn what_is_written_is_read(
        blocks in prop::collection::vec(
            (prop::collection::vec(("[a-z]{1,3}", "[ -~]{0,12}"), 0..8), prop::option::of(0_usize..5000)),
            1..40,
        )
    ) {
        let (mut encoder, mut decoder) = (Encoder::default(), HpackDecoder::default());
        for (fields, limit) in blocks {
            if let Some(limit) = limit {
                encoder.limit(limit);
            }
            let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (&**n, &**v)).collect();
            let block = encode(&mut encoder, &fields);
            prop_assert_eq!(decode(&mut decoder, &block), Ok(pairs(&fields)));
        }
    }

    #[test]
    fn every_text_survives_its_huffman_code(text in prop::collection::vec(any::<u8>(), 0..100)) {
        let mut coded = Vec::new();
        huffman::encode_huffman(&text, &mut coded);
        prop_assert_eq!(coded.len(), huffman::encoded_length(&text));
        let mut again = Vec::new();
        prop_assert_eq!(huffman::decode_huffman(&coded, &mut again), Some(()));
        prop_assert_eq!(again, text);
    }

    #[test]
    fn nonsense_breaks_nothing(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 1..8)) {
        let mut decoder = HpackDecoder::default();
        for block in blocks {
            let _judged = decode(&mut decoder, &block);
        }
    }
}

#[test]
fn names_of_the_static_table_are_written_by_their_first_index() {
    for (name, index) in
        [(":authority", 1), (":method", 2), (":path", 4), (":scheme", 6), (":status", 8)]
    {
        let (mut encoder, mut out) = (Encoder::default(), Vec::new());
        encoder.field(&mut out, name.as_bytes(), b"other", crate::known::lookup(name.as_bytes()));
        // RFC 7541, section 6.2.2: a literal without indexing, with the index of its name.
        assert_eq!(out[0], index, "{name}");
        assert!(encoder.held() >= 1024, "what was seen once is remembered: {}", encoder.held());
    }
}

#[test]
fn pseudo_fields_are_known_by_their_names_too() {
    for (name, pseudo) in [
        (":authority", Pseudo::Authority),
        (":method", Pseudo::Method),
        (":path", Pseudo::Path),
        (":protocol", Pseudo::Protocol),
        (":scheme", Pseudo::Scheme),
        (":status", Pseudo::Status),
    ] {
        let mut block = vec![0, u8::try_from(name.len()).unwrap()];
        block.extend(name.bytes().chain(*b"\x01x"));
        let mut seen = Vec::new();
        let mut each = |field: HpackField<'_>| seen.push(field.is);
        HpackDecoder::default().decode(&block, &mut each).unwrap();
        assert_eq!(seen, [FieldMeaning::Pseudo(pseudo)], "{name}");
    }
}

#[test]
fn memory_of_large_fields_is_given_back_and_no_other() {
    let (mut encoder, mut decoder, mut out) =
        (Encoder::default(), HpackDecoder::default(), Vec::new());
    encoder.field(&mut out, &[b'X'; TABLE], b"", Known::Other);
    assert_eq!(encoder.held(), TABLE, "its name in lower case");
    encoder.rest();
    assert_eq!(encoder.held(), TABLE);
    encoder.field(&mut out, &[b'X'; TABLE + 1], b"", Known::Other);
    encoder.rest();
    assert_eq!(encoder.held(), 0);
    decode(&mut decoder, b"\x40\x03x-a\x01b").unwrap();
    let held = decoder.held();
    decoder.rest();
    assert_eq!(decoder.held(), held);
}

#[test]
fn what_is_always_in_the_table_is_one_byte() {
    let (mut encoder, mut out) = (Encoder::default(), Vec::new());
    for status in [200, 204, 206, 304, 400, 404, 500] {
        encoder.status(&mut out, status);
    }
    for (pseudo, value) in [
        (Pseudo::Method, "GET"),
        (Pseudo::Method, "POST"),
        (Pseudo::Path, "/"),
        (Pseudo::Scheme, "http"),
        (Pseudo::Scheme, "https"),
    ] {
        encoder.put_pseudo(&mut out, pseudo, value.as_bytes());
    }
    // RFC 7541, appendix A.
    let expected = [8, 9, 10, 11, 12, 13, 14, 2, 3, 4, 6, 7].map(|index| 0x80 | index);
    assert_eq!(out, expected);
}
