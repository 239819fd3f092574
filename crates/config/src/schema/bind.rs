//! Where something listens, and who may connect to a Unix socket there.

use std::fmt;
use std::num::ParseIntError;
use std::ops::Deref;
use std::path::PathBuf;

use schemars::{Schema, SchemaGenerator};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Value as Json, json};

use super::words::ListenAddress;
use crate::read::{Reader, Shape, WordReader, WrongValue, any_of, table};
use crate::source::Spanned;
use crate::tree::{TreeNode, Value};

/// An address to listen on: IP:PORT, unix:/PATH, or a table that says who may use a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Where.
    pub at: ListenAddress,
    /// Who may connect, if it is a Unix socket.
    pub access: Access,
}

/// Who may connect to a Unix socket. By default the system decides, by the umask and group of the
/// process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Permissions of its file.
    pub mode: Option<Mode>,
    /// The group that its file is given to: a name or a number.
    pub group: Option<Spanned<String>>,
}

/// Permissions of a file, 0 to 0777.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(pub u32);

table! {
    /// A Unix socket and who may connect to it.
    pub struct UnixSocket {
        /// Its path, from the root.
        unix: Spanned<PathBuf>,
        /// Permissions of its file, as "0660". Default: what the umask of the process leaves.
        mode: Option<Mode> = None,
        /// The group that its file is given to: a name or a number. Default: that of the process.
        group: Option<Spanned<String>> = None,
    }
}

impl Deref for Bind {
    type Target = ListenAddress;

    fn deref(&self) -> &ListenAddress {
        &self.at
    }
}

impl WordReader for Mode {
    const WHAT: &'static str = "a file mode";
    const EXAMPLE: &'static str = "0660";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        let mode: Result<u32, ParseIntError> = u32::from_str_radix(text, 8);
        match mode {
            Ok(mode) if mode <= 0o777 && text.len() <= 4 && !text.starts_with('+') => {
                Ok(Self(mode))
            }
            _ => Err(WrongValue::new(format!("\"{text}\" is not a file mode"))
                .help("write three octal digits with a zero before them: \"0660\"")),
        }
    }

    fn from_number(number: i64) -> Option<String> {
        Some(format!("{number:04}"))
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^0?[0-7]{1,3}$" })
    }
}

impl Shape for Bind {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        if !matches!(node.value, Value::Table(_)) {
            let at = ListenAddress::read_node(node, reader)?;
            return Some(Self { at, access: Access::default() });
        }
        let UnixSocket { unix, mode, group } = UnixSocket::read_node(node, reader)?;
        match ListenAddress::parse_word(&format!("unix:{}", unix.value.display())) {
            Ok(at) => Some(Self { at, access: Access { mode, group } }),
            Err(WrongValue { message, help }) => reader.bad(node, message, help),
        }
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        any_of([
            <ListenAddress as Shape>::json_schema(generator),
            UnixSocket::json_schema(generator),
        ])
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.at.fmt(f)
    }
}

impl Serialize for Bind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { at, access: Access { mode, group } } = self;
        match (at, mode, group) {
            (ListenAddress::Unix(path), mode, group) if mode.is_some() || group.is_some() => {
                let mut table = serializer.serialize_map(None)?;
                table.serialize_entry("unix", path)?;
                table.serialize_entry("mode", mode)?;
                table.serialize_entry("group", group)?;
                table.end()
            }
            _ => at.serialize(serializer),
        }
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:04o}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_octal() {
        assert_eq!(Mode::parse_word("0660"), Ok(Mode(0o660)));
        assert_eq!(Mode::parse_word("600"), Ok(Mode(0o600)));
        for wrong in ["", "0888", "rw-rw----", "1777", "00660", "-1", "+660"] {
            assert!(Mode::parse_word(wrong).is_err(), "{wrong}");
        }
    }
}
