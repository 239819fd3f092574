//! A folder with a configuration, for programs that end by themselves.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use support::holds_within;

/// No command here takes this long; one that hangs is ended.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    pub fn fifo(&self, name: &str) -> PathBuf {
        assert!(Command::new("mkfifo").arg(self.path(name)).status().unwrap().success());
        self.path(name)
    }

    /// Writes a configuration, in which `{dir}` is this folder, and runs a command on it until it
    /// ends.
    pub fn run(&self, command: &str, text: &str) -> (i32, String) {
        let text = text.replace("{dir}", &self.0.path().display().to_string());
        let file = self.write("tidegate.toml", text);
        ended(&[Path::new(command), Path::new("-c"), &file])
    }

    /// What `check` says about a configuration, and whether it is content.
    pub fn check(&self, text: &str) -> (bool, String) {
        let (code, said) = self.run("check", text);
        assert!(matches!(code, 0 | 1), "{code}: {said}");
        (code == 0, said)
    }

    /// What both `check` and `run` say about a configuration that neither accepts.
    pub fn refused(&self, text: &str) -> String {
        let (fine, checked) = self.check(text);
        assert!(!fine, "`check` accepts\n{text}\n{checked}");
        let (code, ran) = self.run("run", text);
        assert_eq!(code, 1, "`run` does not refuse\n{text}\n{ran}");
        for line in checked.lines().filter(|line| line.starts_with("error")) {
            assert!(ran.contains(line), "`run` does not say {line:?} but\n{ran}");
        }
        checked
    }
}

/// Runs the program until it ends by itself; its exit code and all it said.
pub fn ended(arguments: &[&Path]) -> (i32, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let reader = |stream: Option<Box<dyn std::io::Read + Send>>| {
        let mut stream = stream.unwrap();
        std::thread::spawn(move || {
            let mut said = Vec::new();
            stream.read_to_end(&mut said).unwrap();
            said
        })
    };
    let out = reader(child.stdout.take().map(|s| Box::new(s) as _));
    let err = reader(child.stderr.take().map(|s| Box::new(s) as _));
    let code = wait(&mut child);
    let said = [out.join().unwrap(), err.join().unwrap()].concat();
    (code, String::from_utf8_lossy(&said).into_owned())
}

fn wait(child: &mut Child) -> i32 {
    let mut status = None;
    holds_within(PATIENCE, &mut || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    match status {
        Some(status) => status.code().unwrap_or(-1),
        None => {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it did not end within {PATIENCE:?}");
        }
    }
}

/// A tool that must be there, and must succeed.
pub fn tool(name: &str, arguments: &[&str]) -> Output {
    let output = Command::new(name).args(arguments).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
