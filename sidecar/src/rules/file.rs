//! The shape of a rule file, as YAML gives it. What it means is checked in `load`.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleFile {
    #[serde(default)]
    pub(super) groups: Vec<RawGroup>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGroup {
    pub(super) name: Text,
    #[serde(default)]
    pub(super) interval: Option<Text>,
    #[serde(default)]
    pub(super) query_offset: Option<Text>,
    #[serde(default)]
    pub(super) limit: i64,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, Text>,
    #[serde(default)]
    pub(super) rules: Vec<RawRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    #[serde(default)]
    pub(super) record: Option<Text>,
    #[serde(default)]
    pub(super) alert: Option<Text>,
    #[serde(default)]
    pub(super) expr: Text,
    #[serde(default, rename = "for")]
    pub(super) hold: Option<Text>,
    #[serde(default)]
    pub(super) keep_firing_for: Option<Text>,
    /// Ours: Prometheus does not know it.
    #[serde(default)]
    pub(super) keep_pending_for: Option<Text>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, Text>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, Text>,
}

impl RawRule {
    pub(super) fn name(&self) -> &str {
        self.alert.as_ref().or(self.record.as_ref()).map_or("", |name| &name.0)
    }
}

/// A scalar of any kind, as it is written: `expr: 1` and `severity: true` are as good as quoted ones, and `0x8` is the
/// notation of a series, not 8.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_none<E: de::Error>(self) -> Result<Text, E> {
        Ok(Text::default())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Text, E> {
        Ok(Text::default())
    }

    /// Asked for a text, the reader gives a scalar unresolved.
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_str(self)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.to_owned()))
    }
}

/// `1h30m`, `15s`, `500ms`, `0`: units descending, each at most once.
pub fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 7] = [
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut millis = 0u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (_, factor) = units.find(|(unit, _)| *unit == &rest[..letters])?;
        millis = millis.checked_add(number.checked_mul(*factor)?)?;
        rest = &rest[letters..];
    }
    (!text.is_empty()).then_some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_read_as_they_are_written() {
        for (yaml, text) in [
            ("0x80", "0x80"),
            ("1.0", "1.0"),
            ("true", "true"),
            ("~", ""),
            ("'~'", "~"),
            ("\"a\\tb\"", "a\tb"),
            ("1e3", "1e3"),
            ("[]", "not a text"),
        ] {
            let read = serde_yaml_ng::from_str::<Text>(yaml);
            assert_eq!(read.map_or("not a text".to_owned(), |read| read.0), text, "{yaml}");
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("0", Some(0)),
            ("5m", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("1d", Some(86_400_000)),
            ("500ms", Some(500)),
            ("1s500ms", Some(1500)),
            ("", None),
            ("5", None),
            ("m5", None),
            ("5m1h", None),
            ("5m5m", None),
            ("-5m", None),
            ("99999999999999999y", None),
            ("5é", None),
        ] {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text}");
        }
    }
}
