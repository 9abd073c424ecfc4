//! `POST /api/v2/alerts`: what Alertmanager takes. It groups, silences and routes by itself, so it gets every alert, and
//! every firing one again each minute: it takes an alert for resolved when it hears nothing until `endsAt`.

use std::time::Duration;

use millrace_kit::clock::UnixMillis;
use serde_json::{Value, json};

use super::{Settings, payload::Item};
use crate::{model::time::rfc3339, rules::AlertView};

/// Between two deliveries of a firing alert.
pub const RESEND: Duration = Duration::from_secs(60);

/// Alerts in one request.
pub(super) const BATCH: usize = 500;

/// How long a firing alert is valid without being sent again: four times the longer of interval and resend delay.
pub fn valid_for(evaluation_interval: Duration) -> Duration {
    4 * evaluation_interval.max(RESEND)
}

pub(super) fn body(settings: &Settings, alerts: &[&AlertView], now: UnixMillis) -> Value {
    let valid = i64::try_from(settings.valid_for.as_millis()).unwrap_or(i64::MAX);
    let one = |view: &&AlertView| {
        let item = Item::new(settings, view);
        let ends_at = view.alert.resolved_at.filter(|_| item.is_resolved());
        json!({
            "labels": item.labels,
            "annotations": item.annotations,
            "startsAt": item.starts_at,
            "endsAt": rfc3339(ends_at.unwrap_or(now.saturating_add(valid))),
            "generatorURL": item.generator_url,
        })
    };
    alerts.iter().map(one).collect()
}
