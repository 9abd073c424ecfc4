//! Where the rules of a file stand. YAML gives no places, so this looks for the lines that begin rules; when they do
//! not agree with what was parsed (flow style, texts that look like rules), it knows nothing rather than something wrong.

pub(super) struct Lines<'a> {
    lines: Vec<&'a str>,
    /// Line (from 0) of each rule's `alert:` or `record:`, in order.
    rules: Vec<usize>,
}

impl<'a> Lines<'a> {
    /// `names` are those of all rules of the file, in order.
    pub(super) fn new(text: &'a str, names: &[&str]) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let named = |line: &&str| -> Option<String> {
            let value = key_value(line, "alert").or_else(|| key_value(line, "record"))?;
            let value = value.split(" #").next().unwrap_or(value).trim();
            Some(value.trim_matches(['"', '\'']).to_owned())
        };
        let found: Vec<(usize, String)> =
            lines.iter().enumerate().filter_map(|(index, line)| Some((index, named(line)?))).collect();
        let agree =
            found.len() == names.len() && found.iter().zip(names).all(|((_, found), name)| found == name);
        let rules = if agree { found.into_iter().map(|(index, _)| index).collect() } else { Vec::new() };
        Self { lines, rules }
    }

    /// Line (from 1) of `key` within a rule, else of the rule's name.
    pub(super) fn of(&self, rule: usize, key: &str) -> Option<usize> {
        let name = *self.rules.get(rule)?;
        // Keys may stand before the name, from the `-` on.
        let start = (0..=name).rev().find(|index| self.lines[*index].trim_start().starts_with("- "))?;
        let end = self.rules.get(rule + 1).copied().unwrap_or(self.lines.len());
        let key_line = (start..end).find(|index| key_value(self.lines[*index], key).is_some());
        Some(1 + key_line.unwrap_or(name))
    }
}

/// What follows `key:` on a line that begins with it.
fn key_value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let line = line.trim_start();
    let line = line.strip_prefix("- ").unwrap_or(line).trim_start();
    line.strip_prefix(key)?.strip_prefix(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "groups:\n- name: g\n  rules:\n  - alert: A # first\n    expr: x\n    labels:\n      severity: page\n  - expr: y\n    record: \"b:c\"\n";

    #[test]
    fn keys_are_found_within_their_rule() {
        let lines = Lines::new(TEXT, &["A", "b:c"]);
        for (rule, key, line) in [
            (0, "alert", Some(4)),
            (0, "expr", Some(5)),
            (0, "severity", Some(7)),
            (0, "nothing", Some(4)),
            (1, "expr", Some(8)),
            (1, "record", Some(9)),
            (2, "expr", None),
        ] {
            assert_eq!(lines.of(rule, key), line, "{rule} {key}");
        }
    }

    #[test]
    fn disagreement_means_no_lines() {
        assert_eq!(Lines::new(TEXT, &["A"]).of(0, "expr"), None);
        assert_eq!(Lines::new(TEXT, &["A", "other"]).of(0, "expr"), None);
    }
}
