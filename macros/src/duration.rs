//! A duration in a string literal.

use syn::{Error, LitStr, Result};

/// In nanoseconds.
const UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
];

/// The nanoseconds that `literal` says; not zero.
pub(crate) fn nanoseconds(literal: &LitStr) -> Result<u64> {
    parse(&literal.value()).map_err(|message| Error::new(literal.span(), message))
}

fn parse(text: &str) -> std::result::Result<u64, &'static str> {
    const FORM: &str = "expected a number and a unit, such as \"2s\", \"1.5s\" or \"250ms\"; \
                        the units are ns, us, ms, s, m and h";
    const TOO_LONG: &str = "longer than 584 years, the most that a timeout can be";

    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let unit = text.find(|c| !is_number(c)).ok_or(FORM)?;
    let (number, unit) = text.split_at(unit);
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(FORM)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |digits: &str| !digits.is_empty() && digits.chars().all(|c| c != '.');
    if !is_digits(whole) || !is_digits(fraction) {
        return Err(FORM);
    }

    let unit = u128::from(*unit);
    let whole: u128 = whole.parse().map_err(|_| TOO_LONG)?;
    let mut nanos = whole.checked_mul(unit).ok_or(TOO_LONG)?;
    let fraction = fraction.trim_end_matches('0');
    let mut part = unit;
    for digit in fraction.bytes() {
        if part % 10 != 0 {
            return Err("finer than a nanosecond");
        }
        part /= 10;
        nanos = nanos.saturating_add(part * u128::from(digit - b'0'));
    }
    match u64::try_from(nanos) {
        Ok(0) => Err("a timeout of zero: the function would never run"),
        Ok(nanos) => Ok(nanos),
        Err(_) => Err(TOO_LONG),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn numbers_with_units_are_exact_to_the_nanosecond() {
        for (text, nanos) in [
            ("1ns", 1),
            ("3us", 3_000),
            ("3µs", 3_000),
            ("250ms", 250_000_000),
            ("2s", 2_000_000_000),
            ("2.0s", 2_000_000_000),
            ("1.5s", 1_500_000_000),
            ("0.000000001s", 1),
            ("1.0000000000s", 1_000_000_000),
            ("0.25h", 15 * 60 * 1_000_000_000),
            ("007m", 7 * 60 * 1_000_000_000),
            ("18446744073709551615ns", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn everything_else_is_an_error_that_says_why() {
        for (text, part) in [
            ("", "expected a number and a unit"),
            ("2", "expected a number and a unit"),
            ("s", "expected a number and a unit"),
            (".5s", "expected a number and a unit"),
            ("5.s", "expected a number and a unit"),
            ("1.2.3s", "expected a number and a unit"),
            ("2 s", "expected a number and a unit"),
            ("-2s", "expected a number and a unit"),
            ("2d", "expected a number and a unit"),
            ("2S", "expected a number and a unit"),
            ("0s", "zero"),
            ("0.0h", "zero"),
            ("1.5ns", "finer than a nanosecond"),
            ("0.0000000001s", "finer than a nanosecond"),
            ("18446744073709551616ns", "longer than 584 years"),
            ("999999999999999999999999999999999999999999h", "longer than"),
            ("9999999999999999999999999999999999999h", "longer than"),
        ] {
            let message = parse(text).expect_err(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
