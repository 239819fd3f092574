//! `errors` and `maintenance`: pages for browsers, problem+json for programs, nothing for calls of
//! gRPC.

use std::process::Command;

use serde_json::Value;

use crate::{BROWSER, proxy};
use support::{
    Origin, RawClient, Request, Response, SOON, Step, Tidegate, assert_problem, ok,
    refused_address, wait_until,
};

const SORRY: &str = "<h1>sorry</h1>\n";
const MISSING: &str = "<h1>missing</h1>\n";

fn ask(client: &mut RawClient, method: &str, path: &str, fields: &str) -> Response {
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"));
    client.try_response(method).unwrap()
}

fn get(proxy: &Tidegate, path: &str, accept: &str) -> Response {
    ask(&mut proxy.client(), "GET", path, &format!("Accept: {accept}\r\n"))
}

fn assert_page(response: &Response, status: u16, page: &str) {
    assert_eq!((response.status, response.text().as_str()), (status, page));
    assert_eq!(response.all("content-type"), ["text/html; charset=utf-8"]);
    assert_eq!(response.all("cache-control"), ["no-store"]);
    assert!(response.all("vary").contains(&"accept"));
    assert_eq!(response.all("content-length"), [page.len().to_string()]);
}

/// Answers with the status in the path, as servers do that tell too much.
fn script(request: &Request) -> Vec<Step> {
    let status = request.target.trim_start_matches('/').split('/').next().unwrap().to_owned();
    if status == "grpc" {
        let fields = "Content-Type: application/grpc\r\nGrpc-Status: 14\r\nContent-Length: 0";
        return vec![Step::Send(format!("HTTP/1.1 503 No\r\n{fields}\r\n\r\n").into_bytes())];
    }
    if status == "200" {
        return vec![Step::Send(ok("fine"))];
    }
    let body = if request.method == "HEAD" { "" } else { "a stack trace" };
    let fields = "Retry-After: 7\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nWWW-Authenticate: Basic realm=x\r\n\
                  X-Own: 1\r\nETag: \"x\"\r\nContent-Encoding: gzip\r\nContent-Type: text/x-trace\r\nCache-Control: public\r\n\
                  Content-Security-Policy: default-src 'none'\r\nContent-Length: 13";
    vec![Step::Send(format!("HTTP/1.1 {status} Oh\r\n{fields}\r\n\r\n{body}").into_bytes())]
}

fn pages(origin: &Origin, route: &str) -> Tidegate {
    let files = [("sorry.html", SORRY), ("404.html", MISSING)];
    let errors =
        "errors = { '500-504' = '{dir}/sorry.html', 404 = '{dir}/404.html', intercept = true }";
    proxy(origin, &files, &format!("[[route]]\nupstream = 'app'\n{errors}\n{route}"))
}

