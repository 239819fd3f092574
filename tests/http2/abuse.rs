//! The bomb: fields that cost a byte to send and sixty to keep.

use crate::frames::{END_HEADERS, END_STREAM, HEADERS, Wire, frame, get};
use crate::proxy;
use crate::support::{Origin, resident_kib};

const CONNECTIONS: usize = 20;
const STREAMS: u32 = 100;

/// Sends `STREAMS` heads of `fields` references to `field` over each of twenty connections that take no answers, and
/// returns what was sent and by how much the proxy grew, in KiB.
fn bomb(field: &[u8], fields: usize, extra: &str) -> (usize, u64) {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), extra);
    // What the first connection of a kind costs is not what this is about: code is memory too.
    for fields in [0, 400] {
        let mut client = Wire::connect(proxy.address(), &[]);
        client.head(1, &[get(&[]), field.to_vec(), vec![0xbe; fields]].concat());
        client.verdict(1);
    }
    let before = resident_kib(proxy.pid());
    let mut sent = 0;
    let mut clients = Vec::new();
    let mut most = before;
    for _ in 0..CONNECTIONS {
        let mut client = Wire::connect(proxy.address(), &[(4, 0)]);
        for n in 0..STREAMS {
            // The first one puts the field into the table.
            let names = if n == 0 { field.to_vec() } else { Vec::new() };
            let block = [get(&[]), names, vec![0xbe; fields]].concat();
            let bytes = frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block);
            sent += bytes.len();
            client.send(&bytes);
        }
        clients.push(client);
        most = most.max(resident_kib(proxy.pid()));
    }
    // Whatever was sent has been read once the last connection knows what became of its last stream.
    for client in &mut clients {
        client.verdict(2 * STREAMS - 1);
        most = most.max(resident_kib(proxy.pid()));
    }
    (sent / 1024, most - before)
}

#[test]
fn many_small_fields_are_refused_before_they_grow() {
    let fields = bomb(b"\x40\x01a\x01b", 400, "");
    let crumbs = bomb(b"\x60\x03a=1", 400, "");
    for (name, (sent, grown)) in [("fields", fields), ("crumbs", crumbs)] {
        println!("{name}: {sent} KiB sent, {grown} KiB more");
        assert!(grown <= 2 * sent as u64, "{name}: {sent} KiB sent, {grown} KiB more");
    }
}
