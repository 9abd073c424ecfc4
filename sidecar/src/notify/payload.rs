//! The JSON of Alertmanager's webhook, version 4.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Settings, mute::shown};
use crate::{
    model::{Labels, time::rfc3339},
    rules::{AlertState, AlertView},
};

/// What Go prints for a time that is not set; receivers look for it.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// Fields in Alertmanager's order.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Payload {
    receiver: String,
    status: &'static str,
    pub(super) alerts: Vec<Item>,
    pub(super) group_labels: Map,
    pub(super) common_labels: Map,
    common_annotations: Map,
    #[serde(rename = "externalURL")]
    pub(super) external_url: String,
    version: &'static str,
    group_key: String,
    truncated_alerts: u64,
}

type Map = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item {
    status: &'static str,
    pub(super) labels: Map,
    pub(super) annotations: Map,
    pub(super) starts_at: String,
    pub(super) ends_at: String,
    #[serde(rename = "generatorURL")]
    pub(super) generator_url: String,
    fingerprint: String,
}

impl Payload {
    pub(super) fn group_key(&self) -> &str {
        &self.group_key
    }

    /// Of the alerts of one group, in a stable order.
    pub(super) fn new(settings: &Settings, group: &[(String, String)], alerts: &[&AlertView]) -> Self {
        let mut items: Vec<Item> = alerts.iter().map(|view| Item::new(settings, view)).collect();
        items.sort_by(|a, b| a.labels.cmp(&b.labels));
        let firing = alerts.iter().any(|view| view.alert.state == AlertState::Firing);
        let group_labels: Map = group.iter().filter(|(_, value)| !value.is_empty()).cloned().collect();
        Self {
            version: "4",
            group_key: format!("{{}}:{{{}}}", shown(&group_labels)),
            truncated_alerts: 0,
            status: if firing { "firing" } else { "resolved" },
            receiver: settings.receiver.clone(),
            group_labels,
            common_labels: common(items.iter().map(|item| &item.labels)),
            common_annotations: common(items.iter().map(|item| &item.annotations)),
            external_url: settings.external_url.clone(),
            alerts: items,
        }
    }
}

impl Item {
    pub(super) fn is_resolved(&self) -> bool {
        self.status == "resolved"
    }

    pub(super) fn new(settings: &Settings, view: &AlertView) -> Self {
        let alert = &view.alert;
        // The alert's own labels win.
        let mut labels = map(&settings.external_labels);
        labels.extend(map(&alert.labels));
        let resolved = alert.state == AlertState::Resolved;
        let fingerprint = fingerprint(&labels);
        Self {
            status: if resolved { "resolved" } else { "firing" },
            labels,
            annotations: map(&alert.annotations),
            starts_at: rfc3339(alert.fired_at.unwrap_or(alert.active_at)),
            ends_at: alert.resolved_at.filter(|_| resolved).map_or_else(|| NO_TIME.to_owned(), rfc3339),
            generator_url: format!("{}/#query={}", settings.external_url, encoded(&view.query)),
            fingerprint,
        }
    }
}

/// That of Alertmanager, so that its users find the same alert under the same name: FNV-1a of names and values, each
/// followed by 0xff.
fn fingerprint(labels: &Map) -> String {
    let texts = labels.iter().flat_map(|(name, value)| [name, value]);
    let bytes = texts.flat_map(|text| text.bytes().chain([0xff]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn map(labels: &Labels) -> Map {
    labels.iter().map(|label| (label.name.to_string(), label.value.to_string())).collect()
}

fn common<'a>(maps: impl Iterator<Item = &'a Map>) -> Map {
    let both = |mut common: Map, map: &Map| {
        common.retain(|name, value| map.get(name) == Some(value));
        common
    };
    let mut maps = maps;
    maps.next().map_or_else(Map::new, |first| maps.fold(first.clone(), both))
}

fn encoded(query: &str) -> String {
    url::form_urlencoded::byte_serialize(query.as_bytes()).collect()
}
