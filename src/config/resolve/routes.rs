//! From `[[routes]]` to policies.

use std::{collections::BTreeSet, sync::Arc};

use bytesize::ByteSize;
use http::HeaderName;
use millrace_kit::config::Faults;

use super::{
    super::{edge, raw, retry},
    images::Guards,
};
use crate::{
    cache::{Lifetimes, storable::Rules},
    delivery::{
        Access, Target,
        pace::Pace,
        policy::{
            Asking, BadField, Config, FieldRule, HostPattern, MAX_KEYED, Parameter, PolicyRules, QueryRule,
            is_dangerous,
        },
    },
    http::fronts,
    origin::Balance,
};

mod fallback;

/// More are refused: each request is compared with them one by one.
const MAX_ROUTES: usize = 256;

/// What routes have from other parts of the settings.
pub(super) struct General<'a> {
    pub storing: Rules,
    pub retry: &'a retry::Retry,
    pub images: &'a Guards,
}

pub(super) fn routes(
    raw: &[raw::Route],
    origins: &[Arc<str>],
    general: &General<'_>,
    faults: &mut Faults,
) -> (Vec<Config>, Vec<fronts::Config>) {
    if raw.len() > MAX_ROUTES {
        faults.push("routes", format!("at most {MAX_ROUTES} are possible"));
    }
    let (mut places, mut names) = (BTreeSet::new(), BTreeSet::new());
    let (mut resolved, mut fronts) = (Vec::with_capacity(raw.len()), Vec::new());
    for (index, route) in raw.iter().enumerate() {
        let mut faults = Here { faults, index };
        let host = faults.check("host", HostPattern::parse(&route.host));
        let path = path(&route.path, "path", &mut faults);
        for name in &route.origins {
            if !origins.iter().any(|known| **known == **name) {
                faults.push("origins", format!("{name:?} is the name of no origin"));
            }
        }
        if route.origins.iter().collect::<BTreeSet<_>>().len() < route.origins.len() {
            faults.push("origins", "an origin stands there twice");
        }
        let mut rules = rules(route, general, &mut faults);
        let (Some(host), Some(path)) = (host, path) else { continue };
        if !places.insert((host.to_string(), path.path().trim_end_matches('/').to_owned())) {
            faults.push("path", "another route has the same host and path");
        }
        let name = match route.name.as_str() {
            "" => format!("{host}{path}"),
            name => name.to_owned(),
        };
        if !names.insert(name.clone()) {
            faults.push("name", format!("{name:?} is the name of another route"));
        }
        let name: Arc<str> = name.into();
        if let Some(front) = edge::front(&name, route, |field, wrong| faults.push(field, wrong)) {
            rules.front = Some(name.clone());
            fronts.push(front);
        }
        let origins = route.origins.iter().map(|name| name.as_str().into()).collect();
        resolved.push(Config { name, host, path, origins, rules });
    }
    (resolved, fronts)
}

/// For what no route is for: the defaults of routes.
pub(super) fn general(general: &General<'_>) -> PolicyRules {
    let mut none = Faults::default();
    rules(&raw::Route::default(), general, &mut Here { faults: &mut none, index: 0 })
}

fn rules(route: &raw::Route, general: &General<'_>, faults: &mut Here<'_>) -> PolicyRules {
    PolicyRules {
        query: query(route, faults),
        fields: fields(route, faults),
        storing: storing_of(route, general.storing, faults),
        lifetimes: lifetimes(route, faults),
        fallback: fallback::fallback(&route.fallback, faults).map(Arc::new),
        images: general.images.rule(route, |field, wrong| faults.push(field, wrong)),
        asking: Asking {
            retry: retry::of_route(&route.retry, general.retry, |key, what| {
                faults.push(&format!("retry.{key}"), what);
            }),
            own_breakers: route.own_breakers,
            balance: match route.balance {
                raw::Balance::Order => Balance::Order,
                raw::Balance::Hash => Balance::Hash,
                raw::Balance::Random => Balance::Random,
            },
        },
        access: match route.access {
            raw::RouteAccess::Public => Access::Public,
            raw::RouteAccess::Signed => Access::Signed,
            raw::RouteAccess::Token => Access::Token,
        },
        pace: pace(route, faults),
        front: None,
    }
}

/// Where faults of one route go.
struct Here<'a> {
    faults: &'a mut Faults,
    index: usize,
}

