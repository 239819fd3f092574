//! What a scanner finds: testssl.sh.

use std::process::Command;

use serde_json::Value;

use crate::{entry, proxy};
use support::{Authority, Origin};

#[test]
fn nothing_above_low_is_found_on_the_defaults() {
    let origin = Origin::ok("fine");
    let authority = Authority::new("ca");
    let proxy = proxy(&origin, &entry(&authority.certificate("a", &["a.test"]), ""), "");
    let report = proxy.path("report.json");
    // Protocols, ciphers, forward secrecy, the server's preferences and vulnerabilities; the
    // certificate is the test's own.
    let output = Command::new("timeout")
        .args(["240", "testssl", "--quiet", "--color", "0", "--warnings", "off"])
        .args(["--openssl-timeout", "5", "--nodns", "none", "-p", "-s", "-f", "-P", "-U"])
        .arg("--jsonfile")
        .arg(&report)
        .args(["--ip", "127.0.0.1", &format!("a.test:{}", proxy.address().port())])
        .output()
        .expect("testssl, of the Debian package testssl.sh");
    let said = String::from_utf8_lossy(&output.stdout);
    let report = std::fs::read_to_string(report).unwrap_or_else(|error| panic!("{error}: {said}"));
    let findings: Vec<Value> = serde_json::from_str(&report).unwrap();
    let of = |id: &str| findings.iter().find(|finding| finding["id"] == id);
    assert_eq!(of("TLS1_3").map(|finding| &finding["severity"]), Some(&"OK".into()), "{said}");
    assert!(of("ALPN_HTTP2").is_some() && of("heartbleed").is_some(), "{said}");
    let bad: Vec<&Value> = findings
        .iter()
        .filter(|f| !matches!(f["severity"].as_str(), Some("OK" | "INFO" | "LOW")))
        // What it says about the OpenSSL that it runs with.
        .filter(|f| f["id"] != "engine_problem")
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
}
