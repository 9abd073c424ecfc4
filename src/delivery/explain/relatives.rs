//! Other variants of the resource, and other addresses of the path: what tells them from this request.

use std::collections::BTreeSet;

use super::{super::fill::Sibling, report::Fix, words::title};

/// What a selection says, field by field (see `VarySpec::select`).
pub fn fields_of(selection: &str) -> Vec<(&str, Option<&str>)> {
    let lines = selection.lines();
    lines.map(|line| line.split_once('=').map_or((line, None), |(name, value)| (name, Some(value)))).collect()
}

/// Field, its value there, its value here.
pub fn differences<'a>(there: &'a str, here: &'a str) -> Vec<(&'a str, Option<&'a str>, Option<&'a str>)> {
    let (there, here) = (fields_of(there), fields_of(here));
    let pairs = there.into_iter().zip(here).filter(|(there, here)| there != here);
    pairs.map(|((name, there), (_, here))| (name, there, here)).collect()
}

/// What to do about answers that vary by this field.
pub fn narrow_vary(name: &str) -> Fix {
    let instead = match name {
        "user-agent" => {
            "there are as many as browsers: serve the same to all, or vary by a field with few values such as Sec-CH-UA-Mobile"
        }
        "cookie" => {
            "each visitor has others: leave what is personal out of this answer and fetch it from the page"
        }
        "accept-encoding" => {
            "each list of codings has a variant: answer all the same where compressing gains little"
        }
        "accept-language" => "say Content-Language with the answer, or put the language into the address",
        "origin" => "send `Access-Control-Allow-Origin: *` where no credentials are involved",
        "authorization" => "answer what is the same for everybody without asking for credentials",
        "referer" | "x-request-id" | "x-forwarded-for" | "traceparent" => {
            "it is another one for each request"
        }
        _ => "vary only by fields with few values",
    };
    Fix::new("origin", "narrow-vary", format!("take `{}` out of Vary: {instead}", title(name)))
}

/// The same of a field that its route counts into the key.
pub fn narrow_key(name: &str) -> Fix {
    let how = match name {
        "cookie" => "take the cookies that have many values out of `key_cookies` of its route".to_owned(),
        name => format!("take `{}` out of `key_headers` of its route, if it has many values", title(name)),
    };
    Fix::new("config", "narrow-key", how)
}

/// What tells the address of a request from one that gave the same answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noise {
    /// Of parameters; empty: only their order differs.
    pub names: Vec<String>,
    /// Addresses that differ in nothing else.
    pub addresses: usize,
    /// All that is known says that these parameters change nothing.
    pub sure: bool,
}

/// Parameters that serve statistics.
const TRACKING: [&str; 8] = ["utm_", "gclid", "fbclid", "msclkid", "dclid", "gbraid", "mc_", "_ga"];

/// How this query differs from those of the siblings that are nearest to it; None when there are none.
pub fn noise(query: &str, siblings: &[Sibling]) -> Option<Noise> {
    let own = siblings.iter().find(|sibling| *sibling.text == *query);
    let alike = |sibling: &&Sibling| own.is_none_or(|own| own.likeness == sibling.likeness);
    let others = siblings.iter().filter(|sibling| *sibling.text != *query).filter(alike);
    let differing: Vec<_> = others.map(|sibling| (differing_names(query, &sibling.text), sibling)).collect();
    let names = differing.iter().map(|(names, _)| names).min_by_key(|names| names.len())?.clone();
    let near: Vec<_> =
        differing.iter().filter(|(other, _)| *other == names).map(|(_, sibling)| *sibling).collect();
    let first = near.first()?.likeness;
    let same_answers = near.iter().all(|sibling| sibling.likeness == first);
    let known = names.iter().all(|name| TRACKING.iter().any(|prefix| name.starts_with(prefix)));
    let sure = known || own.is_some() || (near.len() > 1 && same_answers);
    (own.is_some() || same_answers || known).then(|| Noise {
        addresses: near.len() + usize::from(own.is_some()),
        names: names.into_iter().collect(),
        sure,
    })
}

fn differing_names(one: &str, other: &str) -> BTreeSet<String> {
    let pairs = |query: &str| query.split('&').map(str::to_owned).collect::<BTreeSet<_>>();
    let (one, other) = (pairs(one), pairs(other));
    let name = |pair: &String| pair.split('=').next().unwrap_or_default().to_owned();
    one.symmetric_difference(&other).map(name).collect()
}

impl Noise {
    pub fn fix(&self) -> Fix {
        match &self.names[..] {
            [] => Fix::new(
                "client",
                "sort-query",
                "put the query's parameters into one order: addresses that differ in it are different objects",
            ),
            names => {
                let list = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                let how = match self.sure {
                    true => "it changes nothing in the answer",
                    false => "if it changes nothing in the answer",
                };
                Fix::new(
                    "config",
                    "drop-parameter",
                    format!(
                        "leave {list} out of the key (`query_deny` of a route), or out of the links: {how}"
                    ),
                )
            }
        }
    }

    pub fn tell(&self) -> String {
        let others = match self.addresses {
            1 => "another address".to_owned(),
            count => format!("{count} addresses"),
        };
        match &self.names[..] {
            [] => format!("{others} of this path had the same parameters in another order"),
            names => format!("{others} of this path differed only in {}", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sibling(text: &str, likeness: u64) -> Sibling {
        Sibling { text: text.into(), likeness, at: 0 }
    }

    #[test]
    fn what_tells_addresses_apart_is_named() {
        let same = [sibling("id=1&cb=1", 7), sibling("id=1&cb=2", 7), sibling("id=2&cb=3", 8)];
        let found = noise("id=1&cb=9", &same).unwrap();
        assert_eq!((found.names, found.addresses, found.sure), (vec!["cb".to_owned()], 2, true));
        let other = [sibling("id=1", 7), sibling("id=2", 8)];
        assert_eq!(noise("id=3", &other), None, "the parameter matters");
        let order = noise("b=2&a=1", &[sibling("a=1&b=2", 7)]).unwrap();
        assert!(order.names.is_empty());
        let tracked = noise("utm_source=x", &[sibling("utm_source=y", 7)]).unwrap();
        assert!(tracked.sure);
        let unsure = noise("v=1", &[sibling("v=2", 7)]).unwrap();
        assert!(!unsure.sure);
        let own = [sibling("v=1", 7), sibling("v=2", 7), sibling("v=3", 9)];
        assert_eq!(noise("v=1", &own).map(|noise| (noise.addresses, noise.sure)), Some((2, true)));
        assert_eq!(noise("v=1", &[]), None);
    }

    #[test]
    fn selections_are_compared_field_by_field() {
        let (there, here) = ("accept=a\ncookie\n", "accept=a\ncookie=x=1\n");
        assert_eq!(differences(there, here), [("cookie", None, Some("x=1"))]);
    }
}
