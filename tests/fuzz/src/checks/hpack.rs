//! HPACK: whatever is read can be written and read again, and nonsense breaks nothing.

use super::{Plan, show};
use http_codec::hpack::{Encoder, HpackDecoder, HpackField};

type Pair = (Vec<u8>, Vec<u8>);

/// Panics when a rule is broken.
pub fn check(input: &[u8]) {
    let Some((plan, wire)) = Plan::split(input) else { return };
    let (mut decoder, mut encoder, mut again) =
        (HpackDecoder::default(), Encoder::default(), HpackDecoder::default());
    // Blocks of one connection.
    for block in wire.chunks(3 * plan.piece) {
        let mut fields = Vec::new();
        if read(&mut decoder, block, &mut fields).is_err() {
            break;
        }
        if let Some((first, _)) = block.split_first()
            && first % 7 == 0
        {
            encoder.limit(usize::from(*first) * 20);
        }
        let mut written = Vec::new();
        encoder.begin(&mut written);
        for (name, value) in &mut fields {
            name.make_ascii_lowercase();
            let known = http_codec::known::lookup(name);
            encoder.field(&mut written, name, value, known);
        }
        let mut reread = Vec::new();
        let read = read(&mut again, &written, &mut reread);
        assert!(read.is_ok(), "{} {}", show(block), show(&written));
        assert_eq!(reread, fields, "{} {}", show(block), show(&written));
    }
}

fn read(
    decoder: &mut HpackDecoder,
    block: &[u8],
    fields: &mut Vec<Pair>,
) -> Result<(), http_codec::hpack::Broken> {
    let mut each = |field: HpackField<'_>| fields.push((field.name.to_vec(), field.value.to_vec()));
    decoder.decode(block, &mut each)
}
