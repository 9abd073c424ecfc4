//! How the verdicts on storing and on freshness came about, step by step.

use std::cmp::Ordering;

use super::{
    super::fill::Fills,
    case::{Case, Ruling},
    change::skew,
    report::Step,
    words::{date, field, span},
};
use crate::cache::{
    FieldLines,
    control::RequestControl,
    freshness::{Basis, Verdict},
    storable::Refusal,
    targeted, validator,
};

/// Each question of RFC 9111 §3 that was asked of the answer, in order.
pub fn storability(case: &Case, fills: &Fills) -> Vec<Step> {
    let mut asked = Vec::new();
    let ruling = case.rule(fills, &mut |refusal, objects| asked.push((refusal, objects)));
    let mut steps: Vec<Step> =
        asked.iter().map(|(refusal, objects)| step(case, *refusal, *objects)).collect();
    if let Ruling::Refused(refusal) = ruling
        && !asked.iter().any(|(_, objects)| *objects)
    {
        steps.push(step(case, refusal, true));
    }
    steps
}

fn step(case: &Case, refusal: Refusal, objects: bool) -> Step {
    Step::new(question(refusal), if objects { "no" } else { "yes" })
        .good(!objects)
        .because(evidence(case, refusal).filter(|_| objects))
}

/// Answered with yes when it does not stand in the way.
fn question(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Method => "the method can be answered from a cache",
        Refusal::RequestNoStore => "the request lets its answer be stored",
        Refusal::NoStore => "the answer does not say no-store",
        Refusal::Private => "the answer is not private",
        Refusal::Authorization => "no credentials, or the answer is for everybody",
        Refusal::VaryStar => "Vary names the fields that matter",
        Refusal::Cookie => "no cookies, or it says for how long it is good",
        Refusal::SetCookie => "no cookie that is meant for one client",
        Refusal::Status => "the status can be reused",
        Refusal::NothingToReuse => "it has a lifetime left, may be used stale, or has a validator",
        Refusal::StandIn => "nothing older may stand in for it",
        Refusal::TooLarge => "it can be kept",
    }
}

/// The field that decided.
pub fn evidence(case: &Case, refusal: Refusal) -> Option<String> {
    let control = || field(&case.answer, targeted::in_charge(&case.answer));
    match refusal {
        Refusal::Method => Some(case.method.to_string()),
        Refusal::RequestNoStore => field(&case.request, "cache-control"),
        Refusal::NoStore | Refusal::Private => control(),
        Refusal::Authorization => field(&case.request, "authorization"),
        Refusal::VaryStar => field(&case.answer, "vary"),
        Refusal::Cookie => field(&case.request, "cookie"),
        Refusal::SetCookie => field(&case.answer, "set-cookie"),
        Refusal::Status | Refusal::StandIn => Some(format!("status {}", case.status.as_u16())),
        Refusal::NothingToReuse => Some(lifetime_evidence(case)),
        Refusal::TooLarge => case.length.map(|length| format!("{length} bytes")),
    }
}

/// What the lifetime follows from, or that there is none.
pub fn lifetime_evidence(case: &Case) -> String {
    let (bound, said) = (case.compute().freshness, case.said().freshness);
    let field = lifetime_field(case);
    match bound.lifetime.cmp(&said.lifetime) {
        _ if matches!(bound.basis, Basis::Operator | Basis::None) => field,
        Ordering::Less => format!("max_ttl_secs of its route; {field}"),
        Ordering::Equal => field,
        Ordering::Greater => format!("min_ttl_secs of its route; {field}"),
    }
}

fn lifetime_field(case: &Case) -> String {
    let in_charge = || field(&case.answer, targeted::in_charge(&case.answer)).unwrap_or_default();
    let line = |name| field(&case.answer, name).unwrap_or_default();
    match case.compute().freshness.basis {
        Basis::SMaxage | Basis::MaxAge => in_charge(),
        Basis::Expires if case.answer.lines("expires").nth(1).is_some() => {
            format!("{} (several lines contradict each other)", line("expires"))
        }
        Basis::Expires if case.answer.first("expires").and_then(crate::cache::date::parse).is_none() => {
            format!("{} (not a date)", line("expires"))
        }
        Basis::Expires => [line("expires"), line("date")].join(", "),
        Basis::Heuristic => format!("{} (a tenth of the time since then)", line("last-modified")),
        Basis::Operator => "default_ttl or negative_ttl of its route".to_owned(),
        Basis::None => "no max-age, no Expires, no Last-Modified".to_owned(),
    }
}

