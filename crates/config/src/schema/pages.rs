//! Pages of one's own: `errors` and `maintenance` of a route.

use std::path::PathBuf;

use schemars::{Schema, SchemaGenerator};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::json;

use super::defaults;
use super::forms::OneOrMany;
use super::units::Timeout;
use super::words::{Network, StatusRange};
use crate::finding::Finding;
use crate::read::{Reader, Shape, WordReader as _, any_of, schema_of, settings};
use crate::source::Spanned;
use crate::suggest::did_you_mean;
use crate::tree::{TableEntry, TreeNode, Value};

/// Pages by status:
/// `{ "502-504" = "pages/sorry.html", 404 = "pages/404.html", intercept = false }`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Errors {
    /// Statuses, all of them errors, and the HTML file that is shown for them.
    pub pages: Vec<(Spanned<StatusRange>, Spanned<PathBuf>)>,
    /// Also stands in for what servers answer with these statuses.
    pub intercept: bool,
}

impl Errors {
    /// Reads one key.
    fn entry(&mut self, entry: &TableEntry, reader: &mut Reader) {
        if entry.key == "intercept" {
            self.intercept = bool::read_node(&entry.value, reader).unwrap_or_default();
            return;
        }
        let range = StatusRange::parse_word(&entry.key).ok();
        let Some(range) = range.filter(|range| range.first >= 400) else {
            let digits = entry.key.starts_with(|c: char| c.is_ascii_digit());
            let help = did_you_mean(&entry.key, ["intercept"]).filter(|_| !digits);
            let help = help.unwrap_or_else(|| {
                "valid keys are intercept and statuses from 400 to 599, such as 404 or \"502-504\"".into()
            });
            let message = format!("unknown key `{}`", entry.key);
            reader.report(Finding::error("unknown_key", entry.key_place, message).help(help));
            return;
        };
        if let Some(page) = Shape::read_node(&entry.value, reader) {
            self.pages.push((Spanned { value: range, place: entry.key_place }, page));
        }
    }
}

impl Shape for Errors {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            return reader.mismatch(node, "a table such as { \"502-504\" = \"sorry.html\" }");
        };
        let mut errors = Self::default();
        entries.iter().for_each(|entry| errors.entry(entry, reader));
        Some(errors)
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let page = PathBuf::json_schema(generator);
        schema_of(json!({
            "type": "object",
            "description": "HTML files by status, such as 404 or \"502-504\".",
            "properties": { "intercept": {
                "type": "boolean",
                "default": false,
                "description": "Also stands in for what servers answer with these statuses."
            } },
            "patternProperties": { "^[45][0-9]{2}(-[45][0-9]{2})?$": page },
            "additionalProperties": false
        }))
    }
}

impl Serialize for Errors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.pages.len() + 1))?;
        for (range, page) in &self.pages {
            map.serialize_entry(&range.value.to_string(), &page.value)?;
        }
        map.serialize_entry("intercept", &self.intercept)?;
        map.end()
    }
}

/// Nobody is served but those who are excepted. The short form is the page alone.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub struct MaintenanceConfig(MaintenanceTable);

impl std::ops::Deref for MaintenanceConfig {
    type Target = MaintenanceTable;

    fn deref(&self) -> &MaintenanceTable {
        &self.0
    }
}

settings! {
    /// Maintenance in its long form.
    pub struct MaintenanceTable {
        /// The HTML file that browsers are shown. Default: problem+json for everybody.
        page: Option<Spanned<PathBuf>> = None,
        /// Networks of clients that are served as always.
        except: OneOrMany<Spanned<Network>> = OneOrMany::default(),
        /// When clients are told to come again.
        retry_after: Timeout = defaults::MAINTENANCE_RETRY_AFTER,
    }
}

impl Shape for MaintenanceConfig {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        match node.value {
            Value::String(_) => {
                let page = Some(Shape::read_node(node, reader)?);
                Some(Self(MaintenanceTable { page, ..MaintenanceTable::default() }))
            }
            Value::Table(_) => MaintenanceTable::read_node(node, reader).map(Self),
            _ => reader.mismatch(node, "an HTML file or a table"),
        }
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        any_of([PathBuf::json_schema(generator), MaintenanceTable::json_schema(generator)])
    }
}
