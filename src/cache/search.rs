//! `No-Vary-Search`: which queries a response answers beside the one it was fetched with.
//!
//! A server says that parameters, or their order, change nothing
//! (draft-ietf-httpbis-no-vary-search). A response that says so is stored under the query in a
//! canonical form: without those parameters, decoded and written again in one way. A request finds
//! it when its own query has the same form. Whatever cannot be read, or is too much to be compared
//! for every request, means that all of the query counts. Parameters that are no UTF-8 are compared
//! as they are: a server may tell them apart.

use std::borrow::Cow;

use super::directives::split_outside_quotes;
use crate::wire::head::Fields;

/// The longest field that is read, in bytes.
const LONGEST: usize = 1024;
/// The most parameters of a query that are compared; a longer one counts as it is.
const MOST_PARAMETERS: usize = 128;

/// What of a query counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchRule {
    /// The order of parameters with different names counts.
    ordered: bool,
    names: SearchNames,
}

/// Which parameters count.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SearchNames {
    /// All but these; sorted.
    AllBut(Box<[Box<[u8]>]>),
    /// These alone; sorted.
    Only(Box<[Box<[u8]>]>),
}

impl SearchRule {
    /// Reads the rule of a response; `None` where all of the query counts.
    #[must_use]
    pub fn read_rule(fields: &Fields) -> Option<Self> {
        let mut lines = fields.named(b"no-vary-search").peekable();
        lines.peek()?;
        let whole = lines.collect::<Vec<_>>().join(&b","[..]);
        let (mut ordered, mut params, mut except) = (true, None, None);
        if whole.len() > LONGEST || !strings_end(&whole) {
            return None;
        }
        for member in split_members(&whole) {
            let (name, value) = read_member(member)?;
            // Of a name that is given twice the last one counts (RFC 9651 §4.2.2).
            match name {
                b"key-order" => ordered = !value.as_flag()?,
                b"params" => params = Some(value),
                b"except" => except = Some(value.into_names()?),
                _ => {}
            }
        }
        let names = match (params, except) {
            (Some(SearchValue::Flag(true)), Some(except)) => SearchNames::Only(except),
            (_, Some(_)) => return None,
            (Some(SearchValue::Flag(true)), None) => SearchNames::Only(Box::default()),
            (Some(SearchValue::Names(names)), None) => SearchNames::AllBut(names),
            (None | Some(SearchValue::Flag(false)), None) => SearchNames::AllBut(Box::default()),
            (Some(SearchValue::Other), None) => return None,
        };
        let rule = Self { ordered, names };
        let says_nothing = ordered && rule.names == SearchNames::AllBut(Box::default());
        (!says_nothing).then_some(rule)
    }

    fn counts_name(&self, name: &[u8]) -> bool {
        let listed = |names: &[Box<[u8]>]| names.binary_search_by(|n| (**n).cmp(name)).is_ok();
        match &self.names {
            SearchNames::AllBut(names) => !listed(names),
            SearchNames::Only(names) => listed(names),
        }
    }

    /// The canonical form of a query: `Some(None)` when nothing of it counts, `None` when it has
    /// too many parameters to say.
    #[must_use]
    pub fn canonical_query(&self, query: Option<&[u8]>) -> Option<Option<Vec<u8>>> {
        let parts = query.unwrap_or_default().split(|byte| *byte == b'&');
        let mut counted = Vec::new();
        for (at, part) in parts.filter(|part| !part.is_empty()).enumerate() {
            if at >= MOST_PARAMETERS {
                return None;
            }
            let equals = part.iter().position(|byte| *byte == b'=').unwrap_or(part.len());
            let (name, value) = part.split_at_checked(equals)?;
            let name = decode_form(name);
            if self.counts_name(&name) {
                counted.push((name, decode_form(value.get(1..).unwrap_or_default())));
            }
        }
        if !self.ordered {
            counted.sort_by(|(one, _), (other, _)| one.cmp(other));
        }
        let mut out = Vec::with_capacity(query.map_or(0, <[u8]>::len));
        for (name, value) in &counted {
            if !out.is_empty() {
                out.push(b'&');
            }
            encode_form(&mut out, name);
            out.push(b'=');
            encode_form(&mut out, value);
        }
        Some((!counted.is_empty()).then_some(out))
    }

    /// Memory that it takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let (SearchNames::AllBut(names) | SearchNames::Only(names)) = &self.names;
        let text: usize = names.iter().map(|name| name.len()).sum();
        size_of::<Self>() + text + size_of_val::<[Box<[u8]>]>(names)
    }
}

/// Reads `application/x-www-form-urlencoded`: `+` is a blank, and what is no escape stays as it is.
fn decode_form(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return text.into();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, more)) = rest.split_first() {
        let digit = |at: usize| more.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        (out, rest) = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.extend(u8::try_from(high * 16 + low));
                (out, more.get(2..).unwrap_or_default())
            }
            (b'+', ..) => {
                out.push(b' ');
                (out, more)
            }
            (other, ..) => {
                out.push(*other);
                (out, more)
            }
        };
    }
    out.into()
}

