//! A server that speaks HTTP/2 as a test tells it to.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::frames::{
    ACK, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, Wire, block, frame,
};

/// A request that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Which connection, from 0.
    pub connection: usize,
    /// Which request there, from 0.
    pub nth: usize,
    pub stream: u32,
}

/// Frames to send; nothing ends the connection.
pub type Script = dyn Fn(Asked) -> Option<Vec<u8>> + Send + Sync;

pub struct H2Server {
    pub address: SocketAddr,
    accepts: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<Asked>>>,
    resets: Arc<Mutex<Vec<u32>>>,
}

/// An answer of 200 and its body.
pub fn fine(stream: u32, body: &str) -> Vec<u8> {
    [head(stream, &[]), frame(0, END_STREAM, stream, body.as_bytes())].concat()
}

pub fn head(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let fields = block(&[&[(":status", "200")], fields].concat());
    frame(HEADERS, END_HEADERS, stream, &fields)
}

impl H2Server {
    /// Answers each request as soon as its head has come, having said hello with these settings.
    pub fn start(
        settings: &'static [(u16, u32)],
        script: impl Fn(Asked) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script: Arc<Script> = Arc::new(script);
        let server = Self {
            address,
            accepts: Arc::default(),
            asked: Arc::default(),
            resets: Arc::default(),
        };
        let (accepts, asked) = (server.accepts.clone(), server.asked.clone());
        let resets = server.resets.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = accepts.fetch_add(1, SeqCst);
                let (script, asked, resets) = (script.clone(), asked.clone(), resets.clone());
                let wire = Wire::new(stream.unwrap());
                thread::spawn(move || {
                    serve(wire, (connection, settings), &*script, (&asked, &resets));
                });
            }
        });
        server
    }

    pub fn accepts(&self) -> usize {
        self.accepts.load(SeqCst)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The codes of the streams that were reset.
    pub fn resets(&self) -> Vec<u32> {
        self.resets.lock().unwrap().clone()
    }
}

fn serve(
    mut wire: Wire,
    (connection, settings): (usize, &[(u16, u32)]),
    script: &Script,
    (asked, resets): (&Mutex<Vec<Asked>>, &Mutex<Vec<u32>>),
) {
    if !wire.preface() {
        return;
    }
    let mut payload = Vec::new();
    for (id, value) in settings {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    wire.send(&frame(SETTINGS, 0, 0, &payload));
    let mut nth = 0;
    while let Some(got) = wire.frame() {
        match got.kind {
            SETTINGS if got.flags & ACK == 0 => wire.send(&frame(SETTINGS, ACK, 0, &[])),
            PING if got.flags & ACK == 0 => wire.send(&frame(PING, ACK, 0, &got.payload)),
            RST_STREAM => resets.lock().unwrap().push(got.number(0)),
            HEADERS => {
                let this = Asked { connection, nth, stream: got.stream };
                nth += 1;
                asked.lock().unwrap().push(this);
                match script(this) {
                    Some(bytes) => wire.send(&bytes),
                    None => return,
                }
            }
            _ => {}
        }
    }
}
