//! What journals keep and forget.

use super::*;
use crate::scaling::decide::tests::{START, inputs, policy};

const RULES: &str = "max = 50\nup_cooldown_secs = 60\nstabilization_secs = 300\nup = [{ signal = 'cpu', above = 0.75, for_secs = 30 }]";

/// Decides and writes down, so many times.
fn write(journal: &Journal, policy: &Policy, ticks: i64) -> (State, Vec<Decision>) {
    let mut state = State::new(START, 3);
    journal.start(START, policy, &state).unwrap();
    let mut decisions = Vec::new();
    let mut aim = 3;
    for tick in 0..ticks {
        let cpu = if tick % 40 < 10 { 0.8 + tick as f64 / 7e5 } else { 1.0 / 3.0 };
        let inputs = inputs(aim, &[("cpu", cpu)]);
        let (decision, next) = decide(&state, &inputs, policy, START + tick * 15_000);
        journal.tick(&inputs, &decision, policy, &state).unwrap();
        (state, aim) = (next, decision.to);
        decisions.push(decision);
    }
    (state, decisions)
}

fn journal(folder: &tempfile::TempDir, bytes: u64) -> Journal {
    Journal::new(&Bounds { folder: folder.path().join("scaling"), bytes }, "g")
}

#[test]
fn what_was_written_is_remembered_to_the_last_bit() {
    let folder = tempfile::tempdir().unwrap();
    let policy = policy(RULES);
    let (state, decisions) = write(&journal(&folder, 1 << 20), &policy, 200);
    let found = journal(&folder, 1 << 20).remembered(1000);
    assert_eq!(found.state, Some(state));
    assert_eq!(found.policy, Some(policy));
    assert_eq!(found.decisions, decisions);
    assert!(decisions.last().unwrap().to > 5);
    assert_eq!(journal(&folder, 1 << 20).remembered(7).decisions, decisions[193..]);
}

#[test]
fn it_stays_within_its_bytes_and_each_file_can_be_understood_alone() {
    let folder = tempfile::tempdir().unwrap();
    let policy = policy(RULES);
    let bytes = 100_000;
    let (state, decisions) = write(&journal(&folder, bytes), &policy, 2000);
    let files: Vec<_> =
        std::fs::read_dir(folder.path().join("scaling")).unwrap().map(Result::unwrap).collect();
    let used: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert_eq!(files.len(), 4);
    // A file is left when it is full, not before.
    assert!(used <= bytes + 4 * 5000, "{used}");
    let found = journal(&folder, bytes).remembered(5000);
    assert_eq!(found.state, Some(state));
    assert_eq!(found.decisions, decisions[decisions.len() - found.decisions.len()..]);
    assert!(found.decisions.len() > 50);
}

#[test]
fn a_line_cut_by_a_crash_is_left_out_and_the_next_one_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let policy = policy(RULES);
    let (_, decisions) = write(&journal(&folder, 1 << 20), &policy, 5);
    let path = folder.path().join("scaling/g.jsonl");
    let mut text = std::fs::read(&path).unwrap();
    text.truncate(text.len() - 30);
    std::fs::write(&path, &text).unwrap();
    let again = journal(&folder, 1 << 20);
    let found = again.remembered(100);
    assert_eq!(found.decisions, decisions[..4]);
    let over = Override {
        desired: Some(4),
        pause: false,
        by: "ops".to_owned(),
        reason: "\"new\nline\"".to_owned(),
        until: START + 1,
    };
    again.by_hand(&Entry::Override { at: START, by: "ops".to_owned(), manual: Some(over.clone()) }).unwrap();
    assert_eq!(journal(&folder, 1 << 20).remembered(100).manual, Some(over));
}

#[test]
fn without_a_file_there_is_nothing_to_remember() {
    let folder = tempfile::tempdir().unwrap();
    let found = journal(&folder, 1 << 20).remembered(10);
    assert!(found.state.is_none() && found.decisions.is_empty());
}
