//! The description of the admin endpoint is true: what it says is answered is answered.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use support::{Configuration, Origin, RawClient, Response, Tidegate};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");

fn proxy(origin: &Origin) -> Tidegate {
    let upstream = format!(
        "servers = [{{ address = '{origin}', name = 'one' }}]\nbreaker = {{ failures = 5, per = 'server' }}"
    );
    let base = Configuration::default().listen("name = 'main'");
    base.upstream_with("app", &upstream).route("name = 'all'").start()
}

fn ask(proxy: &Tidegate, method: &str, path: &str, body: &str) -> Response {
    let length = body.len();
    RawClient::connect(proxy.admin()).exchange(format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
    ))
}

/// Panics unless the answer is one that the document has for this call.
fn conforms(document: &Value, method: &str, template: &str, answer: &Response) {
    let operation = &document["paths"][template][method.to_lowercase()];
    assert!(operation.is_object(), "{method} {template} is not described");
    let described = &operation["responses"][answer.status.to_string()];
    let what = format!("{method} {template} answered {}: {}", answer.status, answer.text());
    assert!(described.is_object(), "{what}");
    let kind = answer.header("content-type").unwrap().split(';').next().unwrap().to_owned();
    let content = &described["content"][&kind];
    assert!(content.is_object(), "{what}: {kind} is not described");
    if !kind.ends_with("json") {
        return;
    }
    let mut schema = content["schema"].clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let value: Value = serde_json::from_slice(&answer.body).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path)).collect();
    assert!(errors.is_empty(), "{what}\n{errors:?}");
}

#[test]
fn every_call_answers_as_described() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin);
    proxy.client().get("/");
    let answer = ask(&proxy, "GET", "/openapi.json", "");
    let document: Value = serde_json::from_slice(&answer.body).unwrap();
    let server = "/upstreams/{upstream}/servers/{server}";
    let order = "/upstreams/{upstream}/servers/{server}/{order}";
    let one = "/upstreams/app/servers/one";
    let calls: &[(&str, &str, &str, &str, u16)] = &[
        ("GET", "/", "/", "", 200),
        ("GET", "/live", "/live", "", 200),
        ("GET", "/ready", "/ready", "", 200),
        ("GET", "/stats", "/stats", "", 200),
        ("GET", "/metrics", "/metrics", "", 200),
        ("GET", "/refusals", "/refusals", "", 200),
        ("GET", "/certificates", "/certificates", "", 200),
        ("GET", "/history", "/history?minutes=60", "", 200),
        ("GET", "/history", "/history?minutes=0", "", 422),
        ("GET", "/openapi.json", "/openapi.json", "", 200),
        ("GET", "/config", "/config", "", 200),
        (
            "POST",
            "/config/check",
            "/config/check",
            "[[listen]]\naddress = '127.0.0.1:0'\n[[route]]\nrespond = { status = 200 }",
            200,
        ),
        ("POST", "/config/check", "/config/check", "[[liste]]", 422),
        ("GET", "/explain", "/explain?url=http%3A%2F%2Fa%2F", "", 200),
        ("GET", "/explain", "/explain?x=y", "", 422),
        ("POST", "/cache/purge", "/cache/purge", "{\"all\": true}", 200),
        ("POST", "/cache/purge", "/cache/purge", "{}", 400),
        ("POST", "/cache/webhook/{cache}", "/cache/webhook/app", "{}", 404),
        ("GET", "/cache/top", "/cache/top?n=3", "", 200),
        ("GET", "/cache/top", "/cache/top?n=x", "", 400),
        ("GET", "/cache/warm", "/cache/warm", "", 404),
        ("POST", "/cache/warm", "/cache/warm", "{\"urls\": [\"http://a.test/\"]}", 200),
        ("POST", "/cache/warm", "/cache/warm", "{\"urls\": []}", 400),
        ("GET", "/cache/warm", "/cache/warm", "", 200),
        ("GET", "/upstreams", "/upstreams", "", 200),
        ("GET", "/upstreams/{upstream}", "/upstreams/app", "", 200),
        ("GET", "/upstreams/{upstream}", "/upstreams/nobody", "", 404),
        ("PUT", server, one, "{\"weight\": 7}", 200),
        ("PUT", server, one, "{\"state\": \"enable\"}", 200),
        ("PUT", server, one, "{\"state\": \"asleep\"}", 422),
        ("PUT", server, "/upstreams/app/servers/none", "{\"weight\": 7}", 404),
        ("DELETE", server, one, "", 409),
        ("DELETE", server, "/upstreams/app/servers/none", "", 404),
        ("POST", order, "/upstreams/app/servers/one/disable", "", 200),
        ("POST", order, "/upstreams/app/servers/one/tickle", "", 404),
        ("POST", "/reload", "/reload", "", 200),
        // What runs is what the file says, so there is nothing to go back to.
        ("POST", "/rollback", "/rollback", "", 409),
        ("POST", "/drain", "/drain", "", 202),
    ];
    for (method, template, path, body, status) in calls {
        let answer = ask(&proxy, method, path, body);
        assert_eq!(answer.status, *status, "{method} {path}: {}", answer.text());
        conforms(&document, method, template, &answer);
    }
    let asked: BTreeSet<(String, String)> =
        calls.iter().map(|c| (c.1.to_owned(), c.0.to_lowercase())).collect();
    let paths = document["paths"].as_object().unwrap();
    let described: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, all)| {
            all.as_object().unwrap().keys().map(move |method| (path.clone(), method.clone()))
        })
        .collect();
    assert_eq!(asked, described);
}

/// Every reference leads somewhere, and every parameter in a path is declared.
#[test]
fn the_document_holds_together() {
    let document = tidegate::admin::openapi::openapi_document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut all = vec![&document];
    let mut references = 0;
    while let Some(value) = all.pop() {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                    references += 1;
                }
                all.extend(map.values());
            }
            Value::Array(items) => all.extend(items),
            _ => {}
        }
    }
    assert!(references > 20);
    for (path, operations) in document["paths"].as_object().unwrap() {
        for operation in operations.as_object().unwrap().values() {
            for name in path.split(['{', '}']).skip(1).step_by(2) {
                let declared = operation["parameters"].as_array().unwrap();
                let found = declared.iter().any(|p| p["name"] == name && p["in"] == "path");
                assert!(found, "{path} {name}");
            }
        }
    }
}

/// The file in the repository; `BLESS=1` writes it.
#[test]
fn the_file_is_up_to_date() {
    let now =
        serde_json::to_string_pretty(&tidegate::admin::openapi::openapi_document()).unwrap() + "\n";
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(FILE, &now).unwrap();
    }
    let written = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(written == now, "{FILE} is not what the types say: run the test with BLESS=1");
    assert_eq!(json!(written.contains("\"/stats\"")), json!(true));
}
