//! Declarations of tables and words: from one list of keys come the type, its reader and its JSON
//! schema.

use super::WrongValue;
use crate::suggest::did_you_mean;

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

/// Returns the name of a table in the JSON schema: that of its type, which says `Config` where the
/// compiled form has the plain name.
pub(crate) fn schema_name(of: &'static str) -> &'static str {
    of.strip_suffix("Config").unwrap_or(of)
}

/// Declares a table: fields are keys, `= default` makes a key optional, `[name: Type]` is a
/// [`KeyGroup`](super::KeyGroup). Doc comments become descriptions in the JSON schema.
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

/// Declares keys with defaults that belong together in a table which has others, too: a
/// [`KeyGroup`].
///
/// [`KeyGroup`]: super::KeyGroup
macro_rules! group {
    (
        $(#[doc = $about:literal])*
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])* $key:ident : $type:ty = $default:expr, )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        pub struct $name {
            $( $(#[doc = $doc])* pub $key: $type, )*
        }

        impl $crate::read::KeyGroup for $name {
            const KEYS: &'static [&'static str] =
                &[$($crate::read::key_name(stringify!($key))),*];

            fn read(
                table: &$crate::read::TableReader<'_>,
                reader: &mut $crate::read::Reader,
            ) -> Option<Self> {
                $( let $key = $crate::read::table!(
                    @read table reader $key $type; $default); )*
                Some(Self { $($key: $key?,)* })
            }

            fn same(&self, other: &Self) -> bool {
                self == other
            }

            fn describe(
                generator: &mut schemars::SchemaGenerator,
                schema: &mut serde_json::Map<String, serde_json::Value>,
            ) {
                let mut properties = $crate::read::Properties::new(&[]);
                $( $crate::read::table!(
                    @describe properties generator $key $type; &[$($doc),*]; $default); )*
                schema.insert("properties".into(), properties.into_keys());
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

/// Writes values the way they are read: as one string.
macro_rules! serialize_as_text {
    ($($type:ty),* $(,)?) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

pub(crate) use {group, serialize_as_text, settings, table, words};

/// The error for a word outside a closed set.
pub(crate) fn not_one_of(text: &str, what: &str, words: &[&str]) -> WrongValue {
    let all = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let help = did_you_mean(text, words.iter().copied())
        .map_or_else(|| format!("it is one of {all}"), |mean| format!("{mean} It is one of {all}"));
    WrongValue::new(format!("\"{text}\" is not {what}")).help(help)
}
