//! Kong: keys and consumers, a quota, groups, cross-origin requests, what is changed on the way.
//!
//! Kong itself is not asked: it is neither in Debian nor in the registries that `./test` installs
//! from. What stands for it here is what its documentation says of each plugin, as literal values;
//! only tidegate is run.

use crate::ask::{Ask, announce, get, options, post};
use crate::differences::{Differences, aspects};
use crate::echo::{SERVED_BY, Server};
use crate::nginx::STAFF;
use crate::site::{Plan, folder_of, tidegate_of};
use support::{Response, Tidegate};

const HOST: &str = "api.example";

struct Documented {
    tidegate: Tidegate,
    differences: Differences,
}

impl Documented {
    /// Asks tidegate, which has to answer with `status`; `kong` is the status that Kong is
    /// documented to answer with.
    fn ask(&mut self, name: &str, ask: Ask, kong: u16, status: u16) -> Response {
        let ask = if ask.host.is_empty() { ask.host(HOST) } else { ask };
        let answer = ask.send(&mut self.tidegate.client());
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        self.same(name, "status", &kong.to_string(), &status.to_string());
        answer
    }

    fn same(&mut self, name: &str, what: &str, kong: &str, tidegate: &str) {
        self.differences.compare(name, what, Some(kong), Some(tidegate));
    }

    /// Takes down what the server was asked, or a field of it.
    fn seen(&mut self, name: &str, answer: &Response, what: &str, kong: Option<&str>) {
        let what = format!("server sees{what}");
        let all = aspects(answer, &[]);
        let ours = all.iter().find(|(aspect, _)| *aspect == what).map(|(_, value)| value.as_str());
        self.differences.compare(name, &what, kong, ours);
    }
}

#[test]
fn a_bookshop_that_was_behind_kong() {
    let [mut o1, mut o2, catalogue] = ["o1", "o2", "catalogue"].map(Server::start);
    let mut plan = Plan::new("kong");
    plan.file("htpasswd", STAFF);
    plan.put("/etc/kong/staff.htpasswd", plan.folder.path().join("htpasswd").display().to_string());
    for (from, server) in [(81, &o1), (82, &o2), (83, &catalogue)] {
        plan.put(&format!("10.20.0.{from}:8080"), server.address());
    }
    let differences = Differences::read(&folder_of("kong").join("differences.md"));
    let mut shop = Documented { tidegate: tidegate_of(&plan, 1), differences };
    let anna = |ask: Ask| ask.with("x-api-key", "k-anna");
    let bertha = |ask: Ask| ask.with("x-api-key", "k-bertha");

    shop.ask("no such path", get("/none"), 404, 404);
    shop.ask("another name", get("/orders/7").host("other.example"), 404, 404);
    shop.ask("another method", anna(get("/orders/7").method("DELETE")), 404, 404);
    shop.ask("only begins like it", anna(get("/ordersheet")), 200, 404);

    let refused = shop.ask("no key", get("/orders/7"), 401, 401);
    let asked = refused.header("www-authenticate").unwrap();
    shop.same("no key", "www-authenticate", "Key realm=\"kong\"", asked);
    shop.ask("wrong key", get("/orders/7").with("x-api-key", "k-none"), 401, 401);
    let fields = anna(get("/orders/7?full=1")).with("x-debug", "1").with("x-env", "a");
    let answer = shop.ask("key", fields, 200, 200);
    shop.seen("key", &answer, "", Some("GET /7?full=1 HTTP/1.1"));
    shop.seen("key", &answer, " host", Some(HOST));
    shop.seen("key", &answer, " x-api-key", None);
    shop.seen("key", &answer, " x-debug", None);
    // `add` leaves alone what is there.
    shop.seen("key", &answer, " x-env", Some("a"));
    shop.seen("key", &answer, " x-consumer-username", Some("anna"));
    shop.seen("key", &answer, " x-forwarded-prefix", Some("/orders"));
    let statuses: Vec<u16> = (0..3)
        .map(|_| anna(get("/orders/7")).host(HOST).send(&mut shop.tidegate.client()).status)
        .collect();
    assert_eq!(statuses, [200, 200, 429], "three a minute, with the one before");
    let over = shop.ask("over the quota", anna(get("/orders/7")), 429, 429);
    let policy = over.header("ratelimit-policy").unwrap();
    shop.same("over the quota", "ratelimit-limit, ratelimit-policy", "3", policy);
    assert!(over.header("retry-after").is_some());
    shop.ask("quota of another", bertha(post("/orders/7", "x")), 200, 200);
    shop.ask("body too large", bertha(announce("/orders/7", 70_000).method("POST")), 413, 413);

    let answer = shop.ask("partner", bertha(get("/partners/list")), 200, 200);
    shop.seen("partner", &answer, "", Some("GET /partners/list HTTP/1.1"));
    shop.ask("no partner", anna(get("/partners/list")), 403, 401);

    let page = |ask: Ask| ask.with("origin", "https://app.example");
    let answer = shop.ask("from a page", page(get("/catalogue/tea")), 200, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    shop.seen("from a page", &answer, "", Some("GET /v2/tea HTTP/1.1"));
    shop.seen("from a page", &answer, " host", Some(&catalogue.address()));
    let preflight = options("/catalogue/tea").with("access-control-request-method", "POST");
    let answer = shop.ask("preflight", page(preflight), 200, 204);
    assert_eq!(answer.header("access-control-max-age"), Some("3600"));
    shop.ask("too slow", get("/catalogue/slow"), 504, 504);

    shop.ask("no password", get("/office/users"), 401, 401);
    shop.ask("wrong password", get("/office/users").login("anna", "ebb"), 401, 401);
    let answer = shop.ask("right password", get("/office/users").login("anna", "tide"), 200, 200);
    shop.seen("right password", &answer, "", Some("GET /v2/office/users HTTP/1.1"));
    shop.ask("not for this network", get("/internal/stats"), 403, 403);
    let gone = shop.ask("ended", get("/v1/books"), 410, 410);
    assert_eq!(gone.text(), "{\"message\":\"use /catalogue\"}");

    o1.stop();
    let answer = shop.ask("the second takes over", bertha(get("/partners/list")), 200, 200);
    assert_eq!(answer.header(SERVED_BY), Some("o2"));
    o2.stop();
    shop.ask("all down", bertha(get("/partners/list")), 502, 502);
    shop.differences.finish("kong");
}
