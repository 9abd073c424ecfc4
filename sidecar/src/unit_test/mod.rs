//! Runs rule files against made-up series: promtool's unit-test format (`alert_rule_test` and `promql_expr_test`), with
//! the verdicts that `promtool test rules` gives. Knows neither network nor clock.

use std::path::Path;

mod file;
mod run;
mod values;

pub use run::run;

/// How one file went. Nothing in either list: it passed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The file cannot be run: not readable, not understood, bad rules.
    pub faults: Vec<String>,
    /// What the rules yield is not what is expected.
    pub failures: Vec<String>,
    /// Patterns of rule files that match nothing.
    pub warnings: Vec<String>,
}

impl Outcome {
    pub fn passed(&self) -> bool {
        self.faults.is_empty() && self.failures.is_empty()
    }
}

/// Reads the file and runs its tests; `rule_files` are relative to it.
pub fn run_file(path: &Path) -> Outcome {
    match std::fs::read_to_string(path) {
        Ok(text) => run(&text, path.parent().unwrap_or(Path::new(""))),
        Err(error) => Outcome { faults: vec![error.to_string()], ..Outcome::default() },
    }
}
