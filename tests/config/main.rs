//! The configuration as its users meet it: files in, findings out.
//!
//! `cases/bad/X.toml` must print exactly `cases/bad/X.stderr`; run with `BLESS=1` to write the
//! expected texts anew, and read the difference before committing it.

#![allow(missing_docs, reason = "tests document themselves by their names")]
#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

mod keys;
mod leaves;
mod reference;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tidegate::config::{self, FindingReport, TextColour};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(directory: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(root().join(directory))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{directory} has no files");
    files
}

fn shown(report: &FindingReport) -> String {
    let prefix = format!("{}/tests/config/cases/", root().display());
    report.text(TextColour::Plain).replace(&prefix, "")
}

fn codes(text: &str) -> Vec<&'static str> {
    config::load_str("test.toml", text)
        .err()
        .map(|report| report.findings.iter().map(|finding| finding.code).collect())
        .unwrap_or_default()
}

fn check(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate")).args(arguments).output().unwrap()
}

#[test]
fn bad_files_are_explained() {
    let mut wrong = Vec::new();
    for path in files("tests/config/cases/bad") {
        let report = config::load(&path).err().unwrap_or_else(|| panic!("{path:?} loads"));
        let text = shown(&report);
        let golden = path.with_extension("stderr");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&golden, &text).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "run with BLESS=1 if this is right:\n{}", wrong.join("\n"));
}

#[test]
fn good_files_load_without_findings() {
    for path in files("tests/config/cases/good").into_iter().chain(files("config")) {
        let loaded = config::load(&path).unwrap_or_else(|report| panic!("{}", shown(&report)));
        assert_eq!(loaded.findings, [], "{}", path.display());
    }
}

#[test]
fn defaults_are_those_of_the_contract() {
    let text = fs::read_to_string(root().join("config/tidegate.toml")).unwrap();
    let config = config::load_str("tidegate.toml", &text).unwrap().config;
    let listen = &config.listen[0];
    let shown = serde_json::json!({ "limits": listen.limits, "timeout": listen.timeout });
    assert_eq!(
        shown,
        serde_json::json!({
            "limits": {
                "connections": null, "connections_per_client": null,
                "requests_per_connection": null, "header_bytes": "32KiB", "headers": 100, "body": "64MiB",
                "streams": 100
            },
            "timeout": {
                "tls": "10s", "headers": "10s", "idle": "75s", "body_gap": "30s", "write_gap": "1m",
                "connection_age": "off"
            }
        })
    );
    let upstream = &config.upstream["app"];
    assert_eq!(
        serde_json::to_value(&upstream.timeout).unwrap(),
        serde_json::json!({
            "connect": "2s", "send": "1m", "first_byte": "30s", "gap": "1m", "total": "off",
            "tunnel": "1h", "kept": "30s"
        })
    );
    assert_eq!(upstream.retry.attempts, 1);
    assert_eq!(serde_json::to_value(&upstream.balance).unwrap(), "least_request");
}

#[test]
fn one_run_reports_every_route() {
    let text = "[[listen]]\naddress = '127.0.0.1:0'\n\
                [[route]]\nrespond = {}\nx = 1\n[[route]]\nrespond = {}\ny = 1\nbody_limit = 5\n";
    assert_eq!(codes(text), ["unknown_key", "unknown_key", "bad_value"]);
}

#[test]
fn order_of_weights_makes_no_difference() {
    let base = "[[listen]]\naddress = '127.0.0.1:0'\n[upstream.a]\nservers = ['a:1']\n\
                [upstream.b]\nservers = ['b:1']\n[[route]]\nupstream = ";
    let load = |split: &str| config::load_str("x", &format!("{base}{split}")).unwrap().config;
    assert_eq!(load("{ a = 1, b = 2 }"), load("{ b = 2, a = 1 }"));
}

#[test]
fn text_from_elsewhere_reads_no_files() {
    assert!(codes("include = ['/etc/hostname']").contains(&"bad_value"));
    let text = "[[listen]]\naddress = '${file:/etc/hostname}'\n";
    assert!(codes(text).contains(&"unset_variable"));
}

