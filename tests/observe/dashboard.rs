//! The dashboard, in a browser.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::browser::Browser;
use support::{Configuration, Origin, RawClient, SOON, Step, Tidegate, ok, wait_until};

fn proxy(origins: &[Origin], token: &str) -> Tidegate {
    let shop = format!(
        "servers = [{{ address = '{}', name = 'shop-1' }}, {{ address = '{}', name = 'shop-2' }}]",
        origins[0], origins[1]
    );
    let search = format!("servers = [{{ address = '{}', name = 'search-1' }}]", origins[2]);
    Configuration::default()
        .admin(token)
        .listen("name = 'public'")
        .upstream_with("shop", &shop)
        .upstream_with("search", &search)
        .route("name = 'shop'\npath = '/shop/*'")
        .route("name = 'search'\npath = '/search'\nupstream = 'search'")
        .route("name = '<b>bold</b>'\npath = '/bold'\nrespond = { status = 503 }")
        .start()
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

/// Without the token nothing changes; and nothing is asked of the process before it was asked for
/// twice.
fn it_asks_twice_and_needs_the_token(browser: &Browser) {
    browser.run("document.querySelector('[data-server=shop-2]').click(); return true");
    browser.wait("it asks again", "return document.getElementById('sure').open");
    browser.run("document.querySelector('#sure [value=no]').click(); return true");
    browser.wait("it is left", "return !document.getElementById('sure').open");
    assert_eq!(browser.run("return document.getElementById('said').innerText"), "");
    browser.run("document.querySelector('[data-server=shop-2]').click(); return true");
    browser.run("document.getElementById('sure-yes').click(); return true");
    browser.wait(
        "the token is asked for",
        "return document.getElementById('said').innerText.includes('token')",
    );
    assert_eq!(browser.run(&format!("{CELL} return cell('servers', 'shop-2', 2)")), "up");
}

fn a_reload_is_a_row_and_a_mark(proxy: &Tidegate, browser: &Browser) {
    let config = std::fs::read_to_string(proxy.path("tidegate.toml")).unwrap();
    std::fs::write(proxy.path("tidegate.toml"), config.replace("503", "200")).unwrap();
    let reload = "POST /reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(RawClient::connect(proxy.admin()).exchange(reload).status, 200);
    browser.wait(
        "the reload is listed",
        &format!("{CELL} return cell('reloads', 'accepted', 3) === '~ route <b>bold</b>: respond'"),
    );
    browser.wait("and marked", "return document.querySelectorAll('#chart .reload').length === 1");
}

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
    it_asks_twice_and_needs_the_token(&browser);
    // Then by keyboard alone: into the field, the token, on to the button, and the second word.
    browser.run("document.getElementById('token').focus(); return true");
    browser.press("secret");
    let mut tabs = 0;
    while browser.run("return document.activeElement.dataset.server || ''") != "shop-2" {
        browser.press("\u{e004}");
        tabs += 1;
        assert!(tabs < 40, "no way to the button by keyboard");
    }
    browser.press("\u{e007}");
    browser.wait("it asks again", "return document.getElementById('sure').open");
    assert_eq!(
        browser.run("return document.activeElement.value"),
        "no",
        "the harmless one is chosen"
    );
    browser.press("\u{e004}\u{e007}");
    browser
        .wait("it drains", &format!("{CELL} return cell('servers', 'shop-2', 2) === 'draining'"));
    browser.wait(
        "and it says why and since when",
        &format!(
            "{CELL} return cell('servers', 'shop-2', 4).startsWith(\"an operator's order, since \")"
        ),
    );
    browser.wait("the focus stays", "return document.activeElement.dataset.server === 'shop-2'");
    wait_until(SOON, "the other one gets everything", || {
        let [first, second] = [0, 1].map(|n: usize| origins[n].requests().len());
        wait_until(SOON, "twenty more", || origins[0].requests().len() >= first + 20);
        origins[1].requests().len() == second
    });
    browser.press("\u{e007}");
    browser.wait("it asks again", "return document.getElementById('sure').open");
    browser.press("\u{e004}\u{e007}");
    browser.wait("it is back", &format!("{CELL} return cell('servers', 'shop-2', 2) === 'up'"));
    a_reload_is_a_row_and_a_mark(&proxy, &browser);
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

/// The lowest contrast of texts on what is behind them, by the formula of WCAG 2 §1.4.3.
const CONTRAST: &str = r"
    const light = text => {
        const [r, g, b] = text.match(/[\d.]+/g).map(Number).map(v => v / 255)
            .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = node => {
        const colour = getComputedStyle(node).backgroundColor;
        return colour.endsWith(', 0)') ? behind(node.parentElement) : colour;
    };
    let least = 99, where = '', seen = 0;
    for (const node of document.querySelectorAll('h1, h2, h3, th, td, p, dt, dd, span, small, label, button, summary, caption, svg text')) {
        if (!node.textContent.trim() || node.closest('dialog')) continue;
        const style = getComputedStyle(node);
        const [a, b] = [light(node.tagName === 'text' ? style.fill : style.color), light(behind(node))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        seen += 1;
        if (ratio < least) { least = ratio; where = node.tagName + ' ' + node.textContent; }
    }
    return [least, where, seen];";

#[test]
fn it_is_readable_on_a_phone_in_the_dark_and_asks_nobody_else() {
    let origins = origins();
    let proxy = proxy(&origins, "");
    let _traffic = Traffic::start(&proxy);
    assert_eq!(proxy.client().get("/nowhere").status, 404);
    let browser = Browser::start(1280, 900);
    browser.open(&format!("http://{}/", proxy.admin()));
    browser
        .wait("it is connected", "return document.getElementById('state').innerText === 'ready'");
    browser.wait(
        "there are rows",
        "return document.querySelectorAll('#servers tbody tr').length === 3 && \
         document.querySelectorAll('#refusals tbody tr').length > 0",
    );
    let fits =
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth";
    for width in [360, 768, 1280] {
        browser.resize(width, 900);
        browser.wait(&format!("the page itself scrolls sideways at {width}"), fits);
        for scheme in ["light", "dark"] {
            browser.prefer(scheme);
            let said = browser.run(CONTRAST);
            assert!(said[2].as_u64().unwrap() > 80, "{said}");
            assert!(said[0].as_f64().unwrap() >= 4.5, "{width} {scheme}: {said}");
        }
    }
    let asked = browser.run("return performance.getEntriesByType('resource').map(entry => new URL(entry.name).pathname)");
    let asked = asked.as_array().unwrap();
    assert!(asked.len() > 3, "{asked:?}");
    let own = ["/stats", "/history", "/refusals", "/config"];
    assert!(asked.iter().all(|path| own.contains(&path.as_str().unwrap())), "{asked:?}");
    assert_eq!(browser.complaints(), serde_json::json!([]));
}

#[test]
fn history_survives_a_refresh_and_can_be_read_point_by_point() {
    let origins = origins();
    let proxy = proxy(&origins, "");
    let _traffic = Traffic::start(&proxy);
    let ask = |path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = RawClient::connect(proxy.admin()).exchange(head);
        serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap()
    };
    wait_until(3 * SOON, "there is a step", || {
        !ask("/history")["ends"].as_array().unwrap().is_empty()
    });
    let said = ask("/history?minutes=10");
    assert_eq!(said["point_seconds"], 10);
    let names = |of: &str| -> Vec<String> {
        let mut names: Vec<String> = said[of]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("routes"), ["<b>bold</b>", "search", "shop"]);
    assert_eq!(names("servers"), ["search/search-1", "shop/shop-1", "shop/shop-2"]);
    let line =
        |name: &str| said["routes"].as_array().unwrap().iter().find(|l| l["name"] == name).unwrap();
    let count = |name: &str, class: usize| line(name)["classes"][0][class].as_u64().unwrap();
    assert!(count("shop", 1) > count("search", 1) && count("search", 1) > 10, "{said}");
    assert_eq!((count("<b>bold</b>", 1), count("shop", 4)), (0, 0));
    assert!(count("<b>bold</b>", 4) > 10);
    assert!(line("search")["p50_ms"][0].as_f64().unwrap() >= 8.0);
    let all: u64 =
        said["all"]["classes"][0].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
    let heat: u64 = said["heat"][0].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(all, heat);
    let usage = &ask("/stats")["history"];
    assert_eq!((&usage["step_limit"], &usage["series_limit"]), (&2160.into(), &128.into()));
    assert!(usage["bytes_limit"].as_u64().unwrap() < 10 << 20, "{usage}");

    // A page that was opened a moment ago shows what was before it.
    let browser = Browser::start(1200, 900);
    browser.open(&format!("http://{}/", proxy.admin()));
    browser.wait(
        "the first draw has history",
        "return document.querySelectorAll('#heat .cell').length > 0 && \
         document.querySelectorAll('#chart path').length === 5",
    );
    browser.wait(
        "axes have units",
        "const texts = id => [...document.querySelectorAll('#' + id + ' text')].map(t => t.textContent).join(' ');\
         return texts('chart').includes('/s') && texts('times').includes(' ms') && /\\d:\\d\\d/.test(texts('chart'))",
    );
    browser.wait(
        "hovering reads a point",
        "const box = document.getElementById('chart').getBoundingClientRect();\
         document.getElementById('chart').dispatchEvent(new PointerEvent('pointermove', { clientX: box.right - 20, bubbles: true }));\
         return /: [\\d.,]+\\/s \\(2xx [\\d.]+, .*5xx [\\d.]+.*p99 [\\d.]+ ms/.test(document.getElementById('read').innerText)",
    );
    browser.run("const chart = document.getElementById('chart'); chart.dispatchEvent(new PointerEvent('pointerleave')); chart.focus(); return true");
    browser.wait("and lets go of it", "return document.getElementById('read').innerText === ''");
    browser.press("\u{e012}");
    browser.wait(
        "so does the keyboard",
        "return document.getElementById('read').innerText.includes('p99')",
    );
    browser.run("[...document.querySelectorAll('#ranges button')].find(b => b.innerText === '6 h').click(); return true");
    browser.wait(
        "six hours",
        "return document.getElementById('heat').getAttribute('aria-label').includes('360 minutes')",
    );
    assert_eq!(browser.complaints(), serde_json::json!([]));
}

#[test]
fn what_strangers_write_is_text() {
    const IMAGE: &str = "<img src=x onerror=document.title='broken'>";
    let origins = origins();
    let proxy = proxy(&origins, "");
    let config = std::fs::read_to_string(proxy.path("tidegate.toml")).unwrap();
    std::fs::write(
        proxy.path("tidegate.toml"),
        config.replace("name = \"search-1\"", &format!("name = \"{IMAGE}\"")).replace(
            "name = \"<b>bold</b>\"",
            "name = \"<script>document.title='broken'</script>\"",
        ),
    )
    .unwrap();
    let reload = "POST /reload?force=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(RawClient::connect(proxy.admin()).exchange(reload).status, 200);
    // A path as it comes from the wire, and a client's name as a trusted proxy would tell it.
    let hostile = format!("/..%2f{}", IMAGE.replace(' ', "/"));
    RawClient::connect(proxy.address())
        .exchange(format!("GET {hostile} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
    let browser = Browser::start(1200, 900);
    browser.open(&format!("http://{}/", proxy.admin()));
    browser.wait(
        "all of it is shown",
        "const text = document.body.innerText; \
         return text.includes(\"<img src=x onerror=document.title='broken'>\") && \
             text.includes(\"<script>document.title='broken'</script>\") && \
             text.includes('/..%2f<img/src=x')",
    );
    browser.run("document.getElementById('explain-url').value = \"http://<img src=x onerror=document.title='broken'>/\";\
                 document.querySelector('#explain-form button').click(); return true");
    browser.wait(
        "it is no request",
        "return document.getElementById('explained').innerText.length > 10",
    );
    assert_eq!(browser.run("return document.querySelectorAll('img, b').length"), 0);
    assert_eq!(browser.run("return document.querySelectorAll('script').length"), 1);
    assert_eq!(browser.run("return document.title"), "tidegate");
}

#[test]
fn rows_are_sorted_the_page_pauses_explains_and_rolls_back() {
    let origins = origins();
    let proxy = proxy(&origins, "");
    let traffic = Traffic::start(&proxy);
    assert_eq!(proxy.client().get("/nowhere").status, 404);
    let browser = Browser::start(1200, 900);
    browser.open(&format!("http://{}/", proxy.admin()));
    browser.wait(
        "there are rates",
        &format!("{CELL} return parseFloat(cell('routes', 'shop', 1)) > 1"),
    );
    let sort = |column: &str| {
        browser.run(&format!(
            "[...document.querySelectorAll('#routes th button')].find(b => b.innerText === '{column}').click(); return true"
        ));
    };
    let first = "return document.querySelector('#routes tbody td').innerText";
    sort("Route");
    browser.wait("by name", &format!("{} === '<b>bold</b>'", first));
    sort("Route");
    browser.wait("and back", &format!("{} === 'shop'", first));
    sort("5xx");
    browser.wait("by errors", &format!("{} === '<b>bold</b>'", first));
    browser.wait(
        "which is said",
        "return document.querySelectorAll('#routes th[aria-sort=descending]').length === 1",
    );
    browser.wait(
        "the certificate table says that there is none",
        "return !document.getElementById('no-certificates').hidden",
    );
    browser.wait(
        "outcomes add up",
        &format!("{CELL} return cell('outcomes', 'whole', 1) !== '0' && cell('outcomes', 'refused', 1) !== '0'"),
    );
    browser.wait(
        "limits",
        &format!("{CELL} return parseInt(cell('limits', 'client connections', 2)) > 0"),
    );
    browser.wait(
        "addresses",
        &format!("{CELL} return cell('listeners', 'public', 1) === '127.0.0.1:0'"),
    );
    // Explained as `tidegate explain` would.
    browser.run(
        "document.getElementById('explain-url').value = 'http://a.test/shop/7';\
                 document.querySelector('#explain-form button').click(); return true",
    );
    browser.wait(
        "it names the route",
        "return document.getElementById('explained').innerText.includes('\"route\": \"shop\"')",
    );
    // A reload, and back.
    let config = std::fs::read_to_string(proxy.path("tidegate.toml")).unwrap();
    std::fs::write(proxy.path("tidegate.toml"), config.replace("503", "200")).unwrap();
    let reload = "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(RawClient::connect(proxy.admin()).exchange(reload).status, 200);
    browser
        .wait("it is listed", "return document.querySelectorAll('#reloads tbody tr').length === 1");
    browser.run("document.getElementById('rollback').click(); return true");
    browser.wait("it asks", "return document.getElementById('sure').open");
    browser.run("document.getElementById('sure-yes').click(); return true");
    browser
        .wait("it went back", "return document.querySelectorAll('#reloads tbody tr').length === 2");
    browser.wait("what runs is shown", "return JSON.parse(document.getElementById('config-text').textContent).route['<b>bold</b>'].respond.status === 503");
    // While it pauses it asks nothing, in more time than it takes to ask twice.
    let asked =
        || browser.run("return performance.getEntriesByType('resource').length").as_u64().unwrap();
    let (first, began) = (asked(), Instant::now());
    wait_until(2 * SOON, "it asks twice", || asked() >= first + 6);
    let twice = began.elapsed();
    browser.run("document.getElementById('pause').click(); return true");
    let mut before = asked();
    wait_until(2 * SOON, "what was under way is there", || {
        thread::sleep(twice / 2);
        asked() == std::mem::replace(&mut before, asked())
    });
    thread::sleep(twice.max(Duration::from_millis(2500)));
    assert_eq!(asked(), before);
    drop(traffic);
    browser.run("document.getElementById('pause').click(); return true");
    browser.wait("it goes on", "return document.getElementById('rate').innerText === '0'");
}

#[test]
fn each_server_shows_its_source_since_when_and_its_lease() {
    let [listed, found, named, registered] = [(); 4].map(|()| Origin::ok("fine"));
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("found.toml");
    std::fs::write(&list, format!("servers = ['{}']", found.server())).unwrap();
    let proxy = Tidegate::start(&format!(
        "[admin]\naddress = '127.0.0.1:0'\n[[listen]]\naddress = '127.0.0.1:0'\n\
         [upstream.listed]\nservers = ['{}']\n[upstream.found]\nservers = {{ file = '{}' }}\n\
         [upstream.named]\nservers = {{ dns = 'localhost:{}' }}\n\
         [upstream.registered]\nservers = {{ registry = true }}\n\
         [[route]]\npath = '/listed'\nupstream = 'listed'\n[[route]]\npath = '/found'\nupstream = 'found'\n\
         [[route]]\npath = '/named'\nupstream = 'named'\n[[route]]\nupstream = 'registered'\n",
        listed.server(),
        list.display(),
        named.server().rsplit(':').next().unwrap()
    ));
    let body = format!("{{\"address\": \"{}\", \"ttl\": \"1h\"}}", registered.server());
    let register = format!(
        "PUT /upstreams/registered/servers/me HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(RawClient::connect(proxy.admin()).exchange(register).status, 201);
    let browser = Browser::start(1400, 900);
    browser.open(&format!("http://{}/", proxy.admin()));
    let shows = |upstream: &str, pattern: &str| {
        let look =
            format!("{CELL} return new RegExp({pattern:?}).test(cell('servers', '{upstream}', 5))");
        browser.wait(&format!("{upstream}: {pattern}"), &look);
    };
    // The time of day as the machine writes it.
    let since = "since [^,]*[0-9]+:[0-9]{2}:[0-9]{2}[^,]*";
    shows("listed", &format!("^listed, {since}$"));
    shows("found", &format!("^file, {since}$"));
    shows("named", &format!("^dns, {since}$"));
    shows("registered", &format!("^registry, {since}, lease 3,?[0-9]{{3}} of 3,?600 s left$"));
    // A source with a fault says so where its servers are.
    std::fs::write(&list, "servers = ['10.0.0.1']").unwrap();
    shows("found", &format!("^file, {since}, fault: .*found.toml:1:12: .*not a server address"));
    assert_eq!(browser.complaints(), serde_json::json!([]));
}

/// Traffic as a day has it, in minutes: waves, a few bad requests, redirects, a client that leaves.
fn believable(proxy: &str, seconds: u64) {
    let from = Instant::now();
    let address: SocketAddr = proxy.trim_start_matches("http://").parse().unwrap();
    let mut client = RawClient::connect(address);
    let mut n = 0_u64;
    while from.elapsed() < Duration::from_secs(seconds) {
        n += 1;
        let t = from.elapsed().as_secs_f64();
        let path = match n % 40 {
            7 | 23 => "/old/stream".to_owned(),
            31 => "/..%2f".to_owned(),
            _ => format!("/item/{}", n % 97),
        };
        let answer = client.exchange(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"));
        if answer.status == 400 {
            client = RawClient::connect(address);
        }
        if n.is_multiple_of(300) {
            // Leaves in the middle of a stream.
            let mut gone = RawClient::connect(address);
            gone.send(format!("GET /stream HTTP/1.1\r\nHost: {address}\r\n\r\n"));
            thread::sleep(Duration::from_millis(300));
        }
        let rate = 90.0
            + 45.0 * (t / 25.0).sin()
            + 25.0 * (t / 7.0).sin()
            + if t % 120.0 > 95.0 { 70.0 } else { 0.0 };
        thread::sleep(Duration::from_secs_f64(1.0 / rate));
    }
}

/// Makes the pictures of the README and the book out of some minutes of `tidegate demo`:
/// `cargo test --test observe pictures -- --ignored`. `TIDEGATE_PICTURE_SECONDS` says how many
/// seconds instead.
#[test]
#[ignore = "it takes six minutes and changes files of the repository"]
fn the_pictures() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/screenshots");
    std::fs::create_dir_all(folder).unwrap();
    let seconds =
        std::env::var("TIDEGATE_PICTURE_SECONDS").map_or(360, |text| text.parse().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let mut demo = command.arg("demo").stdout(Stdio::piped()).spawn().unwrap();
    let page: Vec<String> = BufReader::new(demo.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .take_while(|line| !line.starts_with("Ctrl-C"))
        .collect();
    let url = |name: &str| {
        let line = page.iter().find_map(|line| line.trim().strip_prefix(name)).unwrap();
        line.trim().to_owned()
    };
    believable(&url("proxy"), seconds * 2 / 3);
    let admin = url("admin");
    let at = admin.trim_start_matches("http://");
    let order = format!(
        "POST /upstreams/app/servers/two/drain HTTP/1.1\r\nHost: {at}\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(RawClient::connect(at.parse().unwrap()).exchange(order).status, 200);
    let browser = Browser::start(1280, 1000);
    browser.open(&admin);
    believable(&url("proxy"), seconds / 3);
    for (width, height) in [(360, 1500), (768, 1300), (1280, 1080)] {
        browser.resize(width, height);
        for scheme in ["light", "dark"] {
            browser.prefer(scheme);
            believable(&url("proxy"), 3);
            std::fs::write(format!("{folder}/{width}-{scheme}.png"), browser.screenshot()).unwrap();
        }
    }
    let _ended = demo.kill();
    let _reaped = demo.wait();
}
