//! An original and tidegate side by side in front of the same servers.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::ask::Ask;
use crate::differences::{self, Differences};
use crate::echo;
use crate::original::Original;
use support::{Authority, RawClient, Response, SOON, Tidegate, wait_until};

/// What a test brings: its folder, and what stands in the files for what.
pub(crate) struct Plan {
    name: &'static str,
    /// Where the files of the site are.
    pub(crate) folder: tempfile::TempDir,
    pub(crate) authority: Authority,
    names: Vec<(String, String)>,
}

/// Where clients come in: the name of tidegate's listener, and whether it speaks TLS. The
/// originals' ports are in this order.
pub(crate) type Door = (&'static str, bool);

pub(crate) struct Site {
    plan: Plan,
    doors: Vec<Door>,
    pub(crate) original: Original,
    pub(crate) tidegate: Tidegate,
    differences: Differences,
    /// The host of requests that name none.
    pub(crate) host: &'static str,
    pub(crate) door: &'static str,
}

/// The answers of both.
pub(crate) struct Both {
    pub(crate) original: Response,
    pub(crate) tidegate: Response,
}

impl Both {
    /// Panics unless both have this field, or neither.
    pub(crate) fn served_by(&self) -> (Option<&str>, Option<&str>) {
        (self.original.header(echo::SERVED_BY), self.tidegate.header(echo::SERVED_BY))
    }
}

pub(crate) fn folder_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/migrations").join(name)
}

impl Plan {
    /// A plan for the migration in the folder `name`.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            folder: tempfile::tempdir().unwrap(),
            authority: Authority::new("migrations"),
            names: Vec::new(),
        }
    }

    /// Wherever the files say `from`, the test has `to`.
    pub(crate) fn put(&mut self, from: &str, to: impl ToString) {
        self.names.push((from.to_owned(), to.to_string()));
    }

    /// A file of the site.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The files named `cert` and `key` hold a certificate for these hosts.
    pub(crate) fn certificate(&mut self, cert: &str, key: &str, hosts: &[&str]) {
        let made = self.authority.certificate("site", hosts);
        self.put(cert, made.cert.display());
        if key != cert {
            self.put(key, made.key.display());
        } else {
            // One file for both, as HAProxy wants it.
            let both =
                fs::read_to_string(&made.cert).unwrap() + &fs::read_to_string(&made.key).unwrap();
            fs::write(&made.cert, both).unwrap();
        }
    }

    /// A file of the migration, with the test's own names put in.
    pub(crate) fn read(&self, name: &str) -> String {
        let path = folder_of(self.name).join(name);
        let mut text = fs::read_to_string(&path).unwrap();
        for (from, to) in &self.names {
            text = text.replace(from, to);
        }
        text
    }

    /// As [`Self::read`], with these parts replaced as well, every one of which has to be there.
    pub(crate) fn read_with(&self, name: &str, parts: &[(&str, String)]) -> String {
        let mut text = self.read(name);
        for (from, to) in parts {
            assert!(text.contains(from), "{name} has no {from:?}");
            text = text.replace(from, to);
        }
        text
    }
}

