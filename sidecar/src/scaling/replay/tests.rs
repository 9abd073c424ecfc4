//! Replays of times that tests have made.

use std::sync::Arc;

use super::*;
use crate::{
    model::{INSTANCE, Labels, METRIC_NAME, Sample},
    scaling::{Bounds, decide::tests as rig, decide::tests::START},
    scrape::Sink,
    series::{self, Store},
};

const RULES: &str = "min = 2\nmax = 6\nup_cooldown_secs = 60\ndown_cooldown_secs = 120\nstabilization_secs = 120
join_secs = 30\nslo = [{ signal = 'p95', above = 2.0 }]
up = [{ signal = 'cpu', above = 0.75, for_secs = 30 }]\ndown = [{ signal = 'cpu', below = 0.35, for_secs = 60 }]";

fn policy(text: &str) -> Policy {
    let mut policy = rig::policy(text);
    policy.instances = "up".to_owned();
    policy.signals.retain(|signal| ["cpu", "p95"].contains(&signal.name.as_str()));
    for signal in &mut policy.signals {
        signal.expr = format!("avg({}{{instance=~\"$ready\"}})", signal.name);
    }
    policy
}

/// Fifty minutes, of which fifteen bear three times the load; decided live with as many instances as decided.
fn live(policy: &Policy, journal: &Journal, store: &Store) -> Vec<Decision> {
    let mut state = State::new(START, 2);
    journal.start(START, policy, &state).unwrap();
    let (mut aim, mut decisions) = (2, Vec::new());
    for tick in 0..TICKS {
        let at = START + tick * 15_000;
        let load = if (80..140).contains(&tick) { 2.9 } else { 0.9 } + (tick % 7) as f64 / 1e3;
        let cpu = load / f64::from(aim);
        let p95 = if cpu > 0.75 { 3.0 } else { 0.3 };
        for instance in 0..aim {
            for (name, value) in [("cpu", cpu), ("p95", p95), ("up", 1.0)] {
                let instance = format!("i{instance}");
                let labels = Labels::from_pairs([(METRIC_NAME, name), (INSTANCE, &instance)]);
                store.append(&[(store.intern(&labels).unwrap(), Sample { at, value })]);
            }
        }
        for gone in aim..6 {
            for name in ["cpu", "p95", "up"] {
                let instance = format!("i{gone}");
                let labels = Labels::from_pairs([(METRIC_NAME, name), (INSTANCE, &instance)]);
                let value = crate::model::STALE_NAN;
                store.append(&[(store.intern(&labels).unwrap(), Sample { at, value })]);
            }
        }
        let inputs = rig::inputs(aim, &[("cpu", cpu), ("p95", p95)]);
        let (decision, next) = decide(&state, &inputs, policy, at);
        journal.tick(&inputs, &decision, policy, &state).unwrap();
        (state, aim) = (next, decision.to);
        decisions.push(decision);
    }
    decisions
}

struct Past {
    _folder: tempfile::TempDir,
    journal: Journal,
    source: Source,
    decisions: Vec<Decision>,
}

fn past(policy: &Policy) -> Past {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::new(&Bounds { folder: folder.path().to_owned(), bytes: 1 << 24 }, "g");
    let store = Arc::new(Store::new(series::Bounds::new(&series::Config::default(), 1 << 24)));
    let decisions = live(policy, &journal, &store);
    Past { _folder: folder, journal, source: Source::own(store), decisions }
}

const TICKS: i64 = 200;
const END: UnixMillis = START + TICKS * 15_000;

#[tokio::test]
async fn an_unchanged_policy_decides_exactly_as_it_did() {
    let policy = policy(RULES);
    let past = past(&policy);
    let outcome = replay(&policy, Some(&past.journal), &past.source, START, END).await.unwrap();
    assert_eq!(outcome.kind, Kind::Journal { decisions: 200, different: vec![] });
    assert_eq!(outcome.replayed.decisions, past.decisions);
    assert!(past.decisions.iter().any(|decision| decision.action == Action::Up));
    assert!(past.decisions.iter().any(|decision| decision.action == Action::Down));
    assert_eq!(outcome.happened, outcome.replayed);
    // From the middle as well: what was remembered then is known.
    let later = replay(&policy, Some(&past.journal), &past.source, START + 1_205_000, END).await.unwrap();
    assert!(later.is_exact());
    assert_eq!(later.replayed.decisions, past.decisions[81..]);
}

#[tokio::test]
async fn a_journal_that_was_changed_is_found_out() {
    let policy = policy(RULES);
    let past = past(&policy);
    let path = past._folder.path().join("g.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let up = past.decisions.iter().position(|decision| decision.action == Action::Up).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[up + 1] = lines[up + 1].replace("\"action\":\"up\"", "\"action\":\"hold\"");
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    let outcome = replay(&policy, Some(&past.journal), &past.source, START, END).await.unwrap();
    let Kind::Journal { different, .. } = &outcome.kind else { panic!("{:?}", outcome.kind) };
    assert_eq!(
        (different.len(), different[0].0.action, different[0].1.action),
        (1, Action::Hold, Action::Up)
    );
    assert!(table("g", &outcome).contains("1 of 200 decisions DIFFER"));
}

#[tokio::test]
async fn another_policy_is_told_beside_what_happened() {
    let past = past(&policy(RULES));
    let timid = policy(&RULES.replace("max = 6", "max = 3"));
    let outcome = replay(&timid, Some(&past.journal), &past.source, START, END).await.unwrap();
    assert_eq!(outcome.kind, Kind::Metrics { policy_differs: true });
    let most = |course: &Course| course.points.iter().map(|point| point.instances).max().unwrap();
    assert_eq!((most(&outcome.happened), most(&outcome.replayed)), (4, 3));
    let (happened, replayed) = (&outcome.happened, &outcome.replayed);
    assert!(replayed.instance_hours < happened.instance_hours, "{happened:?}");
    assert!(replayed.violated_minutes > happened.violated_minutes + 8.0, "{}", replayed.violated_minutes);
    let told = table("g", &outcome);
    assert!(told.contains("from recorded metrics (another policy than the journal's)"), "{told}");
    assert!(told.contains("max") && told.contains("the most is 3"), "{told}");
    let plot = svg("g", &outcome);
    assert!(plot.starts_with("<svg") && plot.contains("class=\"is\"") && plot.ends_with("</svg>\n"));
    assert!(!plot.contains("NaN") && !plot.contains("inf"));
    // Half an hour in which nothing was decided takes no room.
    let early = Outcome { from: START - 1_800_000, ..outcome };
    assert!(svg("g", &early).contains("d=\"M48.0 "), "{}", svg("g", &early));
}

#[tokio::test]
async fn without_a_journal_metrics_alone_do() {
    let policy = policy(RULES);
    let past = past(&policy);
    let outcome = replay(&policy, None, &past.source, START, END).await.unwrap();
    assert_eq!(outcome.kind, Kind::Metrics { policy_differs: false });
    // New instances take a while to join here, so times differ by that, not more.
    let (was, is) = (outcome.happened.instance_hours, outcome.replayed.instance_hours);
    assert!((was - is).abs() < 0.2, "{was} {is}");
}

#[tokio::test]
async fn times_must_make_sense() {
    let policy = policy(RULES);
    let past = past(&policy);
    let ask = |from, to| replay(&policy, None, &past.source, from, to);
    assert!(matches!(ask(END, START).await, Err(Error::Backwards)));
    assert!(matches!(ask(0, END).await, Err(Error::TooLong(_))));
    assert!(matches!(ask(START - 7_200_000, START - 3_600_000).await, Err(Error::Nothing(_))));
}
