//! Regular expressions as Prometheus 3 means them: anchored at both ends, and `.` matches a line break.

use regex::{Regex, RegexBuilder};

/// Compiled size of one pattern; a longer one is refused.
const REGEX_BYTES: usize = 1 << 20;

pub fn anchored(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&format!("^(?s:{pattern})$")).size_limit(REGEX_BYTES).build()
}
