//! A file of `config/scenarios/`, started with the test's own addresses in place of its.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use support::{Origin, Step, Tidegate, ok};

pub struct Scenario {
    text: String,
}

/// Reads a scenario and replaces its listener and admin address.
pub fn scenario(name: &str) -> Scenario {
    let file = directory().join(format!("{name}.toml"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let text = text.replace("127.0.0.1:9900", "127.0.0.1:0");
    Scenario { text }.with("0.0.0.0:8080", "127.0.0.1:0")
}

impl Scenario {
    /// Replaces something that must be in the file: a test must not quietly lose its subject.
    pub fn with(self, from: &str, to: &str) -> Self {
        assert!(self.text.contains(from), "{from:?} is not in\n{}", self.text);
        Self { text: self.text.replace(from, to) }
    }

    /// Puts an origin in the place of a server.
    pub fn server(self, address: &str, origin: &Origin) -> Self {
        self.with(address, &origin.server())
    }

    pub fn start(self) -> Tidegate {
        Tidegate::start(&self.text)
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/scenarios")
}

/// An origin that answers everything, checks included, with its name.
pub fn named(name: &'static str) -> Origin {
    Origin::start(move |_| vec![Step::Send(ok(name))])
}

/// The first upstream's servers, by name, with their states.
pub fn states(proxy: &Tidegate) -> BTreeMap<String, String> {
    let stats = proxy.stats();
    let servers = stats["upstreams"][0]["servers"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    servers.iter().map(|s| (text(&s["name"]), text(&s["state"]))).collect()
}

/// How often each body comes back in `n` requests for `path`, over one connection.
pub fn shares(proxy: &Tidegate, path: &str, n: usize) -> BTreeMap<String, usize> {
    let mut client = proxy.client();
    let mut shares = BTreeMap::new();
    for _ in 0..n {
        let response = client.get(path);
        assert_eq!(response.status, 200, "{}", response.text());
        *shares.entry(response.text()).or_default() += 1;
    }
    shares
}

pub fn counts<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    BTreeMap::from(expected.map(|(name, n)| (name.to_owned(), n)))
}

#[test]
fn every_scenario_passes_check() {
    let mut seen = 0;
    for entry in std::fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let mut run = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let output = run.arg("check").arg("-c").arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !said.contains("warning"), "{}\n{said}", path.display());
        seen += 1;
    }
    assert!(seen >= 17, "only {seen} files");
}
