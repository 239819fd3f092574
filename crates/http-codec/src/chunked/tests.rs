use proptest::prelude::*;

use super::*;

type Decoded = (Vec<u8>, usize, Vec<u8>);

/// Feeds `input` in pieces of `step` bytes; the data, the rest, and the trailer section.
fn decode(input: &[u8], step: usize) -> Result<Option<Decoded>, Fault> {
    decode_of(Sender::Client, input, step)
}

fn decode_of(sender: Sender, input: &[u8], step: usize) -> Result<Option<Decoded>, Fault> {
    let mut decoder = ChunkedDecoder::new(sender);
    let mut data = Vec::new();
    let mut used = 0;
    for piece in input.chunks(step.max(1)) {
        let mut piece = piece.to_vec();
        let progress = decoder.decode(&mut piece, 0, 0)?;
        data.extend_from_slice(&piece[..progress.data_end]);
        used += progress.raw;
        if progress.done {
            return Ok(Some((data, used, decoder.trailers().to_vec())));
        }
    }
    Ok(None)
}

#[test]
fn chunks_become_one_slice_and_the_rest_is_left_alone() {
    let mut buf = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\nGET /".to_vec();
    let progress = ChunkedDecoder::default().decode(&mut buf, 0, 0).unwrap();
    assert_eq!(&buf[..progress.data_end], b"hello world");
    assert_eq!(&buf[progress.raw..], b"GET /");
    assert!(progress.done);
}

#[test]
fn trailers_are_kept() {
    let got = decode(b"1\r\na\r\n0\r\nA: b\r\nC: d\r\n\r\n", 1).unwrap().unwrap();
    assert_eq!(got.2, b"A: b\r\nC: d\r\n");
}

#[test]
fn lenient_forms_are_refused() {
    for bad in [
        &b"5;x\nhello\r\n0\r\n\r\n"[..],
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\r;a\r\nhello\r\n",
        b"5;a=\rb\r\nhello\r\n",
        b"5;a=\"x\r\ny\"\r\nhello\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r\n0\n\n",
        b"5\r\nhello!!\r\n0\r\n\r\n",
        b"5 5\r\nhello",
        b"0 junk\r\n\r\n",
        b"5 \r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"-1\r\nhello\r\n",
        b"fffffffffffffffff\r\n",
        b"ffffffffffffffff\r\n",
        b"\r\nhello",
        b"00000000000000005\r\nhello\r\n",
        b"0\r\nA: b\nC: d\r\n\r\n",
        b"0\r\n\rX",
    ] {
        for step in [1, 3, 1000] {
            assert!(decode(bad, step).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}

#[test]
fn s7_blanks_behind_a_size_are_forgiven_to_servers() {
    for step in [1, 2, 1000] {
        for fine in [
            &b"5  \r\nhello\r\n0\r\n\r\n"[..],
            b"5\t\r\nhello\r\n0 \t \r\n\r\n",
            b"5 ;x=y\r\nhello\r\n0\r\n\r\n",
        ] {
            let got = decode_of(Sender::Server, fine, step).unwrap().unwrap();
            assert_eq!((&got.0[..], got.1), (&b"hello"[..], fine.len()));
            assert_eq!(decode(fine, step), Err(Fault::ChunkSize));
        }
        for bad in [
            &b" 5\r\nhello\r\n"[..],
            b"5 5\r\nhello\r\n",
            b"5 \nhello\r\n",
            b"5 x\r\nhello\r\n",
            b" \r\nhello\r\n",
            b"5\x0b\r\nhello\r\n",
            b"5\r\nhello \r\n",
        ] {
            assert!(decode_of(Sender::Server, bad, step).is_err(), "{bad:?}");
        }
        let many = format!("5{}\r\nhello\r\n0\r\n\r\n", " ".repeat(5000));
        let many = decode_of(Sender::Server, many.as_bytes(), step);
        assert_eq!(many, Err(Fault::ChunkExtension));
    }
}

#[test]
fn a_quoted_extension_ends_with_the_quote_that_is_not_escaped() {
    for fine in [
        &b"5;a=\"x;y\"\r\nhello\r\n0\r\n\r\n"[..],
        b"5;a=\"x\\\"y\";b\r\nhello\r\n0\r\n\r\n",
        b"5;a=\"\\\\\"\r\nhello\r\n0\r\n\r\n",
        b"5;a=\"\\\\\\\"\"\r\nhello\r\n0\r\n\r\n",
    ] {
        let got = decode(fine, 1).unwrap().unwrap();
        assert_eq!((&got.0[..], got.1), (&b"hello"[..], fine.len()), "{}", fine.escape_ascii());
    }
    for open in [
        &b"5;a=\"x\r\nhello\r\n0\r\n\r\n"[..],
        b"5;a=\"x\\\"\r\nhello\r\n0\r\n\r\n",
        b"5;a=\"x\\\\\\\"\r\nhello\r\n0\r\n\r\n",
        b"5;a=\"x\";\"\r\nhello\r\n0\r\n\r\n",
    ] {
        assert_eq!(decode(open, 1), Err(Fault::ChunkExtension), "{}", open.escape_ascii());
    }
}

#[test]
fn extensions_and_trailers_are_bounded() {
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(20_000));
    assert_eq!(decode(long.as_bytes(), 4096), Err(Fault::ChunkExtension));
    let many = "1;aaaa\r\nx\r\n".repeat(1000);
    assert_eq!(decode(many.as_bytes(), 4096), Err(Fault::ChunkExtension));
    let trailers = format!("0\r\n{}\r\n", "A: b\r\n".repeat(2000));
    assert_eq!(decode(trailers.as_bytes(), 4096), Err(Fault::Trailer));
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_at_every_split(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
        step in 1_usize..50,
    ) {
        let mut wire = Vec::new();
        for chunk in &chunks {
            wire.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n\r\n");
        let (data, used, _) = decode(&wire, step).unwrap().unwrap();
        prop_assert_eq!(data, chunks.concat());
        prop_assert_eq!(used, wire.len());
    }

    #[test]
    fn any_bytes_give_the_same_verdict_at_every_split(
        bytes in prop::collection::vec(prop::sample::select(b"0123aF;\"\\ \r\nxyz:".to_vec()), 0..60),
        step in 1_usize..10,
    ) {
        let whole = decode(&bytes, 1000);
        let split = decode(&bytes, step);
        prop_assert_eq!(whole, split);
    }
}
