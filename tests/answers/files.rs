//! `files`: a folder is served, and nothing that is not in it.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::{BROWSER, proxy};
use support::{Origin, RawClient, Response, SOON, Tidegate, assert_problem, curl, wait_until};

const PAGE: &str = "<h1>home</h1>\n";

/// A proxy that serves `DIR/www`, with further keys of `files` and of the route.
fn site(keys: &str, route: &str) -> Tidegate {
    let files = [
        ("www/index.html", PAGE),
        ("www/digits.txt", "0123456789"),
        ("www/sub/index.html", "sub"),
        ("www/empty/.keep", ""),
        ("www/a b/ž.txt", "odd"),
        ("www/app.js", "plain text"),
        ("www/app.js.br", "as br"),
        ("www/app.js.gz", "as gzip"),
        ("www/.env", "secret"),
        ("www/.git/config", "secret"),
        ("www/.well-known/x", "known"),
        ("www/none", ""),
        ("outside.txt", "outside"),
        ("sorry.html", "<h1>sorry</h1>"),
    ];
    let keys = format!("root = '{{dir}}/www'{keys}");
    let routes = format!(
        "[[route]]
        path = '/static/*'
        files = {{ {keys} }}
        rewrite = {{ strip_prefix = '/static' }}
        [[route]]
        path = '/raw/*'
        path_encoding = 'raw'
        files = '{{dir}}/www'
        rewrite = {{ strip_prefix = '/raw' }}
        [[route]]
        path = '/*'
        files = {{ {keys} }}
        {route}"
    );
    proxy(&Origin::ok("unasked"), &files, &routes)
}

fn ask(client: &mut RawClient, method: &str, path: &str, fields: &str) -> Response {
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"));
    client.try_response(method).unwrap()
}

fn get(proxy: &Tidegate, path: &str, fields: &str) -> Response {
    ask(&mut proxy.client(), "GET", path, fields)
}

#[test]
fn files_folders_and_types() {
    let proxy = site("", "response_headers = { set = { x-own = '1' } }");
    let mut client = proxy.client();
    for (path, body, kind) in [
        ("/", PAGE, "text/html; charset=utf-8"),
        ("/index.html", PAGE, "text/html; charset=utf-8"),
        ("/digits.txt", "0123456789", "text/plain; charset=utf-8"),
        ("/sub/", "sub", "text/html; charset=utf-8"),
        ("/a%20b/%C5%BE.txt", "odd", "text/plain; charset=utf-8"),
        ("/app.js", "plain text", "text/javascript; charset=utf-8"),
        ("/.well-known/x", "known", "application/octet-stream"),
        ("/none", "", "application/octet-stream"),
        ("/static/digits.txt", "0123456789", "text/plain; charset=utf-8"),
        ("/sub/../digits.txt?x=1", "0123456789", "text/plain; charset=utf-8"),
    ] {
        let told = ask(&mut client, "GET", path, "");
        assert_eq!((told.status, told.text().as_str()), (200, body), "{path}");
        assert_eq!(told.all("content-type"), [kind], "{path}");
        assert_eq!(told.all("content-length"), [body.len().to_string()]);
        assert_eq!(told.all("accept-ranges"), ["bytes"]);
        assert!(told.header("etag").unwrap().starts_with('"'));
        assert!(told.header("last-modified").unwrap().ends_with(" GMT"));
        assert!(told.header("date").is_some());
        let bare = ask(&mut client, "HEAD", path, "");
        assert_eq!((bare.status, bare.text().as_str()), (200, ""), "{path}");
        for name in ["content-type", "content-length", "etag", "last-modified"] {
            assert_eq!(bare.all(name), told.all(name), "{path} {name}");
        }
    }
    assert_eq!(ask(&mut client, "GET", "/digits.txt", "").all("x-own"), ["1"]);
    for (path, to) in [
        ("/sub", "/sub/"),
        ("/sub?a=/b", "/sub/?a=/b"),
        ("/static/sub", "/static/sub/"),
        // The folder of the route itself: what its page names is looked for in it.
        ("/static", "/static/"),
        ("/static?a=b", "/static/?a=b"),
        ("/a%20b", "/a%20b/"),
    ] {
        let told = ask(&mut client, "GET", path, "");
        assert_eq!((told.status, told.all("location")), (301, vec![to]), "{path}");
    }
    for path in ["/nowhere", "/empty/", "/digits.txt/", "/digits.txt/x", "/static/nowhere"] {
        assert_problem(&ask(&mut client, "GET", path, ""), 404, "file_not_found");
    }
}

