//! Clients told apart by their network: who is kept out, and who alone is let in.

use crate::proxy;
use support::Origin;

#[test]
fn some_are_kept_out_and_some_places_are_for_some_only() {
    let origin = Origin::ok("fine");
    let more = r#"
        [[route]]
        name = "banned"
        client = ["192.0.2.0/24", "2001:db8::/32"]
        respond = { status = 403, body = "not from there" }
        [[route]]
        name = "internal"
        path = "/internal/*"
        client = "10.0.0.0/8"
        upstream = "app"
        [[route]]
        name = "closed"
        path = "/internal/*"
        respond = { status = 403 }
    "#;
    let proxy = proxy(&origin, "", more);
    let mut client = proxy.client();
    let mut ask = |path: &str, from: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: {from}\r\n\r\n");
        client.exchange(request).status
    };
    for (path, from, status) in [
        ("/", "198.51.100.1", 200),
        ("/", "192.0.2.77", 403),
        ("/", "2001:db8:1::1", 403),
        ("/", "2001:db9::1", 200),
        ("/internal/a", "10.1.2.3", 200),
        ("/internal/a", "198.51.100.1", 403),
        ("/internal/a", "192.0.2.77", 403),
        // A mapped address is the IPv4 address that it stands for.
        ("/", "::ffff:192.0.2.77", 403),
        // What the last trusted proxy says counts, not what the client wrote before it.
        ("/internal/a", "10.1.2.3, 198.51.100.1", 403),
    ] {
        assert_eq!(ask(path, from), status, "{path} from {from}");
    }
}