#[test]
fn a_secret_that_is_wrong_is_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("secret"), "hunter2\n").unwrap();
    let path = directory.path().join("a.toml");
    let secret = directory.path().join("secret");
    fs::write(&path, format!("[[listen]]\naddress = '${{file:{}}}'\n", secret.display())).unwrap();
    let report = config::load(&path).unwrap_err();
    assert!(!report.text(TextColour::Plain).contains("hunter2"));
    assert!(!report.json().to_string().contains("hunter2"));
}

#[test]
fn what_is_no_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let missing = directory.path().join("missing");
    for (path, why) in [
        (directory.path(), "it is a directory"),
        (fifo.as_path(), "it is not a regular file"),
        (missing.as_path(), "there is no such file"),
    ] {
        let report = config::load(path).unwrap_err();
        assert_eq!(report.findings.len(), 1);
        assert!(report.text(TextColour::Plain).contains(why), "{}", report.text(TextColour::Plain));
    }
}

#[test]
fn too_many_includes_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..1_100 {
        fs::write(directory.path().join(format!("{number}.part")), "").unwrap();
    }
    let path = directory.path().join("a.toml");
    fs::write(&path, "include = ['*.part']\n").unwrap();
    let report = config::load(&path).unwrap_err();
    assert!(report.findings.iter().any(|finding| finding.code == "too_large"));
}

#[test]
fn a_very_long_line_is_cut_around_the_finding() {
    let text = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\n[upstream.a]\nservers = [{}'ä:1', 5]\n",
        "'a:1', ".repeat(400)
    );
    let report = config::load_str("long.toml", &text).unwrap_err();
    let shown = report.text(TextColour::Plain);
    assert!(shown.contains("long.toml:4:2819"), "{shown}");
    let warned = text.replace("'ä:1', 5", "'b:1'");
    let loaded = config::load_str("long.toml", &warned).unwrap();
    assert_eq!(loaded.findings.len(), 400);
    let report = FindingReport::of(loaded.findings, loaded.sources);
    assert!(report.text(TextColour::Plain).lines().all(|line| line.len() < 1_000));
}

