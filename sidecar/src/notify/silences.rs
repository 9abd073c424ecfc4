//! Silences, as Alertmanager's API has them: for a while, alerts that match are not told. Kept on disk.

use std::{
    fmt, io,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use millrace_kit::clock::UnixMillis;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    durable,
    model::{
        Labels, is_label_name,
        time::{parse_rfc3339, rfc3339},
    },
    series::Matcher,
};

/// Silences held, expired ones included.
const MAX_SILENCES: usize = 1_000;
/// An expired silence can be looked at for so long.
const KEEP_EXPIRED_MS: i64 = 5 * 86_400_000;
const MAX_MATCHERS: usize = 32;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Silence {
    #[serde(default)]
    pub id: String,
    pub matchers: Vec<Condition>,
    #[serde(with = "time")]
    pub starts_at: UnixMillis,
    #[serde(with = "time")]
    pub ends_at: UnixMillis,
    #[serde(default)]
    pub created_by: String,
    #[serde(default)]
    pub comment: String,
    #[serde(default, with = "time")]
    pub updated_at: UnixMillis,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    pub name: String,
    pub value: String,
    #[serde(default)]
    pub is_regex: bool,
    #[serde(default = "yes")]
    pub is_equal: bool,
}

#[derive(Debug, Error)]
pub enum Error {
    #[error("{0}")]
    Invalid(String),
    #[error("silence {0} not found")]
    Unknown(String),
    #[error("more than {MAX_SILENCES} silences")]
    TooMany,
    #[error("silences could not be saved: {0}")]
    Io(#[from] io::Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Active,
    Expired,
}

#[derive(Debug)]
pub struct Silences {
    path: Option<PathBuf>,
    held: RwLock<Vec<(Silence, Vec<Matcher>)>>,
    count: AtomicU64,
}

fn yes() -> bool {
    true
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Expired => "expired",
        }
    }
}

impl Silence {
    pub fn phase(&self, now: UnixMillis) -> Phase {
        match (now < self.starts_at, now < self.ends_at) {
            (_, false) => Phase::Expired,
            (true, true) => Phase::Pending,
            (false, true) => Phase::Active,
        }
    }

    fn matchers(&self) -> Result<Vec<Matcher>, Error> {
        let invalid = |message: &str| Err(Error::Invalid(message.to_owned()));
        if self.matchers.is_empty() || self.matchers.len() > MAX_MATCHERS {
            return invalid("a silence has 1 to 32 matchers");
        }
        if self.ends_at <= self.starts_at {
            return invalid("a silence ends after it starts");
        }
        let matchers = self.matchers.iter().map(Condition::matcher).collect::<Result<Vec<_>, _>>()?;
        // A silence for everything is a slip.
        match matchers.iter().all(|matcher| matcher.matches("")) {
            true => invalid("at least one matcher must not match the empty string"),
            false => Ok(matchers),
        }
    }
}

impl Condition {
    /// `name=value`, `name!=value`, `name=~pattern` or `name!~pattern`; the value may stand in quotes.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let invalid =
            || Error::Invalid(format!("{text:?} is not a matcher, such as alertname=\"TargetDown\""));
        let at = text.find(['=', '!']).ok_or_else(invalid)?;
        let (name, rest) = text.split_at(at);
        let ops = [("=~", true, true), ("!~", true, false), ("!=", false, false), ("=", false, true)];
        let found = ops
            .into_iter()
            .find_map(|(op, is_regex, is_equal)| Some((rest.strip_prefix(op)?.trim(), is_regex, is_equal)));
        let (value, is_regex, is_equal) = found.ok_or_else(invalid)?;
        let value = match value.starts_with('"') {
            true => serde_json::from_str(value).map_err(|_| invalid())?,
            false => value.to_owned(),
        };
        if !is_label_name(name.trim()) {
            return Err(invalid());
        }
        Ok(Self { name: name.trim().to_owned(), value, is_regex, is_equal })
    }

    fn matcher(&self) -> Result<Matcher, Error> {
        let regex = match (self.is_regex, self.is_equal) {
            (false, true) => return Ok(Matcher::equal(&self.name, &self.value)),
            (false, false) => return Ok(Matcher::not_equal(&self.name, &self.value)),
            (true, true) => Matcher::regex(&self.name, &self.value),
            (true, false) => Matcher::not_regex(&self.name, &self.value),
        };
        regex.map_err(|error| Error::Invalid(error.to_string()))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match (self.is_regex, self.is_equal) {
            (false, true) => "=",
            (false, false) => "!=",
            (true, true) => "=~",
            (true, false) => "!~",
        };
        write!(f, "{}{op}{:?}", self.name, self.value)
    }
}

impl Silences {
    /// None keeps nothing on disk. What cannot be read is left aside with a warning.
    pub fn new(path: Option<PathBuf>) -> Self {
        let text = path.as_ref().and_then(|path| std::fs::read(path).ok());
        let saved: Vec<Silence> = text.map_or_else(Vec::new, |text| {
            serde_json::from_slice(&text).unwrap_or_else(|reason| {
                tracing::warn!("silences are unreadable: {reason}");
                Vec::new()
            })
        });
        let held = saved.into_iter().filter_map(|silence| Some((silence.matchers().ok()?, silence)));
        let held = held.map(|(matchers, silence)| (silence, matchers)).collect();
        Self { path, held: RwLock::new(held), count: AtomicU64::new(0) }
    }

    pub fn all(&self) -> Vec<Silence> {
        self.held.read().iter().map(|(silence, _)| silence.clone()).collect()
    }

    pub fn covers(&self, alert: &Labels, now: UnixMillis) -> bool {
        self.held.read().iter().any(|held| is_covered(alert, held, now))
    }

