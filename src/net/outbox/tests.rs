use std::future::poll_fn;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::*;

/// Writes `pieces` through a socket that takes little at a time; everything that arrived.
async fn through(coding: BodyFraming, head: &[u8], pieces: &[Vec<u8>]) -> Vec<u8> {
    let (near, mut far) = UnixStream::pair().unwrap();
    socket2::SockRef::from(&near).set_send_buffer_size(4096).unwrap();
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        let mut piece = [0; 777];
        loop {
            match far.read(&mut piece).await.unwrap() {
                0 => return all,
                n => all.extend_from_slice(&piece[..n]),
            }
        }
    });
    let mut stream = Stream::Unix(near);
    let mut outbox = Outbox::default();
    outbox.begin_message(coding);
    outbox.head_buffer().extend_from_slice(head);
    for piece in pieces {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let n = poll_fn(|cx| outbox.poll_write(cx, &mut stream, rest)).await.unwrap();
            rest = &rest[n..];
        }
    }
    poll_fn(|cx| outbox.poll_finish(cx, &mut stream, None)).await.unwrap();
    assert!(outbox.is_empty());
    drop(stream);
    reader.await.unwrap()
}

#[tokio::test]
async fn plain_bodies_arrive_as_they_are() {
    let body = vec![b'x'; 100_000];
    for coding in [BodyFraming::Exactly(100_000), BodyFraming::UntilClose] {
        let got = through(coding, b"HEAD", std::slice::from_ref(&body)).await;
        assert_eq!(got, [b"HEAD", &body[..]].concat());
    }
}

#[tokio::test]
async fn what_was_not_announced_is_not_written() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let mut stream = Stream::Unix(near);
    let mut outbox = Outbox::default();
    let is_mismatch = |error: io::Error| super::super::Mismatch::is_cause_of(&error);
    outbox.begin_message(BodyFraming::Exactly(3));
    let more = poll_fn(|cx| outbox.poll_write(cx, &mut stream, b"four")).await;
    assert!(is_mismatch(more.unwrap_err()));
    assert!(!outbox.is_whole());
    outbox.begin_message(BodyFraming::Exactly(5));
    outbox.head_buffer().extend_from_slice(b"HEAD");
    let n = poll_fn(|cx| outbox.poll_write(cx, &mut stream, b"four")).await.unwrap();
    assert_eq!(n, 4);
    let less = poll_fn(|cx| outbox.poll_finish(cx, &mut stream, None)).await;
    assert!(is_mismatch(less.unwrap_err()));
    assert!(!outbox.is_whole());
    drop(stream);
    let mut all = Vec::new();
    far.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"HEADfour");
}

#[tokio::test]
async fn chunked_bodies_survive_partial_writes() {
    let pieces = [vec![b'a'; 3], vec![b'b'; 90_000], vec![b'c'; 1], vec![b'd'; 5000]];
    let got = through(BodyFraming::Chunked, b"HEAD", &pieces).await;
    let mut rest = got.strip_prefix(b"HEAD").unwrap().to_vec();
    let mut decoder = crate::wire::ChunkedDecoder::default();
    let progress = decoder.decode(&mut rest, 0, 0).unwrap();
    assert!(progress.done);
    assert_eq!(progress.raw, rest.len());
    assert_eq!(&rest[..progress.data_end], pieces.concat());
}

#[tokio::test]
async fn an_empty_chunked_body_is_just_its_end() {
    assert_eq!(through(BodyFraming::Chunked, b"", &[]).await, b"0\r\n\r\n");
}
