//! What `docker/` and the image run, without an engine: the files of the composition, read as they
//! are and started with the program itself, with names that lead to loopback.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use support::{Redis, SOON, Tidegate, wait_until};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// The composition as an engine reads it.
fn composition() -> Value {
    composition_of("docker/compose.yaml")
}

fn composition_of(file: &str) -> Value {
    let program =
        "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let output = Command::new("python3")
        .args(["-c", program, file])
        .current_dir(root())
        .output()
        .expect("python3 is missing; ./test --check says more");
    assert!(
        output.status.success(),
        "{}; ./test --check says more",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

#[test]
fn a_composition_names_services_and_fixes_no_address() {
    let all = composition();
    let services = all["services"].as_object().unwrap();
    for name in ["tidegate", "web", "api", "search", "redis", "prometheus", "grafana"] {
        assert!(services.contains_key(name), "{name}");
        let of = &services[name];
        assert!(of["image"].is_string() && of["networks"][0] == "inside", "{name}: {of}");
    }
    // Nothing that keeps `--scale` from starting a second one.
    for fixed in ["ipv4_address", "subnet", "container_name", "hostname"] {
        assert!(!all.to_string().contains(fixed), "{fixed}");
    }
    for name in ["web", "api", "search"] {
        let of = &services[name];
        assert!(of["ports"].is_null(), "{name}");
        assert_eq!(of["deploy"]["endpoint_mode"], "dnsrr", "{name}");
        assert_eq!(of["environment"]["SERVICE"], name);
    }
}

#[test]
fn swarm_opens_no_port_but_that_of_the_proxy() {
    // Swarm passes over the address in front of a port.
    let all = composition();
    let services = all["services"].as_object().unwrap().iter();
    let open = services.filter(|(_, of)| !of["ports"].is_null());
    assert_eq!(open.map(|(name, _)| &**name).collect::<Vec<_>>(), ["tidegate"]);
    // Who wants to see the others on one machine adds a file, which opens them to that machine
    // alone.
    let local = composition_of("docker/compose.local.yaml");
    let mut seen = 0;
    for (name, of) in local["services"].as_object().unwrap() {
        assert!(all["services"][name].is_object(), "{name}");
        for port in of["ports"].as_array().unwrap() {
            assert!(text(port).starts_with("127.0.0.1:"), "{name}: {port}");
            seen += 1;
        }
    }
    assert_eq!(seen, 2);
}

#[test]
fn s5_9_the_deploy_section_has_the_figures_of_the_platform() {
    let all = composition();
    let deploy = &all["services"]["tidegate"]["deploy"];
    assert_eq!(deploy["replicas"], 3);
    assert_eq!(deploy["update_config"]["parallelism"], 2);
    assert_eq!(deploy["update_config"]["delay"], "10s");
    assert_eq!(deploy["restart_policy"]["condition"], "on-failure");
    assert_eq!(deploy["resources"]["limits"]["cpus"], "2");
    assert_eq!(deploy["resources"]["limits"]["memory"], "2G");
    // As many ports as instances, or Compose could not start them all.
    assert_eq!(all["services"]["tidegate"]["ports"][0], "8080-8082:8080");
    assert_eq!(all["services"]["tidegate"]["stop_grace_period"], "40s");
}

#[test]
fn every_file_of_the_composition_is_there_and_used() {
    let all = composition();
    let mut used: BTreeMap<&str, u32> = BTreeMap::new();
    for (service, of) in all["services"].as_object().unwrap() {
        for config in of["configs"].as_array().into_iter().flatten() {
            *used.entry(text(&config["source"])).or_default() += 1;
        }
        for secret in of["secrets"].as_array().into_iter().flatten() {
            assert!(all["secrets"][text(secret)]["file"].is_string(), "{service}: {secret}");
        }
    }
    for (name, config) in all["configs"].as_object().unwrap() {
        let file = root().join("docker").join(text(&config["file"]));
        assert!(file.is_file(), "{}", file.display());
        assert!(used.remove(&**name).is_some(), "nobody uses {name}");
    }
    assert_eq!(used, BTreeMap::new());
    // What is secret is made by whoever starts it, and not in the repository.
    for (_, secret) in all["secrets"].as_object().unwrap() {
        assert!(text(&secret["file"]).ends_with(".token"), "{secret}");
    }
    assert!(document(".gitignore").contains("/docker/compose/*.token"));
    let checked = Command::new("promtool")
        .args(["check", "config", "--syntax-only", "docker/compose/prometheus.yml"])
        .current_dir(root())
        .output()
        .expect("promtool is missing; ./test --check says more");
    assert!(checked.status.success(), "{checked:?}");
}

/// A service of the composition at an address of its own.
fn service(name: &str, at: &str) -> Tidegate {
    let variables = [("SERVICE", Path::new(name)), ("LISTEN", Path::new(at))];
    let directory = tempfile::tempdir().unwrap();
    Tidegate::in_environment(directory, &document("docker/compose/service.toml"), &[], &variables)
}

#[test]
fn the_composition_serves_three_services_by_name() {
    let port = TcpListener::bind("127.0.0.21:0").unwrap().local_addr().unwrap().port();
    let running = [("web", 21), ("api", 22), ("api", 23), ("search", 24)];
    let _services = running.map(|(name, last)| service(name, &format!("127.0.0.{last}:{port}")));
    let redis = Redis::start();
    let tokens = tempfile::tempdir().unwrap();
    for (name, token) in [("admin_token", "to-change"), ("read_token", "to-look")] {
        std::fs::write(tokens.path().join(name), token).unwrap();
    }
    let config = document("docker/compose/tidegate.toml")
        .replace("/run/secrets", &tokens.path().display().to_string())
        .replace("redis://redis:6379/0", &format!("redis://{}/0", redis.address))
        .replace("0.0.0.0:8080", "127.0.0.1:0")
        .replace("0.0.0.0:9900", "127.0.0.1:0")
        .replace(":8080\"", &format!(":{port}\""));
    let hosts: String = running.map(|(name, last)| format!("127.0.0.{last} {name}\n")).concat();
    let proxy = Tidegate::with_hosts(&hosts, &config, &[]);
    let mut client = proxy.client();
    for (path, said) in
        [("/", "this is web\n"), ("/api/x", "this is api\n"), ("/search/x", "this is search\n")]
    {
        wait_until(SOON, path, || client.get(path).status == 200);
        let answer = client.get(path);
        assert_eq!(answer.text(), said);
        assert_eq!(answer.header("ratelimit-policy").is_some(), path == "/api/x", "{path}");
    }
    // Every address of a name is a server.
    let admin = format!("http://{}/stats", proxy.admin());
    let stats = support::curl(&["-H", "authorization: Bearer to-look", &admin]);
    let stats: Value = serde_json::from_slice(&stats.stdout).unwrap();
    let servers = |name: &str| {
        let upstreams = stats["upstreams"].as_array().unwrap();
        let of = upstreams.iter().find(|upstream| upstream["name"] == name).unwrap();
        of["servers"].as_array().unwrap().len()
    };
    assert_eq!((servers("web"), servers("api"), servers("search")), (1, 2, 1), "{stats}");
    let refused = support::curl(&["-o", "/dev/null", "-w", "%{http_code}", &admin]);
    assert_eq!(refused.text(), "401");
}

#[test]
fn the_image_greets_or_serves_the_service_that_a_variable_names() {
    let greeting = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let text = document("dist/image/tidegate.toml")
        .replace("127.0.0.1:9900", "127.0.0.1:0")
        .replace("127.0.0.1:8079", &greeting);
    let start = |variables: &[(&str, &Path)]| {
        Tidegate::in_environment(tempfile::tempdir().unwrap(), &text, &[], variables)
    };
    let listen = ("TIDEGATE_LISTEN", Path::new("127.0.0.1:0"));
    {
        let proxy = start(&[listen]);
        let answer = support::RawClient::connect(proxy.listener("public")).get("/");
        assert!(answer.text().starts_with("tidegate is here."), "{}", answer.text());
    }
    let app = service("mine", "127.0.0.1:0");
    let at = app.address().to_string();
    let proxy = start(&[listen, ("TIDEGATE_SERVICE", Path::new(&at))]);
    let mut client = support::RawClient::connect(proxy.listener("public"));
    assert_eq!(client.get("/x").text(), "this is mine\n");
}

#[test]
fn the_entry_point_says_what_is_wrong_before_it_starts_and_becomes_the_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidegate.toml");
    let path = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", path.display());
    let entry = |arguments: &[&str]| {
        let mut command = Command::new(root().join("docker/entrypoint"));
        command.args(arguments).env("PATH", &path).env("TIDEGATE_CONFIG", &file);
        command
    };
    std::fs::write(&file, "[[listen]]\naddres = 'x'\n[[route]]\nupstream = 'app'\n").unwrap();
    let output = entry(&[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("addres") && said.contains("app"), "{said}");
    let version = entry(&["--version"]).output().unwrap();
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("tidegate "), "{version:?}");
    std::fs::write(
        &file,
        "[[listen]]\naddress = '127.0.0.1:0'\n[[route]]\nrespond = { status = 200 }\n",
    )
    .unwrap();
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let mut child = entry(&["run"]).stderr(log).spawn().unwrap();
    let read = || std::fs::read_to_string(folder.path().join("log")).unwrap();
    wait_until(SOON, "it listens", || read().contains("tidegate runs"));
    // The script is gone: the process is the proxy, which SIGTERM drains.
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, support::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", read());
}
