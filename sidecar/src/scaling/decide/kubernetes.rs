//! Configured like Kubernetes' HorizontalPodAutoscaler, decisions are the same. The cases are those of its own tests
//! (`pkg/controller/podautoscaler`, v1.27: `replica_calculator_test.go` and `horizontal_test.go`), written anew as numbers. Left out
//! are two about metrics of objects with unready pods, where it counts only ready pods and we count cold ones as idle.

use super::{
    tests::{START, inputs, policy},
    *,
};
use crate::scaling::decision::Counts;

/// Pods: wanted so far, ready, of these reporting, not ready; mean of those that report, target, expected.
type Case = (&'static str, u32, u32, u32, u32, f64, f64, u32);

#[test]
fn utilisation_of_a_resource() {
    // In percent of what pods request; a missing one counts as 100 when fewer could do.
    let cases: &[Case] = &[
        ("ScaleUp", 3, 3, 3, 0, 50.0, 30.0, 5),
        ("ScaleUpUnreadyLessScale", 3, 2, 2, 1, 60.0, 30.0, 4),
        ("ScaleUpHotCpuLessScale", 3, 2, 2, 1, 60.0, 30.0, 4),
        ("ScaleUpUnreadyNoScale", 3, 1, 1, 2, 40.0, 30.0, 3),
        ("ScaleHotCpuNoScale", 3, 1, 1, 2, 40.0, 30.0, 3),
        ("ScaleUpIgnoresFailedPods", 2, 2, 2, 0, 60.0, 30.0, 4),
        ("ScaleUpIgnoresDeletionPods", 2, 2, 2, 0, 60.0, 30.0, 4),
        ("ScaleDown", 5, 5, 5, 0, 28.0, 50.0, 3),
        ("ScaleDownIncludeUnreadyPods", 5, 3, 3, 2, 30.0, 50.0, 2),
        ("ScaleDownExcludeUnscheduledPods", 5, 1, 1, 4, 10.0, 50.0, 1),
        ("ScaleDownIgnoreHotCpuPods", 5, 3, 3, 2, 30.0, 50.0, 2),
        ("ScaleDownIgnoresFailedPods", 5, 5, 5, 0, 28.0, 50.0, 3),
        ("ScaleDownIgnoresDeletionPods", 5, 5, 5, 0, 28.0, 50.0, 3),
        ("Tolerance", 3, 3, 3, 0, 102.0, 100.0, 3),
        ("SuperfluousMetrics", 4, 4, 4, 0, 587.5, 100.0, 24),
        ("MissingMetrics", 4, 4, 2, 0, 24.75, 100.0, 3),
        ("MissingMetricsNoChangeEq", 2, 2, 1, 0, 100.0, 100.0, 2),
        ("MissingMetricsNoChangeGt", 2, 2, 1, 0, 190.0, 100.0, 2),
        ("MissingMetricsNoChangeLt", 2, 2, 1, 0, 60.0, 100.0, 2),
        ("MissingMetricsUnreadyChange", 3, 2, 1, 1, 45.0, 50.0, 3),
        ("MissingMetricsHotCpuNoChange", 3, 2, 1, 1, 45.0, 50.0, 3),
        ("MissingMetricsUnreadyScaleUp", 3, 2, 1, 1, 200.0, 50.0, 4),
        ("MissingMetricsHotCpuScaleUp", 3, 2, 1, 1, 200.0, 50.0, 4),
        ("MissingMetricsUnreadyScaleDown", 4, 3, 2, 1, 10.0, 50.0, 3),
        ("DuringRollingUpdateWithMaxSurge", 2, 3, 2, 0, 10.0, 50.0, 2),
        ("ComputedToleranceAlgImplementation, beyond", 10, 10, 10, 0, 50.0, 56.0, 9),
        ("ComputedToleranceAlgImplementation, within", 10, 10, 10, 0, 50.0, 55.0, 10),
    ];
    means(cases, "full = 100.0");
}

#[test]
fn means_of_a_metric() {
    means(
        &[
            ("ScaleUpCM", 3, 3, 3, 0, 20.0, 15.0, 4),
            ("ScaleUpCMUnreadyHotCpuNoLessScale", 3, 3, 3, 0, 30.0, 15.0, 6),
            ("ScaleUpCMUnreadyHotCpuScaleWouldScaleDown", 3, 3, 3, 0, 95.0 / 3.0, 15.0, 7),
            ("ScaleUpCMObject", 3, 3, 3, 0, 20.0, 15.0, 4),
            ("ScaleUpCMExternal", 1, 1, 1, 0, 8600.0, 4400.0, 2),
            ("ScaleDownCM", 5, 5, 5, 0, 12.0, 20.0, 3),
            ("ScaleDownCMObject", 5, 5, 5, 0, 12.0, 20.0, 3),
            ("ScaleDownCMExternal", 5, 5, 5, 0, 8600.0, 14_334.0, 3),
            ("ToleranceCM", 3, 3, 3, 0, 62.0 / 3.0, 20.0, 3),
            ("ToleranceCMObject", 3, 3, 3, 0, 20.666, 20.0, 3),
            ("ToleranceCMExternal", 3, 3, 3, 0, 8600.0, 8888.0, 3),
        ],
        "full = 0.0",
    );
}

fn means(cases: &[Case], full: &str) {
    for (name, aim, ready, reporting, cold, mean, target, expected) in cases {
        let full = if *target > 100.0 { "full = 0.0" } else { full };
        let target = format!("{{ signal = 'cpu', target = {target:?}, tolerance = 0.1, {full} }}");
        let policy = policy(&format!("max = 1000\nmin_coverage = 0.01\ntargets = [{target}]"));
        let mut inputs = inputs(*aim, &[("cpu", *mean)]);
        inputs.counts = Counts { ready: *ready, cold: *cold, ..Counts::default() };
        inputs.readings[0].reporting = *reporting;
        let (decision, _) = decide(&State::default(), &inputs, &policy, START);
        assert_eq!(decision.to, *expected, "{name}: {}", decision.reason);
    }
}

#[test]
fn totals_over_all_pods() {
    for (name, aim, total, target, expected) in [
        ("ScaleUpCMPerPodObject", 3, 20_000.0, 5000, 4),
        ("ScaleUpPerPodCMExternal", 3, 8600.0, 2150, 4),
        ("ScaleDownPerPodCMObject", 5, 6000.0, 2000, 3),
        ("ScaleDownPerPodCMExternal", 5, 8600.0, 2867, 3),
        ("TolerancePerPodCMObject", 4, 20_166.0, 5000, 4),
        ("TolerancePerPodCMExternal", 3, 8600.0, 2900, 3),
    ] {
        let policy = policy(&format!(
            "max = 1000\ntargets = [{{ signal = 'queue', target = {target}.0, tolerance = 0.1, total = true }}]"
        ));
        let (decision, _) = decide(&State::default(), &inputs(aim, &[("queue", total)]), &policy, START);
        assert_eq!(decision.to, expected, "{name}: {}", decision.reason);
    }
}

/// `TestNormalizeDesiredReplicas`: seconds ago and what was wanted then, what is wanted now, what comes of it.
#[test]
fn stabilisation() {
    type Before = &'static [(i64, u32)];
    let cases: &[(&str, Before, u32, u32)] = &[
        ("empty log", &[], 5, 5),
        ("stabilize", &[(120, 4), (60, 5)], 3, 5),
        ("no stabilize", &[(120, 1), (60, 2)], 3, 3),
        ("no stabilize - old recommendations", &[(600, 10), (540, 9)], 3, 3),
        ("stabilize - old recommendations", &[(600, 10), (60, 4), (120, 5), (540, 9)], 3, 5),
    ];
    for (name, before, wanted, expected) in cases {
        let policy = wants("stabilization_secs = 300\nmax = 1000");
        let wanted_before = before.iter().map(|(ago, wanted)| (START - ago * 1000, *wanted)).collect();
        let state = State { wanted: wanted_before, ..State::default() };
        let (decision, _) = decide(&state, &inputs(50, &[("queue", f64::from(*wanted))]), &policy, START);
        assert_eq!(decision.to, *expected, "{name}");
    }
}

/// A group that wants as many instances as the queue is long.
fn wants(text: &str) -> Policy {
    policy(&format!(
        "{text}\ntargets = [{{ signal = 'queue', target = 1.0, tolerance = 0.0, total = true }}]"
    ))
}

struct Rules {
    name: &'static str,
    up: &'static str,
    down: &'static str,
    /// Changes of the last two minutes, evenly spread.
    ups: &'static [i32],
    downs: &'static [i32],
    bounds: (u32, u32),
    current: u32,
    wanted: u32,
    expected: u32,
}

const UP: &str = "{ instances = 4, period_secs = 15 }, { percent = 100, period_secs = 15 }";
const DOWN: &str = "{ percent = 100, period_secs = 15 }";

const fn rules(name: &'static str, bounds: (u32, u32), current: u32, wanted: u32, expected: u32) -> Rules {
    Rules { name, up: UP, down: DOWN, ups: &[], downs: &[], bounds, current, wanted, expected }
}

/// `TestScalingWithRules`
#[test]
fn rates() {
    let up = |up, mut case: Rules| {
        case.up = up;
        case
    };
    let down = |down, mut case: Rules| {
        case.down = down;
        case
    };
    let after = |ups, downs, mut case: Rules| {
        (case.ups, case.downs) = (ups, downs);
        case
    };
    const MANY: (u32, u32) = (1, 1000);
    const GREW: &[i32] = &[1, 5, 9];
    const FOUR: &[i32] = &[8, 12, 9, 11];
    let cases = [
        rules("within range", (3, 8), 5, 7, 7),
        rules("less than min", (2, 8), 3, 1, 2),
        rules("zero is allowed", (0, 10), 1, 0, 0),
        rules("max is the limit, from above", (1, 10), 20, 1000, 10),
        rules("more than max", (100, 150), 100, 1000, 150),
        up("{ percent = 1, period_secs = 60 }", rules("up limit below max", (1, 2000), 3, 1000, 4)),
        down("{ instances = 20, period_secs = 60 }", rules("down limit above min", (3, 2000), 1000, 3, 980)),
        rules("up with default behavior", MANY, 10, 50, 20),
        up(
            "{ instances = 100, period_secs = 60 }, { percent = 100, period_secs = 60 }",
            rules("pods larger", MANY, 10, 500, 110),
        ),
        up(
            "{ instances = 2, period_secs = 60 }, { percent = 100, period_secs = 60 }",
            rules("percent larger", MANY, 10, 500, 20),
        ),
        up("{ instances = 100, period_secs = 60 }", rules("large pod policy", MANY, 10, 50, 50)),
        up("{ instances = 10000, period_secs = 60 }", rules("larger pod policy", MANY, 10, 50, 50)),
        up("{ instances = 30, period_secs = 60 }", rules("pod policy limits", MANY, 10, 50, 40)),
        up("{ percent = 200, period_secs = 60 }", rules("percent policy limits", MANY, 10, 50, 30)),
        down(
            "{ instances = 20, period_secs = 60 }, { percent = 1, period_secs = 60 }",
            rules("down, pods larger", MANY, 100, 2, 80),
        ),
        down(
            "{ instances = 2, period_secs = 60 }, { percent = 1, period_secs = 60 }",
            rules("down, pods larger still", MANY, 100, 2, 98),
        ),
        down("{ instances = 100, period_secs = 60 }", rules("down to min", MANY, 10, 0, 1)),
        down("{ percent = 100, period_secs = 60 }", rules("down to min by percent", (5, 1000), 10, 2, 5)),
        down("{ instances = 5, period_secs = 60 }", rules("down, pod policy limits", MANY, 10, 2, 5)),
        down("{ percent = 50, period_secs = 60 }", rules("down, percent policy limits", MANY, 10, 5, 5)),
        after(
            GREW,
            &[],
            up(
                "{ instances = 300, period_secs = 60 }",
                rules("up after ups to max", (1, 200), 100, 500, 200),
            ),
        ),
        after(
            GREW,
            &[],
            up(
                "{ percent = 10000, period_secs = 60 }",
                rules("up after ups to max by percent", (1, 200), 100, 500, 200),
            ),
        ),
        after(
            GREW,
            &[],
            up("{ instances = 5, period_secs = 120 }", rules("ups have used it up", MANY, 100, 500, 100)),
        ),
        after(
            GREW,
            &[],
            up("{ instances = 150, period_secs = 120 }", rules("ups count", MANY, 100, 500, 235)),
        ),
        after(
            GREW,
            &[],
            up("{ percent = 200, period_secs = 120 }", rules("ups count in percent", MANY, 100, 500, 255)),
        ),
        after(
            &[4],
            &[2],
            up("{ percent = 300, period_secs = 300 }", rules("ups and downs count", MANY, 6, 24, 16)),
        ),
        after(&[], GREW, rules("downs do not count by default", MANY, 10, 5, 5)),
        after(
            &[],
            GREW,
            down("{ instances = 115, period_secs = 120 }", rules("down after downs to min", MANY, 100, 0, 1)),
        ),
        after(
            &[],
            GREW,
            down(
                "{ instances = 130, period_secs = 120 }",
                rules("down after downs to min 5", (5, 1000), 100, 0, 5),
            ),
        ),
        after(
            &[],
            GREW,
            down("{ percent = 100, period_secs = 120 }", rules("all may go", (5, 1000), 100, 2, 5)),
        ),
        after(
            &[],
            GREW,
            down("{ instances = 5, period_secs = 120 }", rules("downs have used it up", MANY, 100, 2, 100)),
        ),
        after(
            &[],
            &[2, 4, 6],
            down("{ percent = 50, period_secs = 120 }", rules("downs count in percent", MANY, 100, 0, 56)),
        ),
        after(
            &[2],
            &[4],
            down("{ percent = 50, period_secs = 180 }", rules("downs and ups count", MANY, 10, 1, 6)),
        ),
        after(
            &[],
            &[10, 10, 10],
            down("{ percent = 10, period_secs = 120 }", rules("never back up", MANY, 100, 0, 100)),
        ),
        after(
            &[],
            &[10, 10, 10],
            down("{ percent = 1000, period_secs = 120 }", rules("below zero", MANY, 10, 5, 5)),
        ),
        after(
            FOUR,
            &[],
            up(
                "{ instances = 1000, period_secs = 60 }",
                rules("outdated, one policy, up", MANY, 100, 200, 200),
            ),
        ),
        after(
            FOUR,
            &[],
            up(
                "{ instances = 1000, period_secs = 120 }, { percent = 100, period_secs = 60 }",
                rules("two policies, up", MANY, 100, 200, 200),
            ),
        ),
        after(
            FOUR,
            &[],
            up(
                "{ instances = 1000, period_secs = 30 }, { percent = 100, period_secs = 60 }",
                rules("outdated, two policies, up", MANY, 100, 200, 200),
            ),
        ),
        after(
            &[],
            FOUR,
            down(
                "{ instances = 1000, period_secs = 60 }",
                rules("outdated, one policy, down", MANY, 100, 5, 5),
            ),
        ),
        after(
            &[],
            FOUR,
            down(
                "{ instances = 1000, period_secs = 120 }, { percent = 100, period_secs = 60 }",
                rules("two policies, down", MANY, 100, 5, 5),
            ),
        ),
        after(
            &[],
            FOUR,
            down(
                "{ instances = 1000, period_secs = 30 }, { percent = 100, period_secs = 60 }",
                rules("outdated, two policies, down", MANY, 100, 5, 5),
            ),
        ),
    ];
    for case in cases {
        let (min, max) = case.bounds;
        let policy = wants(&format!(
            "min = {min}\nmax = {max}\nallow_zero = true\nup_rates = [{}]\ndown_rates = [{}]\ndown_rate_select = 'most'",
            case.up, case.down
        ));
        let mut changes = spread(case.ups, 1);
        changes.extend(spread(case.downs, -1));
        let state = State { changes, ..State::default() };
        let inputs = inputs(case.current, &[("queue", f64::from(case.wanted))]);
        let (decision, _) = decide(&state, &inputs, &policy, START);
        assert_eq!(decision.to, case.expected, "{}: {}", case.name, decision.reason);
    }
}

/// In the middle of equal parts of the last 120 s.
fn spread(changes: &[i32], sign: i32) -> Vec<(UnixMillis, i32)> {
    let part = 120_000 / i64::try_from(changes.len().max(1)).unwrap();
    let ago = |index: usize| 120_000 - part * (i64::try_from(index).unwrap() + 1) + part / 2;
    changes.iter().enumerate().map(|(index, by)| (START - ago(index), sign * by)).collect()
}

/// `TestCalculateScaleUpLimitWithScalingRules`, `TestCalculateScaleDownLimitWithBehaviors`
#[test]
fn the_least_of_several_rates() {
    let both = "[{ instances = 2, period_secs = 60 }, { percent = 50, period_secs = 60 }]";
    let up = wants(&format!("max = 100\nup_rates = {both}\nup_rate_select = 'least'"));
    assert_eq!(decide(&State::default(), &inputs(1, &[("queue", 50.0)]), &up, START).0.to, 2);
    let down = wants(&format!("max = 100\ndown_rates = {both}\ndown_rate_select = 'least'"));
    assert_eq!(decide(&State::default(), &inputs(5, &[("queue", 1.0)]), &down, START).0.to, 3);
}