impl Here<'_> {
    fn push(&mut self, field: &str, message: impl Into<String>) {
        self.faults.push(format!("routes[{}].{field}", self.index), message);
    }

    fn check<T>(&mut self, field: &str, result: Result<T, impl ToString>) -> Option<T> {
        result.map_err(|wrong| self.push(field, wrong.to_string())).ok()
    }
}

fn path(text: &str, field: &str, faults: &mut Here<'_>) -> Option<Target> {
    match Target::parse(if text.is_empty() { "/" } else { text }) {
        Ok(target) if target.query().is_none() => Some(target),
        Ok(_) => {
            faults.push(field, "has no query");
            None
        }
        Err(wrong) => {
            faults.push(field, wrong.to_string());
            None
        }
    }
}

fn storing_of(route: &raw::Route, storing: Rules, faults: &mut Here<'_>) -> Rules {
    let bound = match route.max_object_size.as_str() {
        "" => Some(u64::MAX),
        text => {
            let wrong = format!("{text:?} is not a size such as 100MiB");
            faults.check(
                "max_object_size",
                text.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| wrong),
            )
        }
    };
    if bound == Some(0) {
        faults.push("max_object_size", "must be at least 1");
    }
    Rules { max_length: bound.unwrap_or(u64::MAX), ..storing }
}

fn pace(route: &raw::Route, faults: &mut Here<'_>) -> Option<Pace> {
    let mut size = |field, text: &str| {
        let wrong = format!("{text:?} is not a size such as 2MiB");
        faults.check(field, text.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| wrong))
    };
    if route.pace.is_empty() {
        return None;
    }
    let (rate, burst) = (size("pace", &route.pace)?, size("pace_burst", &route.pace_burst)?);
    if rate < 1024 {
        faults.push("pace", "must be at least 1KiB");
    }
    if burst < 1 << 20 {
        faults.push("pace_burst", "must be at least 1MiB");
    }
    Some(Pace { rate, burst })
}

fn lifetimes(route: &raw::Route, faults: &mut Here<'_>) -> Lifetimes {
    let millis = |seconds: u32| i64::from(seconds) * 1000;
    let most = if route.max_ttl_secs == 0 { i64::MAX } else { millis(route.max_ttl_secs) };
    for (field, seconds) in [
        ("min_ttl_secs", route.min_ttl_secs),
        ("default_ttl_secs", route.default_ttl_secs),
        ("error_ttl_secs", route.error_ttl_secs),
    ] {
        if millis(seconds) > most {
            faults.push(field, "is more than max_ttl_secs");
        }
    }
    Lifetimes {
        least: millis(route.min_ttl_secs),
        most,
        unsaid: millis(route.default_ttl_secs),
        missing: millis(route.negative_ttl_secs),
        failing: millis(route.error_ttl_secs),
        while_revalidate: millis(route.stale_while_revalidate_secs),
        if_error: millis(route.stale_if_error_secs),
    }
}

fn query(route: &raw::Route, faults: &mut Here<'_>) -> QueryRule {
    let mut names = |field, texts: &[String]| -> Vec<Parameter> {
        let parse = |text: &String| {
            faults.check(field, Parameter::parse(text).map_err(|wrong| format!("{text:?} {wrong}")))
        };
        texts.iter().filter_map(parse).collect()
    };
    let (allow, deny) = (names("query_allow", &route.query_allow), names("query_deny", &route.query_deny));
    QueryRule::new(allow, deny).keep_tracking(route.keep_tracking).sort(route.query_sort)
}