/// RFC 9111 §4.2, for the moment of the case.
pub fn freshness(case: &Case, verdict: Option<Verdict>) -> Vec<Step> {
    let control = case.control();
    let computed = case.compute();
    let freshness = computed.freshness;
    let mut steps = Vec::new();
    let in_charge = targeted::in_charge(&case.answer);
    if control.targeted {
        let beside = ["cache-control", "expires"].into_iter().filter_map(|name| field(&case.answer, name));
        let ignored = beside.collect::<Vec<_>>().join(", ");
        let because =
            (!ignored.is_empty()).then(|| format!("said to caches like this one; not heeded: {ignored}"));
        steps.push(Step::new("policy", field(&case.answer, in_charge).unwrap_or_default()).because(because));
    }
    steps.push(
        Step::new("lifetime", span(freshness.lifetime))
            .good(freshness.lifetime > 0)
            .because(lifetime_evidence(case)),
    );
    let came_at = Some(format!("it came at {}", date(case.times.1)));
    match (computed.date, skew(case)) {
        (None, _) => {}
        (Some(_), Some(off)) => steps.push(
            Step::new(
                "origin's clock",
                format!("{} {}", span(off.abs()), if off > 0 { "ahead" } else { "behind" }),
            )
            .good(false)
            .because(field(&case.answer, "date").zip(came_at).map(|(date, came)| format!("{date}, {came}"))),
        ),
        (Some(_), None) if computed.apparent_age >= 1000 => steps.push(
            Step::new("age by its Date", span(computed.apparent_age)).because(field(&case.answer, "date")),
        ),
        (Some(_), None) => {}
    }
    if computed.age_value > 0 {
        steps.push(
            Step::new("age it came with", span(computed.age_value)).because(field(&case.answer, "age")),
        );
    }
    if computed.response_delay >= 1000 {
        steps.push(Step::new("time to the answer", span(computed.response_delay)));
    }
    let here = case.now.saturating_sub(freshness.response_time).max(0);
    if case.stored {
        steps.push(Step::new("time in the cache", span(here)));
    }
    steps.push(
        Step::new("age", span(freshness.age(case.now))).because(
            (computed.apparent_age > computed.age_value.saturating_add(computed.response_delay) && here > 0)
                .then(|| "the greater of both ages, and the time here".to_owned()),
        ),
    );
    let ttl = freshness.ttl(case.now);
    steps.push(Step::new("left", span(ttl)).good(ttl > 0).because("lifetime - age".to_owned()));
    if control.no_cache {
        steps.push(
            Step::new("to be validated", "at each use").good(false).because(field(&case.answer, in_charge)),
        );
    }
    if control.forbids_stale() && ttl <= 0 {
        steps.push(Step::new("stale use", "forbidden").because(field(&case.answer, in_charge)));
    } else if let Some(window) = control.stale_while_revalidate {
        let window = i64::from(window) * 1000;
        steps.push(Step::new("stale-while-revalidate", span(window)).good(-ttl <= window));
    }
    if RequestControl::parse(&case.request) != RequestControl::default() {
        let said = field(&case.request, "cache-control").or_else(|| field(&case.request, "pragma"));
        let good =
            verdict.is_some_and(|verdict| verdict == Verdict::Fresh || verdict == Verdict::StaleAccepted);
        steps.push(Step::new("request", said.unwrap_or_default()).good(good));
    }
    let validator = ["etag", "last-modified"].into_iter().find_map(|name| field(&case.answer, name));
    let strength = match validator::strong(&case.answer) {
        Some(_) => "strong",
        None => "weak",
    };
    steps.push(match validator {
        Some(line) => Step::new("validator", strength).because(line),
        None => Step::new("validator", "none").because("it can't be validated, only fetched anew".to_owned()),
    });
    if let Some(verdict) = verdict {
        let fresh = verdict == Verdict::Fresh;
        steps.push(Step::new("verdict", verdict_word(verdict)).good(fresh));
    }
    steps
}

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Fresh => "fresh",
        Verdict::RequestWantsValidation => "fresh, but the request wants it validated",
        Verdict::StaleAccepted => "stale, and the request accepts that",
        Verdict::StaleWhileRevalidate => "stale, used once more while it is validated",
        Verdict::Stale => "stale",
    }
}
