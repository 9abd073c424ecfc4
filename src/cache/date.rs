//! HTTP-date, strictly: a date in any other form is invalid, which makes a response stale (RFC 9111 §5.3).

use millrace_kit::clock::{UnixMillis, to_unix_millis};

/// IMF-fixdate (names in any case) or asctime. The two-digit years of RFC 850 are ambiguous and refused.
pub fn parse(value: &[u8]) -> Option<UnixMillis> {
    let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    if text.len() == 24 && !text.contains(',') {
        return httpdate::parse_http_date(text).ok().map(to_unix_millis);
    }
    let text = with_usual_case(text)?;
    let time = httpdate::parse_http_date(&text).ok()?;
    (httpdate::fmt_http_date(time) == text).then(|| to_unix_millis(time))
}

/// `sun, 06 NOV 1994 08:49:37 gmt` as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn with_usual_case(text: &str) -> Option<String> {
    if !text.is_ascii() || text.len() != 29 {
        return None;
    }
    let mut usual = text.to_ascii_lowercase();
    for upper in [0..1, 8..9, 26..29] {
        usual.get_mut(upper)?.make_ascii_uppercase();
    }
    Some(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_two_unambiguous_forms_only() {
        let cases: &[(&str, Option<i64>)] = &[
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777_000)),
            ("sun, 06 nov 1994 08:49:37 gmt", Some(784_111_777_000)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777_000)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("Sun, 06 Nov 1994 08:49:37 +0000", None),
            ("Sun, 06 Nov 94 08:49:37 GMT", None),
            ("Sun, 6 Nov 1994 08:49:37 GMT", None),
            ("0", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes()), *expected, "{text}");
        }
    }
}
