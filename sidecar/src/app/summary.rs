//! The settings as Prometheus would show its own: what both have, without secrets.

use serde_json::{Value, json};

use crate::{
    config::{Receiver, Settings},
    notify::{Kind, Transport},
};

pub(super) fn yaml(settings: &Settings) -> String {
    let seconds = |duration: std::time::Duration| format!("{}s", duration.as_secs());
    let labels = settings.external_labels.iter();
    let external: serde_json::Map<String, Value> =
        labels.map(|label| (label.name.to_string(), Value::from(&*label.value))).collect();
    let jobs = settings.targets.iter().map(|target| {
        json!({
            "job_name": target.job(),
            "scheme": target.url.scheme(),
            "metrics_path": target.url.path(),
            "static_configs": [{ "targets": [target.instance()] }],
        })
    });
    let whole = json!({
        "global": {
            "scrape_interval": seconds(settings.scrape.interval),
            "scrape_timeout": seconds(settings.scrape.timeout),
            "evaluation_interval": seconds(settings.rules.interval),
            "external_labels": external,
        },
        "rule_files": settings.rules.patterns,
        "scrape_configs": jobs.collect::<Vec<_>>(),
        "alerting": { "alertmanagers": [{ "static_configs": [{ "targets": alertmanagers(&settings.receivers) }] }] },
    });
    serde_yaml_ng::to_string(&whole).unwrap_or_default()
}

/// Where alerts go to real Alertmanagers.
pub(super) fn alertmanagers(receivers: &[Receiver]) -> Vec<String> {
    let managers = receivers.iter().filter(|receiver| receiver.kind == Kind::Alertmanager);
    managers
        .filter_map(|receiver| match &receiver.transport {
            Transport::Http { url, .. } => {
                let mut url = url.clone();
                // Credentials may stand in it.
                let _ = (url.set_password(None), url.set_username(""));
                Some(url.to_string())
            }
            Transport::Mail(_) => None,
        })
        .collect()
}
