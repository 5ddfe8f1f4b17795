use super::*;
use proptest::prelude::*;

#[test]
fn sizes_are_powers_of_1024() {
    for (text, bytes) in [
        ("500 GB", 500 * GIB),
        ("512MB", 512 * MIB),
        ("1.5T", TIB + TIB / 2),
        ("64 kib", 64 * KIB),
        ("7 B", 7),
        ("0", 0),
        (" 2 g ", 2 * GIB),
    ] {
        assert_eq!(parse_size(text), Ok(bytes), "{text}");
    }
}

#[test]
fn a_wrong_size_says_what_is_allowed() {
    let message = |text| parse_size(text).expect_err(text).to_string();
    assert_eq!(message("16"), "`16` has no unit: did you mean \"16 GB\"?");
    assert!(message("16 GX").contains("`GX` is not a unit of a size"));
    assert!(message("-1 GB").contains("negative"));
    assert!(message("lots").contains("is not a size"));
    assert!(message("1..5 GB").contains("is not a size"));
    assert!(message("0.3 B").contains("finer than a byte"));
    assert!(message("99999999999 TB").contains("more than pcluster can count"));
    assert!(message("").contains("is not a size"));
}

#[test]
fn memory_without_a_unit_is_megabytes() {
    assert_eq!(parse_memory("500"), Ok(500 * MIB));
    assert_eq!(parse_memory("2G"), Ok(2 * GIB));
}

#[test]
fn durations_read_as_people_write_them() {
    for (text, ms) in [
        ("10 min", 10 * MINUTE),
        ("90 s", 90 * SECOND),
        ("2h", 2 * HOUR),
        ("1 d", DAY),
        ("1-12:00:00", 36 * HOUR),
        ("1-12", 36 * HOUR),
        ("1-12:30", 36 * HOUR + 30 * MINUTE),
        ("1:30:00", 90 * MINUTE),
        ("0:300", 300 * SECOND),
        ("1 h 30 min", 90 * MINUTE),
        ("1h30m", 90 * MINUTE),
        ("1.5 h", 90 * MINUTE),
        ("250 ms", 250),
        ("0", 0),
    ] {
        assert_eq!(parse_duration(text), Ok(DurationMs(ms)), "{text}");
    }
}

#[test]
fn a_wrong_duration_says_what_is_allowed() {
    let message = |text| parse_duration(text).expect_err(text).to_string();
    assert_eq!(message("10"), "`10` has no unit: did you mean \"10 min\"?");
    assert!(message("10 fortnights").contains("`fortnights` is not a unit"));
    assert!(message("1:2:3:4").contains("is not a length of time"));
    assert!(message("-5 min").contains("negative"));
    assert!(message("5 min 3").contains("is not a length of time"));
    assert!(message("999999999999999999 d").contains("more than"));
    assert!(message("0.1 ms").contains("finer than a millisecond"));
    assert!(message("1--2").contains("is not a length of time"));
}

#[test]
fn a_bare_time_limit_is_minutes_and_zero_is_none() {
    assert_eq!(parse_time_limit("90"), Ok(Some(DurationMs::from_mins(90))));
    assert_eq!(parse_time_limit("10m"), Ok(Some(DurationMs::from_mins(10))));
    assert_eq!(parse_time_limit("0:5:0"), Ok(Some(DurationMs::from_mins(5))));
    assert_eq!(parse_time_limit("0"), Ok(None));
    assert_eq!(parse_time_limit("Unlimited"), Ok(None));
    assert!(parse_time_limit("soon").is_err());
}

#[test]
fn money_and_prices() {
    assert_eq!(parse_money("$500"), Ok(MicroUsd(500_000_000)));
    assert_eq!(parse_money("$1,250.50"), Ok(MicroUsd(1_250_500_000)));
    assert_eq!(parse_price("$0.05/h"), Ok(Price(50_000)));
    assert_eq!(parse_price("$ 2 / hour"), Ok(Price(2_000_000)));
    assert!(parse_money("500").is_err());
    assert!(parse_money("$12,34").is_err());
    assert!(parse_money("$-1").expect_err("negative").to_string().contains("negative"));
    assert!(parse_price("$0.05/d").is_err());
    assert!(parse_money("$0.0000001").expect_err("fine").to_string().contains("finer"));
    let message = parse_price("$0.05").expect_err("no unit").to_string();
    assert_eq!(message, "`$0.05` has no unit: did you mean \"$0.05/h\"?");
}

#[test]
fn formats_choose_the_largest_exact_unit() {
    assert_eq!(format_size(500 * GIB), "500 GB");
    assert_eq!(format_size(1536 * MIB), "1536 MB");
    assert_eq!(format_size(0), "0 B");
    assert_eq!(format_duration(DurationMs::from_mins(5)), "5 min");
    assert_eq!(format_duration(DurationMs::from_secs(90)), "90 s");
    assert_eq!(format_duration(DurationMs::from_hours(24)), "24 h");
    assert_eq!(format_duration(DurationMs::from_hours(48)), "2 d");
    assert_eq!(format_duration(DurationMs(1500)), "1500 ms");
}

#[test]
fn an_error_shows_only_the_start_of_a_long_text() {
    let long = "x".repeat(500);
    assert!(parse_size(&long).expect_err("wrong").to_string().len() < 160);
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _ = parse_size(&text);
        let _ = parse_memory(&text);
        let _ = parse_duration(&text);
        let _ = parse_time_limit(&text);
        let _ = parse_price(&text);
        let _ = parse_money(&text);
    }

    #[test]
    fn no_near_miss_panics(text in "[-$0-9.,:/ a-zA-Z]{0,24}") {
        let _ = parse_size(&text);
        let _ = parse_duration(&text);
        let _ = parse_time_limit(&text);
        let _ = parse_price(&text);
        let _ = parse_money(&text);
    }

    #[test]
    fn a_formatted_size_reads_back(bytes in 0u64..(1 << 62)) {
        prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
    }

    #[test]
    fn a_formatted_duration_reads_back(ms in 0u64..(1 << 62)) {
        prop_assert_eq!(parse_duration(&format_duration(DurationMs(ms))), Ok(DurationMs(ms)));
    }

    #[test]
    fn a_displayed_price_reads_back(micro in 0i64..(1 << 50)) {
        let text = Price(micro).to_string();
        prop_assert_eq!(parse_price(&text), Ok(Price(micro)));
    }
}

#[test]
fn spans_are_said_in_the_two_units_that_fit() {
    let words = |ms| span_words(DurationMs(ms));
    assert_eq!(words(1_954_800_000), "22 d 15 h");
    assert_eq!(words(110_000), "1 min 50 s");
    assert_eq!((words(0), words(7_200_000)), ("0 s".to_string(), "2 h".to_string()));
}
