//! A headless Chromium, told what to do by the WebDriver protocol (W3C WebDriver 2).

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use support::{RawClient, SOON, holds_within};

/// What starting a browser may take on a busy machine.
const START: Duration = Duration::from_secs(60);

pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(crate) fn start(width: u32, height: u32) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={}", address.port()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver, of the Debian package chromium-driver");
        let mut up = || std::net::TcpStream::connect(address).is_ok();
        assert!(holds_within(START, &mut up), "chromedriver does not listen");
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self { driver, address, session: String::new(), _profile: profile };
        let size = format!("--window-size={width},{height}");
        let profile = format!("--user-data-dir={}", browser._profile.path().display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &size,
            &profile,
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            // Certificates are made by the tests, for the tests.
            "acceptInsecureCerts": true,
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = browser.call("POST", "/session", &wanted);
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let length = body.len();
        let answer = RawClient::connect(self.address).patience(START).exchange(format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}",
            self.address
        ));
        let text = answer.text();
        assert_eq!(answer.status, 200, "{method} {path}: {text}");
        serde_json::from_str::<Value>(&text).unwrap()["value"].take()
    }

    fn within(&self, path: &str) -> String {
        format!("/session/{}{path}", self.session)
    }

    pub(crate) fn open(&self, url: &str) {
        self.call("POST", &self.within("/url"), &json!({ "url": url }));
    }

    /// Runs a script in the page and returns what it returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        let body = json!({ "script": script, "args": [] });
        self.call("POST", &self.within("/execute/sync"), &body)
    }

    /// Waits until a script returns true.
    pub(crate) fn wait(&self, what: &str, script: &str) {
        let mut holds = || self.run(script) == true;
        assert!(
            holds_within(3 * SOON, &mut holds),
            "{what}: {}",
            self.run("return document.body.innerText")
        );
    }

    /// Presses keys, whoever has the focus.
    pub(crate) fn press(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                [
                    json!({ "type": "keyDown", "value": key }),
                    json!({ "type": "keyUp", "value": key }),
                ]
            })
            .collect();
        let body = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] });
        self.call("POST", &self.within("/actions"), &body);
    }

    /// Light or dark.
    pub(crate) fn prefer(&self, scheme: &str) {
        let body = json!({ "cmd": "Emulation.setEmulatedMedia", "params": {
            "features": [{ "name": "prefers-color-scheme", "value": scheme }]
        } });
        self.call("POST", &self.within("/goog/cdp/execute"), &body);
    }

    /// A window of another size, narrower than the browser would make one.
    pub(crate) fn resize(&self, width: u32, height: u32) {
        let body = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500
        } });
        self.call("POST", &self.within("/goog/cdp/execute"), &body);
    }

    /// What the page complained about.
    pub(crate) fn complaints(&self) -> Value {
        self.call("POST", &self.within("/se/log"), &json!({ "type": "browser" }))
    }

    /// The window as PNG.
    pub(crate) fn screenshot(&self) -> Vec<u8> {
        let text = self.call("GET", &self.within("/screenshot"), &Value::Null);
        base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap()).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.call("DELETE", &self.within(""), &Value::Null);
        }
        let _ended = self.driver.kill();
        let _reaped = self.driver.wait();
    }
}
