//! A client that reads nothing, when nothing is left to be said but goodbye.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::*;

/// Both ends of a connection after its handshake.
async fn secure() -> (TlsStream<TcpStream>, TlsStream<TcpStream>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder().with_no_client_auth();
    let server = server.with_single_cert(vec![cert.der().clone()], key).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (near, _) = listener.accept().await.unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let name = ServerName::try_from("a.test").unwrap();
    let (near, far) = tokio::join!(acceptor.accept(near), connector.connect(name, far));
    (near.unwrap().into(), far.unwrap().into())
}

/// Takes all the room that there is in a socket, until no more appears: what is acknowledged late
/// makes some again.
async fn fill(socket: &TcpStream) {
    let quiet = Duration::from_millis(100);
    while tokio::time::timeout(quiet, socket.writable()).await.is_ok() {
        while socket.try_write(&[0; 4096]).is_ok() {}
    }
}

/// One that cannot be asked whether it still listens was looked at without a pause: a worker did
/// nothing else.
#[tokio::test(start_paused = true)]
async fn a_client_that_has_ended_its_side_is_looked_at_now_and_then() {
    for (begun, version) in
        [(true, Version::Http11), (false, Version::Http10), (false, Version::Http11)]
    {
        let (near, mut far) = tokio::net::UnixStream::pair().unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut far).await.unwrap();
        let mut client = H1Client::new(Stream::Unix(near), clock::now(), Default::default(), 0);
        (client.begun, client.version) = (begun, version);
        poll_fn(|cx| match client.poll_departure(cx) {
            Poll::Pending if client.half_closed.is_some() => Poll::Ready(()),
            other => other,
        })
        .await;
        for _ in 0..5 {
            let again = client.next_look().unwrap();
            let pause = again.saturating_duration_since(clock::now());
            assert!(pause >= Duration::from_millis(100), "{pause:?}: {begun} {version:?}");
            tokio::time::sleep_until(again).await;
            assert!(poll_fn(|cx| Poll::Ready(client.poll_departure(cx))).await.is_pending());
        }
    }
}

#[tokio::test]
async fn w1_the_last_words_of_tls_wait_for_no_one_who_does_not_read() {
    // A request whose answer was sent, with nothing behind it and with something: both ways of
    // closing.
    for (request, rest) in [("", ""), ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "unread")] {
        let (near, mut far) = secure().await;
        tokio::io::AsyncWriteExt::write_all(&mut far, request.as_bytes()).await.unwrap();
        fill(near.get_ref().0).await;
        let stream = Stream::from_tls(near);
        let mut client = H1Client::new(stream, clock::now(), Default::default(), 0);
        client.begun = true;
        if !request.is_empty() {
            client.inbox = Inbox::with_bytes(rest.as_bytes());
        }
        let begun = clock::now();
        let mut timer = Timer::default();
        let closed = client.close_gracefully(&mut timer, Some(Duration::from_millis(200)));
        let ended = tokio::time::timeout(Duration::from_secs(10), closed).await;
        assert!(ended.is_ok(), "it waits for ever");
        assert!(begun.elapsed() >= Duration::from_millis(200), "there was room");
    }
}
