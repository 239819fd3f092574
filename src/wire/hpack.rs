//! Counts the fields of a compressed head without decompressing it (HPACK, RFC 7541 §6). Where a field ends is all that
//! has to be known for that.

/// How many fields have begun in what was added.
#[derive(Debug)]
pub struct Count {
    fields: usize,
    state: State,
}

/// What the next byte is.
#[derive(Debug, Clone, Copy)]
enum State {
    /// So many bytes before the first field.
    Ahead(usize),
    /// The first byte of a field, or of a change of the table's size.
    Field,
    /// More of a number, after which so many strings follow.
    Number(u8),
    /// The first byte of the first of so many strings.
    String(u8),
    /// More of the length of the first of so many strings.
    Length { strings: u8, value: usize, shift: u32 },
    /// So many bytes of the first of so many strings.
    Text { strings: u8, left: usize },
}

impl Count {
    /// Begins after so many bytes.
    #[must_use]
    pub fn after(ahead: usize) -> Self {
        Self { fields: 0, state: if ahead == 0 { State::Field } else { State::Ahead(ahead) } }
    }

    /// So many so far.
    #[must_use]
    pub fn fields(&self) -> usize {
        self.fields
    }

    /// The next bytes, as many as there are.
    pub fn add(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            at += 1;
            self.state = match self.state {
                State::Ahead(1) => State::Field,
                State::Ahead(n) => State::Ahead(n - 1),
                State::Field => self.field(*byte),
                State::Number(strings) if byte & 0x80 != 0 => State::Number(strings),
                State::Number(strings) => strings_follow(strings),
                State::String(strings) => match usize::from(byte & 0x7f) {
                    0x7f => State::Length { strings, value: 0x7f, shift: 0 },
                    left => text(strings, left),
                },
                State::Length { strings, value, shift } => {
                    let part = usize::from(byte & 0x7f).checked_shl(shift).unwrap_or(usize::MAX);
                    let value = value.saturating_add(part);
                    if byte & 0x80 == 0 {
                        text(strings, value)
                    } else {
                        State::Length { strings, value, shift: shift.saturating_add(7) }
                    }
                }
                State::Text { strings, left } => {
                    let n = left.min(bytes.len() - at + 1);
                    at += n - 1;
                    text(strings, left - n)
                }
            };
        }
    }

    fn field(&mut self, byte: u8) -> State {
        // The prefix of its index, and whether index 0 means that a name follows.
        let (prefix, literal) = match byte {
            0x80.. => (0x7f, false),
            0x40.. => (0x3f, true),
            0x20.. => {
                return if byte & 0x1f == 0x1f { State::Number(0) } else { State::Field };
            }
            _ => (0x0f, true),
        };
        self.fields += 1;
        match (byte & prefix, literal) {
            (0, true) => State::String(2),
            (index, _) if index == prefix => State::Number(u8::from(literal)),
            (_, true) => State::String(1),
            (_, false) => State::Field,
        }
    }
}

fn strings_follow(strings: u8) -> State {
    if strings == 0 { State::Field } else { State::String(strings) }
}

fn text(strings: u8, left: usize) -> State {
    if left == 0 { strings_follow(strings - 1) } else { State::Text { strings, left } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(bytes: &[u8]) -> usize {
        let mut whole = Count::after(0);
        whole.add(bytes);
        let mut slow = Count::after(0);
        bytes.iter().for_each(|byte| slow.add(&[*byte]));
        assert_eq!(whole.fields(), slow.fields());
        whole.fields()
    }

    #[test]
    fn fields_of_every_form_are_counted() {
        // RFC 7541, C.2.1 to C.2.4, one after the other.
        let literal = b"\x40\x0acustom-key\x0dcustom-header";
        let without = b"\x04\x0c/sample/path";
        let never = b"\x10\x08password\x06secret";
        let indexed = b"\x82";
        assert_eq!(count(&[&literal[..], without, never, indexed].concat()), 4);
        // C.4.1: Huffman-coded. And a change of the table's size, which is no field.
        let huffman = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        assert_eq!(count(&[b"\x3f\xe1\x1f\x20", &huffman[..]].concat()), 4);
        // Indices and lengths of several bytes.
        assert_eq!(count(b"\xff\x80\x01\x7f\x00\x01a\x82"), 3);
        let long = [&b"\x00\x01a\x7f\x01"[..], &[b'x'; 128], b"\x82\x82"].concat();
        assert_eq!(count(&long), 3);
        assert_eq!(count(&[0xbe; 400]), 400);
    }

    #[test]
    fn nonsense_is_counted_to_its_end() {
        assert_eq!(count(&[0xff; 1000]), 1);
        assert_eq!(count(&[0x7f; 1000]), 4);
        count(&(0..=255).cycle().take(5000).collect::<Vec<u8>>());
    }
}
