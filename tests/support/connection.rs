//! One connection of a scripted origin: reads requests, records them, takes the script's steps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::message::{Chunks, Framing, Request, framing, head_end, parse_head};
use super::origin::{Ask, Script, Seen, Step};
use super::socket::{End, Fill, Socket};

/// What an origin has seen so far, over all connections.
#[derive(Default)]
pub(crate) struct Records {
    pub connections: Vec<Seen>,
    pub requests: Vec<Request>,
}

pub(crate) fn lock(records: &Mutex<Records>) -> MutexGuard<'_, Records> {
    records.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Why a connection is over for the origin.
struct Over;

pub(crate) struct Connection {
    socket: Socket,
    id: usize,
    buffer: Vec<u8>,
    records: Arc<Mutex<Records>>,
    stop: Arc<AtomicBool>,
}

impl Connection {
    pub(crate) fn new(
        socket: Socket,
        id: usize,
        records: Arc<Mutex<Records>>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self { socket, id, buffer: Vec::new(), records, stop }
    }

    pub(crate) fn run(mut self, ask: Ask, script: &Script) {
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
