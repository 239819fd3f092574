use super::*;

fn read(text: &str) -> Result<Vec<(String, u16)>, Vec<String>> {
    match ServerFile::parse("list", text.to_owned()) {
        Ok(ServerFile::Servers(all)) => {
            Ok(all.iter().map(|one| (one.id(), one.weight.get())).collect())
        }
        Ok(ServerFile::Targets(groups)) => {
            let all = groups.iter().flat_map(|group| &group.targets);
            Ok(all.map(|one| (one.to_string(), 1)).collect())
        }
        Err(report) => {
            let lines = report.lines();
            Err(lines.lines().filter(|line| line.starts_with("list")).map(str::to_owned).collect())
        }
    }
}

fn one(address: &str, weight: u16) -> (String, u16) {
    (address.to_owned(), weight)
}

#[test]
fn toml_and_both_forms_of_json_are_told_apart() {
    let expected = vec![one("10.0.0.1:80", 1), one("b", 3)];
    for text in [
        "servers = ['10.0.0.1:80', { address = '10.0.0.2:80', weight = 3, name = 'b' }]",
        "\u{feff}[[servers]]\naddress = '10.0.0.1:80'\n[[servers]]\naddress = 'x:1'\nweight = 3\nname = 'b'",
        r#" {"servers": ["10.0.0.1:80", {"address": "10.0.0.2:80", "weight": 3, "name": "b"}]}"#,
    ] {
        assert_eq!(read(text), Ok(expected.clone()), "{text}");
    }
    let targets =
        r#"[ {"targets": ["10.0.0.1:80", "app:81"], "labels": {"zone": "a"}}, {"targets": []}]"#;
    assert_eq!(read(targets), Ok(vec![one("10.0.0.1:80", 1), one("app:81", 1)]));
    for none in ["servers = []", "{\"servers\": []}", "[]", "[\n]"] {
        assert_eq!(read(none), Ok(vec![]), "{none}");
    }
}

#[test]
fn mistakes_have_a_place() {
    let mut wrong = Vec::new();
    for (text, expected) in [
        (
            "servers = [\n'10.0.0.1']",
            "list:2:1: error[bad_value]: \"10.0.0.1\" is not a server address",
        ),
        ("servers = [\n", "list:1:12: error[syntax]: unclosed array, expected `]`"),
        ("server = []", "list:1:1: error[unknown_key]: unknown key `server`"),
        ("", "list:1:1: error[missing_key]: `servers` is missing"),
        (
            "servers = [{ address = 'a:1', wieght = 3 }]",
            "list:1:31: error[unknown_key]: unknown key `wieght`",
        ),
        (
            "{\"servers\": [\n \"10.0.0.1:80\",\n \"10.0.0.2:x\"]}",
            "list:3:2: error[bad_value]: \"10.0.0.2:x\" is not a server address",
        ),
        ("{\"servers\": [\n \"10.0.0.1:80\",]}", "list:2:16: error[syntax]: expected value"),
        ("{\"servers\": [\"10.0.0.1:80\"", "list:1:26: error[syntax]: EOF while parsing a list"),
        (
            "{\"servers\": [{\"address\": \"a:1\", \"weight\": 0}]}",
            "list:1:43: error[bad_value]: 0 is out of range",
        ),
        ("{\"servers\": null}", "list:1:13: error[bad_value]: null is no value; leave the key out"),
        (
            "{\"servers\": [], \"servers\": []}",
            "list:1:28: error[syntax]: `servers` is there twice",
        ),
        (
            "[{\"targets\": [\"10.0.0.1\"]}]",
            "list:1:15: error[bad_value]: \"10.0.0.1\" is not a server address",
        ),
        ("[{\"target\": [\"10.0.0.1:1\"]}]", "list:1:13: error[unknown_key]: unknown key `target`"),
        ("[\"10.0.0.1:1\"]", "list:1:2: error[bad_value]: expected a table, found a string"),
        ("[[[[[[[[[[[[]]]]]]]]]]]]", "list:1:3: error[syntax]"),
    ] {
        let lines = read(text).unwrap_err();
        if !lines.iter().any(|line| line.starts_with(expected)) {
            wrong.push(format!("{text}: {lines:?}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    let names = "servers = [{ address = 'a:1', name = 'x' }, { address = 'b:1', name = 'x' }]";
    assert!(read(names).is_err());
}

#[test]
fn deep_json_is_refused_in_time() {
    let text = format!("{{\"servers\": {}1{}}}", "[".repeat(100), "]".repeat(100));
    assert!(read(&text).unwrap_err()[0].contains("this is nested too deeply"));
    let deepest = format!("{{\"servers\": {}", "[".repeat(1 << 20));
    assert!(read(&deepest).unwrap_err()[0].contains("EOF while parsing"));
}
