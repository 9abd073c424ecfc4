//! The shipped alerts through our own evaluator: the files that `promtool test rules` runs must pass here too.

use std::path::Path;

use millrace_sidecar::unit_test;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../alerts/tests");

#[test]
fn our_evaluator_agrees_with_promtool() {
    let files = std::fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "yml")).collect();
    assert!(!files.is_empty());
    for file in files {
        let outcome = unit_test::run_file(&file);
        assert!(outcome.passed() && outcome.warnings.is_empty(), "{}: {outcome:#?}", file.display());
    }
}

#[test]
fn a_wrong_expectation_fails() {
    let text = std::fs::read_to_string(Path::new(FOLDER).join("millrace.yml")).unwrap();
    let text = text.replacen("severity: critical", "severity: nonsense", 1);
    let outcome = unit_test::run(&text, Path::new(FOLDER));
    assert_eq!((outcome.faults.len(), outcome.failures.len()), (0, 1), "{outcome:#?}");
}
