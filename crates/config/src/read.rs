//! From tree to schema: reads every key it can and reports every one it cannot.
//!
//! serde stops at the first error, and its `flatten` and `untagged` lose positions. Here a type
//! says how it is read ([`Shape`]), a failing key falls back to its default so that its siblings
//! are still read, and the same declaration gives the JSON schema, so the two cannot disagree.
//! Tables are declared with `table!` and `settings!`, closed sets of words with `words!`.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use schemars::{Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::finding::{Finding, MOST_FINDINGS};
use super::shown::Replaced;
use super::source::{Place, Sources, Spanned};
use super::suggest::did_you_mean;
use super::tree::{TableEntry, TreeNode, Value};
use machine::pace;

/// The most regular expressions. Each takes 50 KiB or more once it is compiled, and a reload has two sets of them.
const MOST_PATTERNS: usize = 2_000;

/// Collects findings while values are read.
#[derive(Debug, Default)]
pub struct Reader {
    /// The first of them: nobody reads thousands, and words for each would take minutes and gigabytes.
    pub(crate) findings: Vec<Finding>,
    /// The number of further findings.
    pub(crate) dropped: usize,
    /// Regular expressions that were read.
    patterns: usize,
    /// The text that places point into.
    pub(crate) sources: Sources,
    /// Tables of which a value could not be read: what seems to be missing there may have been that.
    pub(crate) broken: BTreeSet<Place>,
    /// Tables that a key belongs to which is written in another one.
    pub(crate) deserted: BTreeSet<Place>,
    /// Elements of arrays and tables that could not be read.
    lost: usize,
    /// The keys that lead to what is being read; an element of an array has none.
    trail: Vec<String>,
    /// The tables that what is being read is in.
    above: Vec<TableLevel>,
}

/// A table that another one is in.
#[derive(Debug)]
struct TableLevel {
    label: String,
    place: Place,
    keys: Vec<&'static str>,
}

/// A type that can be read from a tree and described as JSON schema.
pub trait Shape: Sized {
    /// Reads the value. `None` means that it could not be read and that this was reported.
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self>;

    /// Returns the schema of what [`Shape::read_node`] accepts.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema;
}

/// A type written as one string with an inner form, such as a duration or an address.
pub trait WordReader: Sized {
    /// A noun phrase for messages: "a duration".
    const WHAT: &'static str;
    /// A correct spelling for messages, without quotes.
    const EXAMPLE: &'static str;

    /// Reads the text.
    ///
    /// # Errors
    /// What is wrong with it, and advice if there is some.
    fn parse_word(text: &str) -> Result<Self, WrongValue>;

    /// Returns what a bare number was probably meant to be, without quotes. `None` where no number can be.
    fn from_number(_number: i64) -> Option<String> {
        None
    }

    /// True if reading one takes so much that their number is bounded.
    const COSTLY: bool = false;

    /// Keywords of the JSON schema besides `"type": "string"`.
    fn schema_keywords() -> Json {
        json!({})
    }
}

/// A reason why a [`WordReader`] could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongValue {
    /// The fault, lowercase, without the text itself.
    pub message: String,
    /// The text to write instead.
    pub help: Option<String>,
}

impl WrongValue {
    /// Without advice of its own; the example of the type will be shown.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    /// With advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Without the text itself, which may be a secret from elsewhere.
    fn without(self, text: &str) -> Self {
        match self.message.contains(text) || self.help.as_ref().is_some_and(|h| h.contains(text)) {
            true if !text.is_empty() => {
                Self::new(self.message.replace(text, "…")).help("it comes from `${…}`")
            }
            _ => self,
        }
    }
}

/// Several keys of one table that are read as one value, such as the action of a route.
pub trait KeyGroup: Sized {
    /// The keys it reads.
    const KEYS: &'static [&'static str];

    /// Reads them.
    fn read(table: &TableReader<'_>, reader: &mut Reader) -> Option<Self>;

    /// Returns whether two of them mean the same.
    fn same(&self, other: &Self) -> bool;

    /// Adds them to the schema of the table.
    fn describe(generator: &mut SchemaGenerator, schema: &mut Map<String, Json>);
}

