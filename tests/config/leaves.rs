//! Every key of the schema, with each example and the default that the schema gives for it, in the
//! smallest file that it can stand in: `check` refuses none.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value, json};
use support::Authority;
use tidegate::config;

/// What has to stand beside a key, by the place of the key; a name that begins with `/` is one of
/// the top level, and `null` takes away. `#` is an element, `*` a name.
fn beside(place: &str, is_last: bool, pair: &Value) -> Value {
    let redis = json!({ "url": "redis://127.0.0.1" });
    match place {
        "admin.address.mode" | "listen.#.address.mode" | "listen.#.address.#.mode" => {
            json!({ "unix": "/run/tidegate.sock" })
        }
        "admin.token" | "admin.read_token" => json!({ "address": "127.0.0.1:0" }),
        "log.access.format" | "log.access.sample" => json!({ "path": "access.log" }),
        "log.trace.sample" | "log.trace.propagate" => json!({ "otlp": "http://127.0.0.1:4318" }),
        "redis.sentinel.password" | "redis.sentinel.database" => {
            json!({ "master": "tide", "nodes": ["127.0.0.1:26379"] })
        }
        "redis.cluster" | "redis.timeout" | "redis.on_error" => redis,
        "listen.#.tls.min_version" | "listen.#.tls.#.min_version" => pair.clone(),
        "upstream.*.servers.#.weight" | "upstream.*.servers.#.priority" => {
            json!({ "address": "10.0.0.1:8080" })
        }
        "upstream.*.servers.max_ttl" | "upstream.*.servers.min_ttl" => {
            json!({ "dns": "app.internal:80" })
        }
        // The default says that servers do not register: then they are found elsewhere.
        "upstream.*.servers.registry" if is_last => json!({ "dns": "app.internal:80" }),
        "upstream.*.servers.registry.max" | "upstream.*.servers.registry.redis" => {
            json!({ "/admin": { "address": "127.0.0.1:0" } })
        }
        "upstream.*.balance.bounded" => json!({ "hash": "uri" }),
        "upstream.*.balance.ttl" | "upstream.*.balance.secret" => json!({ "sticky": "tg" }),
        "upstream.*.balance.shard" => json!({ "range_size": 10 }),
        "upstream.*.breaker.window" | "upstream.*.breaker.min_requests" => {
            json!({ "error_rate": "10%" })
        }
        "upstream.*.breaker.successes"
        | "upstream.*.breaker.open_for"
        | "upstream.*.breaker.per" => json!({ "failures": 5 }),
        "route.#.mirror.share" => json!({ "upstream": "app" }),
        "route.#.rewrite.path_regex.match" => json!({ "to": "/x" }),
        "route.#.cache.tier_ttl" | "cache.*.tier_ttl" => {
            json!({ "tier": "redis", "/redis": redis })
        }
        // Another action.
        "route.#.respond" | "route.#.redirect" | "route.#.files" => json!({ "upstream": null }),
        "route.#.redirect.status" => json!({ "to": "/x" }),
        "route.#.files.index" => json!({ "root": "/" }),
        "route.#.cors.credentials" | "route.#.cors.max_age" => {
            json!({ "origins": ["https://a.example"] })
        }
        "route.#.concurrency.key" | "route.#.concurrency.pending" => json!({ "max": 5 }),
        "route.#.concurrency.pending_timeout" => json!({ "max": 5, "pending": 3 }),
        "auth.*.api_key.header" => json!({ "keys": { "anna": "let-me-in" } }),
        "auth.*.forward.timeout" => json!({ "url": "http://127.0.0.1/" }),
        "auth.*.realm" => {
            json!({ "api_key": { "header": "x-api-key", "keys": { "anna": "let-me-in" } } })
        }
        _ => match place.rsplit_once('.') {
            Some((table, "burst" | "key" | "store")) if table.contains("limit") => {
                json!({ "rate": "10/s" })
            }
            Some(("auth.*.jwt", _)) => json!({ "jwks": "https://a.example/keys" }),
            _ => json!({}),
        },
    }
}

/// A key by the steps to it, and a value that the schema gives.
type Leaf = (Vec<String>, Value);

