//! What an exposition says of its metrics: type, help, unit. Read apart from the samples, and only when a target exposes
//! something new, since it changes with the program and not with each scrape.

use std::collections::BTreeMap;

use super::parse::Format;

/// Metrics of one target.
const MAX_METRICS: usize = 10_000;
/// Longer texts are cut.
const MAX_TEXT_BYTES: usize = 1024;

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metadata {
    /// As Prometheus names it; empty when the target says nothing.
    pub kind: &'static str,
    pub help: String,
    pub unit: String,
}

/// By name of the metric.
pub type Described = BTreeMap<String, Metadata>;

pub(super) fn read(body: &[u8], format: Format) -> Described {
    let mut described = Described::new();
    let Ok(text) = std::str::from_utf8(body) else { return described };
    for line in text.lines() {
        let Some(comment) = line.trim_start().strip_prefix('#') else { continue };
        let Some((what, rest)) = word(comment) else { continue };
        let Some((name, rest)) = name(rest) else { continue };
        if !matches!(what, "HELP" | "TYPE" | "UNIT")
            || described.len() >= MAX_METRICS && !described.contains_key(&name)
        {
            continue;
        }
        let entry = described.entry(name).or_default();
        match what {
            "HELP" => entry.help = cut(unescaped(rest, format)),
            "TYPE" => entry.kind = kind(rest.trim()),
            _ => entry.unit = cut(rest.trim().to_owned()),
        }
    }
    described
}

fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches([' ', '\t']);
    text.split_once([' ', '\t'])
}

/// A name may be quoted.
fn name(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start_matches([' ', '\t']);
    if let Some(quoted) = text.strip_prefix('"') {
        let (name, rest) = quoted.split_once('"')?;
        return Some((name.to_owned(), rest.trim_start_matches([' ', '\t'])));
    }
    let (name, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (!name.is_empty()).then(|| (name.to_owned(), rest))
}

fn kind(text: &str) -> &'static str {
    match text {
        "counter" => "counter",
        "gauge" => "gauge",
        "histogram" => "histogram",
        "gaugehistogram" => "gaugehistogram",
        "summary" => "summary",
        "info" => "info",
        "stateset" => "stateset",
        _ => "unknown",
    }
}

fn unescaped(text: &str, format: Format) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            plain.push(char);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some('\\') => plain.push('\\'),
            Some('"') if format == Format::OpenMetrics => plain.push('"'),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    plain
}

fn cut(mut text: String) -> String {
    let end = text.floor_char_boundary(MAX_TEXT_BYTES);
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_help_and_unit_belong_together() {
        let body = "# TYPE a counter\n# HELP a Says\\n\\\\ \\q more\na 1\n# TYPE b untyped\n#TYPE c gauge\n# HELP d\n# UNIT e seconds\n# a comment\n# TYPE \"f.g\" gauge\n";
        let described = read(body.as_bytes(), Format::Text);
        let shown: Vec<_> = described
            .iter()
            .map(|(name, found)| format!("{name}|{}|{}|{}", found.kind, found.help, found.unit))
            .collect();
        assert_eq!(
            shown,
            [
                "a|counter|Says\n\\ \\q more|",
                "b|unknown||",
                "c|gauge||",
                "d|||",
                "e|||seconds",
                "f.g|gauge||"
            ]
        );
    }

    #[test]
    fn texts_and_numbers_are_bounded() {
        let many: String = (0..MAX_METRICS + 10).map(|n| format!("# TYPE m{n} gauge\n")).collect();
        assert_eq!(read(many.as_bytes(), Format::Text).len(), MAX_METRICS);
        let long = format!("# HELP a {}", "é".repeat(MAX_TEXT_BYTES));
        assert_eq!(read(long.as_bytes(), Format::Text)["a"].help.len(), MAX_TEXT_BYTES);
    }
}