#[test]
fn bombs_end_quickly() {
    let start = Instant::now();
    let deep = format!("a = {}", "[".repeat(10_000));
    assert_eq!(codes(&deep), ["syntax"]);
    assert_eq!(codes(&format!("{}b = 1", "a.".repeat(10_000))), ["syntax"]);
    let mut wide = String::from("[[listen]]\naddress = '127.0.0.1:0'\n");
    for number in 0..10_000 {
        wide.push_str(&format!("[[route]]\npath = '/{number}'\nrespond = {{}}\n"));
    }
    assert_eq!(config::load_str("wide", &wide).unwrap().config.route.len(), 10_000);
    let wrong = wide.replace("respond", "x");
    let report = config::load_str("wrong", &wrong).unwrap_err();
    assert!(report.errors() >= 10_000);
    assert!(report.text(TextColour::Plain).len() < 1_000_000);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn the_schema_accepts_what_loads_and_refuses_what_it_can_express() {
    let schema = config::json_schema();
    let validator = jsonschema::validator_for(schema.as_value()).unwrap();
    let json =
        |text: &str| serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap();
    for path in files("tests/config/cases/good").into_iter().chain(files("config")) {
        let text = fs::read_to_string(&path).unwrap();
        // Variables are filled in after parsing; a schema sees the text before.
        if text.contains("${TIDEGATE") {
            continue;
        }
        let errors: Vec<_> = validator.iter_errors(&json(&text)).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
    }
    for name in ["unknown_keys", "units", "paths", "headers"] {
        let path = root().join(format!("tests/config/cases/bad/{name}.toml"));
        assert!(!validator.is_valid(&json(&fs::read_to_string(path).unwrap())), "{name}");
    }
    for text in [
        "[[route]]\nrespond = {}\nupstream = 'a'",
        "[[route]]\npath = '/'",
        "[upstream.a]",
        "[upstream.a]\nservers = [{ address = 'a:1', weight = 0 }]",
        "[upstream.a]\nservers = ['a']",
        "[upstream.a]\nservers = ['a:1']\nbalance = 'fastest'",
        "[[route]]\nupstream = { a = -1 }",
        "[[listen]]\naddress = 'localhost'",
    ] {
        assert!(!validator.is_valid(&json(text)), "{text}");
        assert!(!codes(text).is_empty(), "{text}");
    }
}

#[test]
fn check_says_how_it_went() {
    let good = root().join("config/tidegate.toml");
    let output = check(&["check", "-c", good.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with("tidegate.toml (1 listener, 1 upstream, 1 route)\n"), "{text}");

    let bad = root().join("tests/config/cases/bad/admin.toml");
    let output = check(&["check", "-c", bad.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().ends_with("3 errors, 0 warnings\n"));

    let output = check(&["check", "--format", "json", "-c", bad.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["errors"], 3);
    assert_eq!(json["findings"][0]["code"], "admin_token");
    assert_eq!(json["findings"][0]["line"], 2);
    assert_eq!(json["findings"][0]["column"], 11);
}

/// What is written and can have no effect is pointed at, once, and loads all the same.
#[test]
fn c6_what_does_nothing_is_pointed_at() {
    let base = "[[listen]]\naddress = '127.0.0.1:0'\n{listen}\n\
                [upstream.app]\nservers = ['127.0.0.1:1']\n\
                [[route]]\nupstream = 'app'\n{route}\n";
    let warned = |listen: &str, route: &str, more: &str| -> Vec<&str> {
        let text = base.replace("{listen}", listen).replace("{route}", route) + more;
        let loaded = config::load_str("x", &text)
            .unwrap_or_else(|report| panic!("{listen} {route}: {}", shown(&report)));
        loaded.findings.iter().map(|finding| finding.code).collect()
    };
    let trusting = "trusted_proxies = ['10.0.0.0/8']";
    for (listen, route, more, expected) in [
        ("", "", "", &[][..]),
        ("", "", "[cache.all]\nttl = '5m'", &["unused_cache"]),
        ("", "cache = 'all'", "[cache.all]\nttl = '5m'", &[]),
        ("client_ip = 'header:cf-connecting-ip'", "", "", &["unused_client_ip"]),
        (&format!("client_ip = 'forwarded'\n{trusting}"), "", "", &[]),
        ("client_ip = 'x-forwarded-for'", "", "", &[]),
        ("", "fault = { share = '5%' }", "", &["unused_fault"]),
        ("", "fault = { delay = '1ms' }", "", &[]),
        ("", "tls = true", "", &["unreachable_route"]),
        ("", "tls = false", "", &[]),
        ("", "client_cert = { subject = 'CN=a' }", "", &["unreachable_route"]),
        ("", "path = '/users/*'\nrewrite = { strip_prefix = '/user' }", "", &["unused_prefix"]),
        ("", "path = '/users'\nrewrite = { strip_prefix = '/users/x' }", "", &["unused_prefix"]),
        ("", "path = '/users/*'\nrewrite = { strip_prefix = '/users/' }", "", &[]),
        ("", "path = '/users/*'\nrewrite = { strip_prefix = '/users/x' }", "", &[]),
        ("", "path = '/users'\nrewrite = { strip_prefix = '/users' }", "", &[]),
        ("", "path = ['/a', '/users/*']\nrewrite = { strip_prefix = '/users' }", "", &[]),
        ("", "path = '/u/{id}/*'\nrewrite = { strip_prefix = '/v/{id}' }", "", &[]),
        ("", "rewrite = { strip_prefix = '/users' }", "", &[]),
        ("", "path = '/*'\nrewrite = { strip_prefix = '/users' }", "", &[]),
        ("", "", "[upstream.app.health]\nkind = 'tcp'\nevery = '1s'\nport = 1", &[]),
        ("", "", "[upstream.app.health]\nkind = 'tcp'\npath = '/'", &["no_effect"]),
        (
            "",
            "",
            "[upstream.app.health]\nkind = 'tcp'\nbody = 'x'\nstatus = ['200']",
            &["no_effect"; 2],
        ),
        ("", "", "[upstream.app.health]\nkind = 'grpc'\npath = '/a'\nheaders = { a = 'b' }", &[]),
        ("", "", "[upstream.app.health]\nkind = 'grpc'\nmethod = 'HEAD'", &["no_effect"]),
        ("", "", "[upstream.app.health]\nkind = 'http'\npath = '/a'", &[]),
        ("", "", "[upstream.app.limits]\npending = 5", &["no_effect"]),
        ("", "", "[upstream.app.limits]\npending_timeout = '1s'\nidle = 3", &["no_effect"]),
        ("", "", "[upstream.app.limits]\npending = 5\nrequests = 5", &[]),
        ("", "", "[upstream.app.limits]\npending = 5\nconnections = 5", &[]),
    ] {
        assert_eq!(warned(listen, route, more), expected, "{listen} {route} {more}");
    }
}

/// What is named wrongly is one mistake: it is not unused besides.
#[test]
fn c7_a_name_that_leads_nowhere_is_one_error() {
    let base = "[[listen]]\nname = 'web'\naddress = '127.0.0.1:0'\n\
                [upstream.app]\nservers = ['127.0.0.1:1']\n\
                [limit.all]\nrate = '1/s'\n[[route]]\n";
    for (route, expected) in [
        ("upstream = 'ap'", ["unknown_upstream"]),
        ("upstream = 'app'\nlisten = 'wb'", ["unknown_listen"]),
        ("upstream = 'app'\nlimit = 'al'", ["unknown_limit"]),
        ("upstreem = 'app'\nlimit = 'all'", ["unknown_key"]),
    ] {
        assert_eq!(codes(&format!("{base}{route}\n")), expected, "{route}");
    }
}

/// The URL of a Redis is told which part of it is wrong, and what a right one looks like.
#[test]
fn a_url_of_redis_is_told_what_is_wrong_with_it() {
    let base = "[[listen]]\naddress = '127.0.0.1:0'\n[upstream.app]\nservers = ['127.0.0.1:1']\n\
                [redis]\n{redis}\n[[route]]\nupstream = 'app'\nlimit = { rate = '1/s', store = 'redis' }\n";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.toml");
    for (redis, told) in [
        (
            "url = 'redis://:secret@cache.test:70000/0'",
            ["the port is no number", ":6:7", "redis://USER:PASSWORD@10.0.0.1:6379/0"],
        ),
        (
            "cluster = true\nurl = ['redis://10.0.0.1', 'redis://:sec/ret@10.0.0.2']",
            ["written %2F", ":7:28", "a server of a Cluster is"],
        ),
        (
            "sentinel = { master = 'm', nodes = ['http://10.0.0.1'] }",
            ["the scheme", ":6:37", "a Sentinel is"],
        ),
    ] {
        fs::write(&path, base.replace("{redis}", redis)).unwrap();
        let output = check(&["check", "-c", path.to_str().unwrap()]);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!output.status.success(), "{text}");
        for part in told {
            assert!(text.contains(part), "{part}: {text}");
        }
        for secret in ["secret", "sec/ret"] {
            assert!(!text.contains(secret), "a password is shown: {text}");
        }
        if redis.contains("secret") {
            assert!(text.contains("url = 'redis://:******@cache.test:70000/0'"), "{text}");
        }
    }
}

#[test]
fn warnings_alone_are_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.toml");
    let text = "[[listen]]\naddress = '127.0.0.1:0'\n[upstream.a]\nservers = ['a:1', 'a:1']\n";
    fs::write(&path, text).unwrap();
    let output = check(&["check", "-c", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("warning[unused_upstream]"), "{shown}");
    assert!(shown.contains("warning[duplicate_server]"), "{shown}");
}

#[test]
fn schema_and_version_are_printed() {
    let output = check(&["schema"]);
    assert!(output.status.success());
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["title"], "tidegate");
    assert!(check(&["--version"]).stdout.starts_with(b"tidegate "));
    assert_eq!(check(&["nonsense"]).status.code(), Some(2));
}

/// Every file that is shipped or tried, good and bad.
fn examples() -> &'static [String] {
    static FILES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let folders =
            ["config", "config/scenarios", "tests/config/cases/good", "tests/config/cases/bad"];
        let files: Vec<_> = folders.into_iter().flat_map(files).collect();
        assert!(files.len() > 25, "{files:?}");
        let text = |file| String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
        files.iter().map(text).collect()
    });
    &FILES
}

