use proptest::prelude::*;

use super::*;

fn decoded(coding: ContentCoding, mut rest: &[u8], step: usize, room: usize) -> Vec<u8> {
    let counts = CompressionCounts::default();
    let mut compressor = Compressor::begin_body(coding, &counts);
    let mut out = vec![0; room];
    let mut all = Vec::new();
    while !rest.is_empty() {
        let piece = &rest[..step.min(rest.len())];
        let (taken, made) = compressor.encode_piece(piece, &mut out).unwrap();
        all.extend_from_slice(&out[..made]);
        rest = &rest[taken..];
    }
    loop {
        let (made, done) = compressor.flush_encoder(&mut out, true).unwrap();
        all.extend_from_slice(&out[..made]);
        if done {
            break;
        }
    }
    drop(compressor);
    assert_eq!(UNDER_WAY.get(), 0);
    assert_eq!(counts.made.load(Relaxed), all.len() as u64);
    expanded(coding, &all)
}

fn expanded(coding: ContentCoding, compressed: &[u8]) -> Vec<u8> {
    use compression_codecs::{BrotliDecoder, DecodeV2, GzipDecoder, ZstdDecoder};
    let mut decoder: Box<dyn DecodeV2> = match coding {
        ContentCoding::Zstd => Box::new(ZstdDecoder::new()),
        ContentCoding::Brotli => Box::new(BrotliDecoder::new()),
        ContentCoding::Gzip => Box::new(GzipDecoder::new()),
    };
    let mut room = vec![0; 1 << 20];
    let mut input = PartialBuffer::new(compressed);
    let mut output = WriteBuffer::new_initialized(&mut room);
    assert!(decoder.decode(&mut input, &mut output).unwrap(), "the end is missing");
    let length = output.written_len();
    room.truncate(length);
    room
}

proptest! {
    #[test]
    fn what_is_compressed_comes_back(
        seed: u64, length in 0_usize..100_000, step in 1_usize..70_000, room in 64_usize..20_000,
    ) {
        let mut random = crate::clock::Random::seeded(seed);
        let body: Vec<u8> = (0..length).map(|_| b'a' + random.below(5) as u8).collect();
        for coding in ContentCoding::ALL {
            prop_assert!(decoded(coding, &body, step, room) == body, "{coding:?}");
        }
    }
}
