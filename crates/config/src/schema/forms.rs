//! Keys with a short and a long form.
//!
//! The kind of the value alone decides which form it is, so that an error inside the long form
//! points at the key that is wrong and not at the whole value.

use std::ops::Deref;

use schemars::{Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use serde_json::json;

use crate::read::{Reader, Shape, any_of, schema_of};
use crate::tree::{TreeNode, Value};

/// One value, or an array of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for OneOrMany<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Shape> Shape for OneOrMany<T> {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Array(_) => Vec::read_node(node, reader).map(Self),
            _ => T::read_node(node, reader).map(|one| Self(vec![one])),
        }
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        any_of([T::json_schema(generator), Vec::<T>::json_schema(generator)])
    }
}

/// `false`, `true` for the defaults, or a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Switch<T> {
    /// Turned off.
    Off,
    /// Turned on, with these settings.
    On(T),
}

impl<T> Switch<T> {
    /// The settings; `None` when it is off.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        match self {
            Self::Off => None,
            Self::On(settings) => Some(settings),
        }
    }
}

impl<T: Shape + Default> Shape for Switch<T> {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Boolean(false) => Some(Self::Off),
            Value::Boolean(true) => Some(Self::On(T::default())),
            Value::Table(_) => T::read_node(node, reader).map(Self::On),
            _ => reader.mismatch(node, "true, false or a table"),
        }
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        any_of([bool::json_schema(generator), T::json_schema(generator)])
    }
}

impl<T: Serialize> Serialize for Switch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_bool(false),
            Self::On(settings) => settings.serialize(serializer),
        }
    }
}

/// A policy of one's own, the name of a shared one, or none although a default may come to exist.
#[derive(Debug, Clone, PartialEq)]
pub enum PolicyUse<T> {
    /// Turned off.
    Off,
    /// The shared one of this name.
    Named(crate::source::Spanned<String>),
    /// Written in place.
    Inline(T),
}

impl<T: Shape> Shape for PolicyUse<T> {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Boolean(false) => Some(Self::Off),
            Value::String(text) if text == "off" => Some(Self::Off),
            Value::String(_) => Shape::read_node(node, reader).map(Self::Named),
            Value::Table(_) => T::read_node(node, reader).map(Self::Inline),
            _ => reader.mismatch(node, "a name, a table or false"),
        }
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        any_of([
            schema_of(json!({ "const": false })),
            String::json_schema(generator),
            T::json_schema(generator),
        ])
    }
}

impl<T: Serialize> Serialize for PolicyUse<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_bool(false),
            Self::Named(name) => name.serialize(serializer),
            Self::Inline(policy) => policy.serialize(serializer),
        }
    }
}