/// Text that means something in a configuration, or nothing at all.
const WORDS: &[&str] = &[
    "[[listen]]\n",
    "[upstream.app]\n",
    "[[route]]\n",
    "[route.retry]\n",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "\n",
    ",",
    "=",
    ".",
    "#",
    "0",
    "-1",
    "1e400",
    "9223372036854775808",
    "true",
    "nan",
    "1979-05-27",
    "\"\"",
    "${",
    "${HOME}",
    "{id}",
    "*",
    "/",
    "ms",
    "%",
    "é",
    "\u{0}",
    "\u{feff}",
    "\r",
    "=true\n",
    "",
    "\\u",
    "://",
    "::",
];

/// One change, at a character or at a line.
fn mutate(text: String, kind: u8, at: prop::sample::Index, other: prop::sample::Index) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (before, after) = chars.split_at(at.index(chars.len() + 1));
    let word = WORDS[other.index(WORDS.len())];
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (one, two) = (at.index(lines.len().max(1)), other.index(lines.len().max(1)));
    match kind {
        0 => before.iter().collect(),
        1 => before.iter().chain(after.get(1..).unwrap_or_default()).collect(),
        2 => before.iter().copied().chain(word.chars()).chain(after.iter().copied()).collect(),
        3 => {
            let value = lines.get(one).and_then(|line| line.split_once('=')).map(|(key, _)| key);
            let changed = value.map(|key| format!("{key}= {word}\n"));
            let line = changed.as_deref().unwrap_or(word);
            lines.iter().enumerate().map(|(n, l)| if n == one { line } else { l }).collect()
        }
        4 => lines.iter().enumerate().filter(|(n, _)| *n != one).map(|(_, line)| *line).collect(),
        5 => {
            let mut lines = lines;
            if !lines.is_empty() {
                lines.swap(one, two);
            }
            lines.concat()
        }
        _ => {
            let mut lines = lines;
            let line = lines.get(two).copied().unwrap_or_default();
            lines.insert(one, line);
            lines.concat()
        }
    }
}

