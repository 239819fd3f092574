//! The servers behind both: they say who they are and what they were asked.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use sha1::Digest as _;

use support::{Origin, Request, Step};

/// Marks an answer whose body is the request as the server saw it.
pub(crate) const ECHO: &str = "x-echo";
/// The page of the server named `pages`.
pub(crate) const SORRY: &str = "<h1>Back in a minute</h1>\n";
/// Names the server that answered.
pub(crate) const SERVED_BY: &str = "x-served-by";

/// A server that can be stopped and started again at the same address. What it does depends on the
/// last words of the path:
///
/// * `/healthz`: `200`, and is not counted;
/// * `/status/NNN`: that status;
/// * `/report.json`: 4 KiB of JSON;
/// * `/moved`: `302` to `/there` on the host and port that it was asked for;
/// * `/there-local`: as `/moved`, with a path alone;
/// * `/login`: a cookie for `/`;
/// * `/slow`: answers after half a second;
/// * `/ws`: a WebSocket that sends back what it gets;
/// * all else: the request;
///
/// and one with the name `auth` lets in who has the cookie `session=s1`, one with the name `bad`
/// fails always, one with the name `pages` has a page for whoever cannot be answered, with the
/// status that `X-Code` asks for.
pub(crate) struct Server {
    name: &'static str,
    address: SocketAddr,
    asked: Arc<AtomicU64>,
    origin: Option<Origin>,
}

impl Server {
    pub(crate) fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicU64::new(0));
        let origin = Some(serve(listener, name, &asked));
        Self { name, address, asked, origin }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// How many requests it has seen, health checks apart.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn stop(&mut self) {
        let origin = self.origin.take().unwrap();
        origin.stop();
        // Its listener is closed by the thread that accepts, a kept connection by a thread of its
        // own.
        support::wait_until(support::SOON, "a stopped server is gone", || {
            std::net::TcpStream::connect(self.address).is_err() && origin.open_connections() == 0
        });
    }

    pub(crate) fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        self.origin = Some(serve(listener, self.name, &self.asked));
    }
}

fn serve(listener: TcpListener, name: &'static str, asked: &Arc<AtomicU64>) -> Origin {
    let asked = asked.clone();
    Origin::on(listener, move |request| {
        if !path(request).ends_with("/healthz") {
            asked.fetch_add(1, Ordering::SeqCst);
        }
        answer(name, request)
    })
}

fn path(request: &Request) -> &str {
    request.target.split('?').next().unwrap()
}

fn answer(name: &str, request: &Request) -> Vec<Step> {
    let path = path(request);
    let whole = |status: &str, fields: &str, body: &str| {
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status}\r\n{SERVED_BY}: {name}\r\ncontent-length: {length}\r\n{fields}\r\n"
        );
        let body = if request.method == "HEAD" { "" } else { body };
        vec![Step::Send([text.as_bytes(), body.as_bytes()].concat())]
    };
    let host = request.header("host").unwrap_or_default();
    let text = "content-type: text/plain\r\n";
    if path.ends_with("/healthz") {
        return whole("200 OK", text, "ok\n");
    }
    if name == "bad" {
        return whole("500 Oops", text, "the server fails\n");
    }
    if name == "pages" {
        let status = request.header("x-code").unwrap_or("200");
        let text = "content-type: text/html; charset=utf-8\r\n";
        return whole(&format!("{status} So"), text, SORRY);
    }
    if name == "auth" {
        return auth(request, &whole);
    }
    if let Some((_, status)) = path.rsplit_once("/status/") {
        return whole(&format!("{status} So"), text, &format!("the server says {status}\n"));
    }
    if path.ends_with("/report.json") {
        let numbers: Vec<String> = (0..800).map(|n| format!("{n:04}")).collect();
        let body = format!("[\"{}\"]", numbers.join("\",\""));
        return whole("200 OK", "content-type: application/json\r\n", &body);
    }
    if path.ends_with("/moved") {
        let to = format!("location: http://{host}/there\r\n");
        return whole("302 Found", &to, "");
    }
    if path.ends_with("/moved-path") {
        return whole("302 Found", "location: /there\r\n", "");
    }
    if path.ends_with("/login") {
        let cookie = "set-cookie: session=s1; Path=/; HttpOnly\r\n";
        return whole("200 OK", &format!("{text}{cookie}"), "welcome\n");
    }
    if path.ends_with("/slow") {
        let mut steps = whole("200 OK", text, "at last\n");
        steps.insert(0, Step::Pause(Duration::from_millis(500)));
        return steps;
    }
    if path.ends_with("/ws") && request.header("upgrade").is_some() {
        let key = request.header("sec-websocket-key").unwrap_or_default();
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-accept: {}\r\n\r\n",
            accept(key)
        );
        return vec![Step::Send(head.into_bytes()), Step::Echo];
    }
    whole("200 OK", &format!("{text}{ECHO}: 1\r\n"), &seen(request))
}

/// The answers of a server that is asked who may pass.
fn auth(request: &Request, whole: &dyn Fn(&str, &str, &str) -> Vec<Step>) -> Vec<Step> {
    let text = "content-type: text/plain\r\n";
    let asked = request.header("x-forwarded-uri").unwrap_or("/");
    match request.header("cookie") {
        Some("session=s1") => {
            whole("200 OK", "remote-user: anna\r\nremote-groups: staff\r\nremote-mail: a@b\r\n", "")
        }
        Some("session=old") => {
            let to = format!("location: https://login.example/?to={asked}\r\n");
            whole("302 Found", &format!("{to}set-cookie: session=; Path=/; Max-Age=0\r\n"), "")
        }
        _ => whole("401 Unauthorized", &format!("{text}www-authenticate: Session\r\n"), "log in\n"),
    }
}

/// What proves that a server understood the handshake (RFC 6455 §4.2.2).
pub(crate) fn accept(key: &str) -> String {
    let digest = sha1::Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    base64::engine::general_purpose::STANDARD.encode(digest)
}

fn seen(request: &Request) -> String {
    let mut text = format!("{} {} {}\n", request.method, request.target, request.version);
    for (name, value) in &request.headers {
        text.push_str(&format!("{}: {value}\n", name.to_lowercase()));
    }
    text.push('\n');
    text.push_str(&request.text());
    text
}
