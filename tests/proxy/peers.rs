//! Against programs we did not write: curl in front, nginx behind.

use crate::setup::one;
use support::{Nginx, Tidegate, curl};

fn between(files: &[(&str, &[u8])]) -> (Nginx, Tidegate, String) {
    let nginx = Nginx::start(files);
    let proxy = one(nginx.address).start();
    let base = format!("http://{}", proxy.address());
    (nginx, proxy, base)
}

fn megabyte() -> Vec<u8> {
    (0..1usize << 20).map(|n| u8::try_from(n * 13 % 251).unwrap()).collect()
}

/// A file of these bytes that lives as long as the result.
fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

#[test]
fn curl_gets_a_file() {
    let body = megabyte();
    let (_nginx, _proxy, base) = between(&[("a.bin", &body)]);
    let run = curl(&[&format!("{base}/a.bin")]);
    assert_eq!(run.exit, Some(0), "{}", run.stderr);
    assert!(run.stdout == body, "the file came back changed");
}

#[test]
fn curl_keeps_its_connection() {
    let (_nginx, _proxy, base) = between(&[("a.txt", b"a\n")]);
    let url = format!("{base}/a.txt");
    let run = curl(&["-w", "%{num_connects}\n", &url, &url, &url]);
    assert_eq!(run.text(), "a\n1\na\n0\na\n0\n", "{}", run.stderr);
}

#[test]
fn curl_posts_a_megabyte() {
    let body = megabyte();
    let (nginx, _proxy, base) = between(&[]);
    let file = file(&body);
    let run =
        curl(&["--data-binary", &format!("@{}", file.path().display()), &format!("{base}/post")]);
    assert_eq!(run.text(), "stored\n", "{}", run.stderr);
    assert!(nginx.posted() == [body], "the body arrived changed");
}

#[test]
fn curl_uploads_in_chunks() {
    let body = megabyte();
    let (nginx, _proxy, base) = between(&[]);
    let file = file(&body);
    let run = curl(&[
        "-H",
        "Transfer-Encoding: chunked",
        "-T",
        &file.path().display().to_string(),
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        &format!("{base}/store/up.bin"),
    ]);
    assert_eq!(run.text(), "201", "{}", run.stderr);
    assert!(nginx.stored("up.bin") == body, "the body arrived changed");
}

#[test]
fn curl_asks_for_a_head() {
    let (_nginx, _proxy, base) = between(&[("a.txt", b"hello\n")]);
    let run = curl(&["-I", &format!("{base}/a.txt")]);
    let text = run.text().to_ascii_lowercase();
    assert!(text.starts_with("http/1.1 200"), "{text}");
    assert!(text.contains("content-length: 6\r\n"), "{text}");
}

#[test]
fn curl_asks_for_a_range() {
    let (_nginx, _proxy, base) = between(&[("a.txt", b"0123456789")]);
    let run = curl(&["-r", "2-5", "-w", " %{http_code}", &format!("{base}/a.txt")]);
    assert_eq!(run.text(), "2345 206", "{}", run.stderr);
}

#[test]
fn curl_revalidates_a_file() {
    let (_nginx, _proxy, base) = between(&[("a.txt", b"hello\n")]);
    let url = format!("{base}/a.txt");
    let head = curl(&["-I", &url]).text();
    let etag = head.lines().find(|l| l.to_ascii_lowercase().starts_with("etag:")).unwrap();
    let tag = etag.split_once(':').unwrap().1.trim();
    let field = format!("If-None-Match: {tag}");
    let run = curl(&["-H", &field, "-w", "%{http_code}", &url]);
    assert_eq!(run.text(), "304", "{}", run.stderr);
}

#[test]
fn a_missing_file_is_the_origins_404() {
    let (_nginx, _proxy, base) = between(&[]);
    let run =
        curl(&["-w", "%{http_code} %{content_type}", "-o", "/dev/null", &format!("{base}/no")]);
    assert_eq!(run.text(), "404 text/html", "{}", run.stderr);
}
