use super::*;

#[test]
fn letters_of_every_word_are_found_wherever_they_are() {
    for byte in 0..=u8::MAX {
        for length in 1..=25 {
            for at in 0..length {
                let mut text = vec![b'-'; length];
                text[at] = byte;
                assert_eq!(has_upper(&text), byte.is_ascii_uppercase(), "{text:?}");
            }
        }
        // Neighbours are left alone.
        for at in 0..8 {
            let mut word = [0xff; 8];
            word[at] = byte;
            let lowered = to_lower(u64::from_le_bytes(word)).to_le_bytes();
            assert_eq!(lowered, word.map(|b| b.to_ascii_lowercase()));
        }
    }
    assert!(!has_upper(b""));
}

#[test]
fn texts_of_one_length_share_their_words_only_if_they_are_the_same() {
    for length in 1..=24_usize {
        let text: Vec<u8> = (0..length as u8).collect();
        for at in 0..length {
            let mut other = text.clone();
            other[at] ^= 0x40;
            assert_ne!(of(&text), of(&other), "{length} {at}");
            assert_ne!(hash(0, &text), hash(0, &other), "{length} {at}");
        }
    }
    assert_eq!(of(b""), [0; 3]);
}

#[test]
fn a_hash_tells_lengths_and_seeds_apart() {
    let zeros = [0_u8; 40];
    let mut all: Vec<u64> = (0..=40).map(|length| hash(1, &zeros[..length])).collect();
    all.push(hash(2, b"a"));
    all.push(hash(3, b"a"));
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
}
