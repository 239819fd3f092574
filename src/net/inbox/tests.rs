use std::future::poll_fn;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::super::Stream;
use super::*;

fn pair() -> (UnixStream, Stream) {
    let (a, b) = UnixStream::pair().unwrap();
    (a, Stream::Unix(b))
}

#[tokio::test]
async fn an_empty_inbox_holds_no_memory() {
    let (mut far, mut near) = pair();
    let mut inbox = Inbox::default();
    far.write_all(b"hello").await.unwrap();
    let n = poll_fn(|cx| inbox.poll_fill(cx, &mut near, 100)).await.unwrap();
    assert_eq!((n, inbox.data()), (5, &b"hello"[..]));
    inbox.consume(5);
    assert!(inbox.buffer.is_none());
}

#[tokio::test]
async fn waiting_bytes_are_parked_and_growth_keeps_them() {
    let (mut far, mut near) = pair();
    let mut inbox = Inbox::default();
    let mut sent = Vec::new();
    for round in 0..40_u8 {
        let piece = vec![round; 97];
        far.write_all(&piece).await.unwrap();
        sent.extend_from_slice(&piece);
        poll_fn(|cx| inbox.poll_fill(cx, &mut near, 100_000)).await.unwrap();
        while poll_fn(|cx| Poll::Ready(inbox.poll_fill(cx, &mut near, 100_000))).await.is_ready() {}
        assert!(inbox.buffer.as_ref().unwrap().len() <= 2 * PARK_BELOW, "round {round}");
    }
    assert_eq!(inbox.data(), sent);
}

#[tokio::test]
async fn the_limit_is_not_exceeded() {
    let (mut far, mut near) = pair();
    let mut inbox = Inbox::default();
    far.write_all(&[7; 64]).await.unwrap();
    poll_fn(|cx| inbox.poll_fill(cx, &mut near, 64)).await.unwrap();
    let full = poll_fn(|cx| inbox.poll_fill(cx, &mut near, 64)).await;
    assert_eq!(full.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
}
