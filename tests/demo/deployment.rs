//! What `docker/` deploys: manifests that can be put together, configurations that load, rules and boards that ask for
//! metrics there are.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use regex::Regex;

use crate::documents::{document, root};

/// Runs a program that a test needs, in the root of the repository.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    let output = output
        .unwrap_or_else(|error| panic!("{program} is missing ({error}); ./test --check says more"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

#[test]
fn alert_rules_do_what_their_tests_say() {
    run("promtool", &["check", "rules", "docker/observability/alerts.yml"]);
    run("promtool", &["test", "rules", "docker/observability/alerts_test.yml"]);
}

#[test]
fn every_manifest_is_put_together() {
    for (folder, kinds) in [
        (
            "base",
            &[
                "Deployment",
                "Service",
                "PodDisruptionBudget",
                "HorizontalPodAutoscaler",
                "ConfigMap",
            ][..],
        ),
        ("overlays/small", &["Deployment", "HorizontalPodAutoscaler"]),
        ("daemonset", &["DaemonSet", "ConfigMap"]),
        ("sidecar", &["Deployment", "ConfigMap"]),
        ("monitoring", &["ConfigMap"]),
    ] {
        let made = run("kubectl", &["kustomize", &format!("docker/kubernetes/{folder}")]);
        for kind in kinds {
            assert!(made.contains(&format!("\nkind: {kind}\n")), "{folder} has no {kind}:\n{made}");
        }
    }
}

/// Scenarios S2.15 and S5.9.
#[test]
fn the_autoscaler_has_the_figures_of_the_platforms() {
    let large = run("kubectl", &["kustomize", "docker/kubernetes/base"]);
    for figure in [
        "minReplicas: 3",
        "maxReplicas: 100",
        "averageUtilization: 70",
        "averageUtilization: 80",
        "averageValue: \"100\"",
    ] {
        assert!(large.contains(figure), "{figure}");
    }
    let small = run("kubectl", &["kustomize", "docker/kubernetes/overlays/small"]);
    assert!(small.contains("minReplicas: 2") && small.contains("maxReplicas: 10\n"), "{small}");
    assert!(!small.contains("http_requests_per_second"), "{small}");
}

#[test]
fn every_configuration_of_a_manifest_loads() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    fs::write(&token, "secret-of-the-test").unwrap();
    for form in ["base", "daemonset", "sidecar"] {
        let text = document(&format!("docker/kubernetes/{form}/tidegate.toml"))
            .replace("/run/secrets/tidegate/token", token.to_str().unwrap())
            .replace("app.default.svc.cluster.local", "127.0.0.1");
        let file = directory.path().join("tidegate.toml");
        fs::write(&file, text).unwrap();
        run(env!("CARGO_BIN_EXE_tidegate"), &["check", "-c", file.to_str().unwrap()]);
    }
}

#[test]
fn rules_and_boards_ask_for_metrics_there_are() {
    let name = Regex::new(r"\b(tidegate_[a-z0-9_]+|http_requests_total|http_request_duration_seconds|process_[a-z_]+)\b").unwrap();
    let source = |path: &str| -> BTreeSet<String> {
        let text = document(path);
        name.find_iter(&text)
            .map(|found| found.as_str().trim_end_matches("_bucket").to_owned())
            .collect()
    };
    let mut there = BTreeSet::new();
    for entry in fs::read_dir(root().join("src/admin")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            for inner in fs::read_dir(path).unwrap() {
                let inner = inner.unwrap().path();
                there.extend(source(inner.strip_prefix(root()).unwrap().to_str().unwrap()));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            there.extend(source(path.strip_prefix(root()).unwrap().to_str().unwrap()));
        }
    }
    assert!(there.len() > 30, "{there:?}");
    for path in ["docker/observability/alerts.yml", "docker/observability/grafana.json"] {
        let asked = source(path);
        assert!(asked.len() > 5, "{asked:?}");
        let missing: Vec<_> = asked.difference(&there).collect();
        assert!(missing.is_empty(), "{path} asks for {missing:?}");
    }
}
