//! The commands that only print, and the one that only tells by its exit code.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn tidegate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate")).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&tidegate(&["completions", shell]));
        for command in ["run", "check", "explain", "reload", "status", "drain", "health", "plan"] {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
    }
}

#[test]
fn the_manual_page_describes_every_command() {
    let page = text(&tidegate(&["man"]));
    assert!(page.contains(".TH tidegate 1"), "{page}");
    for command in
        ["run", "check", "explain", "reload", "status", "drain", "health", "plan", "schema"]
    {
        assert!(page.contains(&format!("tidegate\\-{command}")), "{command} is not in it");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let version = text(&tidegate(&["--version"]));
    assert!(version.starts_with(concat!("tidegate ", env!("CARGO_PKG_VERSION"))), "{version}");
}

/// A process that is killed when the test is over.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn health_tells_by_its_exit_code_whether_a_proxy_is_ready() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let file = directory.path().join("tidegate.toml");
    let text = format!(
        "[admin]\naddress = \"unix:{}\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nrespond = {{ status = 200 }}\n",
        socket.display()
    );
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let asked = tidegate(&["health", "-c", file]);
    assert_eq!(asked.status.code(), Some(1), "nobody runs yet");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let child = command.args(["run", "-c", file]).stderr(std::process::Stdio::null()).spawn();
    let _running = Running(child.unwrap());
    let until = Instant::now() + Duration::from_secs(15);
    while tidegate(&["health", "-c", file]).status.code() != Some(0) {
        assert!(Instant::now() < until, "the proxy never became ready");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(tidegate(&["health", "--live", "-c", file]).status.code(), Some(0));
    let at = format!("unix:{}", socket.display());
    assert_eq!(tidegate(&["health", "--admin", &at]).status.code(), Some(0));
}

/// What `Type=notify-reload` of systemd waits for.
#[test]
fn the_service_manager_is_told_of_start_reload_and_end() {
    let directory = tempfile::tempdir().unwrap();
    let manager = directory.path().join("notify.sock");
    let manager_socket = std::os::unix::net::UnixDatagram::bind(&manager).unwrap();
    manager_socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let file = directory.path().join("tidegate.toml");
    std::fs::write(
        &file,
        "[runtime]\ndrain = \"1s\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nrespond = { status = 200 }\n",
    )
    .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let child = command
        .args(["run", "-c", file.to_str().unwrap()])
        .env("NOTIFY_SOCKET", &manager)
        .stderr(std::process::Stdio::null())
        .spawn();
    let mut running = Running(child.unwrap());
    let told = || {
        let mut message = [0; 256];
        let length = manager_socket.recv(&mut message).expect("a word within 20 s");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let pid = rustix::process::Pid::from_child(&running.0);
    let signal = |signal| rustix::process::kill_process(pid, signal).unwrap();
    assert_eq!(told().trim(), "READY=1");
    signal(rustix::process::Signal::HUP);
    let reloading = told();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(told().trim(), "READY=1");
    signal(rustix::process::Signal::TERM);
    assert_eq!(told().trim(), "STOPPING=1");
    assert!(running.0.wait().unwrap().success());
}

/// Runs `explain` with a file, and more.
fn explain(folder: &std::path::Path, config: &str, arguments: &[&str]) -> String {
    std::fs::write(folder.join("tidegate.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = command.arg("explain").args(arguments).current_dir(folder).output().unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn explain_names_policies_and_routes_that_were_just_missed() {
    let config = "[[listen]]\naddress = '127.0.0.1:0'\n[upstream.app]\nservers = ['127.0.0.1:1']\n\
        [limit.shared]\nrate = '1/s'\n[limit.guesses]\nrate = '1/s'\nbefore = 'auth'\n\
        [auth.keys]\napi_key = { header = 'x-key', keys = { a = 'k' } }\n\
        [[route]]\nname = 'orders'\npath = '/orders'\nmethod = ['POST', 'PUT']\nupstream = 'app'\nauth = 'keys'\n\
        limit = ['shared', 'guesses']\nconcurrency = { max = 7 }\ncors = { origins = ['*'] }\ncompress = true\n\
        body_limit = '1KiB'\n\
        [[route]]\nname = 'beta'\npath = '/orders'\nhost = 'a.test'\nheaders = { x-beta = '1' }\nupstream = 'app'\n\
        [[route]]\nname = 'office'\npath = '/orders'\nhost = 'c.test'\nclient = ['10.0.0.0/8']\nupstream = 'app'\n\
        [[route]]\nname = 'far'\npath = '/other'\nupstream = 'app'\n";
    let folder = tempfile::tempdir().unwrap();
    let ask = |arguments: &[&str]| explain(folder.path(), config, arguments);
    let said = ask(&["POST", "http://b.test/orders"]);
    let policies = "policies  cors, limit guesses, auth keys, limit shared, concurrency 7, compress, body_limit 1024 bytes\n";
    assert!(said.contains("route     orders\n") && said.contains(policies), "{said}");
    assert!(!said.contains("near"), "{said}");
    let near = |said: &str| -> Vec<String> {
        let lines = said.lines().filter_map(|line| line.strip_prefix("  near    "));
        lines.map(str::to_owned).collect()
    };
    let said = ask(&["GET", "http://b.test/orders"]);
    assert!(said.contains("404 no_route"), "{said}");
    assert_eq!(near(&said), ["orders: its method is POST, PUT"]);
    let said = ask(&["GET", "http://a.test/orders"]);
    let missed =
        ["orders: its method is POST, PUT", "beta: it asks for another value of header x-beta"];
    assert_eq!(near(&said), missed);
    let said = ask(&["GET", "http://c.test/orders"]);
    assert_eq!(
        near(&said),
        ["orders: its method is POST, PUT", "office: its clients are 10.0.0.0/8"]
    );
    let said = ask(&["GET", "http://b.test/orders", "-H", "x-beta: 1", "--client", "10.1.1.1"]);
    let missed = [
        "orders: its method is POST, PUT",
        "beta: its host is a.test",
        "office: its host is c.test",
    ];
    assert_eq!(near(&said), missed);
}

#[test]
fn explain_knows_when_a_connection_is_for_another_name() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let (subject, alternative) =
            (format!("/CN={name}"), format!("subjectAltName=DNS:{name}.test"));
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        let curve = "ec_paramgen_curve:P-256";
        let arguments = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            curve,
            "-nodes",
            "-days",
            "9",
            "-subj",
            &subject,
            "-addext",
            &alternative,
            "-keyout",
            &key,
            "-out",
            &certificate,
        ];
        let output = Command::new("openssl").args(arguments).current_dir(folder.path()).output();
        assert!(output.expect("openssl").status.success(), "{name}");
    };
    make("open");
    make("closed");
    let config = "[[listen]]\naddress = '127.0.0.1:0'\n\
        tls = [{ cert = 'open.pem', key = 'open.key' }, { cert = 'closed.pem', key = 'closed.key', client_ca = 'open.pem' }]\n\
        [[route]]\nname = 'all'\nrespond = { status = 200 }\n\
        [[route]]\nname = 'named'\nclient_cert = { san = 'open.test' }\nrespond = { status = 200 }\n";
    let ask = |arguments: &[&str]| explain(folder.path(), config, arguments);
    let said = ask(&["GET", "https://closed.test/"]);
    assert!(said.contains("route     all\n"), "{said}");
    assert!(
        said.contains("note      connections that were made for another name get 421"),
        "{said}"
    );
    let said = ask(&["GET", "https://open.test/"]);
    assert!(!said.contains("note"), "{said}");
    let said = ask(&["GET", "https://closed.test/", "--sni", "open.test"]);
    assert!(
        said.contains("refused   421 misdirected_request")
            && said.contains("key       listen.strict.sni"),
        "{said}"
    );
    let said = ask(&["GET", "https://closed.test/", "--client-cert", "open.pem"]);
    assert!(said.contains("route     named\n"), "{said}");
    let said = ask(&["GET", "https://closed.test/", "--client-cert", "open.key"]);
    assert!(said.contains("error: "), "{said}");
}

/// What is written when it starts, for who has just started it.
#[test]
fn run_says_what_it_runs() {
    use std::io::{BufRead as _, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let config = "[admin]\naddress = '127.0.0.1:0'\n[[listen]]\naddress = '127.0.0.1:0'\n\
        [[route]]\nrespond = { status = 200 }\n[[route]]\npath = '/a'\nrespond = { status = 200 }\n";
    std::fs::write(folder.path().join("tidegate.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let command = command.arg("run").current_dir(folder.path());
    let mut running = Running(command.stderr(std::process::Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(running.0.stderr.take().unwrap()).lines();
    let line = lines.map(Result::unwrap).find(|line| line.contains("tidegate runs")).unwrap();
    let version = format!("version=\"{}", env!("CARGO_PKG_VERSION"));
    let parts = [
        &*version,
        "file=./tidegate.toml",
        "dashboard=\"http://127.0.0.1:",
        "routes=2",
        "upstreams=0",
    ];
    assert!(parts.iter().all(|part| line.contains(part)), "{line}");
}
