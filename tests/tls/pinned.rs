//! Certificates that sign themselves and are listed as trusted, as with nginx and curl; and very
//! old ones.

use std::path::Path;
use std::process::Command;

use time::Duration;

use crate::{entry, proxy};
use support::{
    Authority, Certificate, Configuration, Nginx, Origin, SOON, Tidegate, assert_problem,
    wait_until,
};

/// What `openssl` makes in this directory with these arguments.
fn openssl(directory: &Path, arguments: &[&str]) {
    let run = Command::new("openssl").current_dir(directory).args(arguments).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

/// `openssl req -x509` with an EC key and these further arguments.
fn self_signed(directory: &Path, name: &str, more: &[&str]) -> Certificate {
    let (key, cert) = (format!("{name}.key"), format!("{name}.pem"));
    let subject = format!("/CN={name}");
    let fixed = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let files = ["-keyout", &key, "-out", &cert, "-subj", &subject];
    openssl(directory, &[&fixed[..], &files, more].concat());
    Certificate { cert: directory.join(&cert), key: directory.join(&key) }
}

/// A certificate of X.509 version 1, which has no extensions.
fn version_1(directory: &Path, name: &str, kind: &[&str]) -> Certificate {
    let [key, cert, request] = ["key", "pem", "csr"].map(|kind| format!("{name}.{kind}"));
    let subject = format!("/CN={name}");
    let files = ["-keyout", &key, "-out", &request, "-subj", &subject];
    openssl(directory, &[&["req", "-new", "-nodes"], kind, &files].concat());
    openssl(directory, &["x509", "-req", "-in", &request, "-signkey", &key, "-out", &cert]);
    let shown = Command::new("openssl")
        .current_dir(directory)
        .args(["x509", "-in", &cert, "-noout", "-text"])
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("Version: 1 (0x0)"), "{shown}");
    Certificate { cert: directory.join(&cert), key: directory.join(&key) }
}

const EC: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const RSA: &[&str] = &["-newkey", "rsa:2048"];

fn towards(nginx: &Nginx, tls: &str) -> Tidegate {
    Configuration::of(nginx.address).app(&format!("tls = {tls}")).start()
}

fn trusting(certificate: &Certificate, more: &str) -> String {
    format!("{{ ca = '{}'{more} }}", certificate.cert.display())
}

#[test]
fn p3_a_self_signed_certificate_of_a_server_is_trusted_where_it_is_listed() {
    let directory = tempfile::tempdir().unwrap();
    let files: &[(&str, &[u8])] = &[("file", b"fine")];
    let address = ["-addext", "subjectAltName=IP:127.0.0.1"];
    let by_address = self_signed(directory.path(), "by-address", &address);
    let by_name = self_signed(directory.path(), "app.test", &[]);
    let nginx = Nginx::secure(files, &by_address);
    let named = Nginx::secure(files, &by_name);
    for (server, tls) in [
        (&nginx, trusting(&by_address, "")),
        (&named, trusting(&by_name, ", server_name = 'app.test'")),
    ] {
        assert_eq!(towards(server, &tls).client().get("/file").text(), "fine", "{tls}");
    }
    // Listed is trusted for its own name, and nobody else for having the same name.
    let twin = self_signed(directory.path(), "twin", &address);
    for (server, tls, why) in [
        (&named, trusting(&by_name, ""), "not valid for name"),
        (&nginx, trusting(&by_address, ", server_name = 'app.test'"), "not valid for name"),
        (&nginx, trusting(&twin, ""), "invalid peer certificate"),
    ] {
        let proxy = towards(server, &tls);
        assert_problem(&proxy.client().get("/file"), 502, "upstream_connect");
        wait_until(SOON, why, || proxy.log().contains(why));
    }
}

#[test]
fn p3_a_listed_certificate_has_its_time() {
    let authority = Authority::new("ca");
    let over = authority.lasting("over", &["127.0.0.1"], Duration::days(-1));
    let nginx = Nginx::secure(&[("file", b"fine")], &over);
    let proxy = towards(&nginx, &trusting(&over, ""));
    assert_problem(&proxy.client().get("/file"), 502, "upstream_connect");
    wait_until(SOON, "it is said", || proxy.log().contains("Expired"));
}

#[test]
fn p3_a_self_signed_certificate_of_a_client_is_trusted_where_it_is_listed() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca");
    let own = authority.certificate("app", &["app.test"]);
    let anna = self_signed(directory.path(), "anna", &[]);
    let eve = self_signed(directory.path(), "eve", &[]);
    let origin = Origin::ok("fine");
    let tls = entry(&own, &format!(", client_ca = '{}'", anna.cert.display()));
    let proxy = proxy(&origin, &tls, "");
    for version in ["1.2", "1.3"] {
        let ask = |who: &Certificate| {
            let [cert, key] = [&who.cert, &who.key].map(|path| path.to_str().unwrap().to_owned());
            let more = ["--cert", &cert, "--key", &key, "--tls-max", version, "--http1.1"];
            crate::ask(&proxy, &authority, "app.test", &more)
        };
        let told = ask(&anna);
        assert!(told.text().ends_with("\n200"), "{version}: {told:?}");
        let seen = origin.complete();
        let subject = seen.last().unwrap().header("x-client-cert-subject").map(str::to_owned);
        assert_eq!(subject.as_deref(), Some("CN=anna"));
        assert_ne!(ask(&eve).exit, Some(0), "{version}");
    }
}

#[test]
fn p4_a_certificate_of_version_1_is_accepted_where_none_is_verified() {
    let directory = tempfile::tempdir().unwrap();
    let files: &[(&str, &[u8])] = &[("file", b"fine")];
    for (name, kind) in [("ec", EC), ("rsa", RSA)] {
        let old = version_1(directory.path(), name, kind);
        for version in ["TLSv1.2", "TLSv1.3"] {
            let nginx = Nginx::secure_with(files, &old, &format!("ssl_protocols {version};"));
            let anybody = towards(&nginx, "{ verify = false }");
            assert_eq!(anybody.client().get("/file").text(), "fine", "{name} {version}");
            let listed = towards(&nginx, &trusting(&old, &format!(", server_name = '{name}'")));
            assert_eq!(listed.client().get("/file").text(), "fine", "{name} {version}");
            let system = towards(&nginx, "{ ca = '/etc/ssl/certs/ca-certificates.crt' }");
            assert_problem(&system.client().get("/file"), 502, "upstream_connect");
        }
    }
}
