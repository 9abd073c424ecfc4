//! `Cache-Control` of requests and responses (RFC 9111 §5.2, RFC 5861, RFC 8246). What speaks to caches like us alone
//! takes its place: see [`super::targeted`].

use super::{FieldLines, targeted};

/// Seconds; values beyond are clamped here (RFC 9111 §1.2.2).
pub const MAX_SECONDS: u32 = 1 << 31;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResponseControl {
    pub no_store: bool,
    pub no_cache: bool,
    /// Of some fields only: see [`no_cache_fields`].
    pub no_cache_fields: bool,
    pub private: bool,
    pub public: bool,
    pub must_revalidate: bool,
    pub proxy_revalidate: bool,
    pub must_understand: bool,
    pub immutable: bool,
    pub max_age: Option<u32>,
    pub s_maxage: Option<u32>,
    pub stale_while_revalidate: Option<u32>,
    pub stale_if_error: Option<u32>,
    /// Said to us alone: then `Expires`, which is said to everybody, counts as little as `Cache-Control`.
    pub targeted: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestControl {
    pub no_store: bool,
    pub no_cache: bool,
    pub only_if_cached: bool,
    pub max_age: Option<u32>,
    pub min_fresh: Option<u32>,
    /// `Some(MAX_SECONDS)` when any staleness will do.
    pub max_stale: Option<u32>,
    /// How stale it may be when the origin fails (RFC 5861 §4).
    pub stale_if_error: Option<u32>,
}

impl ResponseControl {
    pub fn parse(fields: &impl FieldLines) -> Self {
        if let Some(control) = targeted::parse(fields) {
            return Self { targeted: true, ..control };
        }
        let mut control = Self::default();
        for_each_directive(fields.lines("cache-control"), |name, value| control.add_text(name, value));
        control
    }

    /// Takes in a directive as it stands in `Cache-Control`: lower-case name, value without quotes.
    pub(super) fn add_text(&mut self, name: &str, value: Option<&str>) {
        // The form of `private` that names fields is treated as the bare one, which is always safe.
        if name == "no-cache" && value.is_some_and(|names| !names.is_empty()) {
            self.no_cache_fields = true;
        } else if let Some(slot) = self.seconds_of(name) {
            shortest(slot, seconds(value));
        } else {
            self.add_flag(name);
        }
    }

    pub(super) fn add_flag(&mut self, name: &str) {
        match name {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache = true,
            "private" => self.private = true,
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "must-understand" => self.must_understand = true,
            "immutable" => self.immutable = true,
            _ => {}
        }
    }

    /// Where the seconds of this directive belong, if it has any.
    pub(super) fn seconds_of(&mut self, name: &str) -> Option<&mut Option<u32>> {
        match name {
            "max-age" => Some(&mut self.max_age),
            "s-maxage" => Some(&mut self.s_maxage),
            "stale-while-revalidate" => Some(&mut self.stale_while_revalidate),
            "stale-if-error" => Some(&mut self.stale_if_error),
            _ => None,
        }
    }

    /// Seconds after its end for which it says that it may still be of use (RFC 5861).
    pub fn grace(&self) -> u32 {
        match self.forbids_stale() {
            true => 0,
            false => self.stale_while_revalidate.max(self.stale_if_error).unwrap_or(0),
        }
    }

    /// Whether a stale response may never be used unvalidated (RFC 9111 §4.2.4).
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.no_cache || self.s_maxage.is_some()
    }
}

impl RequestControl {
    pub fn parse(fields: &impl FieldLines) -> Self {
        let mut control = Self::default();
        let mut present = false;
        for_each_directive(fields.lines("cache-control"), |name, value| {
            present = true;
            match name {
                "no-store" => control.no_store = true,
                "no-cache" => control.no_cache = true,
                "only-if-cached" => control.only_if_cached = true,
                "max-age" => shortest(&mut control.max_age, seconds(value)),
                "stale-if-error" => shortest(&mut control.stale_if_error, seconds(value)),
                "min-fresh" => control.min_fresh = Some(seconds(value)),
                "max-stale" => {
                    control.max_stale = Some(value.map_or(MAX_SECONDS, |value| seconds(Some(value))))
                }
                _ => {}
            }
        });
        if !present {
            for_each_directive(fields.lines("pragma"), |name, _| control.no_cache |= name == "no-cache");
        }
        control
    }
}

/// Names of the fields that `no-cache="..."` keeps from being used unvalidated (RFC 9111 §5.2.2.4), in lower case.
pub fn no_cache_fields(fields: &impl FieldLines) -> Vec<String> {
    let mut names = Vec::new();
    for_each_directive(fields.lines("cache-control"), |name, value| {
        if let Some(value) = value.filter(|_| name == "no-cache") {
            names.extend(split_list(value).map(str::to_ascii_lowercase));
        }
    });
    names
}

