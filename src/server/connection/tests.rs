//! A defect in the proxy, as one connection sees it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::*;
use crate::balance::{Balance, Member, PickContext};
use crate::clock::Random;
use crate::server::handshake::Handshakes;
use crate::server::status::Status;
use crate::snapshot::{CurrentSnapshot, Snapshot, compile};
use crate::worker::Worker;

/// A strategy with a defect.
#[derive(Debug)]
struct Broken;

impl Balance for Broken {
    fn pick_server(&self, _: &[Member], _: &mut PickContext<'_>) -> Option<usize> {
        panic!("a defect");
    }
}

/// A configuration whose only upstream has the broken strategy.
fn broken() -> Snapshot {
    let text = r#"
        [[listen]]
        address = "127.0.0.1:0"
        [upstream.app]
        servers = ["127.0.0.1:1"]
        [[route]]
        upstream = "app"
    "#;
    let config = crate::config::load_str("test.toml", text).unwrap().config;
    let snapshot = compile::compile_config(&config, None, 16).unwrap();
    let upstream = &snapshot.upstreams[0];
    upstream.replace_members(upstream.members().with_balance(Box::new(Broken)));
    snapshot
}

#[tokio::test]
async fn a_defect_costs_one_request_a_500_and_a_count() {
    let listener = broken().listeners[0].clone();
    let store = Arc::new(arc_swap::ArcSwap::from_pointee(broken()));
    let status = Arc::new(Status::new(
        store.clone(),
        crate::server::collector::new_desk().0,
        1,
        crate::discovery::registry::Registry::default(),
    ));
    let local = Rc::new(Local {
        worker: Rc::new(Worker::new(0, Arc::new([Notify::new()]), Random::seeded(1))),
        current: CurrentSnapshot::new(store),
        status: status.clone(),
        handshakes: Handshakes::default(),
    });
    for expected in 1..=2 {
        let (near, mut far) = UnixStream::pair().unwrap();
        let peer = ClientPeer {
            ip: Some(Ipv4Addr::LOCALHOST.into()),
            text: "127.0.0.1".into(),
            trusted: false,
            listener: 0,
            tls: None,
            ends: None,
        };
        let client = async move {
            far.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            far.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let seat = local.worker.seats.take_seat(std::task::Waker::noop().clone(), 0);
        let (closing, full) = (Rc::default(), false);
        let way = ConnectionEnd {
            seat: &seat,
            listener: listener.clone(),
            closing,
            full: full.then_some(Refusal::Crowded),
        };
        let served = serve_connection(&local, Stream::Unix(near), peer, way);
        let (answer, ()) = tokio::join!(client, served);
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        assert!(answer.contains("\"code\":\"internal_error\""), "{answer}");
        assert_eq!(status.panics.load(Ordering::Relaxed), expected);
    }
}
