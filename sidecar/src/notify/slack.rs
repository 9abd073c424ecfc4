//! A message for Slack and what understands its incoming webhooks (Mattermost, Rocket.Chat, Discord's `/slack`).

use serde_json::{Value, json};

use super::{Payload, mute::shown};

/// Alerts named one by one; the rest is counted.
const NAMED: usize = 20;

pub(super) fn body(payload: &Payload) -> Value {
    let firing = payload.alerts.iter().filter(|item| !item.is_resolved()).count();
    let title = match firing {
        0 => format!("[RESOLVED] {}", shown(&payload.group_labels)),
        count => format!("[FIRING:{count}] {}", shown(&payload.group_labels)),
    };
    let mut lines: Vec<String> = Vec::new();
    for item in payload.alerts.iter().take(NAMED) {
        let mark = if item.is_resolved() { ":white_check_mark:" } else { ":rotating_light:" };
        let text = item.annotations.get("summary").or(item.annotations.get("description"));
        let text = text.cloned().unwrap_or_else(|| shown(&item.labels));
        let runbook = item.annotations.get("runbook_url").map_or(String::new(), |url| format!(" ({url})"));
        lines.push(format!("{mark} {}{}", escaped(&text), escaped(&runbook)));
    }
    if payload.alerts.len() > NAMED {
        lines.push(format!("… and {} more", payload.alerts.len() - NAMED));
    }
    json!({
        "text": escaped(&title),
        "attachments": [{
            "color": if firing > 0 { "danger" } else { "good" },
            "fallback": escaped(&title),
            "title": escaped(&title),
            "title_link": payload.external_url,
            "text": lines.join("\n"),
            "mrkdwn_in": ["text"],
        }],
    })
}

/// Slack's own three; without them a label value could make links and mentions.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
