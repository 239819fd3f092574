//! The JSON schema of what is read, built key by key.

use schemars::{Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::{KeyGroup, Shape};

/// Builds the JSON schema of a table.
pub(crate) struct Properties {
    schema: Map<String, Json>,
    properties: Map<String, Json>,
    required: Vec<Json>,
}

impl Properties {
    pub(crate) fn new(about: &[&str]) -> Self {
        let mut schema = Map::new();
        schema.insert("type".into(), "object".into());
        schema.insert("description".into(), sentence(about).into());
        Self { schema, properties: Map::new(), required: Vec::new() }
    }

    pub(crate) fn required<T: Shape>(
        &mut self,
        generator: &mut SchemaGenerator,
        key: &str,
        doc: &[&str],
    ) {
        self.required.push(key.into());
        self.add::<T>(generator, key, doc);
    }

    pub(crate) fn optional<T: Shape + Serialize>(
        &mut self,
        generator: &mut SchemaGenerator,
        key: &str,
        doc: &[&str],
        default: &T,
    ) {
        let property = self.add::<T>(generator, key, doc);
        let written = match serde_json::to_value(default) {
            Ok(default @ (Json::Bool(_) | Json::Number(_) | Json::String(_))) => Some(default),
            Ok(Json::Array(items)) if items.iter().all(|item| !item.is_object()) => {
                (!items.is_empty()).then_some(Json::Array(items))
            }
            // A table of defaults is what `true` stands for, where that may be written.
            Ok(Json::Object(_)) => {
                let choices = property.get("anyOf").and_then(Json::as_array);
                let switch =
                    choices.is_some_and(|all| all.iter().any(|one| one["type"] == "boolean"));
                switch.then_some(Json::Bool(true))
            }
            _ => None,
        };
        if let Some(written) = written {
            property.insert("default".into(), written);
        }
    }

    fn add<T: Shape>(
        &mut self,
        generator: &mut SchemaGenerator,
        key: &str,
        doc: &[&str],
    ) -> &mut Map<String, Json> {
        let mut schema = T::json_schema(generator);
        schema.insert("description".into(), sentence(doc).into());
        let slot = self.properties.entry(key).or_insert(Json::Null);
        *slot = Json::Object(Map::new());
        match slot {
            Json::Object(property) => {
                property.extend(schema.ensure_object().clone());
                property
            }
            _ => &mut self.schema,
        }
    }

    pub(crate) fn group<G: KeyGroup>(&mut self, generator: &mut SchemaGenerator) {
        let mut part = Map::new();
        G::describe(generator, &mut part);
        if let Some(Json::Object(properties)) = part.remove("properties") {
            self.properties.extend(properties);
        }
        self.schema.extend(part);
    }

    /// The schemas of the keys, without the table around them.
    pub(crate) fn into_keys(self) -> Json {
        Json::Object(self.properties)
    }

    pub(crate) fn finish(mut self) -> Schema {
        self.schema.insert("properties".into(), Json::Object(self.properties));
        if !self.required.is_empty() {
            self.schema.insert("required".into(), Json::Array(self.required));
        }
        self.schema.insert("additionalProperties".into(), false.into());
        self.schema.into()
    }
}

fn sentence(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// A schema from a literal; anything but an object accepts everything.
pub(crate) fn schema_of(json: Json) -> Schema {
    match json {
        Json::Object(map) => map.into(),
        _ => Schema::default(),
    }
}

/// A schema that accepts what any of `choices` accepts.
pub(crate) fn any_of(choices: impl IntoIterator<Item = Schema>) -> Schema {
    let choices: Vec<Json> = choices.into_iter().map(Schema::to_value).collect();
    schema_of(json!({ "anyOf": choices }))
}
