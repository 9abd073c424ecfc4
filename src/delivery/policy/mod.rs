//! What the configuration says about a part of the addresses (`[[routes]]`): which origins have it, what makes its keys,
//! which bounds hold. Not to be confused with [`super::route::Route`], the kind of an answer.

use std::{cmp::Reverse, sync::Arc};

use percent_encoding::percent_decode_str;

use super::{access::Access, pace::Pace, request::Target};
use crate::{
    cache::{FieldLines, Lifetimes, storable::Rules},
    origin::{Balance, Chain, RetryPolicy},
};

mod fallback;
mod fields;
mod host;
mod images;
mod query;

pub use fallback::{Content as FallbackContent, Fallback};
pub use fields::{BadField, FieldRule, MAX_KEYED, is_dangerous, is_judged_here, passed};
pub use host::{BadHost, HostPattern};
pub use images::{Denied, ImageMode, ImageRule};
pub use query::{BadName as BadParameter, Name as Parameter, QueryRule};

use host::normal;

/// What is configured.
#[derive(Debug, Clone)]
pub struct Config {
    pub name: Arc<str>,
    pub host: HostPattern,
    /// In normal form. All that begins with these segments; `/`: everything.
    pub path: Target,
    /// Their names, in the order in which they are asked; none: all.
    pub origins: Vec<Arc<str>>,
    pub rules: PolicyRules,
}

/// What holds for all that a policy is for.
#[derive(Debug, Clone, Default)]
pub struct PolicyRules {
    pub query: QueryRule,
    pub fields: FieldRule,
    pub storing: Rules,
    pub lifetimes: Lifetimes,
    pub fallback: Option<Arc<Fallback>>,
    pub images: ImageRule,
    pub asking: Asking,
    pub access: Access,
    /// How fast assets go out; None: as fast as they can.
    pub pace: Option<Pace>,
    /// The name by which others find what they keep for this part.
    pub front: Option<Arc<str>>,
}

/// How origins are asked otherwise than for the rest.
#[derive(Debug, Clone, Default)]
pub struct Asking {
    pub retry: Option<RetryPolicy>,
    /// Whether what fails here says nothing about the other routes.
    pub own_breakers: bool,
    pub balance: Balance,
}

/// A part of the addresses.
#[derive(Clone)]
pub struct Policy {
    pub name: Arc<str>,
    host: HostPattern,
    /// Without a slash at its end.
    stem: Box<str>,
    /// The same as [`plain`] has it.
    plain_stem: Box<str>,
    pub chain: Arc<Chain>,
    pub rules: PolicyRules,
    /// What stands in front of the path in keys: the host pattern. Strangers can make up hosts, but not patterns.
    pub space: Box<str>,
    /// What stands at the end of keys: by which fields answers are told apart.
    pub key_tail: Box<str>,
}

/// All of them. Exactly one is for each address.
pub struct Policies {
    /// The most particular first; the last is for everything.
    all: Vec<Arc<Policy>>,
    /// Whether the host makes a difference.
    by_host: bool,
    /// Whether some of them do not make all images for everybody.
    guards_images: bool,
    /// Whether all of it is for everybody.
    public: bool,
}

impl Policy {
    pub fn new(config: Config, chain: Arc<Chain>) -> Self {
        let Config { name, host, path, origins: _, rules } = config;
        let stem: Box<str> = path.path().trim_end_matches('/').into();
        let plain_stem = plain(&stem).into();
        let space = host.to_string().into();
        let key_tail = rules.fields.key_text().into();
        Self { name, host, stem, plain_stem, chain, rules, space, key_tail }
    }

    /// For what no other policy is for.
    pub fn general(rules: PolicyRules, chain: Arc<Chain>) -> Self {
        let (host, path) = (HostPattern::Any, Target::of_path("/"));
        let config = Config { name: "default".into(), host, path, origins: Vec::new(), rules };
        Self::new(config, chain)
    }

    fn has_path(&self, path: &str) -> bool {
        is_below(path, &self.stem)
    }
}

impl Policies {
    pub fn new(configured: Vec<Policy>, general: Policy) -> Self {
        let mut all: Vec<_> = configured.into_iter().map(Arc::new).collect();
        all.sort_by(|one, other| {
            other
                .host
                .cmp_particularity(&one.host)
                .then_with(|| Reverse(one.stem.len()).cmp(&Reverse(other.stem.len())))
        });
        let by_host = all.iter().any(|policy| !policy.host.is_any());
        all.push(Arc::new(general));
        let guards_images = all.iter().any(|policy| !policy.rules.images.is_open());
        let public = all.iter().all(|policy| policy.rules.access == Access::Public);
        Self { all, by_host, guards_images, public }
    }

    pub fn are_public(&self) -> bool {
        self.public
    }

    /// The one for a source. The host counts more than the path, and of paths the longest.
    pub fn of(&self, host: &str, path: &str) -> &Arc<Policy> {
        let host = if self.by_host { normal(host) } else { "".into() };
        let fits = |policy: &&Arc<Policy>| policy.host.matches(&host) && policy.has_path(path);
        // The last is for everything.
        self.all.iter().find(fits).unwrap_or(&self.all[self.all.len() - 1])
    }

