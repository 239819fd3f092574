//! Routes with several ways in, and tokens in other places than `Authorization`.

use serde_json::json;

use crate::proxy;
use crate::tokens::{Key, claims, file, set};
use support::{Origin, RawClient, Response, SOON, Step, Tidegate, assert_problem, wait_until};

const BASIC: &str = "Authorization: Basic YmVydDpsb29raW5nOmdsYXNz\r\n";
const WRONG: &str = "Authorization: Basic YmVydDpsb29raW5n\r\n";

/// Everything that the ways in of a route need.
struct Setting {
    directory: tempfile::TempDir,
    key: Key,
    judge: Origin,
    origin: Origin,
}

impl Setting {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let judge = Origin::start(|request| {
            let answer = match request.header("x-ticket") {
                Some("good") => "HTTP/1.1 200 OK\r\nX-User: judge\r\nContent-Length: 0\r\n\r\n",
                Some("shut") => "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
                Some("login") => {
                    "HTTP/1.1 302 Found\r\nLocation: https://login.test/\r\nSet-Cookie: back=1\r\nContent-Length: 0\r\n\r\n"
                }
                Some("known") => "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
                _ => {
                    "HTTP/1.1 401 No\r\nWWW-Authenticate: Negotiate\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n\r\n"
                }
            };
            vec![Step::Send(answer.as_bytes().to_vec())]
        });
        let key = Key::new("ES256", "e");
        Self { directory, key, judge, origin: Origin::ok("fine") }
    }

    /// A proxy whose route lets in whom one of these does.
    fn proxy(&self, ways: &str, from: &str) -> Tidegate {
        let jwks = file(self.directory.path(), &set(&[&self.key]));
        let users = self.directory.path().join("htpasswd");
        std::fs::write(&users, include_str!("htpasswd")).unwrap();
        let auth = format!(
            r#"
            [auth.staff]
            jwt = {{ jwks = "{jwks}", algorithms = ["ES256"], forward = {{ sub = "x-user" }}, allow = {{ roles = "a" }}{from} }}
            [auth.robots]
            api_key = {{ header = "x-api-key", keys = {{ r2 = "letmein" }} }}
            [auth.office]
            basic = {{ users_file = "{}" }}
            [auth.judge]
            forward = {{ url = "http://{}/", copy = ["x-user"] }}
            [[route]]
            path = "/unused"
            auth = ["staff", "robots", "office", "judge"]
            respond = {{}}
            "#,
            users.display(),
            self.judge.server(),
        );
        proxy(&self.origin, &format!("auth = {ways}"), &auth)
    }
}

