//! The claims of a token: what they say as text, and as a field for servers.

use serde_json::Value as Json;

/// Returns whether a claim is this text, or a list that contains it.
pub(super) fn claim_has(claim: Option<&Json>, value: &str) -> bool {
    match claim {
        Some(Json::Array(items)) => items.iter().any(|item| claim_has(Some(item), value)),
        Some(Json::String(text)) => text == value,
        Some(other) => claim_text(other).as_deref() == Some(value),
        None => false,
    }
}

/// A claim as text: itself, a number, a truth value, a list of such, or an object as JSON. `null`
/// is none.
pub(super) fn claim_text(claim: &Json) -> Option<String> {
    match claim {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(value) => Some(value.to_string()),
        Json::Array(items) => {
            Some(items.iter().filter_map(claim_text).collect::<Vec<_>>().join(","))
        }
        Json::Object(_) => Some(claim.to_string()),
        Json::Null => None,
    }
}

/// Text as a header's value, in UTF-8 (RFC 9110 §5.5 `obs-text`); `None` for what no value can
/// carry: control characters, and white space at an end, which whoever reads it would not see.
pub(super) fn as_field(text: String) -> Option<String> {
    let carried = !text.chars().any(char::is_control) && text.trim() == text;
    carried.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_has_a_value_or_contains_it() {
        let claim: Json = serde_json::from_str("[\"admin\", 7, true]").unwrap();
        assert!(
            claim_has(Some(&claim), "admin")
                && claim_has(Some(&claim), "7")
                && claim_has(Some(&claim), "true")
        );
        assert!(
            !claim_has(Some(&claim), "adm")
                && !claim_has(None, "")
                && !claim_has(Some(&Json::Null), "x")
        );
    }

    #[test]
    fn i11_a_claim_is_sent_as_it_is_or_not_at_all() {
        let field = |json: &str| as_field(claim_text(&serde_json::from_str(json).unwrap())?);
        assert_eq!(field("\"anna\""), Some("anna".into()));
        assert_eq!(field("\"žluť\""), Some("žluť".into()));
        assert_eq!(field("[\"a\", 1, true, null]"), Some("a,1,true".into()));
        assert_eq!(field("{\"a\":\"\\n\"}"), Some("{\"a\":\"\\n\"}".into()));
        for none in [
            "\"a\\r\\nx: y\"",
            "\"\\u0000\"",
            "\"\\u0085\"",
            "\" a\"",
            "\"a \"",
            "null",
            "[\"\\n\"]",
        ] {
            assert_eq!(field(none), None, "{none}");
        }
    }
}
