//! The dashboard, in a browser.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::browser::Browser;
use crate::support::{Origin, RawClient, SOON, Step, Tidegate, ok, wait_until};

fn proxy(origins: &[Origin], token: &str) -> Tidegate {
    Tidegate::start(&format!(
        r#"
        [admin]
        address = "127.0.0.1:0"
        {token}
        [[listen]]
        name = "public"
        address = "127.0.0.1:0"
        [upstream.shop]
        servers = [{{ address = "{}", name = "shop-1" }}, {{ address = "{}", name = "shop-2" }}]
        [upstream.search]
        servers = [{{ address = "{}", name = "search-1" }}]
        [[route]]
        name = "shop"
        path = "/shop/*"
        upstream = "shop"
        [[route]]
        name = "search"
        path = "/search"
        upstream = "search"
        [[route]]
        name = "<b>bold</b>"
        path = "/bold"
        respond = {{ status = 503 }}
        "#,
        origins[0].server(),
        origins[1].server(),
        origins[2].server()
    ))
}

/// Sends requests until it is dropped.
struct Traffic(Arc<AtomicBool>, Option<thread::JoinHandle<()>>);

impl Traffic {
    fn start(proxy: &Tidegate) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, mut client) = (stop.clone(), proxy.client());
        let work = thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                for path in ["/shop/1", "/shop/2", "/search", "/shop/3", "/bold"] {
                    client.get(path);
                }
                thread::sleep(Duration::from_millis(4));
            }
        });
        Self(stop, Some(work))
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
        let _joined = self.1.take().map(thread::JoinHandle::join);
    }
}

fn origins() -> Vec<Origin> {
    let pauses = [1, 2, 8].map(Duration::from_millis);
    let slow = |pause| Origin::start(move |_| vec![Step::Pause(pause), Step::Send(ok("fine"))]);
    pauses.map(slow).into()
}

const CELL: &str = "const cell = (table, row, column) => [...document.querySelectorAll('#' + table + ' tbody tr')]\
                    .find(line => line.innerText.includes(row))?.cells[column].innerText;";

#[test]
fn it_shows_what_happens_and_takes_orders() {
    let origins = origins();
    let proxy = proxy(&origins, "token = 'secret'");
    let _traffic = Traffic::start(&proxy);
    let browser = Browser::start(1200, 1000);
    browser.open(&format!("http://{}/", proxy.admin()));
    browser
        .wait("it is connected", "return document.getElementById('state').innerText === 'ready'");
    let number = |id: &str| {
        format!("parseFloat(document.getElementById('{id}').innerText.replace(',', ''))")
    };
    browser.wait("there is a rate", &format!("return {} > 5", number("rate")));
    browser.wait("and errors", &format!("return Math.abs({} - 20) < 10", number("errors")));
    browser.wait(
        "and times",
        &format!("return {} >= {} && {} > 0", number("p99"), number("p50"), number("p50")),
    );
    browser.wait(
        "routes have rates",
        &format!("{CELL} return parseFloat(cell('routes', 'shop', 1)) > 1"),
    );
    browser.wait(
        "and percentiles",
        &format!("{CELL} return parseFloat(cell('routes', 'search', 3)) >= 8"),
    );
    browser.wait(
        "names are text",
        &format!("{CELL} return cell('routes', '<b>bold</b>', 2) === '100 %'"),
    );
    // Without the token nothing changes; then by keyboard alone: into the field, the token, on to the button.
    let press = "document.querySelector('[data-server=shop-2]').click(); return true";
    browser.run(press);
    browser.wait(
        "the token is asked for",
        "return document.getElementById('said').innerText.includes('token')",
    );
    assert_eq!(browser.run(&format!("{CELL} return cell('servers', 'shop-2', 2)")), "up");
    browser.run("document.getElementById('token').focus(); return true");
    browser.press("secret");
    // Tab to the region, then to the buttons of the three servers, which are sorted by upstream.
    browser.press("\u{e004}\u{e004}\u{e004}\u{e004}");
    assert_eq!(browser.run("return document.activeElement.dataset.server"), "shop-2");
    browser.press("\u{e007}");
    browser
        .wait("it drains", &format!("{CELL} return cell('servers', 'shop-2', 2) === 'draining'"));
    browser.wait("the focus stays", "return document.activeElement.dataset.server === 'shop-2'");
    wait_until(SOON, "the other one gets everything", || {
        let before = origins[1].requests().len();
        thread::sleep(Duration::from_millis(50));
        origins[1].requests().len() == before
    });
    browser.press("\u{e007}");
    browser.wait("it is back", &format!("{CELL} return cell('servers', 'shop-2', 2) === 'up'"));
    // A reload is a row and a mark.
    let config = std::fs::read_to_string(proxy.path("tidegate.toml")).unwrap();
    std::fs::write(proxy.path("tidegate.toml"), config.replace("503", "200")).unwrap();
    let reload = "POST /reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(RawClient::connect(proxy.admin()).exchange(reload).status, 200);
    browser.wait(
        "the reload is listed",
        &format!("{CELL} return cell('reloads', 'accepted', 3) === '~ route <b>bold</b>: respond'"),
    );
    browser.wait("and marked", "return document.querySelectorAll('#chart .reload').length === 1");
    browser.run(
        "document.getElementById('filter').value = 'sear'; \
                 document.getElementById('filter').dispatchEvent(new Event('input')); return true",
    );
    browser.wait(
        "rows can be found",
        "return document.querySelectorAll('#routes tbody tr').length === 1",
    );
    let complaints: Vec<_> = browser.complaints().as_array().unwrap().clone();
    // The answer without the token is one, and meant to be.
    let unmeant = complaints.iter().filter(|c| !c["message"].as_str().unwrap().contains("401"));
    assert_eq!(unmeant.count(), 0, "{complaints:?}");
}

