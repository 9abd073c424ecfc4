//! Values as people read them, and fields without their secrets.

use http::HeaderMap;

use crate::cache::FieldLines;
pub use crate::cache::date::format as date;

/// Longest value that is shown.
const MAX_SHOWN: usize = 200;

/// `59 s`, `2 h 5 min`; dates know no less than a second.
pub fn span(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    let seconds = millis.unsigned_abs() / 1000;
    let two = |large: u64, unit: &str, rest: u64, small: &str| match rest {
        0 => format!("{sign}{large} {unit}"),
        rest => format!("{sign}{large} {unit} {rest} {small}"),
    };
    match seconds {
        0 => "0 s".to_owned(),
        1..=119 => format!("{sign}{seconds} s"),
        120..=7199 => two(seconds / 60, "min", seconds % 60, "s"),
        7200..=172_799 => two(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3600 % 24, "h"),
    }
}

pub fn bytes(count: u64) -> String {
    bytesize::ByteSize(count).display().iec().to_string()
}

/// A field's name as it is usually written.
pub fn title(name: &str) -> String {
    if name == "etag" {
        return "ETag".to_owned();
    }
    let words = name.split('-').map(|word| match word {
        "cdn" => "CDN".to_owned(),
        word => {
            let mut letters = word.chars();
            letters
                .next()
                .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
        }
    });
    words.collect::<Vec<_>>().join("-")
}

/// `Cache-Control: max-age=60`, all its lines joined.
pub fn field(fields: &impl FieldLines, name: &str) -> Option<String> {
    let lines: Vec<_> = fields.lines(name).map(String::from_utf8_lossy).collect();
    (!lines.is_empty()).then(|| format!("{}: {}", title(name), shown(name, &lines.join(", "))))
}

/// The value, without what could be a secret, and not too long.
pub fn shown(name: &str, value: &str) -> String {
    let secret = |word: &str| name.contains(word);
    if name == "cookie" {
        let names = value.split([';', ',']).map(|pair| pair.split('=').next().unwrap_or_default().trim());
        return names.map(|name| format!("{name}=...")).collect::<Vec<_>>().join("; ");
    }
    if ["authorization", "token", "api-key", "apikey", "secret", "signature", "session"]
        .into_iter()
        .any(secret)
    {
        return "...".to_owned();
    }
    match value.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value.to_owned(),
    }
}

/// All fields, by name, as they may be shown.
pub fn fields(map: &HeaderMap) -> Vec<(String, String)> {
    let line = |name: &http::HeaderName, value: &http::HeaderValue| {
        (name.to_string(), shown(name.as_str(), &String::from_utf8_lossy(value.as_bytes())))
    };
    map.iter().map(|(name, value)| line(name, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_at_a_glance() {
        for (millis, expected) in [
            (0, "0 s"),
            (-850, "0 s"),
            (-1000, "-1 s"),
            (60_000, "60 s"),
            (120_000, "2 min"),
            (125_000, "2 min 5 s"),
            (7_500_000, "2 h 5 min"),
            (86_400_000 * 3, "3 d"),
        ] {
            assert_eq!(span(millis), expected);
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(shown("cookie", "session=abc; lang=de"), "session=...; lang=...");
        assert_eq!(shown("authorization", "Bearer abc"), "...");
        assert_eq!(shown("x-api-key", "abc"), "...");
        assert_eq!(shown("accept", "text/html"), "text/html");
        assert_eq!(shown("accept", &"\u{e9}".repeat(300)).chars().count(), 203);
        assert_eq!((title("cdn-cache-control"), title("etag")), ("CDN-Cache-Control".into(), "ETag".into()));
    }
}
