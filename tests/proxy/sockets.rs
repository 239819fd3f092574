//! Where connections may come from and go to: TCP, IPv6, Unix sockets, several at once.

use crate::setup::{Lines, with_servers};
use support::{Origin, RawClient, Step, Tidegate, ok};

#[test]
fn a_listener_can_be_a_unix_socket() {
    let origin = Origin::ok("ok");
    let toml = r#"
        [log]
        access = "off"
        [[listen]]
        address = "unix:{dir}/in.sock"
        [upstream.app]
        servers = ["{origin}"]
        [[route]]
        upstream = "app"
    "#;
    let proxy = Tidegate::with(toml, &[("origin", &origin.server())]);
    let mut client = RawClient::connect_unix(&proxy.path("in.sock"));
    assert_eq!(client.get("/a").text(), "ok");
    assert_eq!(client.get("/b").text(), "ok");
}

#[test]
fn a_stale_socket_file_does_not_prevent_the_start() {
    let directory = tempfile::tempdir().unwrap();
    drop(std::os::unix::net::UnixListener::bind(directory.path().join("in.sock")).unwrap());
    let toml = r#"
        [[listen]]
        address = "unix:{dir}/in.sock"
        [[route]]
        respond = { status = 200, body = "hi" }
    "#;
    let proxy = Tidegate::in_directory(directory, toml, &[]);
    let mut client = RawClient::connect_unix(&proxy.path("in.sock"));
    assert_eq!(client.get("/").text(), "hi");
}

#[test]
fn a_server_can_be_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let origin =
        Origin::unix(&directory.path().join("app.sock"), |r| vec![Step::Send(ok(&r.target))]);
    let proxy = with_servers(&format!("\"{}\"", origin.server()), Lines::default());
    let mut client = proxy.client();
    assert_eq!(client.get("/a").text(), "/a");
    assert_eq!(client.get("/b").text(), "/b");
    assert_eq!(origin.accepts(), 1);
    assert_eq!(origin.requests()[0].all("host"), ["a.test"]);
}

#[test]
fn both_sides_can_be_ipv6() {
    let origin = Origin::v6(|_| vec![Step::Send(ok("six"))]);
    let toml = r#"
        [log]
        access = "off"
        [[listen]]
        address = "[::1]:0"
        [upstream.app]
        servers = ["{origin}"]
        [[route]]
        upstream = "app"
    "#;
    let proxy = Tidegate::with(toml, &[("origin", &origin.server())]);
    assert!(proxy.address().is_ipv6());
    assert_eq!(proxy.client().get("/").text(), "six");
    assert_eq!(origin.only_request().all("x-real-ip"), ["::1"]);
}

#[test]
fn one_listener_can_have_several_addresses() {
    let toml = r#"
        [[listen]]
        address = ["127.0.0.1:0", "[::1]:0", "127.0.0.1:0"]
        [[route]]
        respond = { status = 200, body = "hi" }
    "#;
    let proxy = Tidegate::start(toml);
    let addresses = proxy.addresses();
    assert_eq!(addresses.len(), 3);
    for address in addresses {
        assert_eq!(RawClient::connect(address).get("/").text(), "hi", "{address}");
    }
}

#[test]
fn a_route_can_belong_to_one_listener() {
    let toml = r#"
        [[listen]]
        name = "public"
        address = "127.0.0.1:0"
        [[listen]]
        name = "internal"
        address = "127.0.0.1:0"
        [[route]]
        listen = "public"
        path = "/who"
        respond = { status = 200, body = "public" }
        [[route]]
        listen = "internal"
        path = "/who"
        respond = { status = 200, body = "internal" }
    "#;
    let proxy = Tidegate::start(toml);
    for name in ["public", "internal"] {
        assert_eq!(RawClient::connect(proxy.listener(name)).get("/who").text(), name);
    }
}
