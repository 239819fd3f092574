//! Certificates that change, do not belong together, or end.

use std::process::Command;

use time::Duration;

use crate::{ask, config, entry, proxy, s_client};
use support::{Authority, Certificate, Origin, RawClient, SOON, wait_until};

/// `tidegate check` of this text: whether it is fine, and what it says.
pub(crate) fn check(text: &str) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.toml");
    std::fs::write(&file, text).unwrap();
    let program = env!("CARGO_BIN_EXE_tidegate");
    let output = Command::new(program).arg("check").arg("-c").arg(&file).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn a_renewed_certificate_is_shown_without_a_connection_lost() {
    let authority = Authority::new("ca");
    let origin = Origin::ok("fine");
    let certificate = authority.certificate("a", &["a.test"]);
    let proxy = proxy(&origin, &entry(&certificate, ""), "");
    let serial = || {
        let said = s_client(&proxy, &["-servername", "a.test"]);
        let pem = said.split("-----BEGIN CERTIFICATE-----").nth(1).unwrap();
        pem.split("-----END").next().unwrap().to_owned()
    };
    let before = serial();
    // curl keeps its connection while the files change: the second transfer waits for its signal.
    let authority_path = authority.ca();
    let url = format!("https://a.test:{}/", proxy.address().port());
    let fifo = proxy.path("upload");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let held = Command::new("curl")
        .args(["-sS", "--max-time", "30", "--cacert"])
        .arg(&authority_path)
        .args(["--resolve", &format!("a.test:{}:127.0.0.1", proxy.address().port())])
        .args(["-w", "%{http_code} %{num_connects}\n", "-T"])
        .arg(&fifo)
        .arg(&url)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut body = std::fs::File::options().write(true).open(&fifo).unwrap();
    std::io::Write::write_all(&mut body, b"begun").unwrap();
    let open = || proxy.stats()["listeners"][0]["connections"].as_u64();
    wait_until(SOON, "the upload has begun", || open() == Some(1));
    let renewed = authority.certificate("a", &["a.test"]);
    assert_eq!(renewed.cert, certificate.cert);
    wait_until(SOON, "the new one is shown", || serial() != before);
    std::io::Write::write_all(&mut body, b" and ended").unwrap();
    drop(body);
    let output = held.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "fine200 1\n");
    let bodies: Vec<Vec<u8>> = origin.requests().into_iter().map(|r| r.body).collect();
    assert!(bodies.contains(&b"begun and ended".to_vec()));
}

#[test]
fn what_does_not_belong_together_is_refused_and_changes_nothing() {
    let authority = Authority::new("ca");
    let origin = Origin::ok("fine");
    let good = authority.certificate("a", &["a.test"]);
    let other = authority.certificate("b", &["b.test"]);
    let mixed = Certificate { cert: good.cert.clone(), key: other.key.clone() };
    let (fine, said) = check(&config(&origin, &entry(&mixed, ""), ""));
    assert!(
        !fine && said.contains("bad_certificate") && said.contains("does not belong"),
        "{said}"
    );
    let missing = Certificate { cert: "/nowhere.pem".into(), key: good.key.clone() };
    let (fine, said) = check(&config(&origin, &entry(&missing, ""), ""));
    assert!(!fine && said.contains("/nowhere.pem"), "{said}");
    let swapped = Certificate { cert: good.key.clone(), key: good.cert.clone() };
    let (fine, said) = check(&config(&origin, &entry(&swapped, ""), ""));
    assert!(!fine && said.contains("no certificate in it") && !said.contains("PRIVATE"), "{said}");
    // A running proxy goes on with what it has.
    let proxy = proxy(&origin, &entry(&good, ""), "");
    std::fs::copy(&other.key, &good.key).unwrap();
    wait_until(SOON, "it is said", || proxy.log().contains("does not belong"));
    assert_eq!(ask(&proxy, &authority, "a.test", &[]).text(), "fine\n200");
}

#[test]
fn the_end_of_a_certificate_is_pointed_at() {
    let authority = Authority::new("ca");
    let origin = Origin::ok("fine");
    for (days, words) in [(5, "ends in 5 days"), (-4, "ended 3 days ago")] {
        let certificate = authority.lasting("a", &["a.test"], Duration::hours(days * 24 + 12));
        let (fine, said) = check(&config(&origin, &entry(&certificate, ""), ""));
        assert!(fine && said.contains("certificate_expiry") && said.contains(words), "{said}");
    }
    let certificate = authority.lasting("a", &["a.test"], Duration::days(30));
    let (fine, said) = check(&config(&origin, &entry(&certificate, ""), ""));
    assert!(fine && !said.contains("certificate_expiry"), "{said}");
    let proxy = proxy(&origin, &entry(&certificate, ""), "");
    let metrics = RawClient::connect(proxy.admin()).ask("/metrics").text();
    let name = "tidegate_tls_certificate_not_after_seconds{";
    let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
    let end: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    let left = end - time::OffsetDateTime::now_utc().unix_timestamp() as f64;
    assert!((29.9..30.1).contains(&(left / 86_400.0)), "{line}");
    let stats = proxy.stats();
    let list = RawClient::connect(proxy.admin()).ask("/certificates");
    let list: serde_json::Value = serde_json::from_slice(&list.body).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    let one = &list[0];
    assert_eq!((&one["listener"], &one["names"][0]), (&"main".into(), &"a.test".into()), "{list}");
    assert_eq!(one["not_after"], end, "{list}");
    assert!((29 * 86_400..=30 * 86_400).contains(&one["left"].as_i64().unwrap()), "{list}");
    let shown = &stats["listeners"][0]["tls"]["certificates"][0];
    assert_eq!(shown["names"], serde_json::json!(["a.test"]));
}