#[test]
fn files_are_only_read() {
    let proxy = site("", "");
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        let told = ask(&mut proxy.client(), method, "/digits.txt", "Content-Length: 0\r\n");
        assert_problem(&told, 405, "method_not_allowed");
        assert_eq!(told.all("allow"), ["GET, HEAD"], "{method}");
    }
}

#[test]
fn nothing_outside_is_served_by_any_spelling_or_link() {
    let proxy = site("", "");
    let www = proxy.path("www");
    let outside = proxy.path("outside.txt");
    symlink(&outside, www.join("absolute.txt")).unwrap();
    symlink("../outside.txt", www.join("relative.txt")).unwrap();
    symlink("..", www.join("up")).unwrap();
    symlink("/", www.join("all")).unwrap();
    symlink("/proc/self/root", www.join("magic")).unwrap();
    symlink("loop", www.join("loop")).unwrap();
    symlink("digits.txt", www.join("inside.txt")).unwrap();
    symlink("sub", www.join("inner")).unwrap();
    assert!(Command::new("mkfifo").arg(www.join("fifo")).status().unwrap().success());
    let spellings = [
        "/../outside.txt",
        "/sub/../../outside.txt",
        "/%2e%2e/outside.txt",
        "/.%2e/outside.txt",
        "/..%2foutside.txt",
        "/%2e%2e%2foutside.txt",
        "/..%5coutside.txt",
        "/..\\outside.txt",
        "/%252e%252e/outside.txt",
        "/..;/outside.txt",
        "/..%00/outside.txt",
        "/digits.txt%00",
        "/digits.txt%00.html",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/%2Fetc%2Fpasswd",
        "/%c0%ae%c0%ae/outside.txt",
        "/%uff0e%uff0e/outside.txt",
        "/./../outside.txt",
        "/sub/%2e%2e/%2e%2e/outside.txt",
        "/absolute.txt",
        "/relative.txt",
        "/up/outside.txt",
        "/up/",
        "/up",
        "/all/etc/passwd",
        "/magic/etc/passwd",
        "/loop",
        "/fifo",
        "/.env",
        "/.git/config",
        "/%2eenv",
        "/sub/../.env",
        "/..",
        "/...",
        "/~root",
        "/index.html:stream",
    ];
    for prefix in ["", "/static", "/raw", "/raw/", "/raw/sub/.."] {
        for path in spellings {
            let told = get(&proxy, &format!("{prefix}{path}"), "");
            let text = told.text();
            if path == "/.." && text == PAGE {
                // The folder itself, where a prefix was before it.
                continue;
            }
            assert!(matches!(told.status, 400 | 404), "{prefix}{path}: {}", told.status);
            assert!(
                !text.contains("outside\n") && !text.contains("secret") && !text.contains("root:")
            );
            assert_ne!(text, "outside", "{prefix}{path}");
        }
    }
    let long = format!("/{}", "a/".repeat(3000));
    assert_eq!(get(&proxy, &long, "").status, 404);
    assert_eq!(get(&proxy, &format!("/{}", "a".repeat(5000)), "").status, 404);
    for path in ["/inside.txt", "/inner/", "/raw/inside.txt"] {
        assert_eq!(get(&proxy, path, "").status, 200, "{path}");
    }
    assert_eq!(get(&proxy, "/raw//digits.txt", "").status, 404);
    assert_eq!(get(&proxy, "/digits.txt", "").text(), "0123456789", "it goes on");
}

