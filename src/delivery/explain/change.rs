//! What somebody could do differently, and the smallest set of such changes that makes a request a hit. Each is tried
//! out on the rules themselves.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use millrace_kit::clock::UnixMillis;

use super::{super::fill::Fills, case::Case};
use crate::cache::{
    FieldLines,
    control::{RequestControl, split_list},
    date, targeted, validator,
};

/// In the order in which they are proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    UseGet,
    /// A directive of the request's `Cache-Control`.
    DropAsked(&'static str),
    DropPragma,
    MendOrigin,
    DropSetCookie,
    DropDirective(&'static str),
    NameVary,
    SetClock,
    DropAge,
    StrongTag,
    /// Seconds, in the directive that decides.
    Lifetime(u64),
    /// The same in the place of all that the field says now.
    Replace(u64),
    MarkPublic,
    DropAuthorization,
    DropCookies,
    /// Of the route: how long, and how much.
    RaiseMost,
    RaiseSize,
}

/// Directives of requests that keep a stored answer from being used, or this one from being stored.
const ASKED: [&str; 4] = ["no-cache", "no-store", "max-age", "min-fresh"];
/// The same of answers.
const SAID: [&str; 4] = ["no-store", "private", "no-cache", "must-understand"];
/// Clocks that differ by less are as good as set (RFC 9110 §6.6.1 knows seconds only).
const DRIFT: i64 = 5_000;
/// Changes made at the same time.
const MOST: usize = 3;

/// The smallest set of changes that makes it a hit, and others of one change each. Empty: none does, or it is one.
pub fn smallest(case: &Case, fills: &Fills) -> (Vec<Change>, Vec<Change>) {
    if case.is_hit(fills) {
        return Default::default();
    }
    let candidates = candidates(case);
    let helps = |changes: &[Change]| {
        // What sets a cookie would then set it for everybody.
        let sets_cookie = case.answer.contains_key(header::SET_COOKIE);
        if sets_cookie && changes.contains(&Change::MarkPublic) && !changes.contains(&Change::DropSetCookie) {
            return false;
        }
        let mut changed = case.clone();
        changes.iter().for_each(|change| change.apply(&mut changed));
        changed.is_hit(fills)
    };
    let mut sets: Vec<Vec<Change>> = vec![Vec::new()];
    for _ in 0..MOST {
        // Each set once, in the order of the candidates.
        let larger = sets.iter().flat_map(|set| {
            let next = set.last().and_then(|last| candidates.iter().position(|one| one == last));
            let rest = candidates.get(next.map_or(0, |at| at + 1)..).unwrap_or_default();
            rest.iter().map(|change| [&set[..], &[*change]].concat())
        });
        sets = larger.collect();
        let mut helping = sets.iter().filter(|set| helps(set));
        if let Some(first) = helping.next() {
            let mut others: Vec<_> = helping.filter(|set| set.len() == 1).flatten().copied().collect();
            let gives_lifetime = |change: &Change| matches!(change, Change::Lifetime(_));
            if first.iter().chain(&others).any(gives_lifetime) {
                // It says the same, more roughly.
                others.retain(|change| !matches!(change, Change::Replace(_)));
            }
            return (first.clone(), others);
        }
    }
    Default::default()
}

fn candidates(case: &Case) -> Vec<Change> {
    let control = case.control();
    let directives: Vec<String> =
        case.request.lines("cache-control").flat_map(|line| names(&String::from_utf8_lossy(line))).collect();
    let asked = ASKED.into_iter().filter(|name| directives.iter().any(|directive| directive == name));
    // With `Cache-Control` beside it it does not count, but it would without.
    let pragma = HeaderMap::from_iter(
        case.request.get_all(header::PRAGMA).iter().map(|value| (header::PRAGMA, value.clone())),
    );
    let pragma = RequestControl::parse(&pragma).no_cache;
    let said = SAID.into_iter().filter(|name| match *name {
        "no-store" => control.no_store,
        "private" => control.private,
        "no-cache" => control.no_cache || control.no_cache_fields,
        _ => control.must_understand,
    });
    let seconds = enough(case);
    let strong = validator::strong(&case.answer).is_some();
    let list: [Option<Change>; 10] = [
        (!matches!(case.method, Method::GET | Method::HEAD)).then_some(Change::UseGet),
        pragma.then_some(Change::DropPragma),
        case.status.is_server_error().then_some(Change::MendOrigin),
        case.answer.contains_key(header::SET_COOKIE).then_some(Change::DropSetCookie),
        case.varies_too_widely().then_some(Change::NameVary),
        skew(case).map(|_| Change::SetClock),
        case.answer.contains_key(header::AGE).then_some(Change::DropAge),
        (case.status == StatusCode::PARTIAL_CONTENT && !strong).then_some(Change::StrongTag),
        Some(Change::Lifetime(seconds)),
        case.answer.contains_key(targeted::in_charge(&case.answer)).then_some(Change::Replace(seconds)),
    ];
    let with = |name| case.request.contains_key(name);
    let personal = with(header::AUTHORIZATION) || with(header::COOKIE);
    let bounds = &case.policy.rules;
    let shared = [
        (bounds.lifetimes.most < i64::MAX).then_some(Change::RaiseMost),
        case.is_too_long().then_some(Change::RaiseSize),
        personal.then_some(Change::MarkPublic),
        with(header::AUTHORIZATION).then_some(Change::DropAuthorization),
        with(header::COOKIE).then_some(Change::DropCookies),
    ];
    let mut all: Vec<_> = asked.map(Change::DropAsked).collect();
    all.extend(list[..4].iter().flatten());
    all.extend(said.map(Change::DropDirective));
    all.extend(list[4..].iter().flatten());
    all.extend(shared.iter().flatten());
    all
}

/// By how much the origin's clock is off: positive when it is ahead. None when it is right, or the answer has been under way
/// for as long as it says.
pub fn skew(case: &Case) -> Option<i64> {
    let computed = case.compute();
    let ahead = computed.date?.saturating_sub(case.times.1);
    let explained = ahead < 0 && computed.age_value + DRIFT >= -ahead;
    (ahead.abs() > DRIFT && !explained).then_some(ahead)
}

/// A usual lifetime, in seconds, that is longer than the one that was not enough.
fn enough(case: &Case) -> u64 {
    let freshness = case.compute().freshness;
    let age = freshness.age(case.now).max(freshness.lifetime) / 1000;
    let usual = [60, 300, 3600, 86_400, 604_800, 2_592_000];
    usual
        .into_iter()
        .find(|seconds| i64::try_from(*seconds).is_ok_and(|longer| longer > age))
        .unwrap_or(31_536_000)
}

impl Change {
    pub fn apply(self, case: &mut Case) {
        let answer = &mut case.answer;
        match self {
            Self::UseGet => case.method = Method::GET,
            Self::DropAsked(name) => edit(&mut case.request, "cache-control", name, None),
            Self::DropPragma => drop(case.request.remove(header::PRAGMA)),
            Self::MendOrigin => {
                case.status = StatusCode::OK;
                edit(answer, targeted::in_charge(answer), "max-age", Some(60));
            }
            Self::DropSetCookie => drop(answer.remove(header::SET_COOKIE)),
            Self::DropDirective(name) => edit(answer, targeted::in_charge(answer), name, None),
            Self::NameVary => drop(answer.remove(header::VARY)),
            Self::SetClock => set_clock(answer, case.times.1),
            Self::DropAge => {
                answer.remove(header::AGE);
                set_clock(answer, case.times.1);
            }
            Self::StrongTag => drop(answer.insert(header::ETAG, HeaderValue::from_static("\"1\""))),
            Self::Lifetime(seconds) => {
                let deciding = if case.control().s_maxage.is_some() { "s-maxage" } else { "max-age" };
                let answer = &mut case.answer;
                edit(answer, targeted::in_charge(answer), deciding, Some(seconds));
            }
            Self::Replace(seconds) => {
                answer.remove(targeted::in_charge(answer));
                edit(answer, targeted::in_charge(answer), "max-age", Some(seconds));
            }
            Self::MarkPublic => edit(answer, targeted::in_charge(answer), "public", Some(0)),
            Self::DropCookies => drop(case.request.remove(header::COOKIE)),
            Self::DropAuthorization => drop(case.request.remove(header::AUTHORIZATION)),
            Self::RaiseMost => case.edit_rules(|rules| rules.lifetimes.most = i64::MAX),
            Self::RaiseSize => case.edit_rules(|rules| rules.storing.max_length = u64::MAX),
        }
    }
}

/// Takes a directive out of a field, or gives it other seconds.
fn edit(fields: &mut HeaderMap, field: &'static str, directive: &str, seconds: Option<u64>) {
    let lines: Vec<_> = fields.lines(field).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    let kept = lines.iter().flat_map(|line| split_list(line)).filter(|member| name(member) != directive);
    let mut members: Vec<String> = kept.map(str::to_owned).collect();
    match seconds {
        Some(_) if directive == "public" => members.push(directive.to_owned()),
        Some(seconds) => members.push(format!("{directive}={seconds}")),
        None => {}
    }
    fields.remove(field);
    if let (false, Ok(value)) = (members.is_empty(), HeaderValue::try_from(members.join(", "))) {
        fields.insert(HeaderName::from_static(field), value);
    }
}

/// As if a clock that is right had written the dates. An end that lay behind the beginning is not the clock's doing.
fn set_clock(answer: &mut HeaderMap, came: UnixMillis) {
    let read = |name| answer.first(name).and_then(date::parse);
    let (written, end) = (read("date"), read("expires"));
    let mut write = |name, at: UnixMillis| {
        if let Ok(value) = HeaderValue::try_from(super::words::date(at)) {
            answer.insert(name, value);
        }
    };
    write(header::DATE, came);
    if let (Some(written), Some(end)) = (written, end)
        && end > written
    {
        write(header::EXPIRES, came + (end - written));
    }
}

fn names(list: &str) -> Vec<String> {
    split_list(list).map(name).collect()
}

fn name(directive: &str) -> String {
    directive.split('=').next().unwrap_or_default().trim().to_ascii_lowercase()
}
