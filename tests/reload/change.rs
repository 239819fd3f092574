//! A proxy whose file the test changes.

use std::process::{Command, Output};

use serde_json::Value;

use support::{RawClient, Response, Tidegate};

pub struct Changing {
    pub proxy: Tidegate,
}

impl Changing {
    /// Starts with this configuration and an admin endpoint.
    pub fn start(text: &str) -> Self {
        Self { proxy: Tidegate::start(&whole(text)) }
    }

    /// Puts another configuration in the place of the file, as an editor does that renames.
    pub fn write(&self, text: &str) {
        let new = self.proxy.path("new");
        let text = whole(text).replace("{dir}", &self.proxy.path("").display().to_string());
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.proxy.path("tidegate.toml")).unwrap();
    }

    /// `POST` to the admin endpoint.
    pub fn post(&self, path: &str) -> Response {
        RawClient::connect(self.proxy.admin()).exchange(format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        ))
    }

    /// Changes the file and has it read; panics unless it is accepted.
    pub fn reload(&self, text: &str) -> Value {
        self.write(text);
        let answer = self.post("/reload?force=1");
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    pub fn stats(&self) -> Value {
        self.proxy.stats()
    }

    pub fn generation(&self) -> u64 {
        self.stats()["generation"].as_u64().unwrap()
    }

    /// Runs a command that talks to the proxy.
    pub fn command(&self, arguments: &[&str]) -> Output {
        let admin = format!("http://{}", self.proxy.admin());
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments).args(["--admin", &admin]).output().unwrap()
    }
}

fn whole(text: &str) -> String {
    format!("[admin]\naddress = \"127.0.0.1:0\"\n{text}")
}

/// A listener, an upstream `app` and a route that answers `/word` with `word`.
pub fn simple(server: &str, word: &str) -> String {
    format!(
        r#"
        [[listen]]
        name = "main"
        address = "127.0.0.1:0"
        [upstream.app]
        servers = ["{server}"]
        [[route]]
        name = "app"
        upstream = "app"
        [[route]]
        name = "word"
        path = "/word"
        respond = {{ status = 200, body = "{word}" }}
        "#
    )
}
