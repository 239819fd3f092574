//! Where connections may come from and go to: TCP, IPv6, Unix sockets, several at once.

use crate::setup::plain;
use support::{Configuration, Origin, RawClient, Step, ok};

#[test]
fn a_listener_can_be_a_unix_socket() {
    let origin = Origin::ok("ok");
    let proxy = Configuration::of(&origin).listen("address = 'unix:{dir}/in.sock'").start();
    let mut client = RawClient::connect_unix(&proxy.path("in.sock"));
    assert_eq!(client.get("/a").text(), "ok");
    assert_eq!(client.get("/b").text(), "ok");
}

#[test]
fn a_stale_socket_file_does_not_prevent_the_start() {
    let directory = tempfile::tempdir().unwrap();
    drop(std::os::unix::net::UnixListener::bind(directory.path().join("in.sock")).unwrap());
    let answering = Configuration::default().route("respond = { status = 200, body = 'hi' }");
    let proxy = answering.listen("address = 'unix:{dir}/in.sock'").start_in(directory);
    let mut client = RawClient::connect_unix(&proxy.path("in.sock"));
    assert_eq!(client.get("/").text(), "hi");
}

#[test]
fn a_server_can_be_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let origin =
        Origin::unix(&directory.path().join("app.sock"), |r| vec![Step::Send(ok(&r.target))]);
    let proxy = plain(&origin);
    let mut client = proxy.client();
    assert_eq!(client.get("/a").text(), "/a");
    assert_eq!(client.get("/b").text(), "/b");
    assert_eq!(origin.accepts(), 1);
    assert_eq!(origin.requests()[0].all("host"), ["a.test"]);
}

#[test]
fn both_sides_can_be_ipv6() {
    let origin = Origin::v6(|_| vec![Step::Send(ok("six"))]);
    let proxy = Configuration::of(&origin).listen("address = '[::1]:0'").start();
    assert!(proxy.address().is_ipv6());
    assert_eq!(proxy.client().get("/").text(), "six");
    assert_eq!(origin.only_request().all("x-real-ip"), ["::1"]);
}

#[test]
fn one_listener_can_have_several_addresses() {
    let answering = Configuration::default().route("respond = { status = 200, body = 'hi' }");
    let proxy = answering.listen("address = ['127.0.0.1:0', '[::1]:0', '127.0.0.1:0']").start();
    let addresses = proxy.addresses();
    assert_eq!(addresses.len(), 3);
    for address in addresses {
        assert_eq!(RawClient::connect(address).get("/").text(), "hi", "{address}");
    }
}

#[test]
fn a_route_can_belong_to_one_listener() {
    let mut configuration = Configuration::default();
    for name in ["public", "internal"] {
        let route = format!("listen = '{name}'\nrespond = {{ status = 200, body = '{name}' }}");
        configuration = configuration
            .listen(&format!("name = '{name}'"))
            .route(&format!("path = '/who'\n{route}"));
    }
    let proxy = configuration.start();
    for name in ["public", "internal"] {
        assert_eq!(RawClient::connect(proxy.listener(name)).get("/who").text(), name);
    }
}