fn encode_form(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text {
        match byte {
            b'*' | b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => out.push(*byte),
            b' ' => out.push(b'+'),
            other => {
                let digit = |n: u8| HEX.get(usize::from(n)).copied().unwrap_or_default();
                out.extend([b'%', digit(other >> 4), digit(other & 15)]);
            }
        }
    }
}

/// A member's value, of those types that have a meaning here.
enum SearchValue {
    Flag(bool),
    Names(Box<[Box<[u8]>]>),
    Other,
}

impl SearchValue {
    fn as_flag(&self) -> Option<bool> {
        match self {
            Self::Flag(flag) => Some(*flag),
            Self::Names(_) | Self::Other => None,
        }
    }

    fn into_names(self) -> Option<Box<[Box<[u8]>]>> {
        match self {
            Self::Names(names) => Some(names),
            Self::Flag(_) | Self::Other => None,
        }
    }
}

/// Splits a dictionary (RFC 9651 §3.2) at its commas. None of the types that have a meaning here
/// has one outside of quotes.
fn split_members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    split_outside_quotes(line, b',')
}

/// Reads `name`, `name=value` and their parameters, which have no meaning here.
fn read_member(member: &[u8]) -> Option<(&[u8], SearchValue)> {
    let end = member.iter().position(|b| matches!(b, b'=' | b';')).unwrap_or(member.len());
    let (name, rest) = member.split_at_checked(end)?;
    let first = name.first()?;
    let is_key = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*');
    if !matches!(first, b'a'..=b'z' | b'*') || !name.iter().all(is_key) {
        return None;
    }
    let Some(value) = rest.strip_prefix(b"=") else {
        return is_parameters(rest).then_some((name, SearchValue::Flag(true)));
    };
    let (value, rest) = match value.first()? {
        b'?' => {
            let (flag, rest) = value.split_at_checked(2)?;
            let flag = match flag {
                b"?1" => true,
                b"?0" => false,
                _ => return None,
            };
            (SearchValue::Flag(flag), rest)
        }
        b'(' => read_names(value.get(1..)?)?,
        // Other types are for members that are not known here: where such a value ends does not
        // matter.
        _ => return Some((name, SearchValue::Other)),
    };
    is_parameters(rest).then_some((name, value))
}

/// Returns whether nothing follows, or parameters.
fn is_parameters(rest: &[u8]) -> bool {
    rest.is_empty() || rest.starts_with(b";") && rest.len() > 1
}

/// Reads the strings of an inner list whose `(` has been read, and returns what follows it. Items
/// of other types make it another value.
fn read_names(mut rest: &[u8]) -> Option<(SearchValue, &[u8])> {
    let mut names: Vec<Box<[u8]>> = Vec::new();
    let mut only_names = true;
    loop {
        let blank = rest.iter().take_while(|byte| **byte == b' ').count();
        rest = rest.get(blank..)?;
        let (first, more) = rest.split_first()?;
        match first {
            b')' => {
                names.sort_unstable();
                names.dedup();
                let value =
                    if only_names { SearchValue::Names(names.into()) } else { SearchValue::Other };
                return Some((value, more));
            }
            b'"' => {
                let (name, more) = read_string(more)?;
                if !more.first().is_some_and(|byte| matches!(byte, b' ' | b')' | b';')) {
                    return None;
                }
                names.push(decode_form(&name).into_owned().into());
                rest = skip_to_blank(more);
            }
            _ => {
                only_names = false;
                rest = skip_to_blank(more);
            }
        }
    }
}

fn skip_to_blank(rest: &[u8]) -> &[u8] {
    let end = rest.iter().position(|byte| matches!(byte, b' ' | b')')).unwrap_or(rest.len());
    rest.get(end..).unwrap_or_default()
}

/// Returns whether all strings are whole: after one that is not, nothing is what it seems.
fn strings_end(mut line: &[u8]) -> bool {
    while let Some(quote) = line.iter().position(|byte| *byte == b'"') {
        match line.get(quote + 1..).and_then(read_string) {
            Some((_, rest)) => line = rest,
            None => return false,
        }
    }
    true
}

/// Reads a string whose first quote has been read (RFC 9651 §4.2.5).
fn read_string(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        let (first, more) = rest.split_first()?;
        rest = more;
        match first {
            b'"' => return Some((out, rest)),
            b'\\' => {
                let (escaped, more) = rest.split_first()?;
                if !matches!(escaped, b'"' | b'\\') {
                    return None;
                }
                out.push(*escaped);
                rest = more;
            }
            0x20..=0x7e => out.push(*first),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests;
