//! Name and password as a request has them (RFC 7617 §2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::LONGEST;

/// A name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name of the user.
    pub user: String,
    pub(super) password: Vec<u8>,
}

impl Credentials {
    /// Reads an `Authorization` field.
    #[must_use]
    pub fn parse_field(field: &[u8]) -> Option<Self> {
        let (scheme, coded) = field.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") || coded.len() > LONGEST {
            return None;
        }
        let plain = STANDARD.decode(coded.trim_ascii()).ok()?;
        let colon = plain.iter().position(|byte| *byte == b':')?;
        let (user, password) = plain.split_at_checked(colon)?;
        let user = std::str::from_utf8(user).ok()?.to_owned();
        Some(Self { user, password: password.get(1..)?.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read() {
        // printf 'anna:se:cret' | base64
        let read = Credentials::parse_field(b"Basic YW5uYTpzZTpjcmV0").unwrap();
        assert_eq!((read.user.as_str(), &*read.password), ("anna", &b"se:cret"[..]));
        for none in [&b"Bearer x"[..], b"Basic", b"Basic !!", b"Basic YW5uYQ==", b""] {
            assert!(Credentials::parse_field(none).is_none());
        }
    }
}
