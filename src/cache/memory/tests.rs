use super::*;

#[test]
fn memory_is_counted_as_it_is_allocated() {
    for (bytes, takes) in [
        (0, 0),
        (1, 16),
        (16, 16),
        (17, 32),
        (128, 128),
        (129, 160),
        (1000, 1024),
        (16_384, 16_384),
        (16_385, 20_480),
        (65_536, 65_536),
        (65_537, 81_920),
        (u64::MAX, u64::MAX),
    ] {
        assert_eq!(allocated(bytes), takes, "{bytes}");
    }
}
fn piece_of(memory: &Arc<StoreMemory>, data: &'static [u8]) -> Arc<BodyPiece> {
    let piece = Arc::new(BodyPiece::new(Bytes::from_static(data), None));
    assert!(memory.take_bytes(piece.size(), 1000));
    piece.add_owner();
    piece.set_counted(memory);
    piece
}

#[test]
fn a_body_is_given_back_by_whoever_has_it_last() {
    let memory = Arc::new(StoreMemory::default());
    let told = || (memory.stored(), memory.held());
    let piece = piece_of(&memory, b"hello");
    let client = piece.clone();
    assert_eq!(told(), (16, 0));
    // A second response has it too, and the first one goes.
    piece.add_owner();
    piece.remove_owner();
    assert_eq!(told(), (16, 0));
    piece.remove_owner();
    drop(piece);
    assert_eq!(told(), (0, 16));
    drop(client);
    assert_eq!(told(), (0, 0));
    // The same where no client is sent it.
    let piece = piece_of(&memory, b"hello");
    piece.remove_owner();
    drop(piece);
    assert_eq!(told(), (0, 0));
}

#[test]
fn what_is_held_may_take_a_quarter_beyond_what_responses_may() {
    let memory = Arc::new(StoreMemory::default());
    let pieces: Vec<_> = (0..2).map(|_| piece_of(&memory, &[b'x'; 320])).collect();
    pieces.iter().for_each(|piece| piece.remove_owner());
    assert_eq!((memory.stored(), memory.held()), (0, 640));
    assert!(!memory.take_bytes(611, 1000), "1250 is the most of both");
    assert!(memory.take_bytes(610, 1000));
    assert!(!memory.take_bytes(1, 1000));
    assert_eq!((memory.stored(), memory.held()), (610, 640), "what is refused takes nothing");
    drop(pieces);
    assert!(!memory.take_bytes(391, 1000), "1000 is the most of what is stored");
    assert!(memory.take_bytes(390, 1000));
}

#[test]
fn what_a_piece_takes_is_all_of_it() {
    let mut trailers = Fields::default();
    trailers.push(b"x-sum", b"1");
    let size = |piece: BodyPiece| piece.size();
    assert_eq!(size(BodyPiece::new(Bytes::from_static(b"hello"), None)), 16);
    let behind = allocated(trailers.clone().capacity() as u64);
    assert!(behind >= 16);
    let with = BodyPiece::new(Bytes::from_static(b"hello"), Some(&trailers));
    assert_eq!(size(with), 16 + behind);
    assert_eq!(size(BodyPiece::new_part(Bytes::from_static(b"hello"))), 16 + 192);
}
