//! `config/scenarios`: the index names all of them, and `try` starts each on loopback.

use std::fs;
use std::process::{Command, Stdio};

use crate::documents::{document, root};

fn names() -> Vec<String> {
    let entries = fs::read_dir(root().join("config/scenarios")).unwrap();
    let files = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        files.filter_map(|file| file.strip_suffix(".toml").map(str::to_owned)).collect();
    names.sort();
    assert!(names.len() > 15, "{names:?}");
    names
}

#[test]
fn the_index_names_every_scenario() {
    let index = document("config/scenarios/README.md");
    let rows = index.lines().filter(|line| line.starts_with("| [")).count();
    assert_eq!(rows, names().len());
    for name in names() {
        let start = format!("| [{name}.toml]({name}.toml) | ");
        let row = index.lines().find(|line| line.starts_with(&start));
        assert!(row.is_some_and(|row| row.len() > start.len() + 20), "{name}");
    }
}

#[test]
fn every_scenario_starts_on_loopback() {
    // One after the other in a network of their own: the port is always the same.
    let script = r#"
        ip link set lo up
        for name; do
            config/scenarios/try "$name" >/dev/null 2>"$LOG" & started=$!
            for _ in $(seq 600); do
                code=$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8080/) && break
                sleep 0.02
            done
            echo "$name $code"
            kill $started; wait $started 2>/dev/null
        done
    "#;
    let log = tempfile::NamedTempFile::new().unwrap();
    let plain = Command::new("unshare").args(["--net", "true"]).output();
    let plain = plain.expect("unshare, of the Debian package util-linux").status.success();
    let own: &[&str] = if plain { &["--net"] } else { &["--user", "--map-root-user", "--net"] };
    let output = Command::new("unshare")
        .args(own)
        .args(["--pid", "--fork", "--kill-child", "timeout", "120", "bash", "-c", script, "bash"])
        .args(names())
        .current_dir(root())
        .env("TIDEGATE", env!("CARGO_BIN_EXE_tidegate"))
        .env("LOG", log.path())
        .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().count(), names().len(), "{said}");
    for line in said.lines() {
        // Nobody is behind them, so most answer 502 or 503; those without a route for `/` answer
        // 404.
        let code = line.rsplit(' ').next().unwrap();
        assert!(
            ["404", "502", "503"].contains(&code),
            "{said}\n{}",
            fs::read_to_string(log.path()).unwrap()
        );
    }
}
