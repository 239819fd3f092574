//! Sockets that a service manager hands over (`sd_listen_fds(3)`).

use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};

/// Starts the proxy as systemd does: the sockets are descriptors 3 and 4, and the environment says
/// so.
fn start(folder: &Path, tcp: &TcpListener, unix: &UnixListener) -> Child {
    // By way of standard input and output, which the shell moves to where they belong.
    let script = "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ LISTEN_FDS=2 exec \"$0\" run -c tidegate.toml";
    let log = File::options().append(true).create(true).open(folder.join("log")).unwrap();
    Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_tidegate")])
        .current_dir(folder)
        .stdin(Stdio::from(OwnedFd::from(tcp.try_clone().unwrap())))
        .stdout(Stdio::from(OwnedFd::from(unix.try_clone().unwrap())))
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap()
}

fn end(mut child: Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ask(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

fn answer(mut stream: impl std::io::Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn connections_wait_in_them_while_the_process_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let socket = folder.path().join("admin.sock");
    let unix = UnixListener::bind(&socket).unwrap();
    let config = format!(
        "[runtime]\ndrain = \"1s\"\n[admin]\naddress = \"unix:{}\"\n[[listen]]\naddress = \"{address}\"\n\
         [[route]]\nrespond = {{ status = 200, body = \"here\" }}\n",
        socket.display()
    );
    std::fs::write(folder.path().join("tidegate.toml"), config).unwrap();
    for start_number in 1..=2 {
        // Nobody accepts yet.
        let early = ask(address);
        let child = start(folder.path(), &tcp, &unix);
        let text = answer(early);
        assert!(
            text.starts_with("HTTP/1.1 200 ") && text.ends_with("here"),
            "{start_number}: {text}"
        );
        // All workers have it, so several connections at a time are answered.
        let many: Vec<_> = (0..16).map(|_| ask(address)).collect();
        assert!(many.into_iter().all(|stream| answer(stream).ends_with("here")));
        let mut admin = UnixStream::connect(&socket).unwrap();
        admin.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        admin.write_all(b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        assert!(answer(admin).contains("\"ready\":true"));
        end(child);
    }
    assert!(socket.exists(), "it belongs to the service manager");
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert_eq!(log.matches("socket of the service manager").count(), 4, "{log}");
    assert!(!log.contains("WARN"), "{log}");
}

/// Its file outlives the process, and a configuration that leaves it.
#[test]
fn the_file_of_a_socket_belongs_to_the_service_manager() {
    let folder = tempfile::tempdir().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = folder.path().join("web.sock");
    let unix = UnixListener::bind(&socket).unwrap();
    let write = |addresses: &str| {
        let text = format!(
            "[runtime]\ndrain = \"1s\"\n[[listen]]\naddress = [{addresses}\"{}\"]\n\
             [[route]]\nrespond = {{ status = 200, body = \"here\" }}\n",
            tcp.local_addr().unwrap()
        );
        std::fs::write(folder.path().join("tidegate.toml"), text).unwrap();
    };
    let both = format!("\"unix:{}\", ", socket.display());
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap();
    let asks = || {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        answer(stream)
    };
    write(&both);
    for _ in 0..2 {
        let child = start(folder.path(), &tcp, &unix);
        assert!(asks().ends_with("here"));
        end(child);
        assert!(socket.exists(), "nobody could connect");
    }
    let child = start(folder.path(), &tcp, &unix);
    assert!(asks().ends_with("here"));
    write("");
    let until = Instant::now() + Duration::from_secs(20);
    while !log().contains("listener closed") {
        assert!(Instant::now() < until, "{}", log());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(socket.exists(), "it is left for now");
    write(&both);
    // Waits in the socket until it is taken up again.
    assert!(asks().ends_with("here"));
    end(child);
}

#[test]
fn a_socket_that_does_not_listen_is_said_and_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let mute = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    mute.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let tcp: TcpListener = mute.into();
    let unix = UnixListener::bind(folder.path().join("other.sock")).unwrap();
    let config = "[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nrespond = { status = 200 }\n";
    std::fs::write(folder.path().join("tidegate.toml"), config).unwrap();
    let child = start(folder.path(), &tcp, &unix);
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while !log().contains("tidegate runs") {
        assert!(Instant::now() < until, "{}", log());
        std::thread::sleep(Duration::from_millis(5));
    }
    end(child);
    assert!(log().contains("a socket of the service manager does not listen"), "{}", log());
}

#[test]
fn a_socket_that_the_file_does_not_name_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(folder.path().join("other.sock")).unwrap();
    let config = format!(
        "[[listen]]\naddress = \"{}\"\n[[route]]\nrespond = {{ status = 200 }}\n",
        tcp.local_addr().unwrap()
    );
    std::fs::write(folder.path().join("tidegate.toml"), config).unwrap();
    let early = ask(tcp.local_addr().unwrap());
    let child = start(folder.path(), &tcp, &unix);
    assert!(answer(early).starts_with("HTTP/1.1 200 "));
    end(child);
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    let said = log.lines().find(|line| line.contains("nothing listens")).unwrap_or(&log);
    assert!(said.contains("WARN") && said.contains("other.sock"), "{said}");
    assert!(said.contains("key=\"listen.address\""), "{said}");
}

/// A promise that is not kept would leave an address closed, or another descriptor of the process
/// taken for a socket.
#[test]
fn fewer_sockets_than_promised_are_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nrespond = { status = 200 }\n";
    std::fs::write(folder.path().join("tidegate.toml"), config).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    for (promised, pid) in [
        ("2", "$$"),
        ("3", "$$"),
        ("2000000000", "$$"),
        ("6", ""),
        ("2000000000", ""),
        ("8", "unset"),
    ] {
        let pid = if pid == "unset" { String::new() } else { format!("LISTEN_PID={pid}") };
        let script = format!(
            "unset LISTEN_PID; exec 3<&0 </dev/null; {pid} LISTEN_FDS={promised} exec \"$0\" run -c tidegate.toml"
        );
        let ended = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_tidegate")])
            .current_dir(folder.path())
            .stdin(Stdio::from(OwnedFd::from(tcp.try_clone().unwrap())))
            .output()
            .unwrap();
        let last = promised.parse::<u64>().unwrap() + 2;
        let said = format!(
            "error: LISTEN_FDS={promised} promises the descriptors 3 to {last}, and 4 is not open: the service manager \
             has handed over 1\n"
        );
        let told = String::from_utf8(ended.stderr).unwrap();
        assert_eq!((ended.status.code(), told), (Some(1), said));
    }
}
