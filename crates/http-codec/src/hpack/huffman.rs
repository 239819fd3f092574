//! The Huffman code of HPACK (RFC 7541, appendix B). It is canonical: codes of one length are
//! consecutive numbers in the order of what they stand for, so the lengths say it all.

/// The length of each byte's code in bits; the last one ends a string, and must not be in it.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];
const SYMBOLS: usize = 257;
const LONGEST: usize = 30;
/// Bits that are looked up at once: enough for all that is usual.
const FAST: usize = 10;

/// The codes of one length.
#[derive(Clone, Copy)]
struct HuffmanRow {
    /// The first of them, and how many there are.
    first: u32,
    count: u32,
    /// The place of their symbols in `Tables::sorted`.
    at: usize,
}

struct Tables {
    /// By the next bits: a symbol and the length of its code; 0 where it is longer.
    fast: [(u8, u8); 1 << FAST],
    rows: [HuffmanRow; LONGEST + 1],
    sorted: [u16; SYMBOLS],
}

static TABLES: Tables = build_tables();

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "worked out by the compiler"
)]
const fn build_tables() -> Tables {
    let mut tables = Tables {
        fast: [(0, 0); 1 << FAST],
        rows: [HuffmanRow { first: 0, count: 0, at: 0 }; LONGEST + 1],
        sorted: [0; SYMBOLS],
    };
    let (mut code, mut at, mut length) = (0_u32, 0, 1);
    while length <= LONGEST {
        code <<= 1;
        tables.rows[length] = HuffmanRow { first: code, count: 0, at };
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                if length <= FAST {
                    let spare = FAST - length;
                    let mut n = 0;
                    while n < 1 << spare {
                        tables.fast[((code as usize) << spare) + n] = (symbol as u8, length as u8);
                        n += 1;
                    }
                }
                tables.sorted[at] = symbol as u16;
                tables.rows[length].count += 1;
                at += 1;
                code += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    tables
}

/// Appends what `input` stands for. `None` when it is no such string (§5.2): it has the end in it,
/// or ends with anything but the beginning of that, of less than a byte.
pub(super) fn decode_huffman(input: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (mut bits, mut have) = (0_u64, 0_u32);
    let mut rest = input;
    // The shortest code has five bits. Room that is there needs no look at how much there is left
    // for each byte.
    let start = out.len();
    out.resize(start + 2 * input.len(), 0);
    let room = out.get_mut(start..)?;
    let mut at = 0;
    let mut put = |byte: u8| {
        if let Some(place) = room.get_mut(at) {
            *place = byte;
            at += 1;
        }
    };
    loop {
        if let Some(next) = rest.first_chunk::<8>() {
            // What does not fit is there again next time, and the same then.
            bits |= u64::from_be_bytes(*next) >> have;
            let whole = (64 - have) / 8;
            rest = rest.get(whole as usize..).unwrap_or_default();
            have += 8 * whole;
        } else {
            let mut last = [0; 8];
            last.get_mut(..rest.len())?.copy_from_slice(rest);
            bits |= u64::from_be_bytes(last) >> have;
            let whole = rest.len().min((64 - have) as usize / 8);
            rest = rest.get(whole..).unwrap_or_default();
            have += u32::try_from(8 * whole).ok()?;
        }
        // As long as there is enough for any usual code, nothing else has to be looked at.
        while have >= FAST as u32 {
            let Some((byte, length @ 1..)) = TABLES.fast.get((bits >> (64 - FAST)) as usize) else {
                break;
            };
            put(*byte);
            bits <<= length;
            have -= u32::from(*length);
        }
        if have == 0 && rest.is_empty() {
            break;
        }
        if have < LONGEST as u32 && !rest.is_empty() {
            continue;
        }
        let (byte, length) = match TABLES.fast.get((bits >> (64 - FAST)) as usize) {
            Some((byte, length)) if *length > 0 => (*byte, u32::from(*length)),
            _ => match long_code(bits) {
                Some((symbol, length)) if length <= have => (u8::try_from(symbol).ok()?, length),
                _ => (0, LONGEST as u32),
            },
        };
        if length > have {
            if have >= 8 || bits >> (64 - have) != (1 << have) - 1 {
                return None;
            }
            break;
        }
        put(byte);
        bits <<= length;
        have -= length;
    }
    out.truncate(start + at);
    Some(())
}

/// A symbol whose code is long, and how long.
fn long_code(bits: u64) -> Option<(u16, u32)> {
    for length in FAST + 1..=LONGEST {
        let code = u32::try_from(bits >> (64 - length)).ok()?;
        let row = TABLES.rows.get(length)?;
        let nth = code.wrapping_sub(row.first);
        if nth < row.count {
            let symbol = TABLES.sorted.get(row.at + nth as usize)?;
            return Some((*symbol, u32::try_from(length).ok()?));
        }
    }
    None
}

/// Returns how many bytes `text` would take.
pub(super) fn encoded_length(text: &[u8]) -> usize {
    let bits: usize =
        text.iter().map(|byte| usize::from(*LENGTHS.get(usize::from(*byte)).unwrap_or(&8))).sum();
    bits.div_ceil(8)
}

/// Appends `text` as it is written.
pub(super) fn encode_huffman(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut have) = (0_u64, 0_u32);
    for byte in text {
        let (code, length) = code_of(*byte);
        bits = bits << length | u64::from(code);
        have += length;
        while have >= 8 {
            have -= 8;
            out.push((bits >> have).to_le_bytes()[0]);
        }
    }
    if have > 0 {
        let fill = 8 - have;
        out.push((bits << fill | ((1 << fill) - 1)).to_le_bytes()[0]);
    }
}

/// By byte: its code and how long it is.
static CODES: [(u32, u8); 256] = list_codes();

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "worked out by the compiler"
)]
const fn list_codes() -> [(u32, u8); 256] {
    let tables = build_tables();
    let mut codes = [(0, 0); 256];
    let mut length = 1;
    while length <= LONGEST {
        let row = tables.rows[length];
        let mut nth = 0;
        while nth < row.count {
            let symbol = tables.sorted[row.at + nth as usize] as usize;
            if symbol < 256 {
                codes[symbol] = (row.first + nth, length as u8);
            }
            nth += 1;
        }
        length += 1;
    }
    codes
}

fn code_of(byte: u8) -> (u32, u32) {
    let (code, length) = CODES.get(usize::from(byte)).copied().unwrap_or_default();
    (code, u32::from(length))
}
