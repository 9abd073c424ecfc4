//! Purges as they are asked for: addresses are brought into the form that keys have.

use http::{HeaderMap, HeaderValue, header};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    dialect::Located,
    pipeline::Delivery,
    policy::Policies,
    request::{BadTarget, Target},
    route::{BadQuery, Plan, Work},
};
use crate::cache::purge::{BadName, NotDurable, Purge};

/// What is to be purged, in the words of the admin API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PurgeRequest {
    /// Without a host they stand for all hosts.
    pub urls: Vec<String>,
    pub tags: Vec<String>,
    pub prefixes: Vec<String>,
    pub all: bool,
    pub soft: bool,
}

/// Names in one purge.
const MAX_NAMES: usize = 1000;
/// The same, with each name that goes without host counted once for each host that routes name.
const MAX_PLACES: usize = 16 * MAX_NAMES;

#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    #[error("nothing to purge: give at least one of `urls`, `tags`, `prefixes`, or `all`")]
    Nothing,
    #[error("more than {MAX_NAMES} names in one purge")]
    TooMany,
    #[error(
        "these names without hosts stand for more than {MAX_PLACES} places; name hosts, or purge in parts"
    )]
    TooManyPlaces,
    #[error("{name:?}: {reason}")]
    Bad { name: String, reason: BadPlace },
    #[error(transparent)]
    NotDurable(#[from] NotDurable),
}

