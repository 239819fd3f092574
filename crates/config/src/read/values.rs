//! The forms of values that every table uses: words, text, paths, numbers, and collections of
//! others.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use schemars::{Schema, SchemaGenerator};
use serde_json::json;

use super::{Reader, Shape, TableReader, WordReader, WrongValue, schema_of};
use crate::finding::Finding;
use crate::source::Spanned;
use crate::tree::{TreeNode, Value};
use machine::pace;

/// The most regular expressions. Each takes 50 KiB or more once it is compiled, and a reload has
/// two sets of them.
const MOST_PATTERNS: usize = 2_000;

impl<W: WordReader> Shape for W {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        if W::COSTLY {
            reader.patterns += 1;
            if reader.patterns > MOST_PATTERNS {
                if reader.patterns == MOST_PATTERNS + 1 {
                    let message = format!("more than {MOST_PATTERNS} regular expressions");
                    let finding = Finding::error("too_large", node.place, message);
                    reader.report(finding.help("most can be a `path` with captures: \"/a/{id}\""));
                }
                return None;
            }
        }
        match &node.value {
            Value::String(text) => match W::parse_word(text) {
                Ok(word) => Some(word),
                Err(wrong) => {
                    let wrong = if node.replaced { wrong.without(text) } else { wrong };
                    let help = wrong.help.unwrap_or_else(|| format!("write \"{}\"", W::EXAMPLE));
                    reader.bad(node, wrong.message, Some(help))
                }
            },
            Value::Integer(number) if W::from_number(*number).is_some() => {
                let meant = W::from_number(*number).unwrap_or_default();
                let digits = meant.bytes().take_while(u8::is_ascii_digit).count();
                let has_unit = digits > 0 && digits < meant.len() && !meant.contains(':');
                let why = if has_unit { "needs a unit" } else { "is written as a string" };
                let help = Some(format!("write \"{meant}\""));
                reader.bad(node, format!("{} {why}", W::WHAT), help)
            }
            _ => reader.mismatch(node, &format!("{} such as \"{}\"", W::WHAT, W::EXAMPLE)),
        }
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = schema_of(W::schema_keywords());
        schema.insert("type".into(), "string".into());
        schema.insert("title".into(), W::WHAT.into());
        // A closed set of words is its own list of examples.
        if schema.get("enum").is_none() {
            schema.insert("examples".into(), json!([W::EXAMPLE]));
        }
        schema
    }
}

impl Shape for String {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::String(text) => Some(text.clone()),
            _ => reader.mismatch(node, "a string"),
        }
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema_of(json!({ "type": "string" }))
    }
}

impl Shape for PathBuf {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        let path = String::read_node(node, reader)?;
        if path.is_empty() || path.contains('\0') {
            return reader.bad(node, "this is not a file path".into(), None);
        }
        Some(path.into())
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema_of(json!({ "type": "string", "minLength": 1 }))
    }
}

impl Shape for bool {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        match node.value {
            Value::Boolean(flag) => Some(flag),
            _ => reader.mismatch(node, "true or false"),
        }
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema_of(json!({ "type": "boolean" }))
    }
}

macro_rules! integers {
    ($($type:ty: $least:expr, $most:expr;)*) => {$(
        impl Shape for $type {
            fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
                match node.value {
                    // By way of text, because every integer type has that way and no other in
                    // common.
                    Value::Integer(number) => match number.to_string().parse::<$type>() {
                        Ok(number) => Some(number),
                        Err(_) => reader.bad(
                            node,
                            format!("{number} is out of range"),
                            Some(format!("it goes from {} to {}", $least, $most)),
                        ),
                    },
                    _ => reader.mismatch(node, "an integer"),
                }
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                schema_of(json!({ "type": "integer", "minimum": $least, "maximum": $most }))
            }
        }
    )*};
}

integers! {
    u16: 0, u16::MAX;
    u32: 0, u32::MAX;
    u64: 0, i64::MAX;
    NonZeroU16: 1, u16::MAX;
    NonZeroU32: 1, u32::MAX;
    NonZeroU64: 1, i64::MAX;
}

impl<T: Shape> Shape for Option<T> {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        T::read_node(node, reader).map(Some)
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: Shape> Shape for Spanned<T> {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        T::read_node(node, reader).map(|value| Self { value, place: node.place })
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: Shape> Shape for Vec<T> {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Array(items) => {
                let mut read = |item| {
                    pace::step();
                    reader.enter("");
                    let read = T::read_node(item, reader);
                    reader.leave();
                    reader.lost += usize::from(read.is_none());
                    read
                };
                Some(items.iter().filter_map(&mut read).collect())
            }
            _ => reader.mismatch(node, "an array"),
        }
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let items = T::json_schema(generator).to_value();
        schema_of(json!({ "type": "array", "items": items }))
    }
}

impl<K: WordReader + Ord, T: Shape> Shape for BTreeMap<Spanned<K>, T> {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        let table = TableReader::of(node, reader)?;
        let mut map = Self::new();
        for entry in table.entries {
            match K::parse_word(&entry.key) {
                Ok(value) => {
                    let key = Spanned { value, place: entry.key_place };
                    // Two spellings of one name, such as `X-Id` and `x-id`.
                    if let Some((first, _)) = map.get_key_value(&key) {
                        let message = format!("`{}` is given twice", entry.key);
                        let finding = Finding::error("duplicate_name", key.place, message);
                        reader.report(finding.related(first.place, "first given here"));
                    } else if let Some(read) = table.element(entry, reader) {
                        map.insert(key, read);
                    }
                }
                Err(WrongValue { message, help }) => reader
                    .report(Finding::error("bad_value", entry.key_place, message).maybe_help(help)),
            }
        }
        Some(map)
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let values = T::json_schema(generator).to_value();
        schema_of(json!({ "type": "object", "additionalProperties": values }))
    }
}

impl<T: Shape> Shape for BTreeMap<Spanned<String>, T> {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        let table = TableReader::of(node, reader)?;
        let mut map = Self::new();
        for entry in table.entries {
            if let Some(read) = table.element(entry, reader) {
                map.insert(Spanned { value: entry.key.clone(), place: entry.key_place }, read);
            }
        }
        Some(map)
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let values = T::json_schema(generator).to_value();
        schema_of(json!({ "type": "object", "additionalProperties": values }))
    }
}
