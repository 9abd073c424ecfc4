//! Purges as they are asked for: addresses are brought into the form that keys have.

use serde::Deserialize;

use super::{
    pipeline::Delivery,
    request::{BadTarget, Target},
    route::{BadQuery, Plan},
};
use crate::cache::purge::{BadName, NotDurable, Purge};

/// What is to be purged, in the words of the admin API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PurgeRequest {
    /// With or without scheme and host.
    pub urls: Vec<String>,
    pub tags: Vec<String>,
    pub prefixes: Vec<String>,
    pub all: bool,
    pub soft: bool,
}

/// Names in one purge.
const MAX_NAMES: usize = 1000;

#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    #[error("nothing to purge: give at least one of `urls`, `tags`, `prefixes`, or `all`")]
    Nothing,
    #[error("more than {MAX_NAMES} names in one purge")]
    TooMany,
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
    fn resolve(&self) -> Result<Purge, PurgeError> {
        let count = self.urls.len() + self.tags.len() + self.prefixes.len();
        if count > MAX_NAMES {
            return Err(PurgeError::TooMany);
        }
        let mut purge = if self.soft { Purge::soft() } else { Purge::hard() };
        match (self.all, count) {
            (true, _) => purge = purge.everything(),
            (false, 0) => return Err(PurgeError::Nothing),
            (false, _) => {}
        }
        let bad = |name: &String, reason: BadPlace| PurgeError::Bad { name: name.clone(), reason };
        for url in &self.urls {
            let text = key_text(url).map_err(|reason| bad(url, reason))?;
            purge = purge.url(&text);
        }
        for tag in &self.tags {
            purge = purge.tag(tag).map_err(|reason| bad(tag, reason.into()))?;
        }
        for prefix in &self.prefixes {
            let target = Target::parse(path_of(prefix)).map_err(|reason| bad(prefix, reason.into()))?;
            purge = purge.prefix(&target.to_string()).map_err(|reason| bad(prefix, reason.into()))?;
        }
        Ok(purge)
    }
}

impl Delivery {
    /// The purge's sequence number: whoever asks from now on gets nothing from before, after a restart neither.
    pub async fn purge(&self, request: &PurgeRequest) -> Result<u64, PurgeError> {
        let purge = request.resolve()?;
        let now = self.core.clock().unix_millis();
        let sequence = self.store().purges().purge(&purge, now).await?;
        tracing::info!(sequence, soft = request.soft, all = request.all, "purged");
        Ok(sequence)
    }
}

/// The key under which the answer to this address is stored. Of a source it covers all that is made of it.
fn key_text(url: &str) -> Result<String, BadPlace> {
    Ok(Plan::of(&Target::parse(path_of(url))?)?.key_text())
}

/// Without scheme and host, which keys do not have.
pub fn path_of(url: &str) -> &str {
    let rest = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    rest.map_or(url, |rest| rest.find(['/', '?']).map_or("/", |at| &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(json: &str) -> PurgeRequest {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn addresses_come_into_the_form_of_keys() {
        let purge = request(
            r#"{"urls":["https://a.example/%61?x","/b.jpg?fm=webp&w=9"],"tags":["t"],"prefixes":["http://a/p/"]}"#,
        );
        let image = key_text("/b.jpg?w=9&fm=webp").unwrap();
        let expected = Purge::hard().url("/a?x").url(&image).tag("t").unwrap().prefix("/p").unwrap();
        assert_eq!(purge.resolve().unwrap(), expected);
        assert_eq!(request(r#"{"all":true,"soft":true}"#).resolve().unwrap(), Purge::soft().everything());
        assert_eq!(path_of("https://a.example"), "/");
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
            let refused = request(json).resolve().unwrap_err().to_string();
            assert!(refused.contains(reason), "{json}: {refused}");
        }
        let many = PurgeRequest { tags: vec!["t".to_owned(); MAX_NAMES + 1], ..PurgeRequest::default() };
        assert!(matches!(many.resolve(), Err(PurgeError::TooMany)));
        let deep = PurgeRequest { prefixes: vec!["/x".repeat(33)], ..PurgeRequest::default() };
        assert!(deep.resolve().unwrap_err().to_string().contains("segments"));
        assert!(serde_json::from_str::<PurgeRequest>(r#"{"url":["/a"]}"#).is_err());
    }
}
