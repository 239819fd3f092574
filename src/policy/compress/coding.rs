//! The content codings, and which of them a client accepts (RFC 9110 §12.5.3).

use crate::exchange::accept::parse_weight;
use crate::wire::head::{Fields, list_items};

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentCoding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

impl ContentCoding {
    /// From the best to the least.
    pub(super) const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    pub(super) fn name(self) -> &'static [u8] {
        match self {
            Self::Zstd => b"zstd",
            Self::Brotli => b"br",
            Self::Gzip => b"gzip",
        }
    }

    fn is_named(self, name: &[u8]) -> bool {
        // RFC 9110 §8.4.1.3: `x-gzip` is the same.
        name.eq_ignore_ascii_case(self.name())
            || self == Self::Gzip && name.eq_ignore_ascii_case(b"x-gzip")
    }
}

/// The best coding that a request accepts; `None` when it accepts none, or prefers none.
pub(super) fn best_accepted(request: &Fields) -> Option<ContentCoding> {
    let mut weights = [None; 3];
    let (mut any, mut identity) = (None, None);
    for item in request.named(b"accept-encoding").flat_map(list_items) {
        let mut parts = item.split(|byte| *byte == b';');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let weight = parse_weight(parts);
        for (coding, known) in ContentCoding::ALL.iter().zip(&mut weights) {
            if coding.is_named(name) {
                *known = Some(weight);
            }
        }
        match name {
            b"*" => any = Some(weight),
            name if name.eq_ignore_ascii_case(b"identity") => identity = Some(weight),
            _ => {}
        }
    }
    let weighted = ContentCoding::ALL.into_iter().zip(weights.map(|known| known.or(any)));
    let usable = weighted.filter_map(|(coding, weight)| Some((coding, weight.filter(|w| *w > 0)?)));
    // The first of those with the highest weight.
    let best = usable.reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    (identity.unwrap_or(0) <= best.1).then_some(best.0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::fields;
    use super::*;

    #[test]
    fn the_best_of_what_is_accepted_is_chosen() {
        use ContentCoding::{Brotli, Gzip, Zstd};
        for (accept, coding) in [
            ("gzip, deflate, br, zstd", Some(Zstd)),
            ("gzip, deflate, br", Some(Brotli)),
            ("gzip, deflate", Some(Gzip)),
            ("X-GZIP", Some(Gzip)),
            ("br;q=0.5, gzip;q=0.8", Some(Gzip)),
            ("zstd;q=0, *", Some(Brotli)),
            ("*;q=0.1", Some(Zstd)),
            ("gzip; Q=1.000", Some(Gzip)),
            ("gzip;q=0.5, identity", None),
            ("identity", None),
            ("gzip;q=0", None),
            ("gzip;q=-1", None),
            ("gzip;q=x", None),
            ("gzip;q=NaN", None),
            ("", None),
        ] {
            assert_eq!(best_accepted(&fields(&[("Accept-Encoding", accept)])), coding, "{accept}");
        }
        assert_eq!(best_accepted(&fields(&[])), None);
    }
}