#[test]
fn it_is_readable_on_a_phone_in_the_dark_and_asks_nobody_else() {
    let origins = origins();
    let proxy = proxy(&origins, "");
    let _traffic = Traffic::start(&proxy);
    // The narrowest window that it makes is 500 wide.
    let browser = Browser::start(500, 900);
    browser.open(&format!("http://{}/", proxy.admin()));
    browser
        .wait("it is connected", "return document.getElementById('state').innerText === 'ready'");
    browser.wait(
        "there are rows",
        "return document.querySelectorAll('#servers tbody tr').length === 3",
    );
    let fits =
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth";
    assert_eq!(browser.run(fits), true, "the page itself scrolls sideways");
    // Contrast of text on its background, WCAG 2 §1.4.3: at least 4.5.
    let contrast = r"
        const light = text => {
            const [r, g, b] = text.match(/[\d.]+/g).map(Number).map(v => v / 255)
                .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const of = (selector, on) => ratio(light(getComputedStyle(document.querySelector(selector)).color),
            light(getComputedStyle(document.querySelector(on)).backgroundColor));
        return Math.min(of('#about', 'body'), of('h2', 'section'), of('th', 'section'), of('#state', 'body'),
            of('#servers td.good', 'section'), of('#errors', '.tiles div'));";
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        let ratio = browser.run(contrast).as_f64().unwrap();
        assert!(ratio >= 4.5, "{scheme}: {ratio}");
    }
    let asked = browser.run("return performance.getEntriesByType('resource').map(entry => new URL(entry.name).pathname)");
    assert!(asked.as_array().unwrap().iter().all(|path| path == "/stats"), "{asked}");
    assert_eq!(browser.complaints(), serde_json::json!([]));
}

/// Makes the README's picture: `cargo test --test observe picture -- --ignored`.
#[test]
#[ignore = "it changes a file of the repository"]
fn the_picture_of_the_readme() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/dashboard.png");
    let origins = origins();
    let proxy = proxy(&origins, "");
    let _traffic = Traffic::start(&proxy);
    let browser = Browser::start(1200, 1350);
    browser.open(&format!("http://{}/", proxy.admin()));
    thread::sleep(Duration::from_secs(20));
    let config = std::fs::read_to_string(proxy.path("tidegate.toml")).unwrap();
    std::fs::write(
        proxy.path("tidegate.toml"),
        config.replace(
            "name = \"<b>bold</b>\"\n        path = \"/bold\"",
            "name = \"old\"\n path = \"/bold\"\n body_limit = \"1KiB\"",
        ),
    )
    .unwrap();
    let reload = "POST /reload?force=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    RawClient::connect(proxy.admin()).exchange(reload);
    RawClient::connect(proxy.admin()).exchange(
        "POST /upstreams/shop/servers/shop-2/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
    );
    thread::sleep(Duration::from_secs(20));
    std::fs::write(path, browser.screenshot()).unwrap();
}
