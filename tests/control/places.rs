//! Where it listens: one process at an address (C3), and who may connect to a Unix socket (C10).

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use crate::change::Changing;
use crate::folder::Folder;
use support::{Origin, RawClient, SOON, Tidegate, wait_until};

fn text(address: &str, word: &str) -> String {
    format!(
        "[[listen]]\nname = \"main\"\naddress = {address}\n[[route]]\nrespond = {{ body = \"{word}\" }}\n"
    )
}

#[test]
fn c3_a_second_process_at_the_same_address_is_refused_and_told_who_is_there() {
    let first = Tidegate::start(&text("\"127.0.0.1:0\"", "first"));
    let port = first.address().port();
    let folder = Folder::new();
    for address in [format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}")] {
        let (code, said) = folder.run("run", &text(&format!("\"{address}\""), "second"));
        assert_eq!(code, 1, "{said}");
        let who =
            format!("cannot listen on {address}: tidegate (process {}) listens there", first.pid());
        assert!(said.contains(&who), "{said}");
    }
    for _ in 0..20 {
        assert_eq!(first.client().get("/").text(), "first");
    }
}

#[test]
fn c3_the_same_goes_for_the_admin_address_and_for_unix_sockets() {
    let first = Tidegate::start(&format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n{}",
        text("[\"127.0.0.1:0\", \"unix:{dir}/x.sock\"]", "first")
    ));
    let folder = Folder::new();
    let admin = format!("[admin]\naddress = \"{}\"\n", first.admin());
    let (code, said) = folder.run("run", &(admin + &text("\"127.0.0.1:0\"", "second")));
    assert_eq!(code, 1, "{said}");
    let who = format!("tidegate (process {}) listens there", first.pid());
    assert!(said.contains("admin endpoint: ") && said.contains(&who), "{said}");
    let socket = format!("\"unix:{}\"", first.path("x.sock").display());
    let (code, said) = folder.run("run", &text(&socket, "second"));
    assert!(code == 1 && said.contains(&who), "{said}");
    assert_eq!(RawClient::connect_unix(&first.path("x.sock")).get("/").text(), "first");
}

#[test]
fn c3_what_dies_leaves_its_address_and_own_listeners_share_a_port() {
    let origin = Origin::ok("app");
    let first = Tidegate::start(&text("\"127.0.0.1:0\"", "first"));
    let address = first.address();
    // A connection that the proxy closes leaves an address that a strict bind would refuse.
    drop(first.client().get("/"));
    drop(first);
    let port = address.port();
    let both = format!("[\"127.0.0.1:{port}\", \"0.0.0.0:{port}\"]");
    let changing = Changing::start(&text(&format!("\"127.0.0.1:{port}\""), "one"));
    assert_eq!(RawClient::connect(address).get("/").text(), "one");
    changing.reload(&text(&both, "two"));
    assert_eq!(RawClient::connect(address).get("/").text(), "two");
    let other: std::net::SocketAddr = format!("127.0.0.2:{port}").parse().unwrap();
    assert_eq!(RawClient::connect(other).get("/").text(), "two");
    // One that another program has is refused in a reload as well.
    let taken = text(&format!("[\"127.0.0.1:{port}\", \"{}\"]", origin.server()), "three");
    changing.write(&taken);
    let refused = changing.post("/reload");
    assert!(
        refused.status == 409 && refused.text().contains("cannot listen on"),
        "{}",
        refused.text()
    );
    assert_eq!(RawClient::connect(address).get("/").text(), "two");
}

/// Owner, group and mode.
fn access(path: &std::path::Path) -> (u32, u32) {
    let meta = std::fs::metadata(path).unwrap();
    (meta.gid(), meta.permissions().mode() & 0o777)
}

#[test]
fn c10_who_may_connect_to_a_unix_socket_can_be_said() {
    let own = rustix::process::getgid().as_raw();
    let groups = std::fs::read_to_string("/etc/group").unwrap();
    let line = groups.lines().find(|line| line.split(':').nth(2) == Some(&own.to_string()));
    let name = line.map_or(own.to_string(), |line| line.split(':').next().unwrap().to_owned());
    let listen = |mode: &str| {
        format!(
            "[\"127.0.0.1:0\", {{ unix = \"{{dir}}/x.sock\", mode = \"{mode}\", group = \"{name}\" }}]"
        )
    };
    let whole = |mode: &str| {
        format!(
            "[admin]\naddress = {{ unix = \"{{dir}}/admin.sock\", mode = \"0606\" }}\n{}",
            text(&listen(mode), "fine")
        )
    };
    let proxy = Tidegate::start(&whole("0640"));
    assert_eq!(access(&proxy.path("x.sock")), (own, 0o640));
    assert_eq!(access(&proxy.path("admin.sock")).1, 0o606);
    assert_eq!(RawClient::connect_unix(&proxy.path("x.sock")).get("/").text(), "fine");
    let shown = RawClient::connect_unix(&proxy.path("admin.sock")).ask("/config").text();
    assert!(shown.contains("\"mode\":\"0640\""), "{shown}");
    let dir = proxy.path("").display().to_string();
    let next = whole("0660").replace("{dir}/", &dir).replace("{dir}", &dir);
    std::fs::write(proxy.path("tidegate.toml"), next).unwrap();
    wait_until(SOON, "a reload changes it", || access(&proxy.path("x.sock")).1 == 0o660);
}

#[test]
fn c10_wrong_modes_and_groups_are_refused() {
    let folder = Folder::new();
    for (table, why) in [
        ("{ unix = \"{dir}/x\", mode = \"rw\" }", "\"rw\" is not a file mode"),
        ("{ unix = \"{dir}/x\", mode = 660 }", "write \"0660\""),
        ("{ unix = \"relative\" }", "a Unix socket needs an absolute path"),
        ("{ unix = \"{dir}/x\", group = \"no-such-group\" }", "there is no group `no-such-group`"),
        ("{ mode = \"0660\" }", "missing key `unix`"),
    ] {
        let said = folder.refused(&text(table, "x"));
        assert!(said.contains(why), "{table}: {said}");
    }
}