#[test]
fn validators_spare_what_the_client_has() {
    let proxy = site("", "");
    let first = get(&proxy, "/digits.txt", "");
    let [etag, date] = ["etag", "last-modified"].map(|name| first.header(name).unwrap().to_owned());
    for (fields, status) in [
        (format!("If-None-Match: {etag}\r\n"), 304),
        (format!("If-None-Match: W/{etag}\r\n"), 304),
        ("If-None-Match: \"x\"\r\n".to_owned(), 200),
        (format!("If-Modified-Since: {date}\r\n"), 304),
        ("If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n".to_owned(), 200),
        (format!("If-Match: {etag}\r\n"), 200),
        ("If-Match: \"x\"\r\n".to_owned(), 412),
        ("If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n".to_owned(), 412),
        (format!("If-Unmodified-Since: {date}\r\n"), 200),
        (format!("Range: bytes=0-1\r\nIf-Range: {etag}\r\n"), 206),
        (format!("Range: bytes=0-1\r\nIf-Range: {date}\r\n"), 206),
        ("Range: bytes=0-1\r\nIf-Range: \"x\"\r\n".to_owned(), 200),
        (format!("Range: bytes=0-1\r\nIf-Range: W/{etag}\r\n"), 200),
        ("Range: bytes=0-1\r\nIf-Range: Thu, 01 Jan 2037 00:00:00 GMT\r\n".to_owned(), 200),
    ] {
        for method in ["GET", "HEAD"] {
            let told = ask(&mut proxy.client(), method, "/digits.txt", &fields);
            let expected = if method == "HEAD" && status == 206 { 200 } else { status };
            assert_eq!(told.status, expected, "{method} {fields}");
            if status == 304 {
                assert_eq!(told.header("etag"), Some(&*etag));
                assert_eq!((told.text().as_str(), told.header("content-type")), ("", None));
            }
        }
    }
    // As long as before, and written later.
    std::fs::write(proxy.path("www/digits.txt"), "9876543210").unwrap();
    let written = std::fs::File::options().append(true).open(proxy.path("www/digits.txt")).unwrap();
    written.set_modified(std::time::SystemTime::now() + Duration::from_secs(2)).unwrap();
    let changed = get(&proxy, "/digits.txt", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!((changed.status, changed.text().as_str()), (200, "9876543210"));
}

#[test]
fn ranges_are_one_part_several_or_none() {
    let proxy = site("", "");
    for (range, part, of) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=8-", "89", "bytes 8-9/10"),
        ("bytes=0-99", "0123456789", "bytes 0-9/10"),
    ] {
        let told = get(&proxy, "/digits.txt", &format!("Range: {range}\r\n"));
        assert_eq!((told.status, told.text().as_str()), (206, part), "{range}");
        assert_eq!(told.all("content-range"), [of]);
        assert_eq!(told.all("content-length"), [part.len().to_string()]);
    }
    for range in ["bytes=10-", "bytes=-0", "bytes=50-60,70-"] {
        let told = get(&proxy, "/digits.txt", &format!("Range: {range}\r\n"));
        assert_problem(&told, 416, "range_not_satisfiable");
        assert_eq!(told.all("content-range"), ["bytes */10"]);
    }
    let many = format!("bytes={}", vec!["0-0"; 2000].join(","));
    for range in [
        "bytes=4-2",
        "lines=0-1",
        "bytes=x",
        "bytes=0-9,0-9",
        "bytes=0-0\r\nRange: bytes=1-1",
        &many,
    ] {
        let told = get(&proxy, "/digits.txt", &format!("Range: {range}\r\n"));
        assert_eq!((told.status, told.text().as_str()), (200, "0123456789"));
    }
    let told = get(&proxy, "/digits.txt", "Range: bytes=0-1, 5-6, 90-\r\n");
    assert_eq!((told.status, told.header("content-range")), (206, None));
    let kind = told.header("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let part = |range: &str, bytes: &str| {
        format!(
            "\r\n--{boundary}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-range: bytes {range}/10\r\n\r\n{bytes}"
        )
    };
    let body = format!("{}{}\r\n--{boundary}--\r\n", part("0-1", "01"), part("5-6", "56"));
    assert_eq!(told.text(), body);
    assert_eq!(get(&proxy, "/none", "Range: bytes=0-1\r\n").status, 200);
}

