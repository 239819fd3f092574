//! Short texts, eight bytes at a time: names and values of fields are so short that a loop over
//! their bytes, or a call of a function for long ones, is most of what looking at them costs.

const TOP: u64 = 0x8080_8080_8080_8080;

/// Returns the top bit of each byte that is an upper-case letter of ASCII.
const fn upper_bits(word: u64) -> u64 {
    let low = word & !TOP;
    // No byte carries into the next one: 0x7f and 0x3f are less than 256.
    let from_a = low + 0x3f3f_3f3f_3f3f_3f3f;
    let behind_z = low + 0x2525_2525_2525_2525;
    from_a & !behind_z & !word & TOP
}

/// The word with its upper-case letters of ASCII in lower case.
pub(crate) const fn to_lower(word: u64) -> u64 {
    word | upper_bits(word) >> 2
}

/// All bytes of less than eight; zeros behind them.
const fn short_word(text: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        // Those in the middle are in both: which they are depends on nothing but the length.
        return u32::from_le_bytes(*first) as u64 | (u32::from_le_bytes(*last) as u64) << 32;
    }
    match text {
        [] => 0,
        [a] => *a as u64,
        [a, b] => *a as u64 | (*b as u64) << 8,
        [a, b, .., c] => *a as u64 | (*b as u64) << 8 | (*c as u64) << 16,
    }
}

/// The bytes of a text of at most 24, which two texts of one length share only if they are the
/// same.
pub(crate) const fn of(text: &[u8]) -> [u64; 3] {
    match (text.split_first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some((first, rest)), Some(last)) => {
            let middle = match rest.first_chunk::<8>() {
                Some(middle) => u64::from_le_bytes(*middle),
                None => 0,
            };
            [u64::from_le_bytes(*first), middle, u64::from_le_bytes(*last)]
        }
        _ => [short_word(text), 0, 0],
    }
}

/// Returns whether a text has an upper-case letter of ASCII in it.
pub(crate) fn has_upper(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let rest =
        text.last_chunk::<8>().map_or_else(|| short_word(rest), |last| u64::from_le_bytes(*last));
    let all = words
        .iter()
        .fold(upper_bits(rest), |all, word| all | upper_bits(u64::from_le_bytes(*word)));
    all != 0
}

/// A number that tells texts apart, not secret and no match for those who want two of one number.
pub(crate) fn hash(seed: u64, text: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word) * u128::from(ODD);
        product as u64 ^ (product >> 64) as u64
    };
    let (words, rest) = text.as_chunks::<8>();
    let rest =
        text.last_chunk::<8>().map_or_else(|| short_word(rest), |last| u64::from_le_bytes(*last));
    let hash = words.iter().fold(seed, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    mix(mix(hash, rest), text.len() as u64)
}

#[cfg(test)]
mod tests;
