use proptest::prelude::*;

use super::*;
use crate::tree;

fn variable(name: &str) -> Option<String> {
    match name {
        "HOST" => Some("example.com".into()),
        "EMPTY" => Some(String::new()),
        "EVIL" => Some("\"\nadmin = \"${HOST}".into()),
        _ => None,
    }
}

fn filled(value: &str) -> Result<String, Vec<Finding>> {
    let text = format!("key = '{value}'");
    let mut findings = Vec::new();
    let mut entries = tree::parse(0, &text, &mut findings);
    replace(&mut entries, &text, OutsideValue { variable: &variable, files: true }, &mut findings);
    match entries.first().map(|entry| &entry.value.value) {
        Some(Value::String(text)) if findings.is_empty() => Ok(text.clone()),
        _ => Err(findings),
    }
}

#[test]
fn variables_and_defaults_are_replaced() {
    assert_eq!(filled("a ${HOST} b ${HOST}").unwrap(), "a example.com b example.com");
    assert_eq!(filled("${NONE:-80}").unwrap(), "80");
    assert_eq!(filled("${EMPTY:-80}").unwrap(), "80");
    assert_eq!(filled("${EMPTY}").unwrap(), "");
    assert_eq!(filled("${NONE:-}").unwrap(), "");
}

#[test]
fn a_dollar_stands_for_itself() {
    assert_eq!(filled("^/a$|$x|$$").unwrap(), "^/a$|$x|$$");
    assert_eq!(filled("$${HOST}").unwrap(), "${HOST}");
}

#[test]
fn what_is_put_in_stays_a_value() {
    assert_eq!(filled("${EVIL}").unwrap(), "\"\nadmin = \"${HOST}");
}

#[test]
fn an_unset_variable_is_pointed_at() {
    let findings = filled("x ${NONE} ${ALSO}").unwrap_err();
    assert_eq!(findings.len(), 2);
    assert_eq!(findings[0].code, "unset_variable");
    assert_eq!(findings[0].place.span(), 9..16);
}

#[test]
fn odd_names_are_refused() {
    for value in ["${", "${}", "${1A}", "${A B}", "${HOST", "${file:/nonexistent/x}", "${file:/}"] {
        assert!(filled(value).is_err(), "{value}");
    }
}

proptest! {
    #[test]
    fn replacing_never_panics(value in "[$\\{\\}:a-zA-Zé\u{0}-]{0,40}") {
        let _ = filled(&value);
    }
}
