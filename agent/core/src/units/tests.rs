//! What each unit accepts, refuses and prints.

use super::*;

#[test]
fn durations_need_a_unit() {
    assert_eq!("250ms".parse(), Ok(Millis::new(250)));
    assert_eq!("1h 30m".parse(), Ok(Millis::from_secs(5400)));
    assert_eq!("0".parse(), Ok(Millis::new(0)));
    let refused = "30".parse::<Millis>().unwrap_err().to_string();
    assert_eq!(refused, r#""30" has no unit; write for example "250ms""#);
    assert!("soon".parse::<Millis>().is_err());
    assert!("".parse::<Millis>().is_err());
}

#[test]
fn sizes_need_a_unit_and_print_what_can_be_read_back() {
    for (text, bytes) in [
        ("64MiB", 64 << 20),
        ("512B", 512),
        ("1KiB", 1024),
        ("1500B", 1500),
    ] {
        let size: Bytes = text.parse().unwrap();
        assert_eq!(size.get(), bytes);
        assert_eq!(size.to_string(), text);
    }
    assert!(matches!(
        "64".parse::<Bytes>(),
        Err(UnitError::NoUnit { .. })
    ));
    assert!("64 parsecs".parse::<Bytes>().is_err());
}

#[test]
fn percentages_stay_in_range() {
    assert!(("25%".parse::<Percent>().unwrap().fraction() - 0.25).abs() < f64::EPSILON);
    assert_eq!(Percent::new(25.0).of(11), 2);
    assert_eq!(Percent::new(100.0).of(7), 7);
    assert!("101%".parse::<Percent>().is_err());
    assert!("25".parse::<Percent>().is_err());
}

#[test]
fn bare_numbers_in_a_file_are_told_what_to_write() {
    let error = serde_json::from_str::<Millis>("30")
        .unwrap_err()
        .to_string();
    assert!(error.contains("has no unit"), "{error}");
    assert_eq!(
        serde_json::to_string(&Millis::new(1500)).unwrap(),
        r#""1s 500ms""#
    );
}