#[derive(Debug, thiserror::Error)]
pub enum BadPlace {
    #[error(transparent)]
    Target(#[from] BadTarget),
    #[error(transparent)]
    Query(#[from] BadQuery),
    #[error(transparent)]
    Name(#[from] BadName),
}

impl PurgeRequest {
    fn resolve(&self, policies: &Policies, lengths: &[u32]) -> Result<Purge, PurgeError> {
        let count = self.urls.len() + self.tags.len() + self.prefixes.len();
        if count > MAX_NAMES {
            return Err(PurgeError::TooMany);
        }
        if count * policies.spaces(None).len() > MAX_PLACES {
            return Err(PurgeError::TooManyPlaces);
        }
        let mut purge = if self.soft { Purge::soft() } else { Purge::hard() };
        match (self.all, count) {
            (true, _) => purge = purge.everything(),
            (false, 0) => return Err(PurgeError::Nothing),
            (false, _) => {}
        }
        let bad = |name: &String, reason: BadPlace| PurgeError::Bad { name: name.clone(), reason };
        for url in &self.urls {
            for text in url_texts(url, policies, lengths).map_err(|reason| bad(url, reason))? {
                purge = purge.url(&text);
            }
        }
        for tag in &self.tags {
            purge = purge.tag(tag).map_err(|reason| bad(tag, reason.into()))?;
        }
        for prefix in &self.prefixes {
            let (host, path) = split(prefix);
            let target = Target::parse(path).map_err(|reason| bad(prefix, reason.into()))?;
            for space in policies.spaces(host) {
                purge =
                    purge.prefix(space, &target.to_string()).map_err(|reason| bad(prefix, reason.into()))?;
            }
        }
        Ok(purge)
    }
}

impl Delivery {
    /// The purge's sequence number: whoever asks from now on gets nothing from before, after a restart neither.
    pub async fn purge(&self, request: &PurgeRequest) -> Result<u64, PurgeError> {
        let purge = request.resolve(&self.core.router.at_once().policies, self.core.media.lengths())?;
        let now = self.core.clock().unix_millis();
        let sequence = self.store().purges().purge(&purge, now).await?;
        tracing::info!(sequence, soft = request.soft, all = request.all, "purged");
        Ok(sequence)
    }
}

/// What the keys of the answers to this address begin with. Of a source it covers all that is made of it.
fn url_texts(url: &str, policies: &Policies, lengths: &[u32]) -> Result<Vec<String>, BadPlace> {
    let (host, path) = split(url);
    let target = Target::parse(path)?;
    let located = Located::of(&target)?;
    let found = match (host, located.source.path()) {
        (Some(host), path) => vec![policies.of(host, path)],
        (None, path) => policies.on_any_host(path),
    };
    let mut texts = Vec::new();
    for policy in found {
        texts.extend(served_texts(&Plan::under(&target, &located, policy)?, lengths));
    }
    Ok(texts)
}

/// The same for what it is taken for: clients can be served different forms of it.
fn served_texts(plan: &Plan<'_>, lengths: &[u32]) -> Vec<String> {
    let (Work::Image(params) | Work::Poster { params, .. }) = &plan.work else {
        return vec![plan.clone().settled(&HeaderMap::new(), lengths).url_text()];
    };
    if !params.heeds(plan.policy.rules.images.hints).is_empty() {
        // Clients have many sizes: the source, and all that is made of it.
        return vec![plan.instead(Work::Fetch).url_text()];
    }
    let text = |accept| {
        let fields = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
        plan.clone().settled(&fields, lengths).url_text()
    };
    let mut texts = vec![text("image/avif, image/webp"), text("image/webp"), text("*/*")];
    texts.dedup();
    texts
}

/// The host, if there is one, and what follows it.
pub fn split(url: &str) -> (Option<&str>, &str) {
    let rest = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    rest.map_or((None, url), |rest| {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        (Some(&rest[..end]), if end == rest.len() { "/" } else { &rest[end..] })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::policy::tests::policies;

    fn resolved(json: &str) -> Result<Purge, PurgeError> {
        request(json).resolve(&policies(&[]), &[10, 20])
    }

    fn request(json: &str) -> PurgeRequest {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn addresses_come_into_the_form_of_keys() {
        let purge = resolved(
            r#"{"urls":["https://a.example/%61?x","/b.jpg?fm=webp&w=9","/c?b&a&utm_id=1"],"tags":["t"],
               "prefixes":["http://a/p/"]}"#,
        );
        let image = "/b.jpg image:w=10,fit=clip,fm=webp,q=80";
        let expected = Purge::hard().url("/a?x").url(image).url("/c?a&b").tag("t").unwrap();
        assert_eq!(purge.unwrap(), expected.prefix("", "/p").unwrap());
        assert_eq!(resolved(r#"{"all":true,"soft":true}"#).unwrap(), Purge::soft().everything());
        assert_eq!(split("https://a.example"), (Some("a.example"), "/"));
    }

    #[test]
    fn an_address_covers_every_form_that_it_is_served_in() {
        let image = "/b.jpg image:";
        for (url, expected) in [
            ("/b.jpg?w=9", &["w=10,fit=clip,fm=webp,q=80"][..]),
            (
                "/b.jpg?w=11&q=71&auto=format",
                &[
                    "w=20,fit=clip,fm=newest,q=75",
                    "w=20,fit=clip,fm=webp,q=75",
                    "w=20,fit=clip,fm=baseline,q=75",
                ],
            ),
            ("/cdn-cgi/image/width=20/b.jpg", &["w=20,fit=clip,fm=webp,q=80"]),
        ] {
            let expected: Vec<_> = expected.iter().map(|operation| format!("{image}{operation}")).collect();
            assert_eq!(url_texts(url, &policies(&[]), &[10, 20]).unwrap(), expected, "{url}");
        }
        // What clients tell of themselves makes too many: the source with all that is made of it.
        assert_eq!(url_texts("/b.jpg?w=9&ch=dpr", &policies(&[]), &[10, 20]).unwrap(), ["/b.jpg"]);
    }

    #[test]
    fn a_host_narrows_a_purge_to_what_it_is_served() {
        let policies = policies(&[("", "/p"), ("a.example", "/"), ("*.example", "/p")]);
        let resolved = |json: &str| request(json).resolve(&policies, &[]).unwrap();
        let urls = |texts: &[&str]| texts.iter().fold(Purge::hard(), |purge, text| purge.url(text));
        for (url, expected) in [
            ("http://A.example:8080/p/x", &["a.example/p/x"][..]),
            ("http://b.example/p/x", &["*.example/p/x"]),
            ("http://b.example/x", &["/x"]),
            ("/p/x", &["a.example/p/x", "*.example/p/x", "/p/x"]),
            ("/x", &["a.example/x", "/x"]),
        ] {
            assert_eq!(resolved(&format!(r#"{{"urls":["{url}"]}}"#)), urls(expected), "{url}");
        }
        let spaces = |spaces: &[&str]| {
            spaces.iter().fold(Purge::hard(), |purge, space| purge.prefix(space, "/p").unwrap())
        };
        assert_eq!(resolved(r#"{"prefixes":["http://b.example/p"]}"#), spaces(&["", "*.example"]));
        assert_eq!(resolved(r#"{"prefixes":["/p"]}"#), spaces(&["", "*.example", "a.example"]));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (json, reason) in [
            ("{}", "nothing to purge"),
            (r#"{"soft":true}"#, "nothing to purge"),
            (r#"{"urls":["a"]}"#, "does not begin with a slash"),
            (r#"{"urls":["/a#b"]}"#, "control character"),
            (r#"{"urls":["/a.jpg?w=0"]}"#, "`w`"),
            (r#"{"urls":["http://h?x"]}"#, "does not begin with a slash"),
            (r#"{"prefixes":["/a?b"]}"#, "no query"),
            (r#"{"prefixes":["/a/../b"]}"#, ". or .. segment"),
            (r#"{"tags":[""]}"#, "a tag has"),
            (r#"{"tags":["a,b"]}"#, "a tag has"),
            (r#"{"tags":["*"]}"#, "a tag has"),
        ] {
            let refused = resolved(json).unwrap_err().to_string();
            assert!(refused.contains(reason), "{json}: {refused}");
        }
        let many = PurgeRequest { tags: vec!["t".to_owned(); MAX_NAMES + 1], ..PurgeRequest::default() };
        assert!(matches!(many.resolve(&policies(&[]), &[]), Err(PurgeError::TooMany)));
        let deep = PurgeRequest { prefixes: vec!["/x".repeat(33)], ..PurgeRequest::default() };
        assert!(deep.resolve(&policies(&[]), &[]).unwrap_err().to_string().contains("segments"));
        assert!(serde_json::from_str::<PurgeRequest>(r#"{"url":["/a"]}"#).is_err());
    }
}
