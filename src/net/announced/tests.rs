use super::*;

#[test]
fn exactly_what_was_announced_is_whole() {
    for coding in [BodyFraming::Exactly(5), BodyFraming::Chunked, BodyFraming::UntilClose] {
        let mut tally = BodyTally::new(coding);
        assert!(!tally.is_whole(), "{coding:?}");
        for n in [2, 0, 3] {
            tally.check_write(n).unwrap();
            tally.count_written(n);
        }
        assert_eq!(tally.check_end(), Ok(()), "{coding:?}");
        assert!(tally.is_whole());
        assert_eq!(tally.check_end(), Ok(()), "the end may be asked for again");
        assert_eq!(tally.check_write(1), Err(Mismatch), "nothing follows the end");
        assert!(!tally.is_whole());
    }
}

#[test]
fn more_or_less_breaks_the_message_for_good() {
    let mut short = BodyTally::new(BodyFraming::Exactly(5));
    short.check_write(4).unwrap();
    short.count_written(4);
    assert_eq!(short.check_end(), Err(Mismatch));
    assert_eq!(short.check_write(1), Err(Mismatch), "it is too late");
    assert!(!short.is_whole());
    let mut long = BodyTally::new(BodyFraming::Exactly(5));
    assert_eq!(long.check_write(6), Err(Mismatch));
    assert_eq!(long.check_end(), Err(Mismatch));
    let mut none = BodyTally::new(BodyFraming::Exactly(0));
    assert_eq!(none.check_write(1), Err(Mismatch));
    assert_eq!(BodyTally::default().check_write(1), Err(Mismatch), "before any head");
    assert!(BodyTally::default().is_whole());
}

#[test]
fn the_cause_of_an_error_can_be_told() {
    assert!(Mismatch::is_cause_of(&Mismatch.into()));
    assert!(!Mismatch::is_cause_of(&io::ErrorKind::InvalidData.into()));
}