    /// The one that would be for a source if its path were written as plainly as some origins read it. Guards have to hold
    /// for these, too.
    pub fn of_plain(&self, host: &str, path: &str) -> &Arc<Policy> {
        let (host, path) = (normal(host), plain(path));
        let fits = |policy: &&Arc<Policy>| policy.host.matches(&host) && is_below(&path, &policy.plain_stem);
        self.all.iter().find(fits).unwrap_or(&self.all[self.all.len() - 1])
    }

    /// The most that is wanted anywhere.
    pub fn strictest(&self) -> Access {
        self.all.iter().map(|policy| policy.rules.access).max().unwrap_or_default()
    }

    pub fn guards_images(&self) -> bool {
        self.guards_images
    }

    /// Those that may be for a source on some host: for each host pattern the one with the longest path.
    pub fn on_any_host(&self, path: &str) -> Vec<&Arc<Policy>> {
        let mut found: Vec<&Arc<Policy>> = Vec::new();
        for policy in self.all.iter().filter(|policy| policy.has_path(path)) {
            if found.iter().all(|other| other.host != policy.host) {
                found.push(policy);
            }
        }
        found
    }

    /// What stands in front of paths in keys, of all that this host may be served; without a host, of everything.
    pub fn spaces(&self, host: Option<&str>) -> Vec<&str> {
        let host = host.map(normal);
        let fits = |policy: &&Arc<Policy>| host.as_ref().is_none_or(|host| policy.host.matches(host));
        let mut spaces: Vec<&str> = self.all.iter().filter(fits).map(|policy| &*policy.space).collect();
        spaces.sort_unstable();
        spaces.dedup();
        spaces
    }
}

fn is_below(path: &str, stem: &str) -> bool {
    path.strip_prefix(stem).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a path comes to where everything that can be decoded is, slashes included, several slashes count as one, and what stands
/// behind a semicolon in a segment is a parameter of it.
fn plain(path: &str) -> String {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let mut plain = String::with_capacity(decoded.len());
    let mut in_parameter = false;
    for letter in decoded.chars() {
        in_parameter = letter == ';' || (in_parameter && letter != '/');
        if !in_parameter && (letter != '/' || !plain.ends_with('/')) {
            plain.push(letter);
        }
    }
    plain
}

/// The host that a request is for; empty when it does not say.
pub fn host_of(fields: &impl FieldLines) -> &str {
    let host = fields.first("host").filter(|host| host.is_ascii());
    host.and_then(|host| std::str::from_utf8(host).ok()).unwrap_or_default()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn chain() -> Arc<Chain> {
        Arc::new(Chain::new(Vec::new(), RetryPolicy::default()))
    }

    /// With a route for each (host, path), named by its place.
    pub fn policies(routes: &[(&str, &str)]) -> Policies {
        let policy = |(place, (host, path)): (usize, &(&str, &str))| {
            let config = Config {
                name: place.to_string().into(),
                host: HostPattern::parse(host).unwrap(),
                path: Target::parse(path).unwrap(),
                origins: Vec::new(),
                rules: PolicyRules::default(),
            };
            Policy::new(config, chain())
        };
        let general = Policy::general(PolicyRules::default(), chain());
        Policies::new(routes.iter().enumerate().map(policy).collect(), general)
    }

    #[test]
    fn the_most_particular_route_counts() {
        let table = policies(&[
            ("", "/films"),
            ("a.example", "/"),
            ("a.example", "/films/new/"),
            ("*.example", "/films"),
            ("*.b.example", "/"),
        ]);
        for (host, path, expected) in [
            ("x", "/films", "0"),
            ("x", "/films/1", "0"),
            ("x", "/filmstrip", "default"),
            ("x", "/", "default"),
            ("", "/films", "0"),
            ("a.example", "/films", "1"),
            ("A.EXAMPLE:8080", "/films/new", "2"),
            ("a.example.", "/films/new/x", "2"),
            ("a.example", "/films/newer", "1"),
            ("c.example", "/films/new", "3"),
            ("c.example", "/else", "default"),
            ("c.b.example", "/films", "4"),
        ] {
            assert_eq!(&*table.of(host, path).name, expected, "{host} {path}");
        }
    }

    #[test]
    fn spaces_are_named_by_the_configuration_alone() {
        let table = policies(&[("", "/films"), ("a.example", "/"), ("*.example", "/films")]);
        assert_eq!(&*table.of("made.up", "/x").space, "");
        assert_eq!(&*table.of("one.example", "/films/x").space, "*.example");
        assert_eq!(table.spaces(None), ["", "*.example", "a.example"]);
        assert_eq!(table.spaces(Some("A.example:1")), ["", "*.example", "a.example"]);
        assert_eq!(table.spaces(Some("b.example")), ["", "*.example"]);
        let names =
            |path| table.on_any_host(path).iter().map(|policy| policy.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names("/films/x"), ["1", "2", "0"]);
        assert_eq!(names("/x"), ["1", "default"]);
    }
}
