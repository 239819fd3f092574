//! A thousand reloads under load: no request fails, no connection is reset, no memory stays behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::change::Changing;
use support::{Origin, RawClient, SOON, Step, ok, resident_kib, wait_until};

const RELOADS: usize = 1000;

fn configuration(n: usize, servers: &[Origin]) -> String {
    let used = 1 + n % servers.len();
    let list: Vec<String> = servers[..used]
        .iter()
        .enumerate()
        .map(|(at, server)| {
            format!("{{ address = \"{}\", weight = {} }}", server.server(), 1 + (n + at) % 5)
        })
        .collect();
    let routes: String = (0..n % 7)
        .map(|route| format!("[[route]]\npath = \"/r{route}\"\nupstream = \"app\"\n"))
        .collect();
    let balance = ["least_request", "round_robin", "peak_ewma", "least_conn"][n % 4];
    format!(
        "[[listen]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\n\
         [upstream.app]\nservers = [{}]\nbalance = \"{balance}\"\nlimits = {{ requests = {} }}\n\
         [[route]]\nname = \"all\"\nupstream = \"app\"\nbody_limit = \"{}MiB\"\n{routes}",
        list.join(", "),
        50 + n % 50,
        10 + n % 3,
    )
}

fn server() -> Origin {
    Origin::on_head(|request| match request.target.as_str() {
        "/stream" => {
            let mut steps =
                vec![Step::Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec())];
            for _ in 0..20 {
                steps.push(Step::Send(b"5\r\nhello\r\n".to_vec()));
                steps.push(Step::Pause(Duration::from_millis(10)));
            }
            steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
            steps
        }
        "/ws" => vec![
            Step::Send(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
                    .to_vec(),
            ),
            Step::Echo,
        ],
        _ => vec![Step::ReadBody, Step::Send(ok("fine"))],
    })
}

/// Runs until told to stop; counts what went well and panics on what did not.
fn repeat(
    stop: &Arc<AtomicBool>,
    done: &Arc<AtomicUsize>,
    mut once: impl FnMut() + Send + 'static,
) -> thread::JoinHandle<()> {
    let (stop, done) = (stop.clone(), done.clone());
    thread::spawn(move || {
        while !stop.load(Ordering::SeqCst) {
            once();
            done.fetch_add(1, Ordering::SeqCst);
        }
    })
}

#[test]
fn a_thousand_reloads_lose_nothing() {
    let servers = [server(), server(), server()];
    let changing = Changing::start(&configuration(0, &servers));
    let address = changing.proxy.address();
    let stop = Arc::new(AtomicBool::new(false));
    let done: [Arc<AtomicUsize>; 4] = Default::default();
    let mut threads = Vec::new();
    for _ in 0..3 {
        let mut client = RawClient::connect(address);
        threads.push(repeat(&stop, &done[0], move || {
            assert_eq!(client.get("/").text(), "fine");
        }));
    }
    threads.push(repeat(&stop, &done[1], move || {
        let mut client = RawClient::connect(address);
        client.send("POST /up HTTP/1.1\r\nHost: a.test\r\nContent-Length: 20\r\n\r\n");
        for _ in 0..20 {
            client.send("x");
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(client.response().text(), "fine");
    }));
    threads.push(repeat(&stop, &done[2], move || {
        let response = RawClient::connect(address).get("/stream");
        assert_eq!(response.text(), "hello".repeat(20));
    }));
    let mut socket = RawClient::connect(address);
    socket.send("GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(socket.next_head().status, 101);
    threads.push(repeat(&stop, &done[3], move || {
        socket.send("ping");
        assert_eq!(socket.bytes(4), b"ping");
        thread::sleep(Duration::from_millis(1));
    }));
    let reload = |from: usize, to: usize| {
        for n in from..to {
            changing.write(&configuration(n, &servers));
            let answer = changing.post("/reload?force=1");
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    };
    reload(1, 100);
    let before = resident_kib(changing.proxy.pid());
    reload(100, RELOADS + 1);
    let after = resident_kib(changing.proxy.pid());
    wait_until(SOON, "each kind of client got something done", || {
        done.iter().all(|n| n.load(Ordering::SeqCst) > 3)
    });
    stop.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(changing.generation() > RELOADS as u64);
    // Nine hundred more configurations leave nothing behind; a tenth is what malloc may keep.
    assert!(after <= before + before / 10 + 2048, "{before} KiB before, {after} KiB after");
    assert_eq!(changing.stats()["panics"], 0);
}