fn ask(proxy: &Tidegate, path: &str, fields: &str) -> Response {
    proxy.client().exchange(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"))
}

const BEARER: &str = "Bearer realm=\"tidegate\"";
const INVALID: &str = "Bearer realm=\"tidegate\", error=\"invalid_token\"";
const API_KEY: &str = "ApiKey realm=\"tidegate\"";
const PASSWORD: &str = "Basic realm=\"tidegate\", charset=\"UTF-8\"";

#[test]
fn whoever_one_way_lets_in_passes_and_that_way_says_who_it_is() {
    let setting = Setting::new();
    let proxy = setting.proxy("['staff', 'robots', 'office', 'judge']", "");
    let bearer = format!("Authorization: Bearer {}\r\n", setting.key.token(&claims()));
    let cases: [(String, &[&str], usize); 6] = [
        (bearer.clone(), &["anna"], 0),
        ("X-Api-Key: letmein\r\n".into(), &[], 0),
        (BASIC.into(), &[], 0),
        ("X-Ticket: good\r\n".into(), &["judge"], 1),
        // A wrong credential of one kind does not take the right of another.
        (format!("{bearer}X-Api-Key: wrong\r\n"), &["anna"], 0),
        (format!("{WRONG}X-Ticket: good\r\n"), &["judge"], 1),
    ];
    for (fields, user, asked) in cases {
        let before = setting.judge.requests().len();
        let answer = ask(&proxy, "/", &format!("{fields}X-User: root\r\nx-USER: all\r\n"));
        assert_eq!(answer.status, 200, "{fields}: {}", answer.text());
        assert_eq!(answer.all("www-authenticate"), [""; 0]);
        let seen = setting.origin.requests();
        assert_eq!(seen.last().unwrap().all("x-user"), user, "{fields}");
        assert_eq!(setting.judge.requests().len() - before, asked, "{fields}");
    }
    // Who got in was not refused on the way.
    let metrics = RawClient::connect(proxy.admin()).ask("/metrics").text();
    assert!(!metrics.contains("tidegate_auth_refusals_total{"), "{metrics}");
}

#[test]
fn whom_nobody_lets_in_is_told_every_way() {
    let setting = Setting::new();
    let proxy = setting.proxy("['staff', 'robots', 'office']", "");
    for (fields, first) in [("", BEARER), ("Authorization: Bearer a.b.c\r\n", INVALID)] {
        let refused = ask(&proxy, "/", fields);
        assert_problem(&refused, 401, "auth_required");
        assert_eq!(refused.all("www-authenticate"), [first, API_KEY, PASSWORD], "{fields}");
    }
    // Nobody takes one of two, whichever is right.
    let bearer = format!("Authorization: Bearer {}\r\n", setting.key.token(&claims()));
    for two in [
        format!("{bearer}{BASIC}"),
        format!("{BASIC}{bearer}"),
        "X-Api-Key: letmein\r\nX-Api-Key: letmein\r\n".to_owned(),
    ] {
        assert_problem(&ask(&proxy, "/", &two), 401, "auth_required");
    }
    assert!(setting.origin.requests().is_empty());
    let metrics = || RawClient::connect(proxy.admin()).ask("/metrics").text();
    let counted = |auth: &str, reason: &str, count: u32| {
        metrics().contains(&format!(
            "tidegate_auth_refusals_total{{auth=\"{auth}\",reason=\"{reason}\"}} {count}\n"
        ))
    };
    wait_until(SOON, "each way counts", || {
        counted("staff", "malformed", 1)
            && counted("staff", "missing", 2)
            && counted("staff", "several", 2)
            && counted("robots", "missing", 4)
            && counted("office", "missing", 5)
    });
    assert!(
        proxy.log().contains("(auth.staff); there is no key (auth.robots); "),
        "{}",
        proxy.log()
    );
}

#[test]
fn the_answer_is_that_of_who_knows_most() {
    let setting = Setting::new();
    let mut claims = claims();
    claims["roles"] = json!("none");
    let weak = format!("Authorization: Bearer {}\r\n", setting.key.token(&claims));
    let proxy = setting.proxy("['judge', 'staff', 'robots']", "");
    // The server that is asked is one voice among others,
    let refused = ask(&proxy, "/", "");
    assert_problem(&refused, 401, "auth_required");
    assert_eq!(refused.all("www-authenticate"), ["Negotiate", BEARER, API_KEY]);
    assert_eq!(refused.all("set-cookie"), ["a=1"]);
    // its 403 says less than how to get in,
    let refused = ask(&proxy, "/", "X-Ticket: known\r\n");
    assert_problem(&refused, 401, "auth_required");
    assert_eq!(refused.all("www-authenticate"), [BEARER, API_KEY]);
    // a login page says how,
    let login = ask(&proxy, "/", "X-Ticket: login\r\nX-Api-Key: wrong\r\n");
    assert_eq!((login.status, login.header("location")), (302, Some("https://login.test/")));
    assert_eq!((login.all("set-cookie"), login.all("www-authenticate")), (vec!["back=1"], vec![]));
    // who is known and may not is told so,
    let refused = ask(&proxy, "/", &weak);
    assert_problem(&refused, 403, "not_allowed");
    assert_eq!((refused.all("www-authenticate"), refused.all("set-cookie")), (vec![], vec![]));
    // and a server that cannot tell is no reason to send the client away for good, nor to let it
    // in.
    assert_problem(&ask(&proxy, "/", "X-Ticket: shut\r\n"), 503, "auth_unavailable");
    assert!(setting.origin.requests().is_empty());
    // What a refusal would have said is not said to who gets in.
    let passed = ask(&proxy, "/", "X-Ticket: login\r\nX-Api-Key: letmein\r\n");
    assert_eq!(
        (passed.status, passed.all("set-cookie"), passed.header("location")),
        (200, vec![], None)
    );
    assert_eq!(ask(&proxy, "/", "X-Ticket: shut\r\nX-Api-Key: letmein\r\n").status, 200);
}

#[test]
fn a_new_key_is_looked_for_when_nobody_else_lets_in() {
    let setting = Setting::new();
    let proxy = setting.proxy("['staff', 'robots']", "");
    let new = Key::new("ES256", "new");
    let bearer = format!("Authorization: Bearer {}\r\n", new.token(&claims()));
    assert_eq!(ask(&proxy, "/", &format!("{bearer}X-Api-Key: letmein\r\n")).status, 200);
    assert_problem(&ask(&proxy, "/", &bearer), 401, "auth_required");
    file(setting.directory.path(), &set(&[&setting.key, &new]));
    wait_until(2 * SOON, "the new key counts", || ask(&proxy, "/", &bearer).status == 200);
}

#[test]
fn a_token_is_taken_from_the_first_place_that_has_one() {
    let setting = Setting::new();
    let from = ", from = ['header', 'cookie:session', 'query:token']";
    let proxy = setting.proxy("'staff'", from);
    let (good, mut other) = (setting.key.token(&claims()), claims());
    other["sub"] = json!("otto");
    let other = setting.key.token(&other);
    let encoded = good.replace('.', "%2e");
    let forged = {
        let payload = good.split('.').nth(1).unwrap();
        format!("eyJhbGciOiJub25lIn0.{payload}.")
    };
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let cookie = |token: &str| format!("Cookie: a=b; session={token}; c=d\r\n");
    let passes: [(String, String, &str); 8] = [
        ("/".into(), bearer(&good), "anna"),
        ("/".into(), cookie(&good), "anna"),
        ("/".into(), cookie(&format!("\"{good}\"")), "anna"),
        (format!("/?x=1&token={good}"), String::new(), "anna"),
        (format!("/?tok%65n={encoded}"), String::new(), "anna"),
        (format!("/?token={good}"), bearer(&other), "otto"),
        (format!("/?token={good}"), format!("{BASIC}{}", cookie(&other)), "otto"),
        (format!("/?token={good}"), "Cookie: Session=x; session=\r\n".into(), "anna"),
    ];
    for (path, fields, user) in &passes {
        let answer = ask(&proxy, path, fields);
        assert_eq!(answer.status, 200, "{path} {fields}: {}", answer.text());
        let seen = setting.origin.requests();
        assert_eq!(seen.last().unwrap().all("x-user"), [*user], "{path} {fields}");
        // Nothing is taken out of the request.
        assert_eq!(seen.last().unwrap().target, *path);
    }
    let long = "x".repeat(20 * 1024);
    let refused: Vec<(String, String)> = vec![
        ("/".into(), String::new()),
        ("/".into(), cookie("")),
        ("/".into(), cookie(&forged)),
        (format!("/?token={forged}"), String::new()),
        ("/".into(), format!("Cookie: session={good}; session={good}\r\n")),
        ("/".into(), format!("Cookie: session={good}\r\nCookie: session={good}\r\n")),
        ("/".into(), format!("Cookie: session=\"{good}; session={good}\"\r\n")),
        (format!("/?token={good}&token={good}"), String::new()),
        (format!("/?token=&token={good}"), String::new()),
        (format!("/?token={good}&%74oken=x"), String::new()),
        (format!("/?token={good}%00"), String::new()),
        (format!("/?token={good}+"), String::new()),
        (format!("/?TOKEN={good}"), String::new()),
        (format!("/?a#?token={good}"), String::new()),
        // The first place that has one counts, right or wrong.
        (format!("/?token={good}"), bearer("a.b.c")),
        ("/".into(), format!("{}{}", bearer(&good), bearer(&good))),
        (format!("/?token={good}"), cookie("a.b.c")),
        ("/".into(), cookie(&long)),
        (format!("/?token={long}"), String::new()),
    ];
    let count = setting.origin.requests().len();
    assert_eq!(count, passes.len());
    for (path, fields) in &refused {
        let answer = ask(&proxy, path, fields);
        assert!(matches!(answer.status, 400 | 401), "{path} {fields}: {}", answer.status);
    }
    assert_eq!(setting.origin.requests().len(), count);
}

#[test]
fn tokens_of_the_query_are_not_written_down() {
    let setting = Setting::new();
    let proxy = setting.proxy("'staff'", ", from = ['query:token', 'cookie:session']");
    let good = setting.key.token(&claims());
    let referer = format!("Referer: https://a.test/?token={good}\r\n");
    assert_eq!(ask(&proxy, &format!("/?x=1&token={good}&y=2"), &referer).status, 200);
    assert_eq!(ask(&proxy, "/", &format!("Cookie: session={good}\r\n")).status, 200);
    assert_eq!(ask(&proxy, &format!("/?t%6fken={good}x"), "").status, 401);
    assert_eq!(ask(&proxy, &format!("/missing\u{1}?token={good}"), "").status, 400);
    let access = || std::fs::read_to_string(proxy.path("access.log")).unwrap_or_default();
    wait_until(SOON, "all are in the log", || access().lines().count() == 4);
    assert!(access().contains("\"target\":\"/?x=1&token=***&y=2\""), "{}", access());
    assert!(access().contains("\"referer\":\"https://a.test/?token=***\""), "{}", access());
    let signature = good.rsplit('.').next().unwrap();
    let admin = |path: &str| RawClient::connect(proxy.admin()).ask(path).text();
    let mut places: Vec<String> = ["/refusals", "/stats", "/metrics", "/config"].map(admin).into();
    places.extend([access(), proxy.log(), proxy.stdout()]);
    for text in places {
        assert!(!text.contains(signature), "{text}");
    }
}

#[test]
fn a_list_that_cannot_be_meant_is_refused() {
    let check = |auth: &str, from: &str| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        let text = format!(
            "[[listen]]\naddress = '127.0.0.1:0'\n[[route]]\nauth = {auth}\nrespond = {{}}\n\
             [auth.staff]\njwt = {{ jwks = 'http://127.0.0.1:1/'{from} }}\n\
             [auth.robots]\napi_key = {{ header = 'x-key', keys = {{ a = 'b' }} }}\n"
        );
        std::fs::write(&path, text).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["check", "-c"])
            .arg(&path)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    for (auth, from, said) in [
        ("[]", "", "an empty list lets nobody in"),
        ("['staff', 'off']", "", "\"off\" beside others would let everybody in"),
        ("['staff', 'staff']", "", "`staff` is named twice"),
        ("['staff', 'robot']", "", "did you mean `robots`"),
        ("['staff', 7]", "", "expected a string"),
        ("['staff']", ", from = []", "`from` names no place of a token"),
        ("['staff']", ", from = ['header', 'header']", "`header` is given twice"),
        ("['staff']", ", from = ['header:x-token']", "is not a place of a token"),
        ("['staff']", ", from = ['cookies:a']", "is not a place of a token"),
        ("['staff']", ", from = ['cookie:']", "is not a place of a token"),
        ("['staff']", ", from = ['cookie:a b']", "is no name of a cookie"),
    ] {
        let (passed, text) = check(auth, from);
        assert!(!passed && text.contains(said), "{auth}{from}: {text}");
    }
    for (auth, from) in [
        ("['staff', 'robots']", ""),
        ("'staff'", ", from = 'cookie:sid'"),
        ("'staff'", ", from = ['query:access token']"),
    ] {
        let (passed, text) = check(auth, from);
        assert!(passed, "{auth}{from}: {text}");
    }
}

