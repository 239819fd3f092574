use std::future::poll_fn;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;

use super::*;
use crate::clock;
use crate::net::OpenConnections;

/// A connection that has sent a head which announces such a body, and then this as its body;
/// whether it may carry another request after a whole answer.
async fn is_reusable_after(coding: BodyFraming, body: &[u8]) -> bool {
    let (near, mut far) = tokio::net::UnixStream::pair().unwrap();
    let opened = Opened::new(&Arc::new(OpenConnections::default()), 1).unwrap();
    let mut origin = H1Origin::new(Stream::Unix(near), opened, clock::now());
    far.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    origin.begin_request().extend_from_slice(b"HEAD");
    origin.send_head(coding);
    let sent = poll_fn(|cx| {
        if !body.is_empty() {
            ready!(origin.poll_write(cx, body))?;
        }
        origin.poll_finish(cx, None)
    });
    let whole = sent.await.is_ok();
    poll_fn(|cx| origin.poll_head(cx, false)).await.unwrap();
    assert_eq!(origin.is_reusable(), whole);
    whole
}

#[tokio::test]
async fn s1_what_was_announced_and_not_sent_ends_the_connection() {
    assert!(is_reusable_after(BodyFraming::Exactly(0), b"").await);
    assert!(is_reusable_after(BodyFraming::Exactly(4), b"four").await);
    assert!(is_reusable_after(BodyFraming::Chunked, b"four").await);
    assert!(!is_reusable_after(BodyFraming::Exactly(43), b"").await);
    assert!(!is_reusable_after(BodyFraming::Exactly(43), b"four").await);
    assert!(!is_reusable_after(BodyFraming::Exactly(3), b"four").await);
    assert!(!is_reusable_after(BodyFraming::Exactly(0), b"four").await);
}

#[tokio::test]
async fn a_reset_that_a_write_is_told_of_ends_no_response() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let near = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    let opened = Opened::new(&Arc::new(OpenConnections::default()), 1).unwrap();
    let mut origin = H1Origin::new(Stream::Tcp(near), opened, clock::now());
    origin.begin_request().extend_from_slice(b"POST / HTTP/1.1\r\n\r\n");
    origin.send_head(BodyFraming::Chunked);
    far.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf").await.unwrap();
    poll_fn(|cx| origin.poll_head(cx, false)).await.unwrap();
    assert_eq!(poll_fn(|cx| origin.poll_fill(cx)).await.unwrap(), Fill::Data);
    origin.consume_body(4);
    socket2::SockRef::from(&far).set_linger(Some(Duration::ZERO)).unwrap();
    drop(far);
    let error = loop {
        let written = poll_fn(|cx| {
            ready!(origin.poll_write(cx, b"more"))?;
            origin.poll_flush(cx)
        });
        if let Err(error) = written.await {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(poll_fn(|cx| origin.poll_fill(cx)).await.is_err());
}

#[test]
fn the_advertised_timeout_is_read() {
    assert_eq!(advertised_timeout(b"timeout=5, max=100"), Some(Duration::from_secs(5)));
    assert_eq!(advertised_timeout(b"max=100"), None);
    assert_eq!(advertised_timeout(b"timeout=x"), None);
}