impl KeyGroup for Place {
    const KEYS: &'static [&'static str] = &[];

    fn read(table: &TableReader<'_>, _: &mut Reader) -> Option<Self> {
        Some(table.place)
    }

    fn same(&self, _: &Self) -> bool {
        true
    }

    fn describe(_: &mut SchemaGenerator, _: &mut Map<String, Json>) {}
}

impl KeyGroup for Replaced {
    const KEYS: &'static [&'static str] = &[];

    fn read(table: &TableReader<'_>, _: &mut Reader) -> Option<Self> {
        Some(Self::below(table.entries))
    }

    fn same(&self, _: &Self) -> bool {
        true
    }

    fn describe(_: &mut SchemaGenerator, _: &mut Map<String, Json>) {}
}

/// The keys of one table.
#[derive(Debug, Clone, Copy)]
pub struct TableReader<'a> {
    /// The table, or its header.
    pub place: Place,
    entries: &'a [TableEntry],
}

impl<'a> TableReader<'a> {
    /// The table in `node`; anything else is reported.
    pub(crate) fn of(node: &'a TreeNode, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Table(entries) => Some(Self { place: node.place, entries }),
            _ => reader.mismatch(node, "a table"),
        }
    }

    /// The top of a file.
    pub(crate) fn root(entries: &'a [TableEntry]) -> Self {
        Self { place: Place::NOWHERE, entries }
    }

    /// The entry of `key`, if it is written.
    pub(crate) fn get(&self, key: &str) -> Option<&'a TableEntry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Reports every key that is in none of `known`.
    pub(crate) fn refuse_unknown(&self, known: &[&[&'static str]], reader: &mut Reader) {
        let names = || known.iter().flat_map(|keys| keys.iter().copied());
        for entry in self.entries.iter().filter(|entry| names().all(|name| name != entry.key)) {
            if reader.is_full() {
                reader.dropped += 1;
                continue;
            }
            let belongs = reader.belongs(&entry.key, self.place);
            let help = belongs.or_else(|| did_you_mean(&entry.key, names())).unwrap_or_else(|| {
                format!("valid keys are {}", names().collect::<Vec<_>>().join(", "))
            });
            let message = format!("unknown key `{}`", entry.key);
            reader.report(Finding::error("unknown_key", entry.key_place, message).help(help));
        }
    }

    /// Reads the value of a name that the file chose.
    fn element<T: Shape>(&self, entry: &TableEntry, reader: &mut Reader) -> Option<T> {
        reader.enter(&entry.key);
        let read = T::read_node(&entry.value, reader);
        reader.leave();
        reader.lost += usize::from(read.is_none());
        read
    }

    /// A key that must be there.
    pub(crate) fn required<T: Shape>(&self, key: &'static str, reader: &mut Reader) -> Option<T> {
        let Some(entry) = self.get(key) else {
            let message = format!("missing key `{key}`");
            reader.report(Finding::error("missing_key", self.place, message));
            return None;
        };
        self.value(entry, reader)
    }

    /// Reads a value, and notes when something of it is lost.
    fn value<T: Shape>(&self, entry: &TableEntry, reader: &mut Reader) -> Option<T> {
        let lost = reader.lost;
        reader.enter(&entry.key);
        let read = T::read_node(&entry.value, reader);
        reader.leave();
        if read.is_none() || reader.lost > lost {
            reader.broken.insert(self.place);
        }
        read
    }

    /// A key with a default. An unreadable value is reported and the default stands in for it, so
    /// that the rest of the table is still looked at.
    #[expect(clippy::unnecessary_wraps, reason = "the same shape as `required`, for `table!`")]
    pub(crate) fn or<T: Shape>(
        &self,
        key: &'static str,
        reader: &mut Reader,
        default: impl FnOnce() -> T,
    ) -> Option<T> {
        let read = self.get(key).and_then(|entry| self.value(entry, reader));
        Some(read.unwrap_or_else(default))
    }
}

impl Reader {
    /// With what was found before anything was read.
    pub(crate) fn new(mut findings: Vec<Finding>, sources: Sources) -> Self {
        let dropped = findings.len().saturating_sub(MOST_FINDINGS);
        findings.truncate(MOST_FINDINGS);
        Self { findings, dropped, sources, ..Self::default() }
    }

    /// Begins to read what a key leads to; an empty one is an element of an array.
    fn enter(&mut self, key: &str) {
        self.trail.push(key.to_owned());
    }

    fn leave(&mut self) {
        self.trail.pop();
    }

    /// Begins to read the keys of a table. Ended by [`Reader::close`].
    pub(crate) fn open(&mut self, place: Place, known: &[&[&'static str]]) {
        let keys: Vec<&str> =
            self.trail.iter().map(String::as_str).filter(|key| !key.is_empty()).collect();
        let path = keys.join(".");
        let label = match self.trail.last().map(String::as_str) {
            None => "the top of the file".to_owned(),
            Some("") => format!("[[{path}]]"),
            Some(_) => format!("[{path}]"),
        };
        let keys = known.iter().flat_map(|keys| keys.iter().copied()).collect();
        self.above.push(TableLevel { label, place, keys });
    }

    pub(crate) fn close(&mut self) {
        self.above.pop();
    }

    /// Notes where a key belongs that is written below a sub-table and meant for the table around it.
    fn belongs(&mut self, key: &str, table: Place) -> Option<String> {
        let level = self.above.iter().rev().find(|level| level.keys.contains(&key))?;
        let text = self.sources.file(table).and_then(|file| file.text.get(table.span()));
        let header = text.is_some_and(|text| text.starts_with('['));
        let line = self.sources.position(table).filter(|_| header).map(|at| at.line);
        let place = line.map_or_else(String::new, |line| format!(", above line {line}"));
        self.deserted.insert(level.place);
        Some(format!("`{key}` belongs to {}{place}", level.label))
    }

    /// Returns whether further findings are counted only.
    pub(crate) fn is_full(&self) -> bool {
        self.findings.len() >= MOST_FINDINGS
    }

    /// Keeps a finding, or counts it.
    pub(crate) fn report(&mut self, finding: Finding) {
        if self.is_full() {
            self.dropped += 1;
        } else {
            self.findings.push(finding);
        }
    }

    /// Reports a value of the wrong kind.
    pub(crate) fn mismatch<T>(&mut self, node: &TreeNode, wanted: &str) -> Option<T> {
        if !matches!(node.value, Value::Unreadable) {
            let found = node.value.kind();
            self.report(
                Finding::error(
                    "bad_value",
                    node.place,
                    format!("expected {wanted}, found {found}"),
                )
                .label(format!("expected {wanted}")),
            );
        }
        None
    }

    /// Reports a value of the right kind that is not acceptable.
    pub(crate) fn bad<T>(
        &mut self,
        node: &TreeNode,
        message: String,
        help: Option<String>,
    ) -> Option<T> {
        self.report(Finding::error("bad_value", node.place, message).maybe_help(help));
        None
    }
}

/// Takes `r#` off a raw identifier: the key of `r#for` is `for`.
pub(crate) const fn key_name(identifier: &'static str) -> &'static str {
    match identifier.as_bytes() {
        [b'r', b'#', name @ ..] => match std::str::from_utf8(name) {
            Ok(name) => name,
            Err(_) => identifier,
        },
        _ => identifier,
    }
}

/// Returns the name of a table in the JSON schema: that of its type, which says `Config` where the compiled form has the
/// plain name.
pub(crate) fn schema_name(of: &'static str) -> &'static str {
    of.strip_suffix("Config").unwrap_or(of)
}

/// Declares a table: fields are keys, `= default` makes a key optional, `[name: Type]` is a
/// [`KeyGroup`]. Doc comments become descriptions in the JSON schema.
macro_rules! table {
    (@read $table:ident $reader:ident $key:ident $type:ty;) => {
        $table.required::<$type>($crate::read::key_name(stringify!($key)), $reader)
    };
    (@read $table:ident $reader:ident $key:ident $type:ty; $default:expr) => {
        $table.or::<$type>($crate::read::key_name(stringify!($key)), $reader, || $default)
    };
    (@describe $properties:ident $generator:ident $key:ident $type:ty; $doc:expr;) => {
        $properties.required::<$type>(
            $generator, $crate::read::key_name(stringify!($key)), $doc)
    };
    (@describe $properties:ident $generator:ident $key:ident $type:ty; $doc:expr; $default:expr) => {{
        let default: $type = $default;
        $properties.optional::<$type>(
            $generator, $crate::read::key_name(stringify!($key)), $doc, &default)
    }};
    (
        $(#[doc = $about:literal])*
        pub struct $name:ident {
            $( [$(#[$group_meta:meta])* $group:ident : $group_type:ty] )*
            $( $(#[doc = $doc:literal])* $key:ident : $type:ty $(= $default:expr)?, )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, serde::Serialize)]
        pub struct $name {
            $(
                /// Read from several keys, or where the table is written.
                $(#[$group_meta])* pub $group: $group_type,
            )*
            $( $(#[doc = $doc])* pub $key: $type, )*
        }

        // Where something is written makes no difference to what it means.
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                true $( && $crate::read::KeyGroup::same(&self.$group, &other.$group) )*
                    $( && self.$key == other.$key )*
            }
        }

        impl $name {
            /// The keys of the table, those of its groups left out.
            pub(crate) const KEYS: &'static [&'static str] =
                &[$($crate::read::key_name(stringify!($key))),*];

            pub(crate) fn read_table(
                table: &$crate::read::TableReader<'_>,
                reader: &mut $crate::read::Reader,
            ) -> Option<Self> {
                let known = [$(<$group_type as $crate::read::KeyGroup>::KEYS,)* Self::KEYS];
                table.refuse_unknown(&known, reader);
                reader.open(table.place, &known);
                $( let $group = <$group_type as $crate::read::KeyGroup>::read(table, reader); )*
                $( let $key = $crate::read::table!(
                    @read table reader $key $type; $($default)?); )*
                reader.close();
                Some(Self { $($group: $group?,)* $($key: $key?,)* })
            }
        }

        impl $crate::read::Shape for $name {
            fn read_node(
                node: &$crate::tree::TreeNode,
                reader: &mut $crate::read::Reader,
            ) -> Option<Self> {
                let table = $crate::read::TableReader::of(node, reader)?;
                Self::read_table(&table, reader)
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                generator.subschema_for::<Self>()
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $crate::read::schema_name(stringify!($name)).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut properties = $crate::read::Properties::new(&[$($about),*]);
                $( $crate::read::table!(
                    @describe properties generator $key $type; &[$($doc),*]; $($default)?); )*
                $( properties.group::<$group_type>(generator); )*
                properties.finish()
            }
        }
    };
}

/// A [`table!`] in which every key has a default, and which therefore has one itself.
macro_rules! settings {
    (
        $(#[doc = $about:literal])*
        pub struct $name:ident {
            $( [$(#[$group_meta:meta])* $group:ident : $group_type:ty] )*
            $( $(#[doc = $doc:literal])* $key:ident : $type:ty = $default:expr, )*
        }
    ) => {
        $crate::read::table! {
            $(#[doc = $about])*
            pub struct $name {
                $( [$(#[$group_meta])* $group : $group_type] )*
                $( $(#[doc = $doc])* $key: $type = $default, )*
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($group: <$group_type>::default(),)* $($key: $default,)* }
            }
        }
    };
}

/// Declares a closed set of words.
macro_rules! words {
    (
        $(#[doc = $about:literal])*
        pub enum $name:ident ($what:literal) {
            $( $(#[doc = $doc:literal])* $variant:ident = $word:literal, )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $( $(#[doc = $doc])* $variant, )*
        }

        impl $name {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word in the file.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl $crate::read::WordReader for $name {
            const WHAT: &'static str = $what;
            const EXAMPLE: &'static str = [$($word),*][0];

            fn parse_word(text: &str) -> Result<Self, $crate::read::WrongValue> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err($crate::read::not_one_of(text, $what, &[$($word),*])),
                }
            }

            fn schema_keywords() -> serde_json::Value {
                serde_json::json!({ "enum": [$($word),*] })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

pub(crate) use {settings, table, words};

/// The error for a word outside a closed set.
pub(crate) fn not_one_of(text: &str, what: &str, words: &[&str]) -> WrongValue {
    let all = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let help = did_you_mean(text, words.iter().copied())
        .map_or_else(|| format!("it is one of {all}"), |mean| format!("{mean} It is one of {all}"));
    WrongValue::new(format!("\"{text}\" is not {what}")).help(help)
}

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
                    // By way of text, because every integer type has that way and no other in common.
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
