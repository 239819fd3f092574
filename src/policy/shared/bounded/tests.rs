use std::future::poll_fn;
use std::pin::pin;

use tokio::io::{AsyncReadExt as _, repeat};

use super::*;

/// Something that can be read for ever and written to.
fn endless(gate: Arc<AnswerGate>) -> BoundedStream<impl AsyncRead + AsyncWrite + Unpin> {
    BoundedStream::new(tokio::io::join(repeat(b'x'), tokio::io::sink()), gate)
}

#[tokio::test]
async fn an_answer_without_end_is_a_fault() {
    let gate = Arc::new(AnswerGate::default());
    let mut stream = endless(gate.clone());
    let mut bytes = vec![0; 2 << 20];
    stream.read_exact(&mut bytes).await.unwrap();
    gate.note_answer();
    stream.read_exact(&mut bytes).await.unwrap();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.to_string(), "it has sent more than 2 MiB without an answer");
    gate.expect_long();
    gate.note_answer();
    for _ in 0..4 {
        stream.read_exact(&mut bytes).await.unwrap();
    }
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.to_string(), "it has sent more than 8 MiB without an answer");
}

#[tokio::test]
async fn others_have_their_turn_meanwhile() {
    let mut reads = pin!(async {
        let (mut stream, mut bytes) = (endless(Arc::default()), [0; 16 << 10]);
        for _ in 0..64 {
            stream.read_exact(&mut bytes).await.unwrap();
        }
    });
    let mut turns = 0;
    poll_fn(|context| {
        turns += 1;
        reads.as_mut().poll(context)
    })
    .await;
    assert_eq!(turns, 16);
}
