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
        for command in ["run", "check", "explain", "reload", "status", "drain", "health"] {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
    }
}

#[test]
fn the_manual_page_describes_every_command() {
    let page = text(&tidegate(&["man"]));
    assert!(page.contains(".TH tidegate 1"), "{page}");
    for command in ["run", "check", "explain", "reload", "status", "drain", "health", "schema"] {
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