    /// The ids of those that cover it.
    pub fn covering(&self, alert: &Labels, now: UnixMillis) -> Vec<String> {
        let held = self.held.read();
        let covering = held.iter().filter(|held| is_covered(alert, held, now));
        covering.map(|(silence, _)| silence.id.clone()).collect()
    }

    /// Without an id a new one, else a changed one. Returns the id.
    pub fn set(&self, mut silence: Silence, now: UnixMillis) -> Result<String, Error> {
        let matchers = silence.matchers()?;
        if silence.ends_at <= now {
            return Err(Error::Invalid("a silence cannot end in the past".to_owned()));
        }
        let mut held = self.held.write();
        held.retain(|(silence, _)| now.saturating_sub(silence.ends_at) < KEEP_EXPIRED_MS);
        silence.updated_at = now;
        let place = held.iter().position(|(known, _)| known.id == silence.id);
        match place {
            _ if silence.id.is_empty() => {
                if held.len() >= MAX_SILENCES {
                    return Err(Error::TooMany);
                }
                silence.id = self.new_id(&silence, now);
                held.push((silence.clone(), matchers));
            }
            Some(place) => held[place] = (silence.clone(), matchers),
            None => return Err(Error::Unknown(silence.id)),
        }
        self.save(&held)?;
        Ok(silence.id)
    }

    /// Ends it now.
    pub fn expire(&self, id: &str, now: UnixMillis) -> Result<(), Error> {
        let mut held = self.held.write();
        let known = held.iter_mut().find(|(silence, _)| silence.id == id);
        let (silence, _) = known.ok_or_else(|| Error::Unknown(id.to_owned()))?;
        silence.ends_at = silence.ends_at.min(now);
        silence.starts_at = silence.starts_at.min(silence.ends_at.saturating_sub(1));
        silence.updated_at = now;
        self.save(&held)
    }

    fn save(&self, held: &[(Silence, Vec<Matcher>)]) -> Result<(), Error> {
        let Some(path) = &self.path else { return Ok(()) };
        let silences: Vec<&Silence> = held.iter().map(|(silence, _)| silence).collect();
        let text = serde_json::to_vec(&silences).map_err(io::Error::other)?;
        Ok(durable::replace(path, &text)?)
    }

    /// In the form of a UUID, which clients expect.
    fn new_id(&self, silence: &Silence, now: UnixMillis) -> String {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let hash = xxh3_128(format!("{now} {count} {silence:?}").as_bytes());
        let hex = format!("{hash:032x}");
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }
}

fn is_covered(alert: &Labels, (silence, matchers): &(Silence, Vec<Matcher>), now: UnixMillis) -> bool {
    silence.phase(now) == Phase::Active
        && matchers.iter().all(|matcher| matcher.matches(alert.get(&matcher.name)))
}

mod time {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::{UnixMillis, parse_rfc3339, rfc3339};

    pub(super) fn serialize<S: Serializer>(at: &UnixMillis, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(*at))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixMillis, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_rfc3339(&text).ok_or_else(|| de::Error::custom(format!("{text:?} is not an RFC 3339 time")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silence(matcher: &str, from: i64, to: i64) -> Silence {
        let (name, value) = matcher.split_once('=').unwrap();
        let condition =
            Condition { name: name.to_owned(), value: value.to_owned(), is_regex: false, is_equal: true };
        Silence {
            id: String::new(),
            matchers: vec![condition],
            starts_at: from,
            ends_at: to,
            created_by: "ops".to_owned(),
            comment: "works".to_owned(),
            updated_at: 0,
        }
    }

    #[test]
    fn they_hold_for_their_time_and_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silences.json");
        let silences = Silences::new(Some(path.clone()));
        let id = silences.set(silence("job=edge", 10_000, 20_000), 5_000).unwrap();
        let alert = Labels::from_pairs([("alertname", "A"), ("job", "edge")]);
        let other = Labels::from_pairs([("alertname", "A"), ("job", "api")]);
        for silences in [silences, Silences::new(Some(path.clone()))] {
            let covered = [9_000, 10_000, 19_000, 20_000].map(|at| silences.covers(&alert, at));
            assert_eq!(covered, [false, true, true, false]);
            assert!(!silences.covers(&other, 15_000));
        }
        let silences = Silences::new(Some(path));
        silences.expire(&id, 12_000).unwrap();
        assert!(!silences.covers(&alert, 13_000));
        assert!(matches!(silences.expire("none", 0), Err(Error::Unknown(_))));
    }

    #[test]
    fn matchers_as_people_write_them() {
        for (text, shown) in [
            ("alertname=Down", "alertname=\"Down\""),
            ("job != \"a b\"", "job!=\"a b\""),
            ("i=~edge-.*", "i=~\"edge-.*\""),
            ("i!~\"a|b\"", "i!~\"a|b\""),
        ] {
            assert_eq!(Condition::parse(text).unwrap().to_string(), shown);
        }
        for text in ["Down", "=x", "a b=c", "a!x", "a=\"x"] {
            assert!(Condition::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn slips_are_refused() {
        let silences = Silences::new(None);
        let nobody = Silence { matchers: vec![], ..silence("a=b", 1, 2) };
        for bad in [silence("a=b", 2, 1), silence("a=", 1, 9), silence("a=b", 1, 2), nobody] {
            assert!(matches!(silences.set(bad, 5), Err(Error::Invalid(_))));
        }
        let unknown = Silence { id: "x".to_owned(), ..silence("a=b", 1, 9) };
        assert!(matches!(silences.set(unknown, 5), Err(Error::Unknown(_))));
    }
}
