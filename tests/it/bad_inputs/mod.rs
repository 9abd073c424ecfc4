//! What the open Internet sends, and what is answered. The list has a row for each kind of input, and a row has cases.
//! [`index`] names for each case what is answered, and the test that shows it; the tests of this folder have what others have not.
//! Rows of section G are the sidecar's.

mod grants;
mod index;
mod settings;
mod targets;
mod uploads;

use std::{collections::BTreeSet, fs, path::Path};

use index::CASES;

/// Rows of each section.
const ROWS: [(char, usize); 6] = [('A', 18), ('B', 14), ('C', 10), ('D', 8), ('E', 8), ('F', 10)];

#[test]
fn each_row_has_its_cases_and_each_case_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut faults = Vec::new();
    for case in CASES {
        let Some((file, test)) = case.shown.split_once(' ') else {
            faults.push(format!("{} {}: {} is no file and test", case.row, case.input, case.shown));
            continue;
        };
        let text = fs::read_to_string(root.join(file)).unwrap_or_default();
        let begin = text.find(&format!("fn {test}("));
        let before = begin.and_then(|at| text[..at].lines().rev().find(|line| line.trim().starts_with("#[")));
        if !before.is_some_and(|attribute| attribute.contains("test")) {
            faults.push(format!("{} {}: no test {test} in {file}", case.row, case.input));
        }
        if case.answer.is_empty() {
            faults.push(format!("{} {}: what is answered?", case.row, case.input));
        }
    }
    let shown: BTreeSet<_> = CASES.iter().map(|case| case.row.to_owned()).collect();
    for (section, rows) in ROWS {
        let missing = (1..=rows).map(|row| format!("{section}{row}")).filter(|row| !shown.contains(row));
        faults.extend(missing.map(|row| format!("{row}: no case")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
