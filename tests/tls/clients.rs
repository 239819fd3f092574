//! Client certificates: required, optional, and what servers learn of them.

use std::path::PathBuf;
use std::process::Command;

use time::Duration;

use crate::certificates::check;
use crate::{ask, entry, proxy};
use support::{Authority, Certificate, Origin, RawClient, SOON, Tidegate, wait_until};

fn with(certificate: &Certificate) -> [&str; 4] {
    ["--cert", certificate.cert.to_str().unwrap(), "--key", certificate.key.to_str().unwrap()]
}

#[test]
fn who_has_no_certificate_is_refused_where_one_is_required() {
    let (authority, staff, stranger) =
        (Authority::new("ca"), Authority::new("staff"), Authority::new("stranger"));
    let origin = Origin::ok("fine");
    let more = format!(", client_ca = '{}'", staff.ca().display());
    let proxy = proxy(&origin, &entry(&authority.certificate("a", &["a.test"]), &more), "");
    let anna = staff.certificate("anna", &["anna.staff.test", "192.0.2.9"]);
    let forged = stranger.certificate("anna", &["anna.staff.test"]);
    let claims = ["-H", "X-Client-Cert-Subject: CN=root", "-H", "X-Client-Cert-San: root"];
    let good = ask(&proxy, &authority, "a.test", &[&with(&anna)[..], &claims].concat());
    assert_eq!(good.text(), "fine\n200", "{}", good.stderr);
    let request = origin.only_request();
    assert_eq!(request.all("x-client-cert-subject"), ["CN=anna"]);
    assert_eq!(request.all("x-client-cert-san"), ["anna.staff.test", "192.0.2.9"]);
    assert_eq!(request.all("x-client-cert-fingerprint")[0].len(), 64);
    for bad in
        [ask(&proxy, &authority, "a.test", &[]), ask(&proxy, &authority, "a.test", &with(&forged))]
    {
        assert_ne!(bad.exit, Some(0), "{}", bad.text());
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn an_optional_certificate_is_verified_where_there_is_one() {
    let (authority, staff, stranger) =
        (Authority::new("ca"), Authority::new("staff"), Authority::new("stranger"));
    let origin = Origin::ok("fine");
    let more = format!(", client_ca = '{}', client_auth = 'optional'", staff.ca().display());
    let proxy = proxy(&origin, &entry(&authority.certificate("a", &["a.test"]), &more), "");
    assert_eq!(ask(&proxy, &authority, "a.test", &[]).text(), "fine\n200");
    assert!(origin.requests()[0].all("x-client-cert-subject").is_empty());
    let anna = staff.certificate("anna", &["anna"]);
    assert_eq!(ask(&proxy, &authority, "a.test", &with(&anna)).text(), "fine\n200");
    assert_eq!(origin.requests()[1].all("x-client-cert-subject"), ["CN=anna"]);
    let forged = stranger.certificate("anna", &["anna"]);
    assert_ne!(ask(&proxy, &authority, "a.test", &with(&forged)).exit, Some(0));
}

/// One certificate covers both names, but only one of them asks who the client is.
#[test]
fn a_name_that_asks_for_certificates_cannot_be_reached_by_another() {
    let (authority, staff) = (Authority::new("ca"), Authority::new("staff"));
    let origin = Origin::ok("fine");
    let open = entry(&authority.certificate("open", &["*.a.test"]), "");
    let more = format!(", client_ca = '{}'", staff.ca().display());
    let closed = entry(&authority.certificate("closed", &["admin.a.test"]), &more);
    let proxy = proxy(&origin, &format!("[{open}, {closed}]"), "");
    assert_eq!(ask(&proxy, &authority, "www.a.test", &[]).text(), "fine\n200");
    let sneaky = ask(&proxy, &authority, "www.a.test", &["-H", "Host: admin.a.test"]);
    assert!(sneaky.text().ends_with("\n421"), "{}", sneaky.text());
    assert_ne!(ask(&proxy, &authority, "admin.a.test", &[]).exit, Some(0));
    let anna = staff.certificate("anna", &["anna"]);
    assert_eq!(ask(&proxy, &authority, "admin.a.test", &with(&anna)).text(), "fine\n200");
}

#[test]
fn routes_are_chosen_by_what_tls_told() {
    let (authority, staff) = (Authority::new("ca"), Authority::new("staff"));
    let more = format!(", client_ca = '{}', client_auth = 'optional'", staff.ca().display());
    let tls = entry(&authority.certificate("a", &["a.test"]), &more);
    let text = format!(
        r#"
        [[listen]]
        address = "127.0.0.1:0"
        tls = {tls}
        [[listen]]
        name = "plain"
        address = "127.0.0.1:0"
        [[route]]
        path = "/anna"
        client_cert = {{ san = "anna.staff.test" }}
        respond = {{ status = 200, body = "anna" }}
        [[route]]
        path = "/b"
        client_cert = {{ san = {{ regex = '\.staff\.test$' }}, subject = {{ regex = "^CN=b" }} }}
        respond = {{ status = 200, body = "b" }}
        [[route]]
        path = "/any"
        client_cert = {{ subject = true }}
        respond = {{ status = 200, body = "any" }}
        [[route]]
        tls = true
        respond = {{ status = 200, body = "nobody" }}
        [[route]]
        tls = false
        redirect = {{ to = "https://{{host}}{{path}}" }}
        "#
    );
    let proxy = Tidegate::start(&text);
    let [anna, bert] = ["anna", "bert"]
        .map(|name| staff.certificate(name, &[&*format!("{name}.staff.test"), "192.0.2.1"]));
    for (path, certificate, body) in [
        ("anna", Some(&anna), "anna"),
        ("anna", Some(&bert), "nobody"),
        ("b", Some(&bert), "b"),
        ("b", Some(&anna), "nobody"),
        ("any", Some(&anna), "any"),
        ("any", None, "nobody"),
    ] {
        for version in ["--http1.1", "--http2"] {
            let mut more = vec![version, "--request-target"];
            let target = format!("/{path}");
            more.push(&target);
            more.extend(certificate.into_iter().flat_map(with));
            let answer = ask(&proxy, &authority, "a.test", &more);
            assert_eq!(answer.text(), format!("{body}\n200"), "{path} {}", answer.stderr);
        }
    }
    let plain = RawClient::connect(proxy.listener("plain")).get("/x");
    assert_eq!((plain.status, plain.header("location")), (308, Some("https://a.test/x")));
}

#[test]
fn v8_why_a_client_certificate_is_refused_is_told() {
    let (authority, staff, stranger) =
        (Authority::new("ca"), Authority::new("staff"), Authority::new("stranger"));
    let origin = Origin::ok("fine");
    let more = format!(", client_ca = '{}'", staff.ca().display());
    let proxy = proxy(&origin, &entry(&authority.certificate("a", &["a.test"]), &more), "");
    let forged = stranger.certificate("anna", &["anna.staff.test"]);
    let expired = staff.lasting("old", &["old.staff.test"], Duration::days(-1));
    assert_ne!(ask(&proxy, &authority, "a.test", &with(&forged)).exit, Some(0));
    assert_ne!(ask(&proxy, &authority, "a.test", &[]).exit, Some(0));
    let told = |why: &str| {
        proxy.log().lines().any(|line| {
            let parts = ["WARN", "client certificate refused", "client=\"127.0.0.1\"", why];
            parts.iter().all(|part| line.contains(part))
        })
    };
    wait_until(SOON, "a stranger", || told("UnknownIssuer"));
    wait_until(SOON, "nobody", || told("peer sent no certificates"));
    assert_ne!(ask(&proxy, &authority, "a.test", &with(&expired)).exit, Some(0));
    wait_until(SOON, "one that has expired", || told("xpired"));
}

/// A list is looked at as certificates are: what it says counts soon after it was written.
#[test]
fn a_revoked_certificate_is_refused_and_a_new_list_counts() {
    let (authority, staff) = (Authority::new("ca"), Authority::new("staff"));
    let origin = Origin::ok("fine");
    let (anna, bert) = (staff.certificate("anna", &["anna"]), staff.certificate("bert", &["bert"]));
    let list = staff.revoke("list.crl", &[&bert], Duration::days(1));
    let more =
        format!(", client_ca = '{}', client_crl = '{}'", staff.ca().display(), list.display());
    let proxy = proxy(&origin, &entry(&authority.certificate("a", &["a.test"]), &more), "");
    let passes = |who: &Certificate| ask(&proxy, &authority, "a.test", &with(who)).exit == Some(0);
    assert!(passes(&anna));
    assert!(!passes(&bert));
    assert_eq!(origin.requests().len(), 1);
    wait_until(SOON, "it is told why", || {
        let log = proxy.log();
        log.contains("reason=\"revoked\"") && log.contains("key=\"listen.tls.client_crl\"")
    });
    staff.revoke("list.crl", &[&bert, &anna], Duration::days(1));
    wait_until(2 * SOON, "the new list counts", || !passes(&anna));
    let reloads = || proxy.log().matches("configuration reloaded").count();
    std::fs::write(&list, "no list").unwrap();
    wait_until(2 * SOON, "a file that is no list is told", || {
        proxy.log().contains("there is no certificate revocation list in it")
    });
    assert!(!passes(&anna) && !passes(&bert), "the list from before counts on");
    let before = reloads();
    staff.revoke("list.crl", &[], Duration::days(-1));
    wait_until(2 * SOON, "a list that is over is taken", || reloads() > before);
    assert!(!passes(&anna) && !passes(&bert), "nobody passes by a list that has expired");
    wait_until(SOON, "it is told why", || proxy.log().contains("reason=\"revocation_unknown\""));
    staff.revoke("list.crl", &[], Duration::days(1));
    wait_until(2 * SOON, "who was pardoned passes", || passes(&anna) && passes(&bert));
}

#[test]
fn without_a_list_of_its_authority_nobody_passes() {
    let (authority, staff, other) =
        (Authority::new("ca"), Authority::new("staff"), Authority::new("other"));
    let origin = Origin::ok("fine");
    let list = other.revoke("list.crl", &[], Duration::days(1));
    let more = format!(
        ", client_auth = 'optional', client_ca = '{}', client_crl = ['{}']",
        staff.ca().display(),
        list.display()
    );
    let proxy = proxy(&origin, &entry(&authority.certificate("a", &["a.test"]), &more), "");
    let anna = staff.certificate("anna", &["anna"]);
    assert_ne!(ask(&proxy, &authority, "a.test", &with(&anna)).exit, Some(0));
    assert_eq!(origin.requests().len(), 0);
    assert_eq!(ask(&proxy, &authority, "a.test", &[]).text(), "fine\n200");
}

/// Lists are added to a file: rustls by itself asks the first one of an authority.
#[test]
fn of_two_lists_of_an_authority_the_newer_one_counts_wherever_it_stands() {
    let (authority, staff) = (Authority::new("ca"), Authority::new("staff"));
    let origin = Origin::ok("fine");
    let anna = staff.certificate("anna", &["anna"]);
    let old = staff.revoke("old.crl", &[], Duration::days(1));
    let over = staff.revoke("over.crl", &[], Duration::days(-1));
    let new = staff.revoke("new.crl", &[&anna], Duration::days(1));
    let later = staff.revoke("later.crl", &[], Duration::days(1));
    let text = |files: &[&PathBuf]| {
        files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect::<String>()
    };
    let all = staff.ca().with_file_name("all.crl");
    for (files, passes) in
        [(&[&old, &new][..], false), (&[&new, &old], false), (&[&new, &over, &later, &old], true)]
    {
        std::fs::write(&all, text(files)).unwrap();
        let more =
            format!(", client_ca = '{}', client_crl = '{}'", staff.ca().display(), all.display());
        let listen = entry(&authority.certificate("a", &["a.test"]), &more);
        let (_, said) = check(&listen);
        assert!(!said.contains("revocation list"), "none of those that count has expired: {said}");
        let proxy = proxy(&origin, &listen, "");
        let exit = ask(&proxy, &authority, "a.test", &with(&anna)).exit;
        assert_eq!(exit == Some(0), passes, "{files:?}");
    }
}

/// Where a file of authorities lists what is below the root as well, paths end there.
#[test]
fn what_is_listed_as_trusted_is_not_trusted_once_it_is_revoked() {
    let (authority, staff) = (Authority::new("ca"), Authority::new("staff"));
    let (shop, depot) = (staff.under("shop"), staff.under("depot"));
    let origin = Origin::ok("fine");
    let [anna, bert] = [(&shop, "anna"), (&depot, "bert")].map(|(of, name)| {
        let own = of.certificate(name, &[name]);
        let chain = [&own.cert, &of.ca()].map(|file| std::fs::read_to_string(file).unwrap());
        std::fs::write(&own.cert, chain.concat()).unwrap();
        own
    });
    let cara = staff.certificate("cara", &["cara"]);
    let of = |authority: &Authority| Certificate { cert: authority.ca(), key: PathBuf::new() };
    let lists = [
        staff.revoke("staff.crl", &[&of(&shop), &cara], Duration::days(1)),
        shop.revoke("shop.crl", &[], Duration::days(1)),
        depot.revoke("depot.crl", &[], Duration::days(1)),
    ];
    let trusted = [&staff.ca(), &shop.ca(), &depot.ca(), &cara.cert]
        .map(|file| std::fs::read_to_string(file).unwrap());
    let bundle = staff.ca().with_file_name("bundle.pem");
    let with_lists = |count: usize| {
        std::fs::write(&bundle, trusted.concat()).unwrap();
        let lists: Vec<String> =
            lists[..count].iter().map(|list| format!("'{}'", list.display())).collect();
        let lists = lists.join(",");
        let more = format!(", client_ca = '{}', client_crl = [{lists}]", bundle.display());
        proxy(&origin, &entry(&authority.certificate("a", &["a.test"]), &more), "")
    };
    let proxies = [with_lists(0), with_lists(3)];
    let passes = |who: &Certificate| {
        proxies.each_ref().map(|proxy| ask(proxy, &authority, "a.test", &with(who)).exit == Some(0))
    };
    assert_eq!(passes(&anna), [true, false], "below one that is revoked");
    assert_eq!(passes(&bert), [true, true], "below another one");
    assert_eq!(passes(&cara), [true, false], "listed itself");
}

/// The lists that people have: written by `openssl ca`, in PEM and in DER, for clients of HTTP/1.1
/// and HTTP/2.
#[test]
fn lists_of_openssl_count_in_both_forms_and_for_both_protocols() {
    let (authority, origin) = (Authority::new("ca"), Origin::ok("fine"));
    let directory = tempfile::tempdir().unwrap();
    let openssl = |line: &str| {
        let words = line.split_whitespace();
        let done = Command::new("openssl").args(words).current_dir(&directory).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let path = |file: &str| directory.path().join(file);
    let settings = "[ca]\ndefault_ca = us\n[us]\ndatabase = index\nserial = serial\nnew_certs_dir = .\ncertificate = ca.pem\n\
        private_key = ca.key\ndefault_md = sha256\ndefault_days = 30\ndefault_crl_days = 30\npolicy = any\nx509_extensions = leaf\n[any]\ncommonName = supplied\n\
        [leaf]\nbasicConstraints = CA:FALSE\n[list]\nauthorityKeyIdentifier = keyid:always\n";
    std::fs::write(path("settings"), settings).unwrap();
    std::fs::write(path("index"), "").unwrap();
    std::fs::write(path("serial"), "1000").unwrap();
    let ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {ec} -subj /CN=clients -days 30 -keyout ca.key -out ca.pem"));
    let [anna, bert] = ["anna", "bert"].map(|name| {
        openssl(&format!("req {ec} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
        openssl(&format!("ca -batch -config settings -notext -in {name}.csr -out {name}.pem"));
        Certificate { cert: path(&format!("{name}.pem")), key: path(&format!("{name}.key")) }
    });
    openssl("ca -config settings -revoke bert.pem -crl_reason keyCompromise");
    openssl("ca -config settings -gencrl -crlexts list -out list.pem");
    openssl("crl -in list.pem -outform DER -out list.der");
    openssl("ca -config settings -gencrl -out bare.pem");
    let with_list = |file: &str| {
        let (ca, list) = (path("ca.pem"), path(file));
        let more = format!(", client_ca = '{}', client_crl = '{}'", ca.display(), list.display());
        entry(&authority.certificate("a", &["a.test"]), &more)
    };
    for file in ["list.pem", "list.der"] {
        let proxy = proxy(&origin, &with_list(file), "");
        for version in ["--http1.1", "--http2"] {
            let ask =
                |who| ask(&proxy, &authority, "a.test", &[&[version], &with(who)[..]].concat());
            assert_eq!(ask(&anna).text(), "fine\n200", "{file} {version}");
            assert_ne!(ask(&bert).exit, Some(0), "{file} {version}");
        }
        let metrics = RawClient::connect(proxy.admin()).ask("/metrics").text();
        let refused = metrics.lines().find(|line| {
            line.starts_with("tidegate_connections_refused_total") && line.contains("\"revoked\"")
        });
        assert!(refused.unwrap().ends_with(" 2"), "{refused:?}");
    }
    assert_eq!(origin.requests().len(), 4);
    // One that could not be used is refused before anything runs, and told how to make another.
    for (file, said) in [("bare.pem", "-crlexts"), ("anna.pem", "openssl ca -gencrl")] {
        let text = format!(
            "[[listen]]\naddress = '127.0.0.1:0'\ntls = {}\n[[route]]\nrespond = {{ status = 200 }}\n",
            with_list(file)
        );
        let (fine, findings) = check(&text);
        assert!(!fine && findings.contains(said), "{findings}");
    }
}

/// Those of large authorities have a hundred thousand entries and more.
#[test]
fn a_list_of_several_mebibytes_counts_and_is_watched() {
    let (authority, origin) = (Authority::new("ca"), Origin::ok("fine"));
    let staff = Authority::new("staff");
    let (anna, bert) = (staff.certificate("anna", &["anna"]), staff.certificate("bert", &["bert"]));
    let list = staff.revoke_many("list.crl", 60_000, &[&bert], Duration::days(1));
    let size = std::fs::metadata(&list).unwrap().len();
    assert!(size > 2 << 20, "{size}");
    let more =
        format!(", client_ca = '{}', client_crl = '{}'", staff.ca().display(), list.display());
    let proxy = proxy(&origin, &entry(&authority.certificate("a", &["a.test"]), &more), "");
    let passes = |who: &Certificate| ask(&proxy, &authority, "a.test", &with(who)).exit == Some(0);
    assert!(passes(&anna));
    assert!(!passes(&bert));
    staff.revoke_many("list.crl", 60_000, &[&anna], Duration::days(1));
    wait_until(4 * SOON, "the new list counts", || !passes(&anna) && passes(&bert));
    // What is too large is told, and what was there before counts on.
    std::fs::File::options().append(true).open(&list).unwrap().set_len(33 << 20).unwrap();
    wait_until(4 * SOON, "it is told", || proxy.log().contains("it is larger than 32768 KiB"));
    assert!(!passes(&anna) && passes(&bert));
}

/// Whoever is on no list would be refused as well: nobody passes by a list that its authority has
/// not signed.
#[test]
fn a_list_that_its_authority_has_not_signed_is_an_error() {
    let (authority, staff) = (Authority::new("ca"), Authority::new("staff"));
    let own = authority.certificate("a", &["a.test"]);
    let list = staff.revoke("list.crl", &[], Duration::days(1));
    let (forger, other) = (Authority::new("staff"), Authority::new("other"));
    let forged = forger.revoke("list.crl", &[], Duration::days(1));
    let stranger = other.revoke("list.crl", &[], Duration::days(1));
    for (lists, refused) in [
        (vec![&list], false),
        // A list of somebody else concerns nobody here.
        (vec![&list, &stranger], false),
        (vec![&forged], true),
        (vec![&list, &forged], true),
    ] {
        let lists: Vec<String> = lists.iter().map(|list| format!("'{}'", list.display())).collect();
        let file = list.with_file_name("tidegate.toml");
        let text = format!(
            "[[listen]]\naddress = '127.0.0.1:0'\ntls = {{ cert = '{}', key = '{}', client_ca = '{}', client_crl = [{}] }}\n\
             [[route]]\nrespond = {{}}\n",
            own.cert.display(),
            own.key.display(),
            staff.ca().display(),
            lists.join(", ")
        );
        std::fs::write(&file, text).unwrap();
        let checked = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["check", "-c"])
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap();
        assert_eq!(checked.status.code(), Some(i32::from(refused)), "{said}");
        let told = said.contains(
            "the revocation list of CN=staff is not signed with the key of that authority",
        );
        assert_eq!(told, refused, "{said}");
    }
}
