//! A scripted origin: it records every byte it receives and answers as the test says.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::message::{Chunks, Framing, Request, framing, head_end, parse_head};
use super::socket::{End, Fill, Socket};

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

    fn is_open(&self) -> bool {
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

#[derive(Default)]
struct Records {
    connections: Vec<Seen>,
    requests: Vec<Request>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    OnHead,
    OnWhole,
}

type Script = dyn Fn(&Request) -> Vec<Step> + Send + Sync;

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

    fn tcp(address: &str, ask: Ask, script: Arc<Script>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
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
                let connection = Connection { socket, id, buffer: Vec::new(), records, stop };
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

fn lock(records: &Mutex<Records>) -> MutexGuard<'_, Records> {
    records.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Why a connection is over for the origin.
struct Over;

struct Connection {
    socket: Socket,
    id: usize,
    buffer: Vec<u8>,
    records: Arc<Mutex<Records>>,
    stop: Arc<AtomicBool>,
}

impl Connection {
    fn run(mut self, ask: Ask, script: &Script) {
        for index in 0.. {
            if self.one_request(index, ask, script).is_err() {
                lock(&self.records).connections[self.id].done = true;
                return;
            }
        }
    }

    fn one_request(&mut self, index: usize, ask: Ask, script: &Script) -> Result<(), Over> {
        let head = self.head()?;
        let parsed = parse_head(&head).and_then(|(start, headers)| {
            let parts: Vec<&str> = start.split(' ').collect();
            let [method, target, version] = parts[..] else {
                return Err(format!("bad request line {start:?}"));
            };
            let framing = framing(&headers)?.unwrap_or(Framing::Empty);
            let request = Request {
                connection: self.id,
                index,
                method: method.into(),
                target: target.into(),
                version: version.into(),
                headers: headers.clone(),
                head: head.clone(),
                chunked: framing == Framing::Chunked,
                complete: framing == Framing::Empty,
                ..Request::default()
            };
            Ok((request, framing))
        });
        let (mut request, framing) = parsed.map_err(|e| self.malformed(e))?;
        let mut records = lock(&self.records);
        let slot = records.requests.len();
        records.requests.push(request.clone());
        drop(records);
        if ask == Ask::OnWhole {
            self.body(&mut request, framing, slot)?;
        }
        for step in script(&request) {
            if matches!(step, Step::ReadBody) {
                self.body(&mut request, framing, slot)?;
            } else {
                self.step(step)?;
            }
        }
        self.body(&mut request, framing, slot)
    }

    fn head(&mut self) -> Result<Vec<u8>, Over> {
        loop {
            if let Some(end) = head_end(&self.buffer) {
                return Ok(self.buffer.drain(..end).collect());
            }
            self.more()?;
        }
    }

    /// Reads the body unless that was done; the record grows as it arrives.
    fn body(&mut self, request: &mut Request, framing: Framing, slot: usize) -> Result<(), Over> {
        if request.complete {
            return Ok(());
        }
        let mut chunks = Chunks::default();
        loop {
            let done = match framing {
                Framing::Length(length) => {
                    let n = self.buffer.len().min(length - request.body.len());
                    request.body.extend(self.buffer.drain(..n));
                    request.body.len() == length
                }
                Framing::Chunked => {
                    let done = chunks.advance(&mut self.buffer).map_err(|e| self.malformed(e))?;
                    if done {
                        request.body = std::mem::take(&mut chunks.body);
                        request.trailers = std::mem::take(&mut chunks.trailers);
                    }
                    done
                }
                Framing::Empty | Framing::UntilClose => true,
            };
            if done {
                break;
            }
            self.more()?;
        }
        request.complete = true;
        lock(&self.records).requests[slot] = request.clone();
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), Over> {
        match step {
            Step::Send(bytes) => self.send(&bytes),
            Step::Fill(mut left) => {
                let piece = vec![b'x'; 65536];
                while left > 0 {
                    let n = left.min(piece.len() as u64);
                    self.send(&piece[..usize::try_from(n).unwrap()])?;
                    left -= n;
                }
                Ok(())
            }
            Step::Pause(time) => {
                let until = Instant::now() + time;
                self.idle_while(|| Instant::now() < until)
            }
            Step::Until(gate) => self.idle_while(|| !gate.is_open()),
            Step::ReadBody => Ok(()),
            Step::Echo => loop {
                let bytes = std::mem::take(&mut self.buffer);
                self.send(&bytes)?;
                match self.read() {
                    Fill::Bytes(_) => {}
                    Fill::Closed => return Ok(()),
                    Fill::Reset | Fill::Nothing => return Err(Over),
                }
            },
            Step::HalfClose => {
                self.socket.close_write();
                Ok(())
            }
            Step::Close => Err(Over),
            Step::Reset => {
                self.socket.abort_on_drop();
                Err(Over)
            }
            Step::Hold => loop {
                self.more()?;
            },
        }
    }

    fn idle_while(&self, mut waiting: impl FnMut() -> bool) -> Result<(), Over> {
        while waiting() {
            if self.stop.load(Ordering::SeqCst) {
                return Err(Over);
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<(), Over> {
        while !bytes.is_empty() {
            if self.stop.load(Ordering::SeqCst) {
                return Err(Over);
            }
            let Ok(n) = self.socket.write_some(bytes, Duration::from_millis(50)) else {
                // The peer is gone: how it went is what a read says now.
                while matches!(self.read(), Fill::Bytes(_)) {}
                return Err(Over);
            };
            bytes = &bytes[n..];
            lock(&self.records).connections[self.id].sent += n as u64;
        }
        Ok(())
    }

    fn more(&mut self) -> Result<(), Over> {
        match self.read() {
            Fill::Bytes(_) => Ok(()),
            Fill::Closed | Fill::Reset | Fill::Nothing => Err(Over),
        }
    }

    /// Waits for bytes and records them; `Nothing` only when the origin is being dropped.
    fn read(&mut self) -> Fill {
        loop {
            let before = self.buffer.len();
            let fill = self.socket.read_some(&mut self.buffer, Duration::from_millis(50));
            let mut records = lock(&self.records);
            let seen = &mut records.connections[self.id];
            match fill {
                Fill::Bytes(_) => seen.raw.extend_from_slice(&self.buffer[before..]),
                Fill::Closed => seen.end = Some(End::Closed),
                Fill::Reset => seen.end = Some(End::Reset),
                Fill::Nothing => {
                    if self.stop.load(Ordering::SeqCst) {
                        return Fill::Nothing;
                    }
                    continue;
                }
            }
            return fill;
        }
    }

    fn malformed(&self, why: String) -> Over {
        lock(&self.records).connections[self.id].malformed = Some(why);
        Over
    }
}

/// An address where nobody listens: connecting is refused at once.
pub fn refused_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// An address that never answers a SYN: a listener whose queue is full and never accepted from.
pub struct Blackhole {
    pub address: SocketAddr,
    _listener: socket2::Socket,
    _queued: Vec<TcpStream>,
}

impl Blackhole {
    pub fn start() -> Self {
        let listener =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            queued.push(stream);
            assert!(queued.len() < 64, "the accept queue does not fill up");
        }
        Self { address, _listener: listener, _queued: queued }
    }
}