#[test]
fn refusals_are_a_page_for_browsers_and_a_problem_for_the_rest() {
    let origin = Origin::ok("fine");
    let routes = format!(
        "[upstream.gone]
        servers = ['{}']
        retry = {{ attempts = 0 }}
        [[route]]
        path = '/gone'
        upstream = 'gone'
        errors = {{ '502-504' = '{{dir}}/sorry.html' }}
        [[route]]
        path = '/limited'
        upstream = 'app'
        limit = {{ rate = '1/h', burst = 0 }}
        errors = {{ 429 = '{{dir}}/sorry.html' }}
        response_headers = {{ set = {{ x-frame-options = 'DENY' }} }}
        [[route]]
        path = '/fault'
        upstream = 'app'
        fault = {{ abort = 503 }}
        errors = {{ 503 = '{{dir}}/sorry.html' }}",
        refused_address()
    );
    let proxy = proxy(&origin, &[("sorry.html", SORRY)], &routes);
    assert_page(&get(&proxy, "/gone", BROWSER), 502, SORRY);
    assert_page(&get(&proxy, "/fault", BROWSER), 503, SORRY);
    for accept in ["*/*", "application/json", "image/png"] {
        let told = get(&proxy, "/gone", accept);
        assert_problem(&told, 502, "upstream_connect");
        assert_eq!(told.all("vary"), ["accept"]);
    }
    let head = ask(&mut proxy.client(), "HEAD", "/gone", &format!("Accept: {BROWSER}\r\n"));
    assert_eq!((head.status, head.header("content-length")), (502, Some("15")));
    assert_eq!(head.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(get(&proxy, "/limited", BROWSER).status, 200);
    let limited = get(&proxy, "/limited", BROWSER);
    assert_page(&limited, 429, SORRY);
    assert!(limited.header("retry-after").unwrap().parse::<u32>().unwrap() > 3000);
    assert_eq!(limited.all("x-frame-options"), ["DENY"]);
    let call = "Content-Type: application/grpc\r\nAccept: text/html\r\nContent-Length: 0\r\n";
    assert_problem(&ask(&mut proxy.client(), "POST", "/gone", call), 502, "upstream_connect");
    assert_problem(&get(&proxy, "/nowhere", BROWSER), 404, "no_route");
}

#[test]
fn what_servers_answer_is_replaced_where_that_is_asked_for() {
    let origin = Origin::start(script);
    let proxy = pages(&origin, "");
    let mut client = proxy.client();
    for (path, status, page) in [("/503", 503, SORRY), ("/500", 500, SORRY), ("/404", 404, MISSING)]
    {
        let told = ask(&mut client, "GET", path, &format!("Accept: {BROWSER}\r\n"));
        assert_page(&told, status, page);
        assert_eq!(told.all("retry-after"), ["7"]);
        assert_eq!(told.all("set-cookie"), ["a=1", "b=2"]);
        assert_eq!(told.all("www-authenticate"), ["Basic realm=x"]);
        assert_eq!(told.all("x-own"), ["1"]);
        for gone in ["etag", "content-encoding", "content-security-policy"] {
            assert_eq!(told.header(gone), None, "{gone}");
        }
    }
    let head = ask(&mut client, "HEAD", "/404", "Accept: text/html\r\n");
    assert_eq!((head.status, head.header("content-length")), (404, Some("17")));
    assert_problem(&ask(&mut client, "GET", "/404", "Accept: */*\r\n"), 404, "upstream_error");
    assert_problem(&ask(&mut client, "GET", "/404", ""), 404, "upstream_error");
    // Who wants JSON, and calls of gRPC, get what the server says.
    let told = ask(&mut client, "GET", "/404", "Accept: application/json\r\n");
    assert_eq!((told.status, told.text().as_str()), (404, "a stack trace"));
    assert_eq!(told.header("etag"), Some("\"x\""));
    let told = ask(&mut client, "GET", "/grpc", "Accept: text/html\r\n");
    assert_eq!((told.status, told.header("grpc-status")), (503, Some("14")));
    // Others are none of its business.
    let told = ask(&mut client, "GET", "/403", "Accept: text/html\r\n");
    assert_eq!((told.status, told.text().as_str()), (403, "a stack trace"));
    assert_eq!(ask(&mut client, "GET", "/200", "Accept: text/html\r\n").text(), "fine");
    assert_eq!(origin.accepts(), 1, "connections are kept all the same");
}

#[test]
fn an_upload_whose_answer_is_replaced_is_not_taken_for_whole() {
    let origin = Origin::on_head(script);
    let proxy = pages(&origin, "");
    let mut client = proxy.client();
    client.send(
        "POST /503 HTTP/1.1\r\nHost: a.test\r\nAccept: text/html\r\nContent-Length: 1000000\r\n\r\nsome",
    );
    let told = client.response();
    assert_page(&told, 503, SORRY);
    assert!(told.says_close());
}

#[test]
fn stored_errors_are_replaced_too() {
    let origin = Origin::start(script);
    let cached = "cache = { negative = { 404 = '1h' } }";
    let proxy = pages(&origin, cached);
    for _ in 0..2 {
        assert_page(&get(&proxy, "/404", BROWSER), 404, MISSING);
        assert_problem(&get(&proxy, "/404", "*/*"), 404, "upstream_error");
        assert_eq!(get(&proxy, "/404", "application/json").text(), "a stack trace");
    }
}

#[test]
fn without_intercept_servers_speak_for_themselves() {
    let origin = Origin::start(script);
    let routes = "[[route]]\nupstream = 'app'\nerrors = { 404 = '{dir}/404.html' }";
    let proxy = proxy(&origin, &[("404.html", MISSING)], routes);
    assert_eq!(get(&proxy, "/404", BROWSER).text(), "a stack trace");
}

#[test]
fn during_maintenance_nobody_is_served_but_those_who_are_excepted() {
    let origin = Origin::ok("fine");
    let routes = "
        [[route]]
        path = '/long/*'
        upstream = 'app'
        maintenance = { page = '{dir}/sorry.html', except = ['10.0.0.0/8', '2001:db8::/32'], retry_after = '5m' }
        [[route]]
        path = '/short'
        respond = { body = 'fine' }
        maintenance = '{dir}/sorry.html'
        [[route]]
        path = '/bare'
        upstream = 'app'
        cors = { origins = ['https://b.test'] }
        maintenance = { retry_after = '1500ms' }
        errors = { 503 = '{dir}/sorry.html' }";
    let proxy = proxy(&origin, &[("sorry.html", SORRY)], routes);
    let from = |address: &str, path: &str, accept: &str| {
        let fields = format!("X-Forwarded-For: {address}\r\nAccept: {accept}\r\n");
        ask(&mut proxy.client(), "GET", path, &fields)
    };
    for (path, accept, after) in
        [("/long/a", BROWSER, "300"), ("/short", BROWSER, "300"), ("/bare", BROWSER, "2")]
    {
        let told = from("192.0.2.1", path, accept);
        assert_page(&told, 503, SORRY);
        assert_eq!(told.all("retry-after"), [after], "{path}");
    }
    for accept in ["application/json", "*/*"] {
        let told = from("192.0.2.1", "/long/a", accept);
        assert_problem(&told, 503, "in_maintenance");
        assert_eq!(told.all("retry-after"), ["300"]);
    }
    assert_eq!(origin.accepts(), 0);
    for address in ["10.1.2.3", "2001:db8::1", "::ffff:10.1.2.3"] {
        assert_eq!(from(address, "/long/a", BROWSER).text(), "fine", "{address}");
    }
    // Pages of other origins can read it.
    let told = ask(&mut proxy.client(), "GET", "/bare", "Origin: https://b.test\r\n");
    assert_eq!(
        (told.status, told.header("access-control-allow-origin")),
        (503, Some("https://b.test"))
    );
    wait_until(SOON, "it is told", || proxy.log().contains("key=\"route.maintenance\""));
}

#[test]
fn a_page_that_is_changed_is_shown_and_one_that_is_lost_keeps_what_runs() {
    let origin = Origin::ok("fine");
    let routes = "[[route]]\nupstream = 'app'\nmaintenance = '{dir}/sorry.html'";
    let proxy = proxy(&origin, &[("sorry.html", SORRY)], routes);
    assert_page(&get(&proxy, "/", BROWSER), 503, SORRY);
    std::fs::write(proxy.path("sorry.html"), "<h1>new</h1>").unwrap();
    wait_until(SOON, "the new page", || get(&proxy, "/", BROWSER).text() == "<h1>new</h1>");
    std::fs::remove_file(proxy.path("sorry.html")).unwrap();
    let call = "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let said = RawClient::connect(proxy.admin()).exchange(call);
    let said: Value = serde_json::from_slice(&said.body).unwrap();
    assert_eq!(said["ok"], false);
    assert!(
        said.to_string().contains("sorry.html cannot be used: there is no such file"),
        "{said}"
    );
    assert_page(&get(&proxy, "/", BROWSER), 503, "<h1>new</h1>");
}

#[test]
fn check_names_what_is_wrong_with_pages() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidegate.toml");
    std::fs::create_dir(directory.path().join("folder")).unwrap();
    let base = "[[listen]]\naddress = '127.0.0.1:0'\n[[route]]\nrespond = {}\n";
    let folder = directory.path().join("folder");
    for (line, said) in [
        ("errors = { intercep = true }".to_owned(), "intercept"),
        ("errors = { 302 = 'a.html' }".to_owned(), "unknown key `302`"),
        ("errors = { '504-502' = 'a.html' }".to_owned(), "unknown key `504-502`"),
        ("errors = 'a.html'".to_owned(), "a table such as"),
        ("errors = { '502-504' = 'a', '503-505' = 'b' }".to_owned(), "several_pages"),
        ("errors = { 404 = 'nowhere.html' }".to_owned(), "nowhere.html cannot be used"),
        (format!("maintenance = '{}'", folder.display()), "it is a directory"),
        ("maintenance = { page = '/dev/zero' }".to_owned(), "not a regular file"),
        ("maintenance = { pages = 'x' }".to_owned(), "page"),
        ("maintenance = { except = ['10.0.0.1/8'] }".to_owned(), "10.0.0.0/8"),
        ("maintenance = { retry_after = 5 }".to_owned(), "\"5s\""),
    ] {
        std::fs::write(&file, format!("{base}{line}\n")).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let run = check.args(["check", "-c"]).arg(&file).output().unwrap();
        let text = String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned();
        assert_eq!(run.status.code(), Some(1), "{line}: {text}");
        assert!(text.contains(said), "{line}: {text}");
        assert!(text.contains("tidegate.toml:5:"), "{line}: {text}");
    }
}