#[test]
fn a_limit_by_a_claim_counts_those_who_come_in_without_a_token() {
    let setting = Setting::new();
    let limit = "\nlimit = { rate = '1/h', burst = 1, key = 'jwt:sub' }";
    let proxy = setting.proxy(&format!("['staff', 'robots', 'office', 'judge']{limit}"), "");
    let mut otto = claims();
    otto["sub"] = json!("otto");
    let bearer = |claims| format!("Authorization: Bearer {}\r\n", setting.key.token(&claims));
    let key = "X-Api-Key: letmein\r\n".to_owned();
    // Each is counted by itself, whatever else it sends along.
    for fields in
        [bearer(claims()), bearer(otto), key, BASIC.to_owned(), "X-Ticket: good\r\n".to_owned()]
    {
        let statuses = [0, 1, 2].map(|_| ask(&proxy, "/", &fields).status);
        assert_eq!(statuses, [200, 200, 429], "{fields}");
    }
}

#[test]
fn two_ways_of_one_kind_challenge_once() {
    let setting = Setting::new();
    let jwks = file(setting.directory.path(), &set(&[&setting.key]));
    let auth = ["one", "two"].map(|name| {
        let from = if name == "one" { "header" } else { "cookie:session" };
        format!(
            "[auth.{name}]\njwt = {{ jwks = '{jwks}', algorithms = ['ES256'], from = '{from}' }}\n"
        )
    });
    for order in ["['one', 'two']", "['two', 'one']"] {
        let proxy = proxy(&setting.origin, &format!("auth = {order}"), &auth.concat());
        assert_eq!(ask(&proxy, "/", "").all("www-authenticate"), [BEARER]);
        let refused = ask(&proxy, "/", "Authorization: Bearer a.b.c\r\n");
        assert_eq!(refused.all("www-authenticate"), [INVALID], "{order}");
    }
}

