//! What `docker/` deploys: manifests that can be put together, configurations that load, rules and
//! boards that ask for metrics there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_json::{Value, json};

use crate::architecture::collect;
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

/// The published definitions of all kinds of Kubernetes, which refuse keys that they do not know.
fn published() -> Value {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME");
    let cargo = cargo.map_or_else(|| Path::new(&home).join(".cargo"), PathBuf::from);
    let file = cargo.join("bin/kubernetes-schema.json");
    let text = fs::read_to_string(&file).unwrap_or_else(|why| {
        panic!("{} is missing ({why}); ./test --check says more", file.display())
    });
    serde_json::from_str(&text).unwrap()
}

/// The documents of a manifest.
fn documents_of(manifest: &str) -> Vec<Value> {
    let program =
        "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.argv[1])), sys.stdout)";
    serde_json::from_str(&run("/usr/bin/python3", &["-c", program, manifest])).unwrap()
}

/// The first thing that a definition says against a document.
fn objection(published: &Value, document: &Value) -> Option<String> {
    let version = document["apiVersion"].as_str().unwrap();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = json!([{ "group": group, "kind": document["kind"], "version": version }]);
    let definitions = published["$defs"].as_object().unwrap();
    let of_kind = |(_, one): &(&String, &Value)| one["x-kubernetes-group-version-kind"] == kind;
    let Some((name, _)) = definitions.iter().find(of_kind) else {
        return Some(format!("there is no kind {kind}"));
    };
    let schema = json!({ "$defs": definitions, "$ref": format!("#/$defs/{name}") });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let first = validator.iter_errors(document).next();
    first.map(|error| format!("{}: {error}", error.instance_path))
}

#[test]
fn every_manifest_is_what_the_published_definitions_allow() {
    let published = published();
    let mut seen = 0;
    for folder in ["base", "overlays/small", "daemonset", "sidecar", "monitoring"] {
        let made = run("kubectl", &["kustomize", &format!("docker/kubernetes/{folder}")]);
        for document in documents_of(&made) {
            let said = objection(&published, &document);
            assert_eq!(said, None, "{folder}: {} {}", document["kind"], document["metadata"]);
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen}");
    // A word that Kubernetes does not know, and a figure that is none.
    let made = run("kubectl", &["kustomize", "docker/kubernetes/base"]);
    for (good, bad) in
        [("readinessProbe:", "readyProbe:"), ("maxReplicas: 100", "maxReplicas: many")]
    {
        assert!(made.contains(good), "{good}");
        let wrong = documents_of(&made.replace(good, bad));
        assert!(wrong.iter().any(|document| objection(&published, document).is_some()), "{bad}");
    }
}

/// KEDA's kind is not Kubernetes' own; its query is for what there is.
#[test]
fn the_example_of_keda_scales_what_the_base_has() {
    let [scaled] = &documents_of(&document("docker/kubernetes/keda/scaledobject.yaml"))[..] else {
        panic!("one document")
    };
    let base = documents_of(&run("kubectl", &["kustomize", "docker/kubernetes/base"]));
    let target = &scaled["spec"]["scaleTargetRef"]["name"];
    let is_target = |one: &Value| one["kind"] == "Deployment" && one["metadata"]["name"] == *target;
    assert!(base.iter().any(is_target), "{target}");
    let trigger = &scaled["spec"]["triggers"][0]["metadata"];
    assert_eq!(trigger["query"], "sum(tidegate_upstream_pending)");
    assert_eq!(trigger["threshold"], "1000");
    assert!(metrics_there_are().contains("tidegate_upstream_pending"));
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
    // Upwards the larger of two steps, downwards the smaller.
    for (direction, window, select, steps) in [
        ("scaleUp", 60, "Max", ["Percent", "100", "15", "Pods", "10", "15"]),
        ("scaleDown", 300, "Min", ["Percent", "10", "60", "Pods", "2", "60"]),
    ] {
        let (_, part) = large.split_once(&format!("    {direction}:\n")).unwrap();
        let part: Vec<&str> = part.lines().take_while(|line| line.starts_with("     ")).collect();
        let value = |key: &str| -> Vec<&str> {
            let after = |line: &&str| line.trim_start_matches([' ', '-']).starts_with(key);
            let lines = part.iter().copied().filter(after);
            lines.map(|line| line.rsplit(' ').next().unwrap()).collect()
        };
        assert_eq!(value("stabilizationWindowSeconds:"), [window.to_string()], "{part:?}");
        assert_eq!(value("selectPolicy:"), [select], "{part:?}");
        let [first, much, every, second, many, also] = steps;
        assert_eq!(value("type:"), [first, second], "{part:?}");
        assert_eq!(value("value:"), [much, many], "{part:?}");
        assert_eq!(value("periodSeconds:"), [every, also], "{part:?}");
    }
    let small = run("kubectl", &["kustomize", "docker/kubernetes/overlays/small"]);
    assert!(small.contains("minReplicas: 2") && small.contains("maxReplicas: 10\n"), "{small}");
    assert!(!small.contains("http_requests_per_second"), "{small}");
}

/// Scenario S3.8: whoever is told to end has 110 s, of which some stay to end in.
#[test]
fn what_is_under_way_has_its_time_before_a_pod_is_killed() {
    for form in ["base", "daemonset", "sidecar"] {
        let made =
            documents_of(&run("kubectl", &["kustomize", &format!("docker/kubernetes/{form}")]));
        let pods = made.iter().find_map(|one| {
            one["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64()
        });
        let file: toml::Table =
            document(&format!("docker/kubernetes/{form}/tidegate.toml")).parse().unwrap();
        let seconds = |key: &str| -> u64 {
            let written = file["runtime"].get(key).and_then(|value| value.as_str());
            written.map_or(0, |text| text.strip_suffix('s').unwrap().parse().unwrap())
        };
        let (drain, delay) = (seconds("drain"), seconds("drain_delay"));
        assert!(drain >= 20 && delay >= 5, "{form}: {drain} {delay}");
        let pods = pods.unwrap_or(30);
        assert!(drain + delay + 5 <= pods && pods <= 110, "{form}: {drain} {delay} {pods}");
    }
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

/// The names of metrics in a file.
fn metrics_of(path: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\b(tidegate_[a-z0-9_]+|http_requests_total|http_request_duration_seconds|process_[a-z_]+)\b").unwrap();
    let text = document(path);
    name.find_iter(&text)
        .map(|found| found.as_str().trim_end_matches("_bucket").to_owned())
        .collect()
}

/// The names of metrics that the admin endpoint writes.
fn metrics_there_are() -> BTreeSet<String> {
    let mut files = Vec::new();
    collect(&root().join("src/admin"), &mut files);
    let there: BTreeSet<String> = files
        .iter()
        .flat_map(|path| metrics_of(path.strip_prefix(root()).unwrap().to_str().unwrap()))
        .collect();
    assert!(there.len() > 30, "{there:?}");
    there
}

#[test]
fn rules_and_boards_ask_for_metrics_there_are() {
    let there = metrics_there_are();
    for path in ["docker/observability/alerts.yml", "docker/observability/grafana.json"] {
        let asked = metrics_of(path);
        assert!(asked.len() > 5, "{asked:?}");
        let missing: Vec<_> = asked.difference(&there).collect();
        assert!(missing.is_empty(), "{path} asks for {missing:?}");
    }
}
