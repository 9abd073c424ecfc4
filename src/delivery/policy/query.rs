//! Which parameters of a query count, and in which order: what is not in the key does not reach an origin either.

use super::super::request::Target;

/// Rules for the parameters of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryRule {
    allow: Vec<Name>,
    deny: Vec<Name>,
    keep_tracking: bool,
    sort: bool,
}

/// A parameter's name, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    Exactly(Box<str>),
    Beginning(Box<str>),
}

/// What senders of mail and advertisements add, for scripts in the page to read. Origins answer the same without.
const TRACKING: [&str; 34] = [
    "_branch_match_id",
    "_ga",
    "_gl",
    "_hsenc",
    "_hsmi",
    "_openstat",
    "dclid",
    "epik",
    "fbclid",
    "gad_source",
    "gbraid",
    "gclid",
    "gclsrc",
    "igsh",
    "igshid",
    "irclickid",
    "li_fat_id",
    "mc_cid",
    "mc_eid",
    "mkt_tok",
    "msclkid",
    "oly_anon_id",
    "oly_enc_id",
    "rb_clickid",
    "rdt_cid",
    "s_cid",
    "sccid",
    "srsltid",
    "ttclid",
    "twclid",
    "vero_id",
    "wbraid",
    "wickedid",
    "yclid",
];
const TRACKING_BEGINNINGS: [&str; 2] = ["utm_", "hsa_"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a parameter's name as it stands in addresses, or the beginning of one and a `*`")]
pub struct BadName;

impl Name {
    /// `v`, `v_*` or `*`.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let (name, beginning) = text.strip_suffix('*').map_or((text, false), |name| (name, true));
        let odd = |byte: u8| !byte.is_ascii_graphic() || b"&=#*\\".contains(&byte);
        // As targets have it: `%2f` in a name would never match.
        let normal = Target::parse(&format!("/?{name}")).is_ok_and(|target| target.query() == Some(name));
        if name.bytes().any(odd) || !normal || (name.is_empty() && !beginning) {
            return Err(BadName);
        }
        Ok(if beginning { Self::Beginning(name.into()) } else { Self::Exactly(name.into()) })
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exactly(exact) => name == &**exact,
            Self::Beginning(beginning) => name.starts_with(&**beginning),
        }
    }
}

impl Default for QueryRule {
    /// All in one order, but for tracking.
    fn default() -> Self {
        Self::new(vec![Name::Beginning("".into())], Vec::new())
    }
}

impl QueryRule {
    pub fn new(allow: Vec<Name>, deny: Vec<Name>) -> Self {
        Self { allow, deny, keep_tracking: false, sort: true }
    }

    #[must_use]
    pub fn keep_tracking(self, keep_tracking: bool) -> Self {
        Self { keep_tracking, ..self }
    }

    #[must_use]
    pub fn sort(self, sort: bool) -> Self {
        Self { sort, ..self }
    }

    fn counts(&self, name: &str) -> bool {
        let matching = |names: &[Name]| names.iter().any(|one| one.matches(name));
        if !matching(&self.allow) || matching(&self.deny) {
            return false;
        }
        let named = || self.allow.iter().any(|one| matches!(one, Name::Exactly(exact) if **exact == *name));
        self.keep_tracking || !is_tracking(name) || named()
    }

    /// The same target with what counts of its query. Several values of one name keep their order.
    pub fn apply(&self, target: Target) -> Target {
        let Some(query) = target.query() else { return target };
        let mut ordered = true;
        let mut pairs: Vec<&str> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty() && self.counts(name_of(pair))) {
            ordered = ordered && pairs.last().is_none_or(|last| name_of(last) <= name_of(pair));
            pairs.push(pair);
        }
        if !ordered && self.sort {
            pairs.sort_by_key(|pair| name_of(pair));
        }
        let kept = pairs.join("&");
        if kept == query && !kept.is_empty() { target } else { target.with_query(&kept) }
    }
}

fn name_of(pair: &str) -> &str {
    pair.split('=').next().unwrap_or_default()
}

fn is_tracking(name: &str) -> bool {
    let begins = |beginning: &str| {
        name.get(..beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(beginning))
    };
    TRACKING.iter().any(|known| name.eq_ignore_ascii_case(known))
        || TRACKING_BEGINNINGS.iter().any(|beginning| begins(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(rule: &QueryRule, target: &str) -> String {
        rule.apply(Target::parse(target).unwrap()).to_string()
    }

    fn names(texts: &[&str]) -> Vec<Name> {
        texts.iter().map(|text| Name::parse(text).unwrap()).collect()
    }

    #[test]
    fn by_default_order_and_tracking_do_not_count() {
        let rule = QueryRule::default();
        for (target, expected) in [
            ("/a", "/a"),
            ("/a?", "/a"),
            ("/a?&&", "/a"),
            ("/a?x", "/a?x"),
            ("/a?b=2&a=1", "/a?a=1&b=2"),
            ("/a?a=2&b=1&a=1", "/a?a=2&a=1&b=1"),
            ("/a?a=1&&b=2&", "/a?a=1&b=2"),
            ("/a?utm_source=x&v=1&gclid=y&FBCLID=z&utm%5fid=1", "/a?v=1"),
            ("/a?utm_source=x", "/a"),
            ("/a?utm=1&gclid2=1", "/a?gclid2=1&utm=1"),
            ("/a?=1&a", "/a?=1&a"),
        ] {
            assert_eq!(applied(&rule, target), expected, "{target}");
        }
    }

    #[test]
    fn lists_allow_and_deny() {
        let only = QueryRule::new(names(&["v", "size_*", "gclid"]), Vec::new());
        assert_eq!(applied(&only, "/a?x=1&v=2&size_w=3&gclid=4&vv=5"), "/a?gclid=4&size_w=3&v=2");
        let none = QueryRule::new(Vec::new(), Vec::new());
        assert_eq!(applied(&none, "/a?x=1"), "/a");
        let but = QueryRule::new(names(&["*"]), names(&["cb", "_*"]));
        assert_eq!(applied(&but, "/a?cb=9&_=1&x=1&utm_id=1"), "/a?x=1");
        assert_eq!(applied(&but.keep_tracking(true), "/a?cb=9&utm_id=1&_ga=2"), "/a?utm_id=1");
        assert_eq!(applied(&QueryRule::default().sort(false), "/a?b&a&gclid=1"), "/a?b&a");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for bad in ["", "a=b", "a&b", "a*b", "a b", "%2f", "a#", "**"] {
            assert_eq!(Name::parse(bad), Err(BadName), "{bad}");
        }
        assert!(["a%2Fb", "filter[x]", "*", "a.b"].iter().all(|good| Name::parse(good).is_ok()));
    }
}
