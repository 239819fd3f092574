//! A scripted origin: it records every byte it receives and answers as the test says.

use std::fmt;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::connection::{Connection, Records, lock};
use super::message::Request;
use super::socket::{End, Socket};

/// One thing the origin does on a connection.
#[derive(Clone)]
pub enum Step {
    Send(Vec<u8>),
    /// That many `x` bytes, without holding them.
    Fill(u64),
    Pause(Duration),
    /// Goes on once the test opens the gate.
    Until(Gate),
    /// Reads the request body (only useful with [`Origin::on_head`]).
    ReadBody,
    /// Sends back whatever arrives until the peer half-closes.
    Echo,
    HalfClose,
    Close,
    Reset,
    /// Reads and records until the peer ends the connection.
    Hold,
}

/// Opened by the test, waited for by an origin.
#[derive(Clone, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    pub fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// One accepted connection.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Every byte received, in order.
    pub raw: Vec<u8>,
    /// How it ended, if the other side ended it.
    pub end: Option<End>,
    /// Bytes the kernel took from us.
    pub sent: u64,
    /// Whether the origin is through with it, whoever ended it.
    pub done: bool,
    /// What made the origin give up on the connection: it could not read a request.
    pub malformed: Option<String>,
}

/// A moment in the origin's records.
#[derive(Debug, Clone)]
pub struct Mark {
    requests: usize,
    raw: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    OnHead,
    OnWhole,
}

pub(crate) type Script = dyn Fn(&Request) -> Vec<Step> + Send + Sync;

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

#[derive(Clone)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

pub struct Origin {
    place: Place,
    records: Arc<Mutex<Records>>,
    stop: Arc<AtomicBool>,
}

/// A complete `200` with a length.
pub fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// As an upstream lists it.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.server())
    }
}

impl Origin {
    /// Asks `script` once the whole request is there.
    pub fn start(script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::tcp("127.0.0.1:0", Ask::OnWhole, Arc::new(script))
    }

    /// Asks `script` as soon as the head is there; the body is read by [`Step::ReadBody`] or, if
    /// no step ends the connection, after the last step.
    pub fn on_head(script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::tcp("127.0.0.1:0", Ask::OnHead, Arc::new(script))
    }

    pub fn v6(script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::tcp("[::1]:0", Ask::OnWhole, Arc::new(script))
    }

    pub fn unix(
        path: &Path,
        script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let listener = Listener::Unix(UnixListener::bind(path).unwrap());
        Self::serve(listener, Place::Unix(path.to_owned()), Ask::OnWhole, Arc::new(script))
    }

    /// Answers everything with `200` and this body.
    pub fn ok(body: &'static str) -> Self {
        Self::start(move |_| vec![Step::Send(ok(body))])
    }

    /// Answers with the head it received followed by the decoded body.
    pub fn echo() -> Self {
        Self::start(|request| vec![Step::Send(ok([&request.head[..], &request.body].concat()))])
    }

    /// As [`Self::start`], on a listener of the test's own.
    pub fn on(
        listener: TcpListener,
        script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::listening(listener, Ask::OnWhole, Arc::new(script))
    }

    fn tcp(address: &str, ask: Ask, script: Arc<Script>) -> Self {
        Self::listening(TcpListener::bind(address).unwrap(), ask, script)
    }

    fn listening(listener: TcpListener, ask: Ask, script: Arc<Script>) -> Self {
        let place = Place::Tcp(listener.local_addr().unwrap());
        Self::serve(Listener::Tcp(listener), place, ask, script)
    }

    fn serve(listener: Listener, place: Place, ask: Ask, script: Arc<Script>) -> Self {
        let records = Arc::new(Mutex::new(Records::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let origin = Self { place, records: records.clone(), stop: stop.clone() };
        thread::spawn(move || {
            loop {
                let socket = match &listener {
                    Listener::Tcp(l) => l.accept().map(|(stream, _)| Socket::tcp(stream)),
                    Listener::Unix(l) => l.accept().map(|(stream, _)| Socket::Unix(stream)),
                };
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(socket) = socket else { continue };
                let mut guard = lock(&records);
                let id = guard.connections.len();
                guard.connections.push(Seen::default());
                drop(guard);
                let (records, stop, script) = (records.clone(), stop.clone(), script.clone());
                let connection = Connection::new(socket, id, records, stop);
                thread::spawn(move || connection.run(ask, &*script));
            }
        });
        origin
    }

    /// What belongs into `servers = ["…"]`.
    pub fn server(&self) -> String {
        match &self.place {
            Place::Tcp(address) => address.to_string(),
            Place::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// Every request whose head arrived, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.records).requests.clone()
    }

    /// The requests that arrived whole.
    pub fn complete(&self) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|r| r.complete);
        requests
    }

    /// The only request so far; panics when there were none or more.
    pub fn only_request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "requests at the origin: {requests:?}");
        requests.remove(0)
    }

    /// All requests so far; panics unless there were so many.
    pub fn all_requests(&self, count: usize) -> Vec<Request> {
        let requests = self.requests();
        assert_eq!(requests.len(), count, "requests at the origin: {requests:?}");
        requests
    }

    pub fn connections(&self) -> Vec<Seen> {
        lock(&self.records).connections.clone()
    }

    /// Connections accepted so far.
    pub fn accepts(&self) -> usize {
        lock(&self.records).connections.len()
    }

    /// Connections that neither side has ended.
    pub fn open_connections(&self) -> usize {
        lock(&self.records).connections.iter().filter(|c| !c.done).count()
    }

    /// Bytes sent over all connections.
    pub fn sent(&self) -> u64 {
        lock(&self.records).connections.iter().map(|c| c.sent).sum()
    }

    /// How many request bodies' bytes have been read so far, over all connections.
    pub fn received(&self) -> usize {
        lock(&self.records).connections.iter().map(|c| c.raw.len()).sum()
    }

    pub fn mark(&self) -> Mark {
        let records = lock(&self.records);
        let raw = records.connections.iter().map(|c| c.raw.len()).collect();
        Mark { requests: records.requests.len(), raw }
    }

    /// The requests whose head arrived after `mark`.
    pub fn requests_since(&self, mark: &Mark) -> Vec<Request> {
        lock(&self.records).requests[mark.requests..].to_vec()
    }

    /// The connections that received something after `mark`, with only those bytes.
    pub fn bytes_since(&self, mark: &Mark) -> Vec<Seen> {
        let mut connections = self.connections();
        for (at, connection) in connections.iter_mut().enumerate() {
            connection.raw.drain(..mark.raw.get(at).copied().unwrap_or(0));
        }
        connections.retain(|c| !c.raw.is_empty());
        connections
    }

    /// Stops accepting: further connects are refused.
    pub fn stop(&self) {
        if !self.stop.swap(true, Ordering::SeqCst) {
            match &self.place {
                Place::Tcp(address) => drop(TcpStream::connect(address)),
                Place::Unix(path) => drop(UnixStream::connect(path)),
            }
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}
