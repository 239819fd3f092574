//! Finds the end of a head while it arrives, once per byte, and refuses bare LF on the way.
//!
//! Parsing again from the start on every read would cost a slow sender's victim O(n²); this keeps
//! its place between reads. Because every LF is looked at, a head that would end in some peers
//! (bare LF) and not in others is refused here instead of being waited for.

/// A line in the head ended in LF without CR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BareLf;

/// Progress through one head.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadScanner {
    /// Everything before this index has been looked at.
    seen: usize,
    /// The beginning of the current line.
    line: usize,
    /// The number of lines that have ended.
    lines: usize,
}

impl HeadScanner {
    /// Looks at `buf`, which starts with the same bytes as at the last call, and returns the
    /// length of the head, empty line included, once it is complete.
    ///
    /// # Errors
    /// [`BareLf`] when a line ends in LF alone.
    #[inline]
    pub fn advance(&mut self, buf: &[u8]) -> Result<Option<usize>, BareLf> {
        let from = self.seen.min(buf.len());
        for offset in memchr::memchr_iter(b'\n', buf.get(from..).unwrap_or_default()) {
            let lf = from + offset;
            if lf == 0 || buf.get(lf - 1) != Some(&b'\r') {
                return Err(BareLf);
            }
            if lf - self.line == 1 {
                return Ok(Some(lf + 1));
            }
            self.line = lf + 1;
            self.lines += 1;
        }
        self.seen = buf.len();
        Ok(None)
    }

    /// Returns whether the first line has ended.
    #[must_use]
    pub fn has_first_line(&self) -> bool {
        self.lines > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_at_every_split() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for cut in 0..=head.len() {
            let mut scanner = HeadScanner::default();
            let first = scanner.advance(&head[..cut]).unwrap();
            let end = first.or_else(|| scanner.advance(head).unwrap());
            assert_eq!(end, Some(27), "cut at {cut}");
        }
    }

    #[test]
    fn bare_lf_is_refused_wherever_it_stands() {
        for head in [&b"\n"[..], b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nA: b\n\r\n", b"A\r\n\n"] {
            assert_eq!(HeadScanner::default().advance(head), Err(BareLf));
        }
    }

    #[test]
    fn an_unfinished_head_is_waited_for() {
        let mut scanner = HeadScanner::default();
        assert_eq!(scanner.advance(b"GET / HTTP/1.1\r"), Ok(None));
        assert!(!scanner.has_first_line());
        assert_eq!(scanner.advance(b"GET / HTTP/1.1\r\nA"), Ok(None));
        assert!(scanner.has_first_line());
    }
}