/// Whether the bytes must stay as they are (RFC 9111 §5.2.2.6).
pub fn no_transform(fields: &impl FieldLines) -> bool {
    let mut found = false;
    for_each_directive(fields.lines("cache-control"), |name, _| found |= name == "no-transform");
    found
}

/// Of contradicting values the shortest counts: in doubt, stale (RFC 9111 §4.2.1).
fn shortest(slot: &mut Option<u32>, seconds: u32) {
    *slot = Some(slot.map_or(seconds, |earlier| earlier.min(seconds)));
}

/// An unreadable number is 0, which makes the response stale.
fn seconds(value: Option<&str>) -> u32 {
    match value {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().unwrap_or(MAX_SECONDS).min(MAX_SECONDS)
        }
        _ => 0,
    }
}

/// Calls with (lower-case name, value without quotes).
pub(super) fn for_each_directive<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    mut found: impl FnMut(&str, Option<&str>),
) {
    for line in lines {
        let text = String::from_utf8_lossy(line);
        for directive in split_list(&text) {
            let (name, value) = match directive.split_once('=') {
                Some((name, value)) => (name, Some(unquote(value))),
                None => (directive, None),
            };
            found(&name.to_ascii_lowercase(), value);
        }
    }
}

/// Members of a comma-separated list, trimmed, commas within quotes respected, empty ones dropped. A quote that never ends is none: it
/// must not hide what follows, which may be `private`.
pub fn split_list(text: &str) -> impl Iterator<Item = &str> {
    let mut whole = Quotes::default();
    let ends = !text.contains('"') || !text.chars().fold(false, |_, character| whole.within(character));
    let mut quotes = Quotes::default();
    text.split(move |character| {
        let quoted = ends && quotes.within(character);
        character == ',' && !quoted
    })
    .map(|member| member.trim_matches([' ', '\t']))
    .filter(|member| !member.is_empty())
}

/// Where in a text quoted strings are (RFC 9110 §5.6.4).
#[derive(Default)]
struct Quotes {
    open: bool,
    escaped: bool,
}

impl Quotes {
    /// Whether the text is within quotes after this character.
    fn within(&mut self, character: char) -> bool {
        match character {
            _ if self.escaped => self.escaped = false,
            '\\' if self.open => self.escaped = true,
            '"' => self.open = !self.open,
            _ => {}
        }
        self.open
    }
}

fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn response(value: &str) -> ResponseControl {
        ResponseControl::parse(&fields(&[("cache-control", value)]))
    }

    #[test]
    fn response_directives() {
        let none = ResponseControl::default();
        let cases = [
            ("max-age=60", ResponseControl { max_age: Some(60), ..none }),
            ("MAX-AGE=60, Public", ResponseControl { max_age: Some(60), public: true, ..none }),
            ("x=\"a, private\", max-age=60", ResponseControl { max_age: Some(60), ..none }),
            ("x=\"a\\\", private\", max-age=60", ResponseControl { max_age: Some(60), ..none }),
            // A quote that never ends hides nothing.
            ("max-age=60, x=\"a, private", ResponseControl { max_age: Some(60), private: true, ..none }),
            (
                "max-age=60, x=\"a\\\", no-store",
                ResponseControl { max_age: Some(60), no_store: true, ..none },
            ),
            ("max-age=\"60\"", ResponseControl { max_age: Some(60), ..none }),
            ("max-age=60, max-age=10", ResponseControl { max_age: Some(10), ..none }),
            ("max-age=-1", ResponseControl { max_age: Some(0), ..none }),
            ("max-age=1.5", ResponseControl { max_age: Some(0), ..none }),
            ("max-age", ResponseControl { max_age: Some(0), ..none }),
            ("max-age=99999999999999999999", ResponseControl { max_age: Some(MAX_SECONDS), ..none }),
            ("private=\"a, no-store\"", ResponseControl { private: true, ..none }),
            ("x=\"no-store, \\\" no-cache\", immutable", ResponseControl { immutable: true, ..none }),
            (",, ,s-maxage=5,", ResponseControl { s_maxage: Some(5), ..none }),
            ("no-storey", none),
        ];
        for (value, expected) in cases {
            assert_eq!(response(value), expected, "{value}");
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        let control = ResponseControl::parse(&fields(&[
            ("cache-control", "max-age=60"),
            ("cache-control", "no-store"),
        ]));
        assert!(control.no_store && control.max_age == Some(60));
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        assert!(RequestControl::parse(&fields(&[("pragma", "no-cache")])).no_cache);
        let both = fields(&[("pragma", "no-cache"), ("cache-control", "max-age=5")]);
        assert!(!RequestControl::parse(&both).no_cache);
        assert!(!RequestControl::parse(&fields(&[("pragma", "unrelated")])).no_cache);
    }

    #[test]
    fn max_stale_without_value_means_any() {
        let any = RequestControl::parse(&fields(&[("cache-control", "max-stale")]));
        assert_eq!(any.max_stale, Some(MAX_SECONDS));
    }
}
