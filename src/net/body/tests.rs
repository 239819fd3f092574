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
