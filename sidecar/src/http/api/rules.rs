//! `/rules` and `/alerts`.

use actix_web::{HttpRequest, HttpResponse, web};
use millrace_kit::clock::UnixMillis;
use serde_json::{Map, Value, json};

use super::{Params, answer::object, success};
use crate::{
    http::State,
    model::time::rfc3339,
    rules::{Alert, AlertState, Health, RuleView},
};

/// What Go prints for a time that is not set.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

pub(super) async fn rules(state: web::Data<State>, request: HttpRequest) -> HttpResponse {
    let params = Params::new(&request, &[]);
    let wanted = params.get("type");
    let [names, group_names, files] = ["rule_name[]", "rule_group[]", "file[]"].map(|name| params.all(name));
    let among = |wanted: &[&str], name: &str| wanted.is_empty() || wanted.contains(&name);
    let quiet = params.get("exclude_alerts") == Some("true");
    let views = state.engine.views().into_iter();
    let views = views.filter(|group| among(&group_names, &group.name) && among(&files, &group.file));
    let groups = views.map(|group| {
        let rules = group.rules.iter().filter(|rule| match wanted {
            Some("alert") => rule.alerting.is_some(),
            Some("record") => rule.alerting.is_none(),
            _ => true,
        });
        let rules = rules.filter(|rule| among(&names, &rule.name));
        let last = group.rules.iter().filter_map(|rule| rule.last_evaluation).max();
        let spent: f64 = group.rules.iter().map(|rule| rule.evaluation_time.as_secs_f64()).sum();
        json!({
            "name": group.name,
            "file": group.file,
            "interval": group.interval.as_secs_f64(),
            "limit": group.limit,
            "rules": rules.map(|view| rule(view, quiet)).collect::<Vec<_>>(),
            "evaluationTime": spent,
            "lastEvaluation": time(last),
        })
    });
    success(json!({ "groups": groups.collect::<Vec<_>>() }))
}

pub(super) async fn alerts(state: web::Data<State>) -> HttpResponse {
    let groups = state.engine.views();
    let active = groups.iter().flat_map(|group| group.alerts()).map(|view| view.alert);
    let active = active.filter(|alert| alert.state != AlertState::Resolved);
    success(json!({ "alerts": active.map(|found| alert(&found)).collect::<Vec<_>>() }))
}

fn rule(rule: &RuleView, quiet: bool) -> Value {
    let (health, error) = match &rule.health {
        Health::Unknown => ("unknown", None),
        Health::Ok => ("ok", None),
        Health::Error(error) => ("err", Some(error)),
    };
    let mut fields = json!({
        "name": rule.name,
        "query": rule.query,
        "labels": map(&rule.labels),
        "health": health,
        "type": "recording",
        "lastEvaluation": time(rule.last_evaluation),
        "evaluationTime": rule.evaluation_time.as_secs_f64(),
    });
    if let Some(error) = error {
        fields["lastError"] = Value::from(error.as_str());
    }
    if let Some(alerting) = &rule.alerting {
        let active = alerting.alerts.iter().filter(|alert| alert.state != AlertState::Resolved);
        fields["type"] = Value::from("alerting");
        fields["state"] = Value::from(rule.state().map_or("inactive", AlertState::as_str));
        fields["duration"] = Value::from(alerting.hold.as_secs_f64());
        fields["keepFiringFor"] = Value::from(alerting.keep_firing.as_secs_f64());
        fields["annotations"] = map(&alerting.annotations);
        if !quiet {
            fields["alerts"] = active.map(alert).collect();
        }
    }
    fields
}

fn alert(alert: &Alert) -> Value {
    json!({
        "labels": object(&alert.labels),
        "annotations": object(&alert.annotations),
        "state": alert.state.as_str(),
        "activeAt": rfc3339(alert.active_at),
        "value": scientific(alert.value),
    })
}

fn map(texts: &[(String, String)]) -> Value {
    let fields = texts.iter().map(|(name, text)| (name.clone(), Value::from(text.as_str())));
    Value::Object(fields.collect::<Map<_, _>>())
}

fn time(at: Option<UnixMillis>) -> String {
    at.map_or_else(|| NO_TIME.to_owned(), rfc3339)
}

/// Go's `'e', -1`: `1.5e+00`.
fn scientific(value: f64) -> String {
    if !value.is_finite() {
        return crate::promql::format_value(value);
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_alerts_are_scientific() {
        for (value, text) in [(0.0, "0e+00"), (0.0625, "6.25e-02"), (1234.5, "1.2345e+03"), (f64::NAN, "NaN")]
        {
            assert_eq!(scientific(value), text);
        }
    }
}