#[test]
fn what_is_not_text_is_refused() {
    let report = config::load_bytes("fuzz", b"[log]\nlevel = \"\xff\"\n").unwrap_err();
    assert!(report.text(TextColour::Plain).contains("UTF-8"), "{}", report.text(TextColour::Plain));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_never_panic(
        file in any::<prop::sample::Index>(),
        mutations in proptest::collection::vec(
            (0..7_u8, any::<prop::sample::Index>(), any::<prop::sample::Index>()),
            0..5,
        ),
    ) {
        let files = examples();
        let mut text = files[file.index(files.len())].clone();
        for (kind, at, other) in mutations {
            text = mutate(text, kind, at, other);
        }
        // Nothing that was changed by a character or a line is a question of luck: it loads, or it
        // is said why not.
        if let Err(report) = config::load_bytes("fuzz", text.as_bytes()) {
            prop_assert!(!report.findings.is_empty());
            prop_assert!(report.text(TextColour::Plain).contains("fuzz"));
            prop_assert!(!report.json().is_null());
        }
    }

    #[test]
    fn arbitrary_values_never_panic(
        key in "(address|name|tls|limits|servers|balance|path|host|upstream|respond|retry|limit)",
        value in "(1|-1|1e9|true|'[a-z0-9:/*{}$.%-]{0,12}'|\\{ [a-z_]{1,9} = 1 \\}|\\[\\]|\\['é'\\]|2020-01-01)",
    ) {
        for table in ["[[listen]]", "[upstream.a]", "[[route]]", "[log]", "[[route]]\n[route.rewrite]"] {
            if let Err(report) = config::load_str("fuzz", &format!("{table}\n{key} = {value}\n")) {
                let _ = report.text(TextColour::Plain);
            }
        }
    }
}

/// A configuration with one upstream and one route, and these keys.
fn written(upstream: &str, route: &str, more: &str) -> String {
    format!(
        "[[listen]]\naddress = '127.0.0.1:0'\n[upstream.app]\nservers = ['127.0.0.1:1']\n{upstream}\n\
         [[route]]\nupstream = 'app'\n{route}\n{more}\n"
    )
}

