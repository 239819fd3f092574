use super::*;

#[test]
fn figures_are_read_exactly() {
    assert_eq!(parse_rate("5000"), Ok(5_000_000_000));
    assert_eq!(parse_rate("2.5/s"), Ok(2_500_000));
    assert_eq!(parse_rate("300000/min"), Ok(5_000_000_000));
    assert_eq!(parse_rate("3600/h"), Ok(1_000_000));
    assert_eq!(parse_time("13.5us"), Ok(13_500));
    assert_eq!(parse_time("20ms"), Ok(20_000_000));
    assert_eq!(parse_time("1.5s"), Ok(1_500_000_000));
    assert_eq!(
        (parse_share("0.7"), parse_share("70%"), parse_share("12.5%")),
        (Ok(700_000), Ok(700_000), Ok(125_000))
    );
    assert_eq!(
        (parse_times("2"), parse_times("1.5"), parse_times("2x")),
        (Ok(2_000_000), Ok(1_500_000), Ok(2_000_000))
    );
    assert_eq!(parse_count("7", 1, 9), Ok(7));
}

#[test]
fn what_is_no_figure_is_refused() {
    for bad in ["", "x", "-1", "1e3", "0", "0/s", "5/day", "5 000", "1.", ".5", "2000000000"] {
        assert!(parse_rate(bad).is_err(), "{bad}");
    }
    for bad in ["", "ms", "20", "0ms", "2h", "-1s", "1.2.3s", "5x", "NaNs", "inf"] {
        assert!(parse_time(bad).is_err(), "{bad}");
    }
    for bad in ["", "0", "0%", "1.1", "101%", "-1", "x"] {
        assert!(parse_share(bad).is_err(), "{bad}");
    }
    for bad in ["", "0.9", "101", "-2", "two"] {
        assert!(parse_times(bad).is_err(), "{bad}");
    }
    for bad in ["", "0", "10", "1.5", "-1"] {
        assert!(parse_count(bad, 1, 9).is_err(), "{bad}");
    }
    assert!(parse_time("20").unwrap_err().contains("20ms"));
}

#[test]
fn figures_are_printed_as_people_write_them() {
    assert_eq!(show_number(5_000_000_000, MILLION), "5000");
    assert_eq!(show_number(2_500_000, MILLION), "2.5");
    assert_eq!(show_time(20_000_000), "20ms");
    assert_eq!(show_time(25_800), "25.8us");
    assert_eq!(show_time(1_500_000_000), "1.5s");
    assert_eq!(show_time(7), "7ns");
    assert_eq!(show_size(5 << 30), "5 GiB");
    assert_eq!(show_size(1536), "1.5 KiB");
    assert_eq!(show_size(12), "12 B");
}
