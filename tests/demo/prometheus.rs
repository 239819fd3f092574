//! A real Prometheus scrapes a proxy and evaluates the alert rules that come along: what the rules
//! ask for is what the proxy says, by name, label and type.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::documents::root;

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended as it should.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn get(url: &str) -> Option<Value> {
    let output = Command::new("curl").args(["-s", "--max-time", "5", url]).output().unwrap();
    serde_json::from_slice(&output.stdout).ok()
}

/// Waits until a question has an answer.
fn wait<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn prometheus_scrapes_and_the_rules_fire() {
    let folder = tempfile::tempdir().unwrap();
    let (proxy, admin, at) = (port(), port(), port());
    // A server that nobody is, which is ejected, and a file that will not load.
    let config = format!(
        "[runtime]\nreload = \"signal\"\n[admin]\naddress = \"127.0.0.1:{admin}\"\n\
         [[listen]]\naddress = \"127.0.0.1:{proxy}\"\n\
         [upstream.app]\nservers = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\neject = {{ failures = 1, at_most = \"50%\", for = \"5m\" }}\n\
         [[route]]\nname = \"shop\"\nupstream = \"app\"\n"
    );
    let file = folder.path().join("tidegate.toml");
    fs::write(&file, &config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let command = command.arg("run").arg("-c").arg(&file).stderr(Stdio::null());
    let _proxy = Running(command.spawn().unwrap());
    let here = format!("http://127.0.0.1:{admin}");
    wait("the proxy is ready", || {
        get(&format!("{here}/ready")).filter(|said| said["ready"] == true)
    });
    // The rules as they are, but for how long something has to last.
    let rules = fs::read_to_string(root().join("docker/observability/alerts.yml")).unwrap();
    let held = regex::Regex::new(r"(?m)^(\s+)for: \S+$").unwrap();
    fs::write(folder.path().join("alerts.yml"), held.replace_all(&rules, "${1}for: 0s").as_ref())
        .unwrap();
    let scrape = format!(
        "global:\n  scrape_interval: 500ms\n  scrape_timeout: 500ms\n  evaluation_interval: 500ms\n\
         rule_files: [alerts.yml]\n\
         scrape_configs:\n- job_name: tidegate\n  static_configs: [{{ targets: [\"127.0.0.1:{admin}\"] }}]\n"
    );
    fs::write(folder.path().join("prometheus.yml"), scrape).unwrap();
    let _prometheus = Running(
        Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=error"])
            .arg(format!("--web.listen-address=127.0.0.1:{at}"))
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus, of the Debian package of that name"),
    );
    let api = format!("http://127.0.0.1:{at}/api/v1");
    wait("it scrapes", || {
        let said = get(&format!("{api}/targets"))?;
        let target = &said["data"]["activeTargets"][0];
        (target["health"] == "up").then_some(())
    });
    fs::write(&file, "[[listen]]\n").unwrap();
    let reload = ["-s", "-X", "POST", &format!("{here}/reload")];
    assert!(Command::new("curl").args(reload).output().unwrap().status.success());
    // Errors, under way while it scrapes.
    let failing = format!("http://127.0.0.1:{proxy}/[1-20]");
    let asked = |query: &str| {
        get(&format!("{api}/query?query={query}")).map(|said| said["data"]["result"].clone())
    };
    wait("it has counted them", || {
        let _refused =
            Command::new("curl").args(["-s", "-o", "/dev/null", &failing]).output().unwrap();
        let result = asked("sum(http_requests_total)")?;
        let value = result[0]["value"][1].as_str()?.parse::<f64>().ok()?;
        (value >= 20.0).then_some(())
    });
    for name in ["TidegateErrors", "TidegateServersEjected", "TidegateReloadRefused"] {
        wait(&format!("{name} fires"), || {
            let _refused =
                Command::new("curl").args(["-s", "-o", "/dev/null", &failing]).output().unwrap();
            let said = get(&format!("{api}/alerts"))?;
            let all = said["data"]["alerts"].as_array()?;
            all.iter()
                .any(|one| one["labels"]["alertname"] == name && one["state"] == "firing")
                .then_some(())
        });
    }
    let all = get(&format!("{api}/alerts")).unwrap();
    let quiet = ["TidegateDown", "TidegateCertificateEnds", "TidegateConnectionsNearLimit"];
    for one in all["data"]["alerts"].as_array().unwrap() {
        assert!(!quiet.contains(&one["labels"]["alertname"].as_str().unwrap()), "{one}");
    }
    // No rule fails to be evaluated.
    let said = get(&format!("{api}/rules")).unwrap();
    let rules = said["data"]["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() > 8, "{said}");
    assert!(rules.iter().all(|rule| rule["health"] == "ok"), "{said}");
}
