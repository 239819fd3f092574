//! What a browser makes of it: Chromium.

use crate::browser::Browser;
use crate::{config, entry};
use support::{Authority, Origin, SOON, Step, Tidegate, ok, wait_until};

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
