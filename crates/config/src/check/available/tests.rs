use super::*;
use crate::tree;

fn unavailable_in(text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let root = tree::parse(0, text, &mut findings);
    assert!(findings.is_empty());
    unavailable(&root).into_iter().map(|finding| finding.message).collect()
}

#[test]
fn a_key_that_would_be_ignored_is_refused() {
    let text = "[[listen]]\nhttp3 = 'x'\n[upstream.a]\nservers = ['b:1']";
    assert_eq!(unavailable_in(text), ["`http3 = \"x\"` is not available in this version"]);
}

#[test]
fn asking_for_nothing_is_fine() {
    let text = "[[listen]]\nhttp3 = false\n[[route]]\ncache = false\nauth = 'off'\naccess_log = false\n\
                    [upstream.a]\neject = false\nbalance = 'random'\nservers = ['a:1']\n[log]\naccess = 'off'";
    assert_eq!(unavailable_in(text), Vec::<String>::new());
}

#[test]
fn a_row_names_a_key_of_the_schema() {
    let schema = crate::whole_schema();
    let definitions = schema.get("$defs").and_then(|defs| defs.as_object()).unwrap();
    let known = |key: &str| {
        let has = |table: &serde_json::Value| table["properties"].get(key).is_some();
        has(schema.as_value()) || definitions.values().any(has)
    };
    for row in ROWS {
        assert!(row.path.split('.').all(|step| step == "*" || known(step)), "{}", row.path);
    }
}

#[test]
fn the_schema_leaves_out_what_is_refused() {
    let leads = |root: &Json, path: &str| {
        let mut places = Vec::new();
        lead(root, "", &path.split('.').collect::<Vec<_>>(), &mut places);
        places
    };
    let shown = crate::json_schema();
    let (shown, whole) = (shown.as_value(), crate::whole_schema());
    for row in ROWS {
        assert!(!leads(whole.as_value(), row.path).is_empty(), "{}", row.path);
        let left = leads(shown, row.path);
        match row.fine {
            FineValue::Nothing => assert_eq!(left, [], "{}", row.path),
            FineValue::Off => {
                for (table, key) in left {
                    let property = &shown.pointer(&table).unwrap()[&key];
                    assert!(!property.to_string().contains("true"), "{}", row.path);
                    assert!(property["$ref"].is_null(), "{}", row.path);
                }
            }
        }
    }
    let definitions = shown["$defs"].as_object().unwrap();
    assert!(definitions.len() > 20);
    for name in definitions.keys() {
        assert!(shown.to_string().contains(&format!("#/$defs/{name}\"")), "{name} is unused");
    }
}