fn fields(route: &raw::Route, faults: &mut Here<'_>) -> FieldRule {
    let named = |text: &String, wrong: BadField| format!("{text:?} {wrong}");
    let keyed: Vec<HeaderName> = route
        .key_headers
        .iter()
        .filter_map(|text| {
            faults.check("key_headers", FieldRule::keyed_name(text).map_err(|wrong| named(text, wrong)))
        })
        .collect();
    if route.key_headers.len() + route.key_cookies.len() > MAX_KEYED {
        faults.push("key_headers", format!("at most {MAX_KEYED} fields and cookies can be in a key"));
    }
    for cookie in &route.key_cookies {
        // A cookie's name is a token, as a field's is.
        if HeaderName::from_bytes(cookie.as_bytes()).is_err() {
            faults.push("key_cookies", format!("{cookie:?} is not the name of a cookie"));
        }
    }
    let all = route.forward_headers.iter().any(|name| name == "*");
    if all && route.forward_headers.len() > 1 {
        faults.push("forward_headers", "`*` stands alone: it is all but the dangerous");
    }
    let forward = (!all).then(|| {
        let parse = |text: &String| match HeaderName::from_bytes(text.as_bytes()) {
            Ok(name) if is_dangerous(name.as_str()) && !keyed.contains(&name) => {
                Err(named(text, BadField::Dangerous))
            }
            Ok(name) => Ok(name),
            Err(_) => Err(named(text, BadField::Name)),
        };
        let parsed = |text: &String| faults.check("forward_headers", parse(text));
        route.forward_headers.iter().filter_map(parsed).collect()
    });
    let cookies = route.key_cookies.iter().map(|name| name.as_str().into()).collect();
    FieldRule::new(forward, keyed, cookies)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(routes: Vec<raw::Route>) -> Vec<(String, String)> {
        let mut faults = Faults::default();
        let presets = [("thumb".to_owned(), "w=1".to_owned())].into();
        let guards = Guards::of(&raw::Media { presets, ..Default::default() }, &mut faults);
        let retry = retry::Retry::default();
        let general = General { storing: Rules::default(), retry: &retry, images: &guards };
        super::routes(&routes, &["a".into(), "b".into()], &general, &mut faults);
        faults.0.into_iter().map(|fault| (fault.key, fault.message)).collect()
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn good_routes_have_no_faults() {
        let default = raw::Route::default;
        let routes = vec![
            default(),
            raw::Route { host: "a.example".into(), origins: texts(&["b", "a"]), ..default() },
            raw::Route { host: "*.example".into(), path: "/x/".into(), ..default() },
            raw::Route {
                path: "/x".into(),
                query_allow: texts(&["v", "p_*"]),
                forward_headers: texts(&["x-forwarded-host", "user-agent"]),
                key_headers: texts(&["X-Forwarded-Host"]),
                key_cookies: texts(&["lang"]),
                ..default()
            },
        ];
        assert_eq!(faults(routes), []);
    }

    #[test]
    fn every_fault_is_found() {
        let default = raw::Route::default;
        let routes = vec![
            raw::Route {
                host: "a:80".into(),
                path: "x".into(),
                origins: texts(&["c", "a", "a"]),
                query_allow: texts(&["a=b"]),
                forward_headers: texts(&["*", "x"]),
                ..default()
            },
            raw::Route { path: "/x?y".into(), key_headers: texts(&["range", "cookie"]), ..default() },
            raw::Route { forward_headers: texts(&["X-Original-URL", "a b"]), ..default() },
            raw::Route {
                key_cookies: texts(&["a b"]),
                max_object_size: "many".into(),
                min_ttl_secs: 2,
                max_ttl_secs: 1,
                retry: raw::RouteRetry { attempts: Some(0), ..Default::default() },
                fallback: raw::Fallback {
                    file: "missing/slate.jpg".into(),
                    status: 204,
                    cache_control: "a\nb".into(),
                    ..raw::Fallback::default()
                },
                ..default()
            },
            raw::Route {
                path: "/x".into(),
                name: "/".into(),
                pace: "1B".into(),
                pace_burst: "2".into(),
                ..default()
            },
            raw::Route {
                path: "/z".into(),
                images: raw::Images::Signed,
                image_presets: texts(&["thumb", "other"]),
                client_hints: texts(&["DPR", "battery"]),
                ..default()
            },
            raw::Route {
                path: "/y".into(),
                key_headers: (0..=MAX_KEYED).map(|n| format!("x-{n}")).collect(),
                ..default()
            },
        ];
        let keys: Vec<_> = faults(routes).into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            [
                "routes[0].host",
                "routes[0].path",
                "routes[0].origins",
                "routes[0].origins",
                "routes[0].query_allow",
                "routes[0].forward_headers",
                "routes[1].path",
                "routes[1].key_headers",
                "routes[1].key_headers",
                "routes[2].forward_headers",
                "routes[2].forward_headers",
                "routes[3].key_cookies",
                "routes[3].max_object_size",
                "routes[3].min_ttl_secs",
                "routes[3].fallback.status",
                "routes[3].fallback.cache_control",
                "routes[3].fallback.file",
                "routes[3].retry.attempts",
                "routes[3].path",
                "routes[3].name",
                "routes[4].pace",
                "routes[4].pace_burst",
                "routes[4].name",
                "routes[5].image_presets",
                "routes[5].images",
                "routes[5].image_presets",
                "routes[5].client_hints",
                "routes[6].key_headers",
            ]
        );
        let many = (0..=MAX_ROUTES).map(|n| raw::Route { path: format!("/{n}"), ..default() }).collect();
        assert_eq!(faults(many)[0].0, "routes");
    }
}
