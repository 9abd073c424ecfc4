//! Calendar time in UTC, proleptic Gregorian: dates of days, and RFC 3339 as the Prometheus API writes it.

use millrace_kit::clock::UnixMillis;

pub const DAY_SECONDS: i64 = 86_400;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    pub year: i64,
    pub month: i64,
    pub day: i64,
}

/// Civil date from days since the epoch; years begin in March and eras last 400 years
/// (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
pub fn date_of_day(days: i64) -> Date {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Date { year, month, day: day_of_year - (153 * shifted + 2) / 5 + 1 }
}

/// Days since the epoch.
pub fn day_of_date(date: Date) -> i64 {
    let year = if date.month <= 2 { date.year - 1 } else { date.year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = (date.month + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + date.day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// `2026-11-21T03:00:00.123Z`; the fraction is left out when it is zero.
pub fn rfc3339(at: UnixMillis) -> String {
    let (seconds, millis) = (at.div_euclid(1000), at.rem_euclid(1000));
    let Date { year, month, day } = date_of_day(seconds.div_euclid(DAY_SECONDS));
    let of_day = seconds.rem_euclid(DAY_SECONDS);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let fraction = if millis == 0 { String::new() } else { format!(".{millis:03}") };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Any RFC 3339 time with `Z` or a numeric offset; fractions beyond milliseconds are cut off.
pub fn parse_rfc3339(text: &str) -> Option<UnixMillis> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let bytes = text.as_bytes();
    let separators = [(4, b"-"), (7, b"-"), (10, b"T"), (13, b":"), (16, b":")];
    if separators
        .iter()
        .any(|(at, wanted)| !bytes.get(*at).is_some_and(|byte| wanted.contains(&byte.to_ascii_uppercase())))
    {
        return None;
    }
    let date = Date { year: number(0..4)?, month: number(5..7)?, day: number(8..10)? };
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let real = (1..=12).contains(&date.month)
        && date_of_day(day_of_date(date)) == date
        && hour < 24
        && minute < 60
        && second < 60;
    let mut rest = text.get(19..)?;
    let mut millis = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let padded = format!("{}00", fraction.get(..digits.min(3)).filter(|digits| !digits.is_empty())?);
        millis = padded.get(..3)?.parse().ok()?;
        rest = fraction.get(digits..)?;
    }
    let offset = match rest.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = text.len() - 5;
            let minutes = number(at..at + 2)? * 60 + number(at + 3..at + 5)?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let seconds = day_of_date(date) * DAY_SECONDS + hour * 3600 + minute * 60 + second - offset * 60;
    real.then_some(seconds * 1000 + millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        for (text, at) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T12:34:56.789Z", 1_709_210_096_789),
            ("1969-12-31T23:59:59Z", -1000),
        ] {
            assert_eq!(rfc3339(at), text);
            assert_eq!(parse_rfc3339(text), Some(at));
        }
        assert_eq!(parse_rfc3339("2024-02-29T14:34:56.7891234+02:00"), Some(1_709_210_096_789));
        assert_eq!(parse_rfc3339("2024-02-29T12:34:56.5Z"), Some(1_709_210_096_500));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2024",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01 00:00:00Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+2:00",
            "2024-01-01T00:00:00é",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