fn collect(root: &Value, node: &Value, path: &[String], seen: &[&str], found: &mut Vec<Leaf>) {
    if let Some(name) = node["$ref"].as_str() {
        if !seen.contains(&name) {
            let target = root.pointer(name.trim_start_matches('#')).unwrap();
            collect(root, target, path, &[seen, &[name]].concat(), found);
        }
        return;
    }
    let step = |name: &str| [path, &[name.to_owned()]].concat();
    for form in node["anyOf"].as_array().into_iter().chain(node["oneOf"].as_array()).flatten() {
        collect(root, form, path, seen, found);
    }
    for (key, about) in node["properties"].as_object().into_iter().flatten() {
        let path = step(key);
        let examples = about["examples"].as_array().into_iter().flatten();
        for value in examples.chain(about.get("default")) {
            let leaf = (path.clone(), value.clone());
            if !found.contains(&leaf) {
                found.push(leaf);
            }
        }
        collect(root, about, &path, seen, found);
    }
    if node["additionalProperties"].is_object() {
        collect(root, &node["additionalProperties"], &step("*"), seen, found);
    }
    if node["items"].is_object() {
        collect(root, &node["items"], &step("#"), seen, found);
    }
}

fn table(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().unwrap()
}

/// The smallest file with this key.
fn file_with((path, value): &Leaf, pair: &Value) -> Value {
    let mut file = json!({
        "listen": [{ "address": "127.0.0.1:0" }],
        "upstream": { "app": { "servers": ["127.0.0.1:1"] } },
        "route": [{ "upstream": "app" }],
    });
    let mut above = json!({});
    let mut at = &mut file;
    for (depth, step) in path.iter().enumerate() {
        let place = path[..=depth].join(".");
        for (name, value) in beside(&place, depth + 1 == path.len(), pair).as_object().unwrap() {
            match name.strip_prefix('/') {
                Some(name) => drop(table(&mut above).insert(name.to_owned(), value.clone())),
                None if value.is_null() => drop(table(at).remove(name)),
                None => drop(table(at).insert(name.clone(), value.clone())),
            }
        }
        at = match step.as_str() {
            "#" => {
                if !at.is_array() {
                    *at = json!([{}]);
                }
                &mut at[0]
            }
            "*" => table(at).entry("app").or_insert(Value::Null),
            name => table(at).entry(name).or_insert(Value::Null),
        };
    }
    *at = value.clone();
    table(&mut file).extend(table(&mut above).clone());
    file
}

/// JSON as TOML writes it.
fn inline(value: &Value) -> String {
    match value {
        Value::Array(all) => format!("[{}]", all.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Object(all) => {
            let pairs: Vec<String> =
                all.iter().map(|(key, value)| format!("\"{key}\" = {}", inline(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

#[test]
fn examples_and_defaults_of_the_schema_are_what_check_takes() {
    let schema = config::json_schema();
    let mut leaves = Vec::new();
    collect(schema.as_value(), schema.as_value(), &[], &[], &mut leaves);
    assert!(leaves.len() > 180, "{}", leaves.len());
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca");
    let made = authority.certificate("a", &["a.example"]);
    let pair = json!({ "cert": made.cert, "key": made.key });
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(leaf) = leaves.get(number) else { break };
            let (place, file) = (leaf.0.join("."), file_with(leaf, &pair));
            let tables = file.as_object().unwrap().iter();
            let lines: Vec<String> =
                tables.map(|(key, value)| format!("{key} = {}", inline(value))).collect();
            let path = folder.path().join(format!("{number}.toml"));
            std::fs::write(&path, lines.join("\n")).unwrap();
            let mut check = Command::new(env!("CARGO_BIN_EXE_tidegate"));
            check.arg("check").arg("-c").arg(&path).env("TOKEN", "sesame, and then some more");
            let said = check.current_dir(&folder).output().unwrap();
            if !said.status.success() {
                let said = String::from_utf8([said.stdout, said.stderr].concat()).unwrap();
                wrong.lock().unwrap().push(format!("{place} = {}\n{said}", leaf.1));
            }
        }
    };
    std::thread::scope(|scope| [scope.spawn(work), scope.spawn(work)].map(drop));
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
