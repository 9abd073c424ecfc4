//! Which stored variant a request selects (RFC 9111 §4.1).

use super::{FieldLines, control::split_list};

/// More nominated fields than this and the response is treated as `Vary: *`.
pub const MAX_FIELDS: usize = 16;

/// The field names that a response's `Vary` nominates: lower case, sorted, without repeats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VarySpec {
    names: Vec<Box<str>>,
}

impl VarySpec {
    pub fn of(fields: &impl FieldLines) -> Self {
        let mut names: Vec<Box<str>> = fields
            .lines("vary")
            .filter_map(|line| std::str::from_utf8(line).ok())
            .flat_map(split_list)
            .map(|name| name.to_ascii_lowercase().into())
            .collect();
        names.sort_unstable();
        names.dedup();
        Self { names }
    }

    pub fn from_names(names: Vec<Box<str>>) -> Self {
        Self { names }
    }

    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub fn is_too_wide(&self) -> bool {
        self.names.len() > MAX_FIELDS
    }

    /// Text that is equal for two requests exactly when they select the same variant. Lines are joined and white
    /// space around list members does not count; absence differs from emptiness.
    pub fn select(&self, request: &impl FieldLines) -> String {
        let mut selected = String::new();
        for name in &self.names {
            selected.push_str(name);
            let mut lines = request.lines(name).peekable();
            if lines.peek().is_some() {
                selected.push('=');
            }
            let mut first = true;
            for line in lines {
                for member in String::from_utf8_lossy(line).split(',') {
                    if !first {
                        selected.push(',');
                    }
                    first = false;
                    selected.push_str(member.trim_matches([' ', '\t']));
                }
            }
            selected.push('\n');
        }
        selected
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    #[test]
    fn spec_is_sorted_lower_case_and_unique() {
        let spec = VarySpec::of(&map(&[("vary", "Foo, accept"), ("vary", "ACCEPT,, bar")]));
        assert_eq!(spec.names().iter().map(AsRef::as_ref).collect::<Vec<_>>(), ["accept", "bar", "foo"]);
    }

    #[test]
    fn selection_compares_what_the_rfc_compares() {
        let spec = VarySpec::of(&map(&[("vary", "accept, foo")]));
        let base = spec.select(&map(&[("accept", "a, b"), ("foo", "1")]));
        let same: &[&[(&str, &str)]] = &[
            &[("accept", "a,b"), ("foo", "1")],
            &[("accept", "a"), ("accept", "b"), ("foo", "1"), ("other", "x")],
        ];
        for lines in same {
            assert_eq!(spec.select(&map(lines)), base, "{lines:?}");
        }
        let different: &[&[(&str, &str)]] =
            &[&[("accept", "b, a"), ("foo", "1")], &[("accept", "a, b")], &[("accept", "a, b"), ("foo", "")]];
        for lines in different {
            assert_ne!(spec.select(&map(lines)), base, "{lines:?}");
        }
    }
}
