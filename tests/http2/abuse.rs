//! The bomb: fields that cost a byte to send and sixty to keep.

use crate::frames::{END_HEADERS, END_STREAM, HEADERS, SETTINGS, Verdict, Wire, frame, get};
use crate::proxy;
use support::{Origin, Tidegate, resident_kib};

const CONNECTIONS: usize = 20;
const STREAMS: u32 = 100;

/// How often the same is sent to one process.
const ROUNDS: usize = 4;

/// Opens twenty connections that take no answers, sends `STREAMS` heads of `fields` references to
/// `field` over each of them, and returns what was sent and by how much the proxy grew meanwhile,
/// in KiB.
fn bomb(proxy: &Tidegate, field: &[u8], fields: usize) -> (usize, u64) {
    // What connections cost is not what this is about.
    let mut clients: Vec<Wire> = (0..CONNECTIONS)
        .map(|_| {
            let mut client = Wire::connect(proxy.address(), &[]);
            client.head(1, &get(&[]));
            assert_eq!(client.verdict(1), Verdict::Status(200));
            client.head(3, &[get(&[]), field.to_vec(), vec![0xbe; fields]].concat());
            assert_eq!(client.verdict(3), Verdict::Status(431));
            // From here on no answer is taken.
            client.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
            client
        })
        .collect();
    let before = resident_kib(proxy.pid());
    let mut sent = 0;
    let mut most = before;
    for client in &mut clients {
        for n in 2..STREAMS + 2 {
            let block = [get(&[]), vec![0xbe; fields]].concat();
            let bytes = frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block);
            sent += bytes.len();
            client.send(&bytes);
        }
        most = most.max(resident_kib(proxy.pid()));
    }
    // Whatever was sent has been read once the last connection knows what became of its last
    // stream.
    for client in &mut clients {
        client.verdict(2 * STREAMS + 3);
        most = most.max(resident_kib(proxy.pid()));
    }
    (sent / 1024, most - before)
}

#[test]
fn many_small_fields_are_refused_before_they_grow() {
    for (name, field) in [("fields", &b"\x40\x01a\x01b"[..]), ("crumbs", b"\x60\x03a=1")] {
        let origin = Origin::ok("fine");
        let proxy = proxy(origin.server(), "");
        let mut rounds: Vec<_> = (0..ROUNDS).map(|_| bomb(&proxy, field, 400)).collect();
        println!("{name}: KiB sent, and by how much it grew: {rounds:?}");
        // The allocator is given pages for the first round: 0.2 to 1.7 MiB have been seen, and once
        // 4; in the later ones buffers of what was sent. Kept fields would take 48 MiB in each
        // round.
        let (sent, grown) = rounds.remove(0);
        assert!(grown <= 8 * sent as u64, "{name}: {sent} KiB sent, {grown} KiB more");
        let sent: usize = rounds.iter().map(|(sent, _)| sent).sum();
        let grown: u64 = rounds.iter().map(|(_, grown)| grown).sum();
        assert!(grown <= 4 * sent as u64, "{name}: {sent} KiB sent, {grown} KiB more: {rounds:?}");
    }
}
