//! Addresses that cannot be connected to, in the two ways there are.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

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
