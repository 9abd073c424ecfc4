//! A replay as text.

use std::fmt::Write;

use super::{Action, Course, Kind, Outcome};
use crate::model::time::rfc3339;

/// What differs is told in full up to so many.
const SHOWN_DIFFERENCES: usize = 20;

pub fn table(group: &str, outcome: &Outcome) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "group {group}, {} to {}", rfc3339(outcome.from), rfc3339(outcome.to));
    match &outcome.kind {
        Kind::Journal { decisions, different } if different.is_empty() => {
            let _ =
                writeln!(out, "from the journal, same policy: all {decisions} decisions are as they were\n");
        }
        Kind::Journal { decisions, different } => {
            let count = different.len();
            let _ = writeln!(out, "from the journal, same policy: {count} of {decisions} decisions DIFFER\n");
            for (was, is) in different.iter().take(SHOWN_DIFFERENCES) {
                let _ = writeln!(out, "{}  was {} to {}: {}", rfc3339(was.at), was.from, was.to, was.reason);
                let _ = writeln!(out, "{:24}  is {} to {}: {}", "", is.from, is.to, is.reason);
            }
        }
        Kind::Metrics { policy_differs } => {
            let why = if *policy_differs { "another policy than the journal's" } else { "no journal" };
            let _ = writeln!(
                out,
                "from recorded metrics ({why}); shared loads are spread over the replayed instances, other signals are as they were\n"
            );
        }
    }
    let _ = writeln!(out, "{:<24}  {:>4}  {:>4}  {:<14} reason", "time", "from", "to", "binding");
    for decision in outcome.replayed.turning_points() {
        let _ = writeln!(
            out,
            "{:<24}  {:>4}  {:>4}  {:<14} {}",
            rfc3339(decision.at),
            decision.from,
            decision.to,
            decision.binding.as_str(),
            decision.reason
        );
    }
    let _ = writeln!(out, "\n{:<24}  {:>14}  {:>14}", "", "what happened", "replay");
    let mut row = |name: &str, of: &dyn Fn(&Course) -> String| {
        let (happened, replayed) = (of(&outcome.happened), of(&outcome.replayed));
        let _ = writeln!(out, "{name:<24}  {happened:>14}  {replayed:>14}");
    };
    row("instance-hours", &|course| format!("{:.2}", course.instance_hours));
    row("minutes over objective", &|course| format!("{:.1}", course.violated_minutes));
    row("most instances", &|course| {
        course.points.iter().map(|point| point.instances).max().unwrap_or(0).to_string()
    });
    row("steps up", &|course| steps(course, Action::Up));
    row("steps down", &|course| steps(course, Action::Down));
    out
}

fn steps(course: &Course, action: Action) -> String {
    match course.decisions.is_empty() {
        true => "not known".to_owned(),
        false => course.steps(action).to_string(),
    }
}
