//! Clients known by name and password.

use std::time::{Duration, Instant};

use crate::proxy;
use support::{Origin, Tidegate, assert_problem, curl};

/// Made by `htpasswd -nbB anna wonderland`, `htpasswd -nbB -C 4 bert looking:glass` and
/// `echo -n teaparty | argon2 saltsalt -id -e`.
const USERS: &str = include_str!("htpasswd");

fn guarded(origin: &Origin, directory: &std::path::Path) -> Tidegate {
    let file = directory.join("htpasswd");
    std::fs::write(&file, USERS).unwrap();
    let auth = format!("[auth.staff]\nbasic = {{ users_file = \"{}\" }}\n", file.display());
    proxy(origin, "auth = 'staff'", &auth)
}

#[test]
fn right_passwords_pass_and_wrong_ones_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let origin = Origin::ok("fine");
    let proxy = guarded(&origin, directory.path());
    let url = format!("http://{}/", proxy.address());
    let ask = |user: &str| {
        curl(&["-s", "-o", "/dev/null", "-w", "%{http_code}", "-u", user, &url]).text()
    };
    for user in ["anna:wonderland", "bert:looking:glass", "carl:teaparty"] {
        assert_eq!(ask(user), "200", "{user}");
    }
    for user in
        ["anna:wonderlan", "anna:", "bert:looking", "nobody:wonderland", ":", "carl:wonderland"]
    {
        assert_eq!(ask(user), "401", "{user}");
    }
    let refused = proxy.client().get("/");
    assert_problem(&refused, 401, "auth_required");
    assert_eq!(
        refused.header("www-authenticate"),
        Some("Basic realm=\"tidegate\", charset=\"UTF-8\"")
    );
    assert_eq!(origin.requests().len(), 3);
}

#[test]
fn a_password_is_verified_once_and_meanwhile_others_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let origin = Origin::ok("fine");
    let proxy = guarded(&origin, directory.path());
    let mut client = proxy.client();
    let request =
        "GET / HTTP/1.1\r\nHost: a.test\r\nAuthorization: Basic YW5uYTp3b25kZXJsYW5k\r\n\r\n";
    assert_eq!(client.exchange(request).status, 200);
    // Each one anew would take minutes: bcrypt's cost of 10 is 50 ms and more.
    let began = Instant::now();
    for _ in 0..2000 {
        assert_eq!(client.exchange(request).status, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn a_file_that_cannot_be_used_is_explained_and_its_hashes_are_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidegate.toml");
    let users = directory.path().join("users");
    std::fs::write(&users, "anna:plaintext\n").unwrap();
    let text = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\n[auth.staff]\nbasic = {{ users_file = '{}' }}\n\
         [[route]]\nauth = 'staff'\nrespond = {{ status = 200 }}\n",
        users.display()
    );
    std::fs::write(&path, text).unwrap();
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["run", "-c"])
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains("line 1: neither a bcrypt nor an argon2 hash"), "{said}");
    assert!(!said.contains("plaintext"), "{said}");
}