#[test]
fn what_lies_compressed_beside_a_file_is_served_to_who_accepts_it() {
    let proxy = site(", precompressed = ['br', 'gzip']", "");
    for (accept, body, coding) in [
        ("gzip, br", "as br", Some("br")),
        ("gzip", "as gzip", Some("gzip")),
        ("br;q=0.5, gzip", "as gzip", Some("gzip")),
        ("*", "as br", Some("br")),
        ("br;q=0, *", "as gzip", Some("gzip")),
        ("identity, br;q=0.5", "plain text", None),
        ("deflate", "plain text", None),
        ("br;q=0, gzip;q=0", "plain text", None),
        ("", "plain text", None),
    ] {
        let told = get(&proxy, "/app.js", &format!("Accept-Encoding: {accept}\r\n"));
        assert_eq!((told.status, told.text().as_str()), (200, body), "{accept}");
        assert_eq!(told.header("content-encoding"), coding, "{accept}");
        assert_eq!(told.all("vary"), ["accept-encoding"]);
        assert_eq!(told.all("content-type"), ["text/javascript; charset=utf-8"]);
    }
    let br = get(&proxy, "/app.js", "Accept-Encoding: br\r\n");
    let plain = get(&proxy, "/app.js", "");
    assert_ne!(br.header("etag"), plain.header("etag"));
    let again = format!("Accept-Encoding: br\r\nIf-None-Match: {}\r\n", br.header("etag").unwrap());
    let told = get(&proxy, "/app.js", &again);
    assert_eq!((told.status, told.all("vary")), (304, vec!["accept-encoding"]));
    assert_eq!(
        get(&proxy, "/digits.txt", "Accept-Encoding: br\r\n").header("content-encoding"),
        None
    );
    symlink(proxy.path("outside.txt"), proxy.path("www/digits.txt.br")).unwrap();
    assert_eq!(get(&proxy, "/digits.txt", "Accept-Encoding: br\r\n").text(), "0123456789");
}

#[test]
fn applications_of_one_page_and_pages_for_errors() {
    let proxy = site(", fallback = '/index.html'", "");
    for path in ["/orders/7", "/empty/", "/nowhere.txt"] {
        let told = get(&proxy, path, "");
        assert_eq!((told.status, told.text().as_str()), (200, PAGE), "{path}");
    }
    assert_eq!(get(&proxy, "/digits.txt", "").text(), "0123456789");
    let pages = site("", "errors = { 404 = '{dir}/sorry.html' }");
    let told = get(&pages, "/nowhere", &format!("Accept: {BROWSER}\r\n"));
    assert_eq!((told.status, told.text().as_str()), (404, "<h1>sorry</h1>"));
}

#[test]
fn folders_lead_to_no_other_host() {
    let files = [("www/sub/index.html", "sub"), ("www/evil.test/index.html", "here")];
    let routes = "[[route]]
        path = '/*'
        path_encoding = 'raw'
        files = { root = '{dir}/www', fallback = '/sub' }
        [[route]]
        path = '/one/*'
        path_encoding = 'raw'
        files = '{dir}/www'
        rewrite = { path_regex = { match = '^/one/+', to = '/' } }
        [[route]]
        host = 'b.test'
        path_encoding = 'raw'
        files = '{dir}/www'
        rewrite = { path_regex = { match = '/+', to = '/' } }";
    let proxy = proxy(&Origin::ok("unasked"), &files, routes);
    assert_eq!(get(&proxy, "/sub", "").all("location"), ["/sub/"]);
    // What stands in for what is missing is a file or nothing.
    assert_problem(&get(&proxy, "//evil.test", ""), 404, "file_not_found");
    assert_eq!(get(&proxy, "/one/evil.test", "").all("location"), ["/one/evil.test/"]);
    let told = proxy.client().exchange("GET //evil.test HTTP/1.1\r\nHost: b.test\r\n\r\n");
    assert_eq!((told.status, told.all("location")), (301, vec!["/.//evil.test/"]));
}

