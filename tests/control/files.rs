//! Files that are none, or are not what they were taken for: W10, V10.

use std::path::Path;

use crate::folder::{Folder, tool};
use support::{Authority, Origin, RawClient, SOON, Signal, Tidegate, wait_until};

const BASE: &str = "[admin]\naddress = \"127.0.0.1:0\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n\
    [upstream.app]\nservers = [\"127.0.0.1:1\"]\n";

fn route(more: &str) -> String {
    format!("{BASE}[[route]]\nupstream = \"app\"\n{more}")
}

/// A configuration that names `file` in each of the ways there are.
fn ways(file: &Path) -> Vec<(&'static str, String)> {
    let file = file.display();
    let listen = |tls: &str| {
        format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\ntls = {{ {tls} }}\n[[route]]\nrespond = {{}}\n"
        )
    };
    vec![
        (
            "users",
            route(&format!("auth = \"a\"\n[auth.a]\nbasic = {{ users_file = \"{file}\" }}\n")),
        ),
        ("certificate", listen(&format!("cert = \"{file}\", key = \"{{dir}}/key.pem\""))),
        ("key", listen(&format!("cert = \"{{dir}}/cert.pem\", key = \"{file}\""))),
        (
            "client_ca",
            listen(&format!(
                "cert = \"{{dir}}/cert.pem\", key = \"{{dir}}/key.pem\", client_ca = \"{file}\""
            )),
        ),
        (
            "upstream.tls.ca",
            route("").replace("[[route]]", &format!("tls = {{ ca = \"{file}\" }}\n[[route]]")),
        ),
        ("keys", route(&format!("auth = \"a\"\n[auth.a]\njwt = {{ jwks = \"{file}\" }}\n"))),
        ("include", format!("include = [\"{file}\"]\n{}", route(""))),
        (
            "substitution",
            route(&format!("request_headers = {{ set = {{ x-a = \"${{file:{file}}}\" }} }}\n")),
        ),
        ("access log", format!("{}[log]\naccess = \"{file}\"\n", route(""))),
    ]
}

fn folder() -> Folder {
    let folder = Folder::new();
    let authority = Authority::new("ca");
    let made = authority.certificate("a", &["a.test"]);
    folder.write("cert.pem", std::fs::read(made.cert).unwrap());
    folder.write("key.pem", std::fs::read(made.key).unwrap());
    folder
}

#[test]
fn w10_what_is_no_regular_file_is_refused_by_check_and_run() {
    let folder = folder();
    let fifo = folder.fifo("fifo");
    let socket = folder.path("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let directory = folder.path("directory");
    std::fs::create_dir(&directory).unwrap();
    for (path, kind) in [
        (&*fifo, "it is not a regular file but a FIFO"),
        (&*socket, "it is not a regular file but a socket"),
        (&*directory, "it is a directory"),
        (Path::new("/dev/zero"), "it is not a regular file but a device"),
    ] {
        for (what, text) in ways(path) {
            // Devices take what is written to them; `/dev/null` is a log that many have.
            if what == "access log" && path.starts_with("/dev") {
                continue;
            }
            let said = folder.refused(&text);
            assert!(said.contains(kind), "{what}, {}: {said}", path.display());
        }
    }
}

#[test]
fn w10_what_is_too_large_is_refused() {
    let folder = folder();
    let large = folder.write("large", vec![b'#'; 17 << 20]);
    for (what, text) in ways(&large) {
        if what == "access log" {
            continue;
        }
        let said = folder.refused(&text);
        assert!(said.contains("it is larger than "), "{what}: {said}");
    }
}

#[test]
fn w10_a_reload_is_refused_and_the_process_can_be_ended() {
    let origin = Origin::ok("fine");
    let text = route("").replace("127.0.0.1:1", &origin.server());
    for at in 0..ways(Path::new("/x")).len() {
        let mut proxy = Tidegate::start(&text);
        let fifo = proxy.path("fifo");
        tool("mkfifo", &[&fifo.display().to_string()]);
        let (what, bad) = ways(&fifo).remove(at);
        let authority = Authority::new("ca");
        let made = authority.certificate("a", &["a.test"]);
        let bad = bad.replace("{dir}/cert.pem", &made.cert.display().to_string());
        let bad = bad.replace("{dir}/key.pem", &made.key.display().to_string());
        std::fs::write(proxy.path("tidegate.toml"), bad).unwrap();
        wait_until(SOON, "it is noticed without being asked for", || {
            proxy.stats()["reloads"]["last_error"].is_string()
        });
        let error = proxy.stats()["reloads"]["last_error"].to_string();
        assert!(error.contains("but a FIFO"), "{what}: {error}");
        let answer = RawClient::connect(proxy.admin())
            .exchange("POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(answer.status, 409, "{what}: {}", answer.text());
        assert_eq!(proxy.client().get("/").text(), "fine");
        proxy.signal(Signal::TERM);
        assert_eq!(proxy.wait_exit(SOON).code(), Some(0), "{what}");
    }
}

#[test]
fn w10_a_log_that_becomes_a_fifo_hangs_nothing() {
    let origin = Origin::ok("fine");
    let text = format!("{}[log]\naccess = \"{{dir}}/access.log\"\n", route(""));
    let mut proxy = Tidegate::start(&text.replace("127.0.0.1:1", &origin.server()));
    let log = proxy.path("access.log");
    std::fs::rename(&log, proxy.path("old.log")).unwrap();
    tool("mkfifo", &[&log.display().to_string()]);
    proxy.signal(Signal::USR1);
    wait_until(SOON, "it is said", || proxy.log().contains("but a FIFO"));
    assert_eq!(proxy.client().get("/").text(), "fine");
    let old = proxy.path("old.log");
    wait_until(SOON, "the old file is written on", || {
        std::fs::read_to_string(&old).unwrap().contains("GET")
    });
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit(SOON).code(), Some(0));
}

/// What is said of a listener with these files.
fn pair(folder: &Folder, cert: &str, key: &str) -> String {
    folder.refused(&format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = \"{{dir}}/{cert}\", key = \"{{dir}}/{key}\" }}\n\
         [[route]]\nrespond = {{}}\n"
    ))
}

