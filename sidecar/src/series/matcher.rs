//! One condition on a label. Regular expressions are anchored at both ends and `.` matches a line break, as in
//! Prometheus 3.

use std::fmt;

use regex::Regex;

use super::Error;
use crate::model::pattern;

#[derive(Debug, Clone)]
pub struct Matcher {
    pub name: String,
    condition: Condition,
}

#[derive(Debug, Clone)]
enum Condition {
    Equal(String),
    NotEqual(String),
    Regex(String, Regex),
    NotRegex(String, Regex),
}

impl Matcher {
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), condition: Condition::Equal(value.into()) }
    }

    pub fn not_equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), condition: Condition::NotEqual(value.into()) }
    }

    pub fn regex(name: impl Into<String>, pattern: &str) -> Result<Self, Error> {
        let condition = Condition::Regex(pattern.to_owned(), anchored(pattern)?);
        Ok(Self { name: name.into(), condition })
    }

    pub fn not_regex(name: impl Into<String>, pattern: &str) -> Result<Self, Error> {
        let condition = Condition::NotRegex(pattern.to_owned(), anchored(pattern)?);
        Ok(Self { name: name.into(), condition })
    }

    /// An absent label has the empty value.
    pub fn matches(&self, value: &str) -> bool {
        match &self.condition {
            Condition::Equal(wanted) => value == wanted,
            Condition::NotEqual(unwanted) => value != unwanted,
            Condition::Regex(_, regex) => regex.is_match(value),
            Condition::NotRegex(_, regex) => !regex.is_match(value),
        }
    }

    /// Any value and none: what dashboards ask for where nothing is chosen.
    pub(super) fn matches_all(&self) -> bool {
        matches!(&self.condition, Condition::Regex(pattern, _) if pattern == ".*")
    }

    /// The value, when there is only one that can match.
    pub fn exact(&self) -> Option<&str> {
        match &self.condition {
            Condition::Equal(value) => Some(value),
            _ => None,
        }
    }
}

pub fn anchored(pattern: &str) -> Result<Regex, Error> {
    pattern::anchored(pattern)
        .map_err(|reason| Error::Regex { pattern: pattern.to_owned(), reason: reason.to_string() })
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (op, value) = match &self.condition {
            Condition::Equal(value) => ("=", value),
            Condition::NotEqual(value) => ("!=", value),
            Condition::Regex(pattern, _) => ("=~", pattern),
            Condition::NotRegex(pattern, _) => ("!~", pattern),
        };
        write!(f, "{}{op}{value:?}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_anchored_and_span_lines() {
        let matcher = Matcher::regex("a", "5..|x").unwrap();
        assert!(matcher.matches("503") && matcher.matches("x"));
        assert!(!matcher.matches("5033") && !matcher.matches("ax"));
        assert!(Matcher::regex("a", "b.c").unwrap().matches("b\nc"));
        assert!(Matcher::not_regex("a", ".+").unwrap().matches(""));
    }

    #[test]
    fn what_matches_all_leaves_nothing_out() {
        let all = Matcher::regex("a", ".*").unwrap();
        assert!(all.matches_all() && ["", "x", "a\nb"].into_iter().all(|value| all.matches(value)));
        assert!(
            !Matcher::regex("a", ".+").unwrap().matches_all() && !Matcher::equal("a", ".*").matches_all()
        );
    }

    #[test]
    fn bad_and_huge_patterns_are_refused() {
        assert!(Matcher::regex("a", "(").is_err());
        assert!(Matcher::regex("a", "((a{500}){500}){500}").is_err());
    }
}