#[test]
fn a_realm_is_told_as_it_is_written() {
    let setting = Setting::new();
    let jwks = file(setting.directory.path(), &set(&[&setting.key]));
    let users = setting.directory.path().join("htpasswd");
    std::fs::write(&users, include_str!("htpasswd")).unwrap();
    let more = format!(
        r#"
        [auth.office]
        basic = {{ users_file = "{}" }}
        realm = 'The "back" \ office'
        [auth.staff]
        jwt = {{ jwks = "{jwks}", algorithms = ["ES256"] }}
        realm = "api"
        [auth.robots]
        api_key = {{ header = "x-api-key", keys = {{ r2 = "letmein" }} }}
        realm = "Robots"
        "#,
        users.display(),
    );
    let proxy = proxy(&setting.origin, "auth = ['office', 'staff', 'robots']", &more);
    let basic = r#"Basic realm="The \"back\" \\ office", charset="UTF-8""#;
    let key = r#"ApiKey realm="Robots""#;
    for (fields, bearer) in [
        ("", r#"Bearer realm="api""#),
        ("Authorization: Bearer a.b.c\r\n", r#"Bearer realm="api", error="invalid_token""#),
    ] {
        let refused = ask(&proxy, "/", fields);
        assert_problem(&refused, 401, "auth_required");
        assert_eq!(refused.all("www-authenticate"), [basic, bearer, key]);
    }
}

/// A proxy with these keys beside `realm` of an `auth`, and what `check` says of it.
fn check_realm(auth: &str) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidegate.toml");
    let text = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\n[[route]]\nauth = 'a'\nrespond = {{}}\n[auth.a]\n{auth}\n"
    );
    std::fs::write(&file, text).unwrap();
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["check", "-c"])
        .arg(&file)
        .output()
        .unwrap();
    let said = [checked.stdout, checked.stderr].concat();
    (checked.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_realm_that_no_client_could_show_is_refused() {
    let key = "api_key = { header = 'x-key', keys = { a = 'letmein' } }";
    for realm in ["''", "\"a\\r\\nb\"", "\"žluť\""] {
        let (code, said) = check_realm(&format!("{key}\nrealm = {realm}"));
        assert_eq!(code, Some(1), "{realm}: {said}");
        assert!(said.contains("a realm is one or more letters") && said.contains(":8:9"), "{said}");
    }
    let longest = format!("{key}\nrealm = '{}'", "x".repeat(256));
    assert_eq!(check_realm(&longest).0, Some(0));
    let (code, said) = check_realm(&format!("{}x'", longest.trim_end_matches('\'')));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("a realm of 257 bytes is longer than clients show"), "{said}");
    let (code, said) = check_realm("forward = { url = 'http://127.0.0.1:1/' }\nrealm = 'x'");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("`realm` would not be told"), "{said}");
    assert_eq!(check_realm(&format!("{key}\nrealm = 'x'")).0, Some(0));
}
