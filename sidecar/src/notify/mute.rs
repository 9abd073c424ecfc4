//! Which alerts are not told for now: silenced ones, and those that another alert makes redundant.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use millrace_kit::clock::UnixMillis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Silences;
use crate::{
    model::Labels,
    promql::{self, parse_selector},
    series::Matcher,
};

/// While an alert that matches `source` fires, those that match `target` are not told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InhibitionConfig {
    /// Matchers, such as `severity="critical"`.
    pub source: Vec<String>,
    /// Matchers of the alerts that are held back.
    pub target: Vec<String>,
    /// Labels that both must have in common.
    pub equal: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Inhibition {
    source: Vec<Matcher>,
    target: Vec<Matcher>,
    equal: Vec<String>,
}

#[derive(Debug)]
pub struct Mutes {
    pub silences: Arc<Silences>,
    pub inhibitions: Vec<Inhibition>,
}

/// What holds one alert back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Muted {
    /// Their ids.
    pub silences: Vec<String>,
    /// By another alert.
    pub inhibited: bool,
}

/// The inhibitions in force: for each, what its firing sources have in the labels that must be equal.
pub struct InForce<'a> {
    mutes: &'a Mutes,
    now: UnixMillis,
    sources: Vec<HashSet<Vec<String>>>,
}

impl Inhibition {
    pub fn new(config: &InhibitionConfig) -> Result<Self, promql::Error> {
        let matchers = |written: &[String]| parse_selector(&format!("{{{}}}", written.join(",")));
        Ok(Self {
            source: matchers(&config.source)?,
            target: matchers(&config.target)?,
            equal: config.equal.clone(),
        })
    }

    fn common(&self, alert: &Labels) -> Vec<String> {
        self.equal.iter().map(|name| alert.get(name).to_owned()).collect()
    }
}

fn all_match(matchers: &[Matcher], alert: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(alert.get(&matcher.name)))
}

impl Mutes {
    pub fn in_force<'a>(
        &'a self,
        firing: impl Iterator<Item = &'a Labels> + Clone,
        now: UnixMillis,
    ) -> InForce<'a> {
        let sources = self.inhibitions.iter().map(|inhibition| {
            let sources = firing.clone().filter(|alert| all_match(&inhibition.source, alert));
            sources.map(|alert| inhibition.common(alert)).collect()
        });
        InForce { mutes: self, now, sources: sources.collect() }
    }
}

impl InForce<'_> {
    pub(super) fn mute(&self, alert: &Labels) -> bool {
        self.inhibited(alert) || self.mutes.silences.covers(alert, self.now)
    }

    pub fn why(&self, alert: &Labels) -> Muted {
        Muted { silences: self.mutes.silences.covering(alert, self.now), inhibited: self.inhibited(alert) }
    }

    fn inhibited(&self, alert: &Labels) -> bool {
        self.mutes.inhibitions.iter().zip(&self.sources).any(|(inhibition, sources)| {
            all_match(&inhibition.target, alert)
                // An alert that is both does not hold itself back.
                && !all_match(&inhibition.source, alert)
                && sources.contains(&inhibition.common(alert))
        })
    }
}

/// As text: `a="b", c="d"`.
pub(super) fn shown(map: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = map.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    pairs.join(", ")
}
