//! Who may use a route: which `[auth.NAME]` it asks, or "off".

use schemars::{Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::json;

use crate::finding::Finding;
use crate::read::{Reader, Shape, any_of, schema_of};
use crate::source::Spanned;
use crate::tree::{TreeNode, Value};

/// Who may use a route.
#[derive(Debug, Clone, PartialEq)]
pub enum AuthRef {
    /// Everybody.
    Off,
    /// As one of these `[auth.NAME]` says; they are asked in this order. Never empty.
    Named(Vec<Spanned<String>>),
}

impl AuthRef {
    /// The names, none for everybody.
    #[must_use]
    pub fn names(&self) -> &[Spanned<String>] {
        match self {
            Self::Off => &[],
            Self::Named(names) => names,
        }
    }
}

impl Shape for AuthRef {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::String(text) if text == "off" => Some(Self::Off),
            Value::Boolean(false) => {
                reader.bad(node, "`false` is not a name".into(), Some("write \"off\"".into()))
            }
            Value::Array(items) => {
                let names = Vec::<Spanned<String>>::read_node(node, reader)?;
                if items.is_empty() {
                    let help = "name one, or write \"off\" to let everybody in";
                    return reader.bad(
                        node,
                        "an empty list lets nobody in".into(),
                        Some(help.into()),
                    );
                }
                let off = items.iter().find(|i| matches!(&i.value, Value::String(t) if t == "off"));
                if let Some(off) = off {
                    let message = "\"off\" beside others would let everybody in";
                    let help = "write auth = \"off\" if that is meant";
                    return reader.bad(off, message.into(), Some(help.into()));
                }
                for (at, name) in names.iter().enumerate() {
                    if let Some(first) = names.iter().take(at).find(|first| *first == name) {
                        let message = format!("`{}` is named twice", name.value);
                        let finding = Finding::error("duplicate_name", name.place, message);
                        reader.report(finding.related(first.place, "first named here"));
                        return None;
                    }
                }
                // What could not be read has been reported.
                (names.len() == items.len()).then_some(Self::Named(names))
            }
            _ => Shape::read_node(node, reader).map(|name| Self::Named(vec![name])),
        }
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let name = String::json_schema(generator).to_value();
        any_of([
            String::json_schema(generator),
            schema_of(
                json!({ "type": "array", "items": name, "minItems": 1, "uniqueItems": true }),
            ),
        ])
    }
}

impl Serialize for AuthRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::Named(names) => match names.as_slice() {
                [name] => name.serialize(serializer),
                several => several.serialize(serializer),
            },
        }
    }
}
