//! What a browser makes of it: Chromium.

use crate::browser::Browser;
use crate::{config, entry};
use support::{Authority, Configuration, Origin, SOON, Step, Tidegate, ok, wait_until};

const PAGE: &str = "<!doctype html><title>t</title><script>
    const socket = new WebSocket(`wss://${location.host}/chat`);
    socket.onmessage = async (event) => {
        const answers = await Promise.all([...Array(20).keys()].map((n) => fetch(`/data/${n}`)));
        const texts = await Promise.all(answers.map((answer) => answer.text()));
        const [navigation] = performance.getEntriesByType('navigation');
        window.seen = { said: event.data, texts: texts.join(','), protocol: navigation.nextHopProtocol };
    };
</script>";

#[test]
fn pages_requests_and_sockets_share_a_connection_of_http_2() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/" => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length";
            vec![Step::Send(format!("{head}: {}\r\n\r\n{PAGE}", PAGE.len()).into())]
        }
        "/chat" => {
            let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";
            // A text frame.
            vec![Step::Send(switch.into()), Step::Send(b"\x81\x05hello".to_vec()), Step::Hold]
        }
        other => vec![Step::Send(ok(other))],
    });
    let authority = Authority::new("ca");
    let tls = entry(&authority.certificate("a", &["localhost"]), "");
    let quiet = config(&origin, &tls, "");
    let proxy = Tidegate::start(&quiet.replace("access = \"off\"", "access = \"stdout\""));
    let browser = Browser::start(800, 600);
    browser.open(&format!("https://localhost:{}/", proxy.address().port()));
    let seen = || browser.run("return window.seen || null");
    wait_until(SOON * 4, "all has been heard", || !seen().is_null());
    let seen = seen();
    assert_eq!((&seen["said"], &seen["protocol"]), (&"hello".into(), &"h2".into()), "{seen}");
    let expected: Vec<String> = (0..20).map(|n| format!("/data/{n}")).collect();
    assert_eq!(seen["texts"], expected.join(","));
    drop(browser);
    // The tunnel is written down when it ends.
    wait_until(SOON, "it has ended", || proxy.stdout().contains("\"GET /chat HTTP/2.0\" 101 "));
}

/// The page that `/account/home` of [`shop`] is: what it is let see goes to `window.seen`.
const HOME: &str = "<!doctype html><title>home</title><script>(async () => {
    const text = async (path) => (await fetch(path)).text();
    const served = [];
    for (let n = 0; n < 8; n++) served.push(await text('data'));
    await text('../elsewhere');
    await fetch('/outside');
    window.seen = { path: location.pathname, served: served.join(','), cookie: document.cookie };
})()</script>";

/// A shop that knows nothing of the proxy: it names itself, its own paths and its own domain.
fn shop(name: &'static str) -> Origin {
    Origin::start(move |request| {
        let answer = match request.target.as_str() {
            "/login" => "HTTP/1.1 302 Found\r\nLocation: http://inside.localhost/account/home?from=login\r\n\
                Set-Cookie: session=s1; Path=/account; Domain=inside.localhost; Secure; HttpOnly; SameSite=Strict\r\n\
                Set-Cookie: theme=dark; Path=/account; Secure; SameSite=Lax\r\n\
                Content-Length: 0\r\n\r\n"
                .to_owned(),
            "/account/home?from=login" => {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length";
                format!("{head}: {}\r\n\r\n{HOME}", HOME.len())
            }
            _ => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()),
        };
        vec![Step::Send(answer.into_bytes())]
    })
}

#[test]
fn p6_redirects_and_cookies_that_are_turned_back_are_followed_and_sent_again() {
    let (one, other) = (shop("one"), shop("other"));
    let authority = Authority::new("ca");
    let tls = entry(&authority.certificate("a", &["shop.localhost"]), "");
    let balance = "balance = { sticky = 'tg', path = '/shop', domain = 'shop.localhost', \
                   secure = true, same_site = 'strict' }";
    let proxy = Configuration::default()
        .listen(&format!("tls = {tls}"))
        .upstream("app", [one.server(), other.server()], balance)
        .route(
            "path = '/shop/*'\n\
             rewrite = { strip_prefix = '/shop', host = 'inside.localhost', answers = true }",
        )
        .route("path = '/outside'")
        .start();
    let browser = Browser::start(800, 600);
    browser.open(&format!("https://shop.localhost:{}/shop/login", proxy.address().port()));
    let seen = || browser.run("return window.seen || null");
    wait_until(SOON * 4, "the page has seen all", || !seen().is_null());
    let seen = seen();
    assert_eq!(seen["path"], "/shop/account/home", "{seen}");
    // The session is not for scripts, and is the route's.
    assert_eq!(seen["cookie"], "theme=dark", "{seen}");
    let served = seen["served"].as_str().unwrap();
    let (here, there) = if served.starts_with("one") { (&one, &other) } else { (&other, &one) };
    assert_eq!(served, [&served[..served.len() / 8]; 8].join(","), "the cookie holds");
    let cookies = |target: &str| -> Vec<String> {
        let of = |origin: &Origin| -> Vec<String> {
            let all = origin.requests().into_iter().filter(|request| request.target == target);
            all.map(|request| request.header("cookie").unwrap_or_default().to_owned()).collect()
        };
        [of(here), of(there)].concat()
    };
    let names = |cookies: &str| -> Vec<String> {
        let names = cookies.split("; ").map(|cookie| cookie.split('=').next().unwrap().to_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    for (target, times, expected) in [
        ("/login", 1, &[""][..]),
        ("/account/home?from=login", 1, &["session", "tg", "theme"]),
        ("/account/data", 8, &["session", "tg", "theme"]),
        ("/elsewhere", 1, &["tg"]),
        ("/outside", 1, &[""]),
    ] {
        let sent = cookies(target);
        assert_eq!(sent.len(), times, "{target}: {sent:?}");
        for sent in sent {
            assert_eq!(names(&sent), expected, "{target}: {sent}");
        }
    }
    let told = here.requests();
    assert!(
        told.iter()
            .all(|request| request.header("x-forwarded-prefix").is_none_or(|p| p == "/shop"))
    );
}
