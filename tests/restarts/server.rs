//! A server that can be stopped and started, and that can hang, as a test tells it.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the server does.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Answers 200.
    Up,
    /// Refuses connections; those it has end after the answer they are at.
    Down,
    /// Takes connections as far as the system does it by itself, and does not run.
    Stopped,
    /// Answers with something that is not HTTP.
    Garbage,
    /// Answers with half a head and closes.
    HalfHead,
    /// Answers with 5 of 1000 bytes and closes.
    HalfBody,
    /// Closes instead of answering.
    Closing,
    /// Answers 500.
    Failing,
    /// Answers 503.
    Busy,
}

const MODES: [Mode; 9] = [
    Mode::Up,
    Mode::Down,
    Mode::Stopped,
    Mode::Garbage,
    Mode::HalfHead,
    Mode::HalfBody,
    Mode::Closing,
    Mode::Failing,
    Mode::Busy,
];

/// How often the server looks what it is to do.
const LOOK: Duration = Duration::from_millis(2);

pub struct Server {
    pub address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    address: SocketAddr,
    mode: AtomicU8,
    /// The listener is in the state that the mode asks for.
    listening: AtomicBool,
    ended: AtomicBool,
    /// Requests that arrived on a connection while it was being closed.
    crossed: AtomicUsize,
    /// How often each request arrived whole.
    arrived: Mutex<HashMap<String, usize>>,
}

impl Inner {
    fn mode(&self) -> Mode {
        MODES[usize::from(self.mode.load(Ordering::SeqCst))]
    }
}

impl Server {
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// Two servers with one port, on 127.0.0.1 and 127.0.0.2.
    pub fn pair() -> [Self; 2] {
        Self::row(2).try_into().unwrap_or_else(|_| panic!("two were asked for"))
    }

    /// Servers with one port, on 127.0.0.1 and the addresses after it.
    pub fn row(n: u8) -> Vec<Self> {
        for _ in 0..100 {
            let first = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = first.local_addr().unwrap().port();
            let others = (2..=n).map(|n| TcpListener::bind((format!("127.0.0.{n}"), port)));
            if let Ok(others) = others.collect::<Result<Vec<_>, _>>() {
                return std::iter::once(first).chain(others).map(Self::on).collect();
            }
        }
        panic!("no port is free on all");
    }

    fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            address,
            mode: AtomicU8::new(Mode::Up as u8),
            listening: AtomicBool::new(true),
            ended: AtomicBool::new(false),
            crossed: AtomicUsize::new(0),
            arrived: Mutex::default(),
        });
        let running = inner.clone();
        thread::spawn(move || running.listen(listener));
        Self { address, inner }
    }

    /// Changes what the server does; returns once its listener is closed or open.
    pub fn set(&self, mode: Mode) {
        self.inner.mode.store(mode as u8, Ordering::SeqCst);
        while self.inner.listening.load(Ordering::SeqCst) == (mode == Mode::Down) {
            thread::sleep(LOOK / 2);
        }
    }

    /// How often each request arrived whole, by its target.
    pub fn arrived(&self) -> HashMap<String, usize> {
        self.inner.arrived.lock().unwrap().clone()
    }

    /// How many requests arrived on a connection while it was being closed. Nobody but the server
    /// knows what became of them.
    pub fn crossed(&self) -> usize {
        self.inner.crossed.load(Ordering::SeqCst)
    }

    /// How many requests arrived whole.
    pub fn requests(&self) -> usize {
        self.arrived().values().sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.inner.ended.store(true, Ordering::SeqCst);
    }
}

impl Inner {
    fn listen(self: &Arc<Self>, listener: TcpListener) {
        let mut listener = Some(listener);
        while !self.ended.load(Ordering::SeqCst) {
            match (self.mode(), &listener) {
                (Mode::Down, Some(open)) => {
                    // Nobody who got through is forgotten.
                    while self.accept(open) {}
                    listener = None;
                    self.listening.store(false, Ordering::SeqCst);
                }
                (Mode::Down, None) | (Mode::Stopped, Some(_)) => thread::sleep(LOOK),
                (_, None) => {
                    let again = TcpListener::bind(self.address).expect("the port is still ours");
                    listener = Some(again);
                    self.listening.store(true, Ordering::SeqCst);
                }
                (_, Some(open)) => {
                    if !self.accept(open) {
                        thread::sleep(LOOK / 2);
                    }
                }
            }
        }
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) -> bool {
        listener.set_nonblocking(true).unwrap();
        let Ok((stream, _)) = listener.accept() else { return false };
        stream.set_nonblocking(false).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LOOK)).unwrap();
        let this = self.clone();
        thread::spawn(move || this.serve(stream));
        true
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        let mut fresh = true;
        while !self.ended.load(Ordering::SeqCst) {
            if self.mode() == Mode::Stopped {
                thread::sleep(LOOK);
                continue;
            }
            if let Some((target, used, upgrade)) = request(&bytes) {
                bytes.drain(..used);
                *self.arrived.lock().unwrap().entry(target).or_default() += 1;
                fresh = false;
                if !self.answer(&mut stream, upgrade) {
                    return;
                }
                continue;
            }
            // A connection that was taken gets its first answer.
            if self.mode() == Mode::Down && bytes.is_empty() && !fresh {
                self.close(stream);
                return;
            }
            let mut piece = [0; 4096];
            match stream.read(&mut piece) {
                Ok(0) => return,
                Ok(n) => bytes.extend_from_slice(&piece[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    fresh &= self.mode() != Mode::Down;
                }
                Err(_) => return,
            }
        }
    }

    /// Closes a connection at rest and looks whether a request was under way to it.
    fn close(&self, mut stream: TcpStream) {
        let _gone = stream.shutdown(Shutdown::Write);
        stream.set_read_timeout(Some(LOOK * 50)).unwrap();
        if stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {
            self.crossed.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn answer(&self, stream: &mut TcpStream, upgrade: bool) -> bool {
        const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: ";
        let (bytes, goes_on) = match self.mode() {
            Mode::Up | Mode::Down | Mode::Stopped if upgrade => (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
                    .to_owned(),
                false,
            ),
            Mode::Up | Mode::Down | Mode::Stopped => (format!("{HEAD}2\r\n\r\nok"), true),
            Mode::Garbage => ("garbage\r\n\r\n".to_owned(), false),
            Mode::HalfHead => ("HTTP/1.1 200 OK\r\nContent-Le".to_owned(), false),
            Mode::HalfBody => (format!("{HEAD}1000\r\n\r\n12345"), false),
            Mode::Closing => return false,
            Mode::Failing => (status(500), true),
            Mode::Busy => (status(503), true),
        };
        stream.write_all(bytes.as_bytes()).is_ok() && goes_on
    }
}

fn status(status: u16) -> String {
    format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")
}

/// The target of a whole request, how many bytes it has, and whether it asks for another protocol.
fn request(bytes: &[u8]) -> Option<(String, usize, bool)> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(0, |n| n.trim().parse().unwrap());
    let target = head.split(' ').nth(1).unwrap().to_owned();
    (bytes.len() >= end + length).then_some((target, end + length, head.contains("\r\nupgrade:")))
}

/// Servers, and an upstream's list of them.
pub fn servers(n: usize) -> (Vec<Server>, String) {
    let servers: Vec<Server> = (0..n).map(|_| Server::start()).collect();
    let list: Vec<String> = servers.iter().map(|s| format!("'{}'", s.address)).collect();
    let list = format!("servers = [{}]", list.join(", "));
    (servers, list)
}