#[test]
fn large_files_arrive_whole_and_one_that_shrinks_is_cut() {
    let proxy = site("", "");
    let large: Vec<u8> = (0..3_000_017_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(proxy.path("www/large.bin"), &large).unwrap();
    let told = get(&proxy, "/large.bin", "");
    assert!(told.body == large, "{} bytes", told.body.len());
    let told = get(&proxy, "/large.bin", "Range: bytes=65530-200000\r\n");
    assert!(told.body == large[65530..=200_000]);
    let url = format!("http://{}/large.bin", proxy.address());
    let run = curl(&["--http2-prior-knowledge", &url]);
    assert!(run.exit == Some(0) && run.stdout == large, "{:?} {}", run.exit, run.stderr);
    // 64 MiB more than the sockets hold.
    let file = std::fs::File::create(proxy.path("www/sparse.bin")).unwrap();
    file.set_len(64 << 20).unwrap();
    let mut client = RawClient::connect_narrow(proxy.address());
    client.send("GET /sparse.bin HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait_until(SOON, "it is under way", || open(&proxy) == "1");
    file.set_len(1000).unwrap();
    assert!(client.try_response("GET").is_err());
    wait_until(SOON, "it is closed", || open(&proxy) == "0");
    for part in ["response cut by the proxy", "code=\"file_unavailable\"", "route.files.root"] {
        wait_until(SOON, part, || proxy.log().contains(part));
    }
}

/// The files that are open for clients.
fn open(proxy: &Tidegate) -> String {
    let text = RawClient::connect(proxy.admin()).ask("/metrics").text();
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix("tidegate_files_open ")).unwrap().to_owned()
}

#[test]
fn explain_and_check_know_files() {
    let proxy = site("", "");
    let run = |arguments: &[&str], file: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let run = command.args(arguments).arg("-c").arg(file).output().unwrap();
        let text = String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned();
        (run.status.code(), text)
    };
    let file = proxy.path("tidegate.toml");
    let (code, text) = run(&["explain", "GET", "http://a.test/static/sub/x.txt"], &file);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("www/sub/x.txt"), "{text}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidegate.toml");
    for (line, said) in [
        ("files = '/nowhere/at/all'", "there is no such file"),
        ("files = { root = '/etc/hostname' }", "it is not a directory"),
        ("files = { rot = '/tmp' }", "root"),
        ("files = { root = '/tmp', index = ['../x'] }", "not the name of a file"),
        ("files = { root = '/tmp', fallback = 'index.html' }", "must start with `/`"),
        ("files = { root = '/tmp', fallback = '/../x' }", "not the path of a file"),
        ("files = { root = '/tmp', precompressed = ['deflate'] }", "deflate"),
        ("files = '/tmp'\nrespond = {}", "a second one"),
    ] {
        let base = "[[listen]]\naddress = '127.0.0.1:0'\n[[route]]\n";
        std::fs::write(&file, format!("{base}{line}\n")).unwrap();
        let (code, text) = run(&["check"], &file);
        assert_eq!(code, Some(1), "{line}: {text}");
        assert!(text.contains(said), "{line}: {text}");
    }
}

#[test]
fn a_file_that_may_not_be_read_is_forbidden() {
    let proxy = site("", "");
    let path = proxy.path("www/digits.txt");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    // Who may read everything, as root does, reads this too.
    let told = get(&proxy, "/digits.txt", "");
    if std::fs::read(&path).is_err() {
        assert_problem(&told, 403, "file_forbidden");
    } else {
        assert_eq!(told.status, 200);
    }
}

#[test]
fn what_a_route_says_of_storing_is_about_its_files_and_not_about_refusals() {
    let headers = "response_headers = { set = { cache-control = 'public, max-age=3600', x-frame-options = 'DENY' } }";
    for errors in ["", "\nerrors = { 404 = '{dir}/sorry.html' }"] {
        let proxy = site("", &format!("{headers}{errors}"));
        let found = get(&proxy, "/digits.txt", "");
        assert_eq!(found.header("cache-control"), Some("public, max-age=3600"));
        let missing = get(&proxy, "/nothing", &format!("Accept: {BROWSER}\r\n"));
        assert_eq!((missing.status, missing.header("x-frame-options")), (404, Some("DENY")));
        let stored = (!errors.is_empty()).then_some("no-store");
        assert_eq!(missing.header("cache-control"), stored, "{errors}");
        assert_eq!(get(&proxy, "/.env", "").header("cache-control"), stored);
    }
}

#[test]
fn a_link_to_a_hidden_file_is_not_followed() {
    let proxy = site("", "");
    let www = proxy.path("www");
    symlink(".env", www.join("env")).unwrap();
    symlink(".git", www.join("git")).unwrap();
    symlink("digits.txt", www.join("link.txt")).unwrap();
    for hidden in ["/env", "/git/config", "/static/env", "/raw/env"] {
        assert_problem(&get(&proxy, hidden, ""), 404, "file_not_found");
    }
    assert_eq!(get(&proxy, "/link.txt", "").text(), "0123456789");
}
