use std::future::poll_fn;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::*;

/// Reads a body sent in pieces of `step` bytes; the body and what was left behind it.
async fn read(framing: Framing, wire: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>), BodyError> {
    let (mut far, near) = UnixStream::pair().unwrap();
    let pieces: Vec<Vec<u8>> = wire.chunks(step).map(<[u8]>::to_vec).collect();
    let writer = tokio::spawn(async move {
        for piece in pieces {
            far.write_all(&piece).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut stream = Stream::Unix(near);
    let mut inbox = Inbox::default();
    let mut reader = BodyReader::new(framing, Sender::Client);
    let mut body = Vec::new();
    while poll_fn(|cx| reader.poll_fill(cx, &mut inbox, &mut stream)).await? == Fill::Data {
        let n = reader.ready_data(&inbox).len().min(3);
        body.extend_from_slice(&reader.ready_data(&inbox)[..n]);
        reader.consume_data(&mut inbox, n);
    }
    assert!(reader.is_done());
    assert_eq!(reader.received_bytes(), body.len() as u64);
    writer.await.unwrap();
    while poll_fn(|cx| inbox.poll_fill(cx, &mut stream, 1000)).await? > 0 {}
    Ok((body, inbox.data().to_vec()))
}

#[tokio::test]
async fn each_framing_ends_where_it_should_at_every_split() {
    for step in [1, 2, 5, 100] {
        let got = read(Framing::Length(5), b"helloGET", step).await.unwrap();
        assert_eq!(got, (b"hello".to_vec(), b"GET".to_vec()), "step {step}");
        let wire = b"2\r\nhe\r\n3;x\r\nllo\r\n0\r\nA: b\r\n\r\nGET";
        let got = read(Framing::Chunked, wire, step).await.unwrap();
        assert_eq!(got, (b"hello".to_vec(), b"GET".to_vec()), "step {step}");
        let got = read(Framing::UntilClose, b"hello", step).await.unwrap();
        assert_eq!(got, (b"hello".to_vec(), vec![]), "step {step}");
        let got = read(Framing::None, b"GET", step).await.unwrap();
        assert_eq!(got, (vec![], b"GET".to_vec()), "step {step}");
    }
}

#[tokio::test]
async fn an_early_end_is_not_a_complete_body() {
    assert!(matches!(read(Framing::Length(5), b"hell", 9).await, Err(BodyError::Truncated)));
    assert!(matches!(read(Framing::Chunked, b"5\r\nhel", 9).await, Err(BodyError::Truncated)));
    let bad = read(Framing::Chunked, b"5\r\nhello!", 9).await;
    assert!(matches!(bad, Err(BodyError::Framing(Fault::ChunkEnd))));
}

#[tokio::test]
async fn what_is_read_ahead_is_the_same_body() {
    let chunked = b"2\r\nhe\r\n3;x\r\nllo\r\n0\r\nA: b\r\n\r\nGET";
    for (framing, wire) in [(Framing::Length(5), &b"helloGET"[..]), (Framing::Chunked, chunked)] {
        for split in 0..wire.len() {
            let (mut far, near) = UnixStream::pair().unwrap();
            let mut stream = Stream::Unix(near);
            let mut inbox = Inbox::default();
            let mut reader = BodyReader::new(framing, Sender::Client);
            for part in [&wire[..split], &wire[split..]] {
                far.write_all(part).await.unwrap();
                // As far as it goes.
                let ahead = poll_fn(|cx| {
                    Poll::Ready(reader.poll_ahead(cx, (&mut inbox, &mut stream), 999))
                });
                assert!(!matches!(ahead.await, Poll::Ready(Err(_))), "split {split}");
            }
            drop(far);
            let mut body = Vec::new();
            while poll_fn(|cx| reader.poll_fill(cx, &mut inbox, &mut stream)).await.unwrap()
                == Fill::Data
            {
                body.extend_from_slice(&reader.ready_data(&inbox)[..1]);
                reader.consume_data(&mut inbox, 1);
            }
            while poll_fn(|cx| inbox.poll_fill(cx, &mut stream, 1000)).await.unwrap() > 0 {}
            assert_eq!((&body[..], inbox.data()), (&b"hello"[..], &b"GET"[..]), "split {split}");
            assert_eq!(reader.received_bytes(), 5);
        }
    }
}

#[tokio::test]
async fn no_more_is_read_ahead_than_may_be_and_a_fault_stays_behind_its_data() {
    let (mut far, near) = UnixStream::pair().unwrap();
    let (mut inbox, mut stream) = (Inbox::default(), Stream::Unix(near));
    let mut reader = BodyReader::new(Framing::Chunked, Sender::Client);
    for (part, limit) in [(&b"5\r\nhel"[..], 3), (b"lo!", 99)] {
        far.write_all(part).await.unwrap();
        poll_fn(|cx| reader.poll_ahead(cx, (&mut inbox, &mut stream), limit)).await.unwrap();
        assert_eq!(reader.ready_data(&inbox), b"hel");
    }
    reader.consume_data(&mut inbox, 3);
    let next = poll_fn(|cx| reader.poll_fill(cx, &mut inbox, &mut stream)).await;
    assert!(matches!(next, Err(BodyError::Framing(Fault::ChunkEnd))));
}