/// Starts tidegate with the plan's `tidegate.toml`, which has so many listeners.
pub(crate) fn tidegate_of(plan: &Plan, listeners: usize) -> Tidegate {
    let text = plan.read("tidegate.toml");
    let addresses = regex::Regex::new(r#"(?m)^address( *)= "0\.0\.0\.0:\d+""#).unwrap();
    assert_eq!(addresses.find_iter(&text).count(), listeners, "{text}");
    Tidegate::start(&addresses.replace_all(&text, r#"address = "127.0.0.1:0""#))
}

impl Site {
    /// Starts tidegate with the plan's `tidegate.toml` beside an original that runs already.
    pub(crate) fn beside(plan: Plan, original: Original, doors: &[Door]) -> Self {
        assert_eq!(doors.len(), original.ports.len());
        let tidegate = tidegate_of(&plan, doors.len());
        let differences = Differences::read(&folder_of(plan.name).join("differences.md"));
        let (host, door) = ("", doors[0].0);
        let doors = doors.to_vec();
        Self { plan, doors, original, tidegate, differences, host, door }
    }

    fn addresses(&self) -> (SocketAddr, SocketAddr, bool) {
        let at = self.doors.iter().position(|(name, _)| *name == self.door).unwrap();
        (self.original.address(at), self.tidegate.listener(self.door), self.doors[at].1)
    }

    fn ask_with_host(&self, ask: &Ask) -> Ask {
        if ask.host.is_empty() { ask.clone().host(self.host) } else { ask.clone() }
    }

    fn clients(&self, host: &str) -> (RawClient, RawClient) {
        let (original, tidegate, tls) = self.addresses();
        let connect = |address| match tls {
            true => RawClient::connect_tls(address, host, &self.plan.authority),
            false => RawClient::connect(address),
        };
        (connect(original), connect(tidegate))
    }

    /// A connection to either, for requests that belong together.
    pub(crate) fn connect(&self) -> (RawClient, RawClient) {
        self.clients(self.host)
    }

    /// Sends the request to both and compares; tidegate's status has to be this one, whatever the
    /// original says.
    pub(crate) fn ask(&mut self, name: &str, ask: &Ask, status: u16) -> Both {
        self.ask_each(name, [ask, ask], status)
    }

    /// As [`Self::ask`], with a request of its own for the original, and one for tidegate: each has
    /// given its own cookie.
    pub(crate) fn ask_each(&mut self, name: &str, asks: [&Ask; 2], status: u16) -> Both {
        let [left, right] = asks.map(|ask| self.ask_with_host(ask));
        let (mut original, mut tidegate) = self.clients(&left.host);
        let both = Both { original: left.send(&mut original), tidegate: right.send(&mut tidegate) };
        self.judge(name, &both, status);
        both
    }

    /// Compares answers that the test has got itself.
    pub(crate) fn judge(&mut self, name: &str, both: &Both, status: u16) {
        if both.tidegate.status != status {
            let said = format!(
                "{name}: {} instead of {status}: {}",
                both.tidegate.status,
                both.tidegate.text()
            );
            self.differences.object(said);
        }
        let mut ports = self.original.ports.clone();
        ports.extend(self.tidegate.addresses().iter().map(SocketAddr::port));
        let original = differences::aspects(&both.original, &ports);
        let tidegate = differences::aspects(&both.tidegate, &ports);
        let mut names: Vec<&String> =
            original.iter().chain(&tidegate).map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        for what in names {
            let of = |all: &'_ [differences::Aspect]| {
                all.iter().find(|(name, _)| name == what).map(|(_, value)| value.clone())
            };
            let (before, after) = (of(&original), of(&tidegate));
            self.differences.compare(name, what, before.as_deref(), after.as_deref());
        }
    }

    /// Something else about a request that has to be the same.
    pub(crate) fn same(&mut self, name: &str, what: &str, original: &str, tidegate: &str) {
        self.differences.compare(name, what, Some(original), Some(tidegate));
    }

    /// Sends the request so many times, one after the other, and compares how many got which
    /// status, in order.
    pub(crate) fn burst(&mut self, name: &str, ask: &Ask, count: usize, tidegate: &str) {
        let ask = self.ask_with_host(ask);
        let mut statuses = [Vec::new(), Vec::new()];
        for _ in 0..count {
            // A connection for each: not every refusal leaves one open.
            let (mut left, mut right) = self.clients(&ask.host);
            for (client, seen) in [&mut left, &mut right].into_iter().zip(&mut statuses) {
                seen.push(ask.send(client).status);
            }
        }
        let [original, ours] = statuses.map(|statuses| counted(&statuses));
        if ours != tidegate {
            self.differences.object(format!("{name}: {ours} instead of {tidegate}"));
        }
        self.same(name, "statuses", &original, &ours);
    }

    /// A handshake and a message that comes back, by both; then the answers to the handshake are
    /// compared.
    pub(crate) fn websocket(&mut self, name: &str, ask: &Ask) {
        // The example of RFC 6455 §1.3, and a masked text frame.
        const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
        const FRAME: &[u8] = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        let ask = self
            .ask_with_host(ask)
            .with("connection", "Upgrade")
            .with("upgrade", "websocket")
            .with("sec-websocket-version", "13")
            .with("sec-websocket-key", KEY);
        let (mut left, mut right) = self.clients(&ask.host);
        let both = Both { original: ask.send(&mut left), tidegate: ask.send(&mut right) };
        assert_eq!(both.tidegate.header("sec-websocket-accept"), Some(&*echo::accept(KEY)));
        self.judge(name, &both, 101);
        for (who, client) in [("the original", &mut left), ("tidegate", &mut right)] {
            client.send(FRAME);
            assert_eq!(client.bytes(FRAME.len()), FRAME, "{name}: {who}");
        }
    }

    /// Waits until the original answers this with a success, with the certificate that it is to
    /// have: some listen before they have read all of their files.
    pub(crate) fn wait_for_original(&self, path: &str) {
        let (original, _, tls) = self.addresses();
        let scheme = if tls { "https" } else { "http" };
        let url = format!("{scheme}://{}:{}{path}", self.host, original.port());
        let resolve = format!("{}:{}:127.0.0.1", self.host, original.port());
        let ca = self.plan.authority.ca();
        wait_until(SOON, "the original has read its files", || {
            let arguments = ["-f", "--cacert", ca.to_str().unwrap(), "--resolve", &resolve, &url];
            support::curl(&arguments).exit == Some(0)
        });
    }

    /// Runs curl against both with the URL's host led there, and compares what it printed.
    pub(crate) fn curl(&mut self, name: &str, arguments: &[&str], path: &str) -> String {
        let (original, tidegate, tls) = self.addresses();
        let scheme = if tls { "https" } else { "http" };
        let ca = self.plan.authority.ca();
        let mut printed = [original, tidegate].map(|address| {
            let port = address.port();
            let url = format!("{scheme}://{}:{port}{path}", self.host);
            let resolve = format!("{}:{port}:127.0.0.1", self.host);
            let mut all = vec!["--cacert", ca.to_str().unwrap(), "--resolve", &resolve];
            all.extend(arguments);
            all.push(&url);
            let ran = support::curl(&all);
            assert_eq!(ran.exit, Some(0), "{name}: {}", ran.stderr);
            ran.text()
        });
        let ours = std::mem::take(&mut printed[1]);
        self.same(name, "curl prints", &printed[0], &ours);
        ours
    }

    /// # Panics
    /// When what was different is not what the table says.
    pub(crate) fn finish(self) {
        self.differences.finish(self.plan.name);
    }
}

/// `[200, 200, 503]` as `2 × 200, 1 × 503`.
fn counted(statuses: &[u16]) -> String {
    let mut runs: Vec<(u16, usize)> = Vec::new();
    for status in statuses {
        match runs.last_mut() {
            Some((last, count)) if last == status => *count += 1,
            _ => runs.push((*status, 1)),
        }
    }
    runs.iter().map(|(status, count)| format!("{count} × {status}")).collect::<Vec<_>>().join(", ")
}
