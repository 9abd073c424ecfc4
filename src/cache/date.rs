//! HTTP-date, strictly: a date in any other form is invalid, which makes a response stale (RFC 9111 §5.3).

use std::time::{Duration, UNIX_EPOCH};

use millrace_kit::clock::UnixMillis;

const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Any of the three forms of RFC 9110 §5.6.7, names in any case. The day of the week must be one, but need not be
/// that of the date: it adds nothing, and asctime dates in the wild often have it wrong.
pub fn parse(value: &[u8]) -> Option<UnixMillis> {
    let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']).to_ascii_lowercase();
    match text.split_once(", ") {
        Some((day, rest)) if is_short_day(day) => imf_fixdate(rest),
        Some((day, rest)) if DAYS.contains(&day) => rfc850(rest),
        Some(_) => None,
        None => asctime(&text),
    }
}

/// As it is written. What a date cannot tell is told by the nearest that it can.
pub fn format(at: UnixMillis) -> String {
    const LAST: UnixMillis = 253_402_300_799_000;
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(at.clamp(0, LAST).unsigned_abs()))
}

/// `06 nov 1994 08:49:37 gmt`
fn imf_fixdate(text: &str) -> Option<UnixMillis> {
    let [day, month, year, time, "gmt"] = split(text, ' ')? else { return None };
    unix_millis(number(year, 4)?, month, number(day, 2)?, time)
}

/// `06-nov-94 08:49:37 gmt`. Two digits from 70 on belong to the last century: nothing on the web is older than 1970.
fn rfc850(text: &str) -> Option<UnixMillis> {
    let [date, time, "gmt"] = split(text, ' ')? else { return None };
    let [day, month, year] = split(date, '-')?;
    let year = number(year, 2)?;
    unix_millis(if year < 70 { 2000 + year } else { 1900 + year }, month, number(day, 2)?, time)
}

/// `sun nov  6 08:49:37 1994`, the day of the month two wide.
fn asctime(text: &str) -> Option<UnixMillis> {
    let (name, rest) = text.split_at_checked(4)?;
    let (month, rest) = rest.split_at_checked(4)?;
    let (day, rest) = rest.split_at_checked(2)?;
    let [time, year] = split(rest.strip_prefix(' ')?, ' ')?;
    let day = match day.strip_prefix(' ') {
        Some(digit) => number(digit, 1)?,
        None => number(day, 2)?,
    };
    let name = name.strip_suffix(' ').filter(|name| is_short_day(name));
    name.and_then(|_| unix_millis(number(year, 4)?, month.strip_suffix(' ')?, day, time))
}

fn is_short_day(name: &str) -> bool {
    name.len() == 3 && DAYS.iter().any(|day| day.starts_with(name))
}

fn unix_millis(year: i64, month: &str, day: i64, time: &str) -> Option<UnixMillis> {
    let month = MONTHS.iter().position(|name| *name == month)?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let [hour, minute, second] = split(time, ':')?;
    let (hour, minute, second) = (number(hour, 2)?, number(minute, 2)?, number(second, 2)?);
    // A leap second is a second.
    if year < 1 || !(1..=lengths[month]).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let before = year - 1;
    // Days of the whole years since 1 January of year 1, less those until 1970.
    let years = before * 365 + before / 4 - before / 100 + before / 400 - 719_162;
    let days = years + lengths[..month].iter().sum::<i64>() + day - 1;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000)
}

/// Exactly `N` members.
fn split<const N: usize>(text: &str, separator: char) -> Option<[&str; N]> {
    let mut members = text.split(separator);
    let mut found = [""; N];
    for slot in &mut found {
        *slot = members.next()?;
    }
    members.next().is_none().then_some(found)
}

/// Exactly so many digits.
fn number(digits: &str, width: usize) -> Option<i64> {
    (digits.len() == width && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts_the_three_forms_only() {
        let sunday = Some(784_111_777_000);
        let cases: &[(&str, Option<i64>)] = &[
            ("Sun, 06 Nov 1994 08:49:37 GMT", sunday),
            ("sun, 06 nov 1994 08:49:37 gmt", sunday),
            ("  Sun, 06 Nov 1994 08:49:37 GMT\t", sunday),
            ("Thu, 06 Nov 1994 08:49:37 GMT", sunday),
            ("Sunday, 06-Nov-94 08:49:37 GMT", sunday),
            ("SUNDAY, 06-NOV-94 08:49:37 gmt", sunday),
            ("Thursday, 18-Aug-50 02:01:18 GMT", Some(2_544_400_878_000)),
            ("Sun Nov  6 08:49:37 1994", sunday),
            ("Thu Aug  8 02:01:18 2050", Some(2_543_536_878_000)),
            ("Tue Nov 16 08:49:37 1994", Some(784_975_777_000)),
            ("Tue, 19 Jan 2038 14:14:08 GMT", Some(2_147_523_248_000)),
            ("Sun, 21 Nov 2286 04:46:39 GMT", Some(10_000_039_599_000)),
            ("Thu, 29 Feb 2024 00:00:00 GMT", Some(1_709_164_800_000)),
            ("Sat, 31 Dec 2016 23:59:60 GMT", Some(1_483_228_800_000)),
            ("Mon, 01 Jan 1900 00:00:00 GMT", Some(-2_208_988_800_000)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(253_402_300_799_000)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes()), *expected, "{text}");
        }
        for text in [
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 AEST",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sunday, 06 Nov 1994 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 06  Nov  1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:00 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Thu, 29 Feb 2023 00:00:00 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 0000 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Xxx, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Sun Nov 06 08:49:37 94",
            "Sun Nov  6 08:49:37 1994 GMT",
            "Sun N\u{f6}v  6 08:49:37 1994",
            "0",
            "-1",
            "",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn reads_what_is_written(seconds in 0u64..253_402_300_800) {
            let text = format(seconds as i64 * 1000);
            prop_assert_eq!(parse(text.as_bytes()), Some(seconds as i64 * 1000));
        }

        #[test]
        fn nothing_panics(text in "[a-zA-Z0-9:, \u{e9}-]{0,40}") {
            parse(text.as_bytes());
        }
    }
}
