//! Where text came from: the files of one configuration and places inside them.
//!
//! Every value read from a file keeps its [`Place`], so that a check made long after parsing can
//! still point at the exact characters. A place is twelve bytes and borrows nothing.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

/// All files of one configuration, in the order in which they were read.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<ConfigSource>,
    /// Files that values were put in from.
    named: Vec<PathBuf>,
    /// The patterns that `include` names.
    patterns: Vec<String>,
}

/// One file: the name shown to people and its text without a byte order mark.
#[derive(Debug, Clone)]
pub struct ConfigSource {
    /// The path as given or as found by an include.
    pub name: String,
    /// The text that places of this file index into.
    pub text: String,
    /// The beginning of each line, so that a thousand positions in a large file are cheap.
    lines: Vec<usize>,
    /// The number of characters before each block, so that columns of a very long line are cheap
    /// too.
    characters: Vec<usize>,
}

/// Bytes of a block whose characters are counted in advance.
const BLOCK: usize = 4096;

impl ConfigSource {
    fn new(name: String, text: String) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect();
        let mut characters = vec![0];
        let mut before = 0;
        for block in text.as_bytes().chunks(BLOCK) {
            before += starts(block);
            characters.push(before);
        }
        Self { name, text, lines, characters }
    }

    /// The start of the line that a byte is in, and the line without its end.
    pub(crate) fn line(&self, at: usize) -> Option<(usize, &str)> {
        let after = self.lines.partition_point(|start| *start <= at);
        let start = *self.lines.get(after.checked_sub(1)?)?;
        let end = self.lines.get(after).map_or(self.text.len(), |next| next - 1);
        Some((start, self.text.get(start..end)?))
    }

    /// Returns how many characters begin before a byte.
    fn characters_before(&self, at: usize) -> Option<usize> {
        let block = at / BLOCK;
        let rest = self.text.as_bytes().get(block * BLOCK..at)?;
        Some(self.characters.get(block)? + starts(rest))
    }
}

/// Characters that begin in these bytes of UTF-8.
fn starts(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

impl Sources {
    /// Adds a file and returns its number.
    pub(crate) fn add(&mut self, name: impl Into<String>, text: String) -> u32 {
        self.files.push(ConfigSource::new(name.into(), text));
        u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX)
    }

    /// Notes that `${file:…}` names a file.
    pub(crate) fn name(&mut self, path: PathBuf) {
        self.named.push(path);
    }

    /// Notes the pattern of an include.
    pub(crate) fn expect(&mut self, pattern: String) {
        self.patterns.push(pattern);
    }

    /// The files that `${file:…}` names.
    pub fn named(&self) -> impl Iterator<Item = &PathBuf> {
        self.named.iter()
    }

    /// The patterns of includes, from the root or the working directory.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(String::as_str)
    }

    /// The file a place is in; `None` for [`Place::NOWHERE`].
    #[must_use]
    pub fn file(&self, place: Place) -> Option<&ConfigSource> {
        self.files.get(place.file as usize)
    }

    /// All files, the first being the one that was asked for.
    #[must_use]
    pub fn files(&self) -> &[ConfigSource] {
        &self.files
    }

    /// Line and column of the first character of a place.
    #[must_use]
    pub fn position(&self, place: Place) -> Option<Position<'_>> {
        let file = self.file(place)?;
        let at = place.start as usize;
        let line = file.lines.partition_point(|start| *start <= at);
        let start = *file.lines.get(line.checked_sub(1)?)?;
        let column = file.characters_before(at)? - file.characters_before(start)? + 1;
        Some(Position { file: &file.name, line, column })
    }
}

/// A position as people write it, `file:line:column`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position<'a> {
    /// Name of the file.
    pub file: &'a str,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
}

impl fmt::Display for Position<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A range of bytes in one file of [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Number of the file.
    pub file: u32,
    /// First byte.
    pub start: u32,
    /// Byte after the last one.
    pub end: u32,
}

impl Place {
    /// The place of a value that nobody wrote: a default.
    pub const NOWHERE: Self = Self { file: u32::MAX, start: 0, end: 0 };

    /// A place in `file`. Files are at most 4 MiB, so offsets fit.
    pub(crate) fn new(file: u32, span: Range<usize>) -> Self {
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { file, start: offset(span.start), end: offset(span.end) }
    }

    /// The bytes it covers.
    #[must_use]
    pub fn span(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::NOWHERE
    }
}

/// A value and where it was written.
///
/// Equality, order and hashing look at the value alone: the same configuration moved to other
/// lines is the same configuration, and a map keyed by `Spanned<String>` can be asked with a `str`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// The place at which it was written; [`Place::NOWHERE`] for a default.
    pub place: Place,
}

impl<T> From<T> for Spanned<T> {
    fn from(value: T) -> Self {
        Self { value, place: Place::NOWHERE }
    }
}

impl From<&str> for Spanned<String> {
    fn from(value: &str) -> Self {
        value.to_owned().into()
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Spanned<T> {}

impl<T: PartialOrd> PartialOrd for Spanned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl<T: Ord> Ord for Spanned<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.value.cmp(&other.value)
    }
}

impl<T: std::hash::Hash> std::hash::Hash for Spanned<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.value.hash(state);
    }
}

impl std::borrow::Borrow<str> for Spanned<String> {
    fn borrow(&self) -> &str {
        &self.value
    }
}

impl<T: fmt::Display> fmt::Display for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: Serialize> Serialize for Spanned<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}
