//! What a policy file may say.

use super::*;

fn read(text: &str) -> Result<Policies, Vec<String>> {
    let parsed = parse("p.toml", text, std::path::Path::new("d"), Duration::from_secs(15));
    parsed.map_err(|faults| faults.0.iter().map(ToString::to_string).collect())
}

/// The file is the reference: it must say what the defaults are.
#[test]
fn the_shipped_file_states_the_defaults() {
    let text = include_str!("../../../../config/scaling.toml");
    let from_file: File = config::load(&[Layer::file("scaling.toml", text)]).unwrap();
    assert_eq!(from_file, File { prometheus: String::new(), groups: vec![GroupConfig::default()] });
    let policy = &read(text).unwrap().groups[0];
    assert_eq!((policy.min, policy.max, policy.max_age_ms), (3, 10, 45_000));
    assert_eq!((policy.up.len(), policy.down.len(), policy.signals.len()), (5, 4, 9));
    assert!(policy.signals[1].expr.ends_with("/ 1073741824"), "{}", policy.signals[1].expr);
}

/// Every metric that the defaults name is one that Millrace exports, or one of every process and scrape.
#[test]
fn default_signals_are_of_metrics_that_exist() {
    use millrace_kit::metrics::catalogue;

    use crate::promql::Query;
    let policies = read("[[groups]]\nname = 'edge'").unwrap();
    for signal in &policies.groups[0].signals {
        for name in Query::parse(&signal.expr).unwrap().metric_names() {
            let stem = name.trim_end_matches("_bucket").trim_end_matches("_count");
            let ours = catalogue::ALL.iter().any(|def| def.name == stem || def.name == name);
            assert!(ours || name.starts_with("process_") || name == "up", "{}: {name}", signal.name);
        }
    }
}

#[test]
fn every_fault_is_named() {
    let text = "
prometheus = 'ftp://x'
[[groups]]
name = 'Edge!'
min = 0
max = 0
interval_secs = 0
min_coverage = 1.5
panic_ratio = 0.5
instance_memory = 'much'
up_rates = [{ instances = 1, percent = 1 }]
signals = [
  { name = 'cpu', expr = 'sum(' },
  { name = 'cpu', expr = 'vector(1)' },
]
down = [{ signal = 'cpu', below = 0.8 }]
slo = [{ signal = 'p99', above = 1.0 }]
[[groups.up]]
signal = 'cpu'
above = 0.75
[[groups.up]]
signal = 'cpv'
above = 1.0
below = 2.0
step = 0
[[groups.targets]]
signal = 'cpu'
target = 0.0
[groups.origin]
budget = 10.0
[[groups]]
name = 'Edge!'
";
    let found = read(text).unwrap_err();
    let wanted = [
        "p.toml: prometheus: \"ftp://x\" is not",
        "p.toml: groups[0].name: \"Edge!\" is not made of",
        "p.toml: groups[0].min: is 0, which wants `allow_zero = true`",
        "p.toml: groups[0].max: must be from 1",
        "p.toml: groups[0].interval_secs: must be at least 1",
        "p.toml: groups[0].panic_ratio: must be above 1, or 0",
        "p.toml: groups[0].instance_memory: \"much\" is not a size",
        "p.toml: groups[0].signals[0].expr: ",
        "p.toml: groups[0].signals[1].name: \"cpu\" is empty, or there twice",
        "p.toml: groups[0].signals[1].expr: names no metric",
        "p.toml: groups[0].up[1].signal: \"cpv\" is not a signal; there are cpu, cpu",
        "p.toml: groups[0].up[1].step: must be from 1",
        "p.toml: groups[0].up[1]: wants either `above` or `below`",
        "p.toml: groups[0].targets[0].target: must be above 0",
        "p.toml: groups[0].down[0].below: is not below 0.75",
        "p.toml: groups[0].min_coverage: must be above 0",
        "p.toml: groups[0].up_rates[0]: wants either",
        "p.toml: groups[0].origin.load_signal: \"origin_requests\" is not a signal",
        "p.toml: groups[0].origin.hits_signal: \"hits\" is not a signal",
        "p.toml: groups[0].slo[0].signal: \"p99\" is not a signal",
        "p.toml: groups[1].name: \"Edge!\" is there twice",
    ];
    for wanted in wanted {
        assert!(found.iter().any(|fault| fault.starts_with(wanted)), "{wanted}\n{found:#?}");
    }
}

#[test]
fn unknown_keys_are_named_with_their_line() {
    let found =
        read("[[groups]]\nname = 'a'\nstartup_hold_sec = 3\n[[groups.up]]\nsignal = 'cpu'\nabove = 'x'\n")
            .unwrap_err();
    assert_eq!(
        found[0],
        "p.toml:3: groups[0].startup_hold_sec: unknown key; did you mean `startup_hold_secs`?"
    );
    assert!(found[1].starts_with("p.toml:6: groups[0].up[0].above: expected a number"), "{found:?}");
}

#[test]
fn a_file_that_is_not_there_is_a_fault() {
    assert!(
        load("/nowhere/scaling.toml", std::path::Path::new("d"), Duration::from_secs(15)).unwrap_err().0[0]
            .place
            .contains("nowhere")
    );
}
