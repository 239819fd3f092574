//! Text and the names between it, in braces.

/// A piece of text in which `{name}` may stand for something, as header values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplatePiece<'t> {
    /// Text that stands for itself.
    Text(&'t str),
    /// The name between braces.
    Name(&'t str),
}

/// The pieces of a header's value: names in single braces, `{{` is a brace, and every other brace
/// is one too.
#[must_use]
pub fn split_pieces(text: &str) -> Vec<TemplatePiece<'_>> {
    let mut pieces = Vec::new();
    let (mut start, mut rest) = (0, text);
    while let Some((_, after)) = rest.split_once('{') {
        let open = text.len() - after.len() - 1;
        let before = text.get(start..open).unwrap_or_default();
        let (piece, length) = match (after.strip_prefix('{'), parse_placeholder(after)) {
            (Some(_), _) => (TemplatePiece::Text("{"), 1),
            (None, Some(name)) => (TemplatePiece::Name(name), name.len() + 1),
            (None, None) => {
                rest = after;
                continue;
            }
        };
        if !before.is_empty() {
            pieces.push(TemplatePiece::Text(before));
        }
        pieces.push(piece);
        start = open + 1 + length;
        rest = text.get(start..).unwrap_or_default();
    }
    let last = text.get(start..).unwrap_or_default();
    if !last.is_empty() {
        pieces.push(TemplatePiece::Text(last));
    }
    pieces
}

/// The name before the brace that closes it.
fn parse_placeholder(after: &str) -> Option<&str> {
    let (name, _) = after.split_once('}')?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let first = name.as_bytes().first();
    let named = first.is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_');
    (named && name.bytes().all(legal)).then_some(name)
}
