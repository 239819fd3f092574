//! A name server that says what a test tells it, over UDP and TCP, and counts what it is asked.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Types of records.
pub const A: u16 = 1;
pub const CNAME: u16 = 5;
pub const AAAA: u16 = 28;
pub const SRV: u16 = 33;

/// The most that is sent over UDP, as long as nobody asks for more (RFC 1035 §4.2.1).
const UDP: usize = 512;

/// One record.
#[derive(Debug, Clone)]
pub struct Record {
    name: String,
    ttl: u32,
    data: Data,
}

#[derive(Debug, Clone)]
enum Data {
    Ip(IpAddr),
    Alias(String),
    Service { priority: u16, weight: u16, port: u16, target: String },
}

/// What is said to a question.
#[derive(Debug, Clone)]
pub enum Reply {
    /// These records; none of them is NODATA.
    Records(Vec<Record>),
    /// These records, over UDP in one datagram of any length.
    Uncut(Vec<Record>),
    /// NXDOMAIN, with a time for which that may be believed if there is one.
    NoName(Option<u32>),
    /// A code alone.
    Code(u8),
    /// Nothing at all.
    Silence,
}

pub fn ip(name: &str, ttl: u32, address: &str) -> Record {
    Record { name: name.to_owned(), ttl, data: Data::Ip(address.parse().unwrap()) }
}

pub fn alias(name: &str, ttl: u32, of: &str) -> Record {
    Record { name: name.to_owned(), ttl, data: Data::Alias(of.to_owned()) }
}

pub fn service(name: &str, ttl: u32, (priority, weight): (u16, u16), at: (&str, u16)) -> Record {
    let data = Data::Service { priority, weight, port: at.1, target: at.0.to_owned() };
    Record { name: name.to_owned(), ttl, data }
}

pub struct NameServer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    replies: Mutex<HashMap<(String, u16), Reply>>,
    /// Name, type, and whether it came over TCP.
    asked: Mutex<Vec<(String, u16, bool)>>,
}

impl NameServer {
    /// Knows no name yet.
    pub fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        udp.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let over_udp = shared.clone();
        thread::spawn(move || {
            let mut bytes = [0; 2048];
            while !over_udp.ended.load(Ordering::SeqCst) {
                if let Ok((length, from)) = udp.recv_from(&mut bytes)
                    && let Some(answer) = over_udp.answer(&bytes[..length], false)
                {
                    udp.send_to(&answer, from).unwrap();
                }
            }
        });
        let over_tcp = shared.clone();
        thread::spawn(move || {
            while !over_tcp.ended.load(Ordering::SeqCst) {
                match tcp.accept() {
                    Ok((stream, _)) => {
                        let shared = over_tcp.clone();
                        thread::spawn(move || shared.serve(stream));
                    }
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Self { address, shared }
    }

    /// Says this to whoever asks for a type of records of a name.
    pub fn say(&self, name: &str, kind: u16, reply: Reply) {
        self.shared.replies.lock().unwrap().insert((name.to_owned(), kind), reply);
    }

    /// A name has these IPv4 addresses and no others.
    pub fn at(&self, name: &str, ttl: u32, addresses: &[&str]) {
        let records = addresses.iter().map(|address| ip(name, ttl, address)).collect();
        self.say(name, A, Reply::Records(records));
        self.say(name, AAAA, Reply::Records(Vec::new()));
    }

    /// How often it was asked for a type of records of a name.
    pub fn asked(&self, name: &str, kind: u16) -> usize {
        let asked = self.shared.asked.lock().unwrap();
        asked.iter().filter(|one| one.0 == name && one.1 == kind).count()
    }

    /// How often that was over TCP.
    pub fn asked_over_tcp(&self, name: &str, kind: u16) -> usize {
        let asked = self.shared.asked.lock().unwrap();
        asked.iter().filter(|one| one.0 == name && one.1 == kind && one.2).count()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut length = [0; 2];
        while stream.read_exact(&mut length).is_ok() {
            let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
            if stream.read_exact(&mut bytes).is_err() {
                return;
            }
            if let Some(answer) = self.answer(&bytes, true) {
                let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                // Who asked may have gone.
                let _gone = stream.write_all(&[&length[..], &answer].concat());
            }
        }
    }

    fn answer(&self, asked: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let (name, end) = read_name(asked, 12);
        let kind = u16::from_be_bytes([asked[end], asked[end + 1]]);
        self.asked.lock().unwrap().push((name.clone(), kind, tcp));
        let reply = self.replies.lock().unwrap().get(&(name.clone(), kind)).cloned();
        let reply = reply.unwrap_or(Reply::NoName(None));
        let most = if matches!(reply, Reply::Uncut(_)) { usize::MAX } else { UDP };
        let (code, records, negative) = match reply {
            Reply::Records(records) | Reply::Uncut(records) => (0, records, None),
            Reply::NoName(ttl) => (3, Vec::new(), ttl),
            Reply::Code(code) => (code, Vec::new(), None),
            Reply::Silence => return None,
        };
        let count = |number: usize| u16::try_from(number).unwrap().to_be_bytes();
        let mut body = asked[12..end + 4].to_vec();
        for record in &records {
            let data = data(&record.data);
            body.extend(write_name(&record.name));
            body.extend(data.0.to_be_bytes());
            body.extend([0, 1]);
            body.extend(record.ttl.to_be_bytes());
            body.extend(count(data.1.len()));
            body.extend(data.1);
        }
        if let Some(ttl) = negative {
            let zone = write_name(name.split_once('.').map_or("", |(_, zone)| zone));
            let numbers: Vec<u8> =
                [1, 1, 1, 1, ttl].iter().flat_map(|number: &u32| number.to_be_bytes()).collect();
            let soa = [&zone[..], &zone, &numbers].concat();
            body.extend(&zone);
            body.extend([0, 6, 0, 1]);
            body.extend(ttl.to_be_bytes());
            body.extend(count(soa.len()));
            body.extend(soa);
        }
        let cut = !tcp && body.len().saturating_add(12) > most;
        if cut {
            body.truncate(end + 4 - 12);
        }
        let (answers, authorities) =
            if cut { (0, 0) } else { (records.len(), usize::from(negative.is_some())) };
        let flags = [0x81 | if cut { 2 } else { 0 }, 0x80 | code];
        let counts = [count(1), count(answers), count(authorities), count(0)].concat();
        Some([&asked[..2], &flags, &counts, &body].concat())
    }
}

fn data(data: &Data) -> (u16, Vec<u8>) {
    match data {
        Data::Ip(IpAddr::V4(ip)) => (A, ip.octets().into()),
        Data::Ip(IpAddr::V6(ip)) => (AAAA, ip.octets().into()),
        Data::Alias(of) => (CNAME, write_name(of)),
        Data::Service { priority, weight, port, target } => {
            let numbers = [priority, weight, port].map(|number| number.to_be_bytes()).concat();
            (SRV, [numbers, write_name(target)].concat())
        }
    }
}

fn read_name(bytes: &[u8], mut at: usize) -> (String, usize) {
    let mut labels = Vec::new();
    while bytes[at] != 0 {
        let end = at + 1 + usize::from(bytes[at]);
        labels.push(String::from_utf8_lossy(&bytes[at + 1..end]).to_ascii_lowercase());
        at = end;
    }
    (labels.join("."), at + 1)
}

fn write_name(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> = labels
        .flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat())
        .collect();
    bytes.push(0);
    bytes
}