#[test]
fn v10_a_key_that_is_no_plain_pem_is_named_with_the_way_to_convert_it() {
    let folder = folder();
    let at = |name: &str| folder.path(name).display().to_string();
    let key = at("key.pem");
    let openssl = |arguments: &[&str]| tool("openssl", arguments);
    openssl(&["pkcs8", "-topk8", "-in", &key, "-out", &at("enc.key"), "-passout", "pass:x"]);
    openssl(&["ec", "-in", &key, "-out", &at("old.key"), "-aes128", "-passout", "pass:x"]);
    openssl(&["pkey", "-in", &key, "-outform", "DER", "-out", &at("der.key")]);
    openssl(&["pkey", "-in", &key, "-pubout", "-out", &at("public.key")]);
    let cert = at("cert.pem");
    openssl(&[
        "pkcs12",
        "-export",
        "-in",
        &cert,
        "-inkey",
        &key,
        "-out",
        &at("both.p12"),
        "-passout",
        "pass:x",
    ]);
    tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &at("ssh.key")]);
    folder.write("empty.key", "");
    folder.write("bom.key", [b"\xef\xbb\xbf", &*std::fs::read(&key).unwrap()].concat());
    folder.write("cut.key", &std::fs::read(&key).unwrap()[..60]);
    folder.write("text.key", "hello\n");
    for (file, what, how) in [
        ("enc.key", "is encrypted", "openssl pkey -in "),
        ("old.key", "is encrypted", "openssl pkey -in "),
        ("der.key", "is DER, not PEM", "openssl pkey -inform DER -in "),
        ("both.p12", "is a PKCS#12 bundle", "openssl pkcs12 -in "),
        ("ssh.key", "is a key of OpenSSH", "ssh-keygen -p -m PEM -f "),
        ("bom.key", "byte order mark", "sed -i "),
        ("public.key", "is a public key", "the private one is needed"),
        ("cert.pem", "is a certificate", "exchanged?"),
        ("empty.key", "it is empty", ""),
        ("cut.key", "it begins as a PEM file but is damaged", ""),
        ("text.key", "there is no private key in it", ""),
    ] {
        let said = pair(&folder, "cert.pem", file);
        assert!(said.contains(what) && said.contains(how), "{file}: {said}");
    }
}

#[test]
fn v10_a_certificate_that_is_no_plain_pem_is_named_with_the_way_to_convert_it() {
    let folder = folder();
    let at = |name: &str| folder.path(name).display().to_string();
    let (cert, key) = (at("cert.pem"), at("key.pem"));
    tool("openssl", &["x509", "-in", &cert, "-outform", "DER", "-out", &at("der.crt")]);
    tool("openssl", &["x509", "-in", &cert, "-trustout", "-out", &at("trusted.crt")]);
    tool("openssl", &["crl2pkcs7", "-nocrl", "-certfile", &cert, "-out", &at("seven.crt")]);
    tool(
        "openssl",
        &["crl2pkcs7", "-nocrl", "-certfile", &cert, "-outform", "DER", "-out", &at("seven.der")],
    );
    tool("openssl", &["req", "-new", "-key", &key, "-subj", "/CN=a", "-out", &at("request.crt")]);
    let text = std::fs::read_to_string(&cert).unwrap();
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    folder.write("wide.crt", [&[0xff, 0xfe], &*wide].concat());
    folder.write("bom.crt", format!("\u{feff}{text}"));
    for (file, what, how) in [
        ("der.crt", "is DER, not PEM", "openssl x509 -inform DER -in "),
        ("trusted.crt", "form of OpenSSL's own", "openssl x509 -in "),
        ("seven.crt", "is a PKCS#7 bundle", "openssl pkcs7 -print_certs -in "),
        ("seven.der", "is a PKCS#7 bundle", "openssl pkcs7 -inform DER "),
        ("request.crt", "is a request", "an authority has yet to sign"),
        ("wide.crt", "in UTF-16", "iconv -f UTF-16 "),
        ("bom.crt", "byte order mark", "sed -i "),
        ("key.pem", "is a private key", "exchanged?"),
    ] {
        let said = pair(&folder, file, "key.pem");
        assert!(said.contains(what) && said.contains(how), "{file}: {said}");
    }
}