#[test]
fn i5_no_header_of_ours_names_framing_or_a_connection() {
    const NAMES: [&str; 10] = [
        "content-length",
        "Transfer-Encoding",
        "connection",
        "te",
        "upgrade",
        "keep-alive",
        "proxy-connection",
        "trailer",
        "http2-settings",
        "expect",
    ];
    let jwt = |name: &str| {
        let auth = format!("[auth.a]\njwt = {{ jwks = '/k', forward = {{ sub = '{name}' }} }}");
        written("", "auth = 'a'", &auth)
    };
    let copy = |name: &str| {
        let auth = format!("[auth.a]\nforward = {{ url = 'http://a/', copy = ['{name}'] }}");
        written("", "auth = 'a'", &auth)
    };
    let others: [fn(&str) -> String; 7] = [
        |name| written("", &format!("request_headers = {{ set = {{ {name} = '1' }} }}"), ""),
        |name| written("", &format!("request_headers = {{ add = {{ {name} = '1' }} }}"), ""),
        |name| written("", &format!("request_headers = {{ remove = ['{name}'] }}"), ""),
        |name| written("", &format!("response_headers = {{ set = {{ {name} = '1' }} }}"), ""),
        |name| written("", &format!("cors = {{ origins = ['*'], headers = ['{name}'] }}"), ""),
        |name| written(&format!("health = {{ path = '/', headers = {{ {name} = '1' }} }}"), "", ""),
        |name| {
            let key = format!("[auth.a]\napi_key = {{ header = '{name}', keys = {{ a = 'k' }} }}");
            written("", "auth = 'a'", &key)
        },
    ];
    for name in NAMES {
        for text in others.iter().map(|of| of(name)).chain([jwt(name), copy(name)]) {
            assert_eq!(codes(&text), ["framing_header"], "{text}");
        }
    }
    // What the proxy itself tells servers is nobody else's to tell; other fields of the families
    // are.
    for name in ["host", "x-forwarded-for", "x-real-ip", "x-client-cert-subject", "x-request-id"] {
        assert_eq!(codes(&jwt(name)), ["framing_header"], "{name}");
        assert_eq!(codes(&copy(name)), ["framing_header"], "{name}");
    }
    for name in ["x-user", "x-forwarded-user"] {
        assert_eq!(codes(&copy(name)), [""; 0], "{name}");
        assert!(others.iter().all(|of| codes(&of(name)).is_empty()), "{name}");
    }
}

#[test]
fn i17_limits_by_address_need_addresses() {
    let on = |listen: &str, route: &str| {
        format!(
            "[[listen]]\nname = 'sock'\naddress = 'unix:/tmp/x.sock'\n{listen}\n\
             [[listen]]\nname = 'tcp'\naddress = '127.0.0.1:0'\n\
             [[route]]\nrespond = {{ status = 200 }}\n{route}\n"
        )
    };
    for by_address in [
        "limit = { rate = '1/s' }",
        "limit = { rate = '1/s', key = ['header:x', 'client_ip'] }",
        "limit = 'shared'\n[limit.shared]\nrate = '1/s'",
        "concurrency = { max = 1, key = 'client_ip' }",
        "client = ['10.0.0.0/8']",
    ] {
        assert_eq!(codes(&on("", by_address)), ["no_address"], "{by_address}");
        assert_eq!(codes(&on("trusted_proxies = ['unix:']", by_address)), [""; 0], "{by_address}");
        assert_eq!(codes(&on("", &format!("listen = 'tcp'\n{by_address}"))), [""; 0]);
        let on_socket = codes(&on("", &format!("listen = 'sock'\n{by_address}")));
        assert_eq!(on_socket, ["unreachable_listener", "no_address"]);
    }
    assert_eq!(codes(&on("", "limit = { rate = '1/s', key = 'header:x' }")), [""; 0]);
    assert_eq!(codes(&on("", "concurrency = { max = 1 }")), [""; 0]);
}

#[test]
fn p14_a_star_does_not_go_with_credentials() {
    let cors =
        |of: &str| written("", &format!("cors = {{ origins = ['https://a.test'], {of} }}"), "");
    assert_eq!(codes(&cors("methods = ['*'], headers = ['*', 'authorization']")), [""; 0]);
    assert_eq!(codes(&cors("methods = ['*'], credentials = true")), ["bad_value"]);
    assert_eq!(codes(&cors("headers = ['*'], credentials = true")), ["bad_value"]);
    assert_eq!(codes(&cors("headers = ['x'], credentials = true")), [""; 0]);
}
