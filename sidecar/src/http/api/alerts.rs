//! `/api/v2/alerts` as Alertmanager has it: firing alerts with what holds them back, for the
//! dashboard's list and its preview of a silence.

use std::collections::BTreeSet;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::{Params, answer::object, silences::refused};
use crate::{
    http::State,
    model::{Labels, time::rfc3339},
    notify::{self, Muted},
    rules::{AlertState, AlertView},
};

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.route("/api/v2/alerts", web::get().to(alerts));
}

/// `pending=true`, beyond Alertmanager's parameters, also names those that do not fire yet, as `unprocessed`.
async fn alerts(state: web::Data<State>, request: HttpRequest) -> HttpResponse {
    let params = Params::new(&request, &[]);
    let wanted = match params.filters() {
        Ok(wanted) => wanted,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let asked = |name: &str, default: &str| params.get(name).unwrap_or(default) == "true";
    let (active, silenced, inhibited) =
        (asked("active", "true"), asked("silenced", "true"), asked("inhibited", "true"));
    let pending = asked("pending", "false");

    let views: Vec<AlertView> = state.engine.views().iter().flat_map(|group| group.alerts()).collect();
    let firing = views.iter().filter(|view| view.alert.state == AlertState::Firing);
    let firing: Vec<&Labels> = firing.map(|view| &view.alert.labels).collect();
    let now = state.clock.unix_millis();
    let in_force = state.mutes.in_force(firing.iter().copied(), now);
    let shown = views.iter().filter_map(|view| {
        let labels = &view.alert.labels;
        let fits = wanted.iter().all(|matcher| matcher.matches(labels.get(&matcher.name)));
        let muted = in_force.why(labels);
        let asked_for = match view.alert.state {
            AlertState::Resolved => false,
            AlertState::Pending => pending,
            AlertState::Firing if !muted.silences.is_empty() => silenced,
            AlertState::Firing if muted.inhibited => inhibited,
            AlertState::Firing => active,
        };
        (fits && asked_for).then(|| alert(&state, view, &muted))
    });
    HttpResponse::Ok().json(shown.collect::<Vec<_>>())
}

fn alert(state: &State, view: &AlertView, muted: &Muted) -> Value {
    let alert = &view.alert;
    let held_back = !muted.silences.is_empty() || muted.inhibited;
    let word = match alert.state {
        AlertState::Pending => "unprocessed",
        _ if held_back => "suppressed",
        _ => "active",
    };
    let receivers: BTreeSet<String> = (state.receivers)().into_iter().map(|status| status.receiver).collect();
    let receivers: Vec<Value> = receivers.into_iter().map(|name| json!({ "name": name })).collect();
    // Alertmanager names the alerts that inhibit; here it is known that there is one.
    let inhibited_by: &[&str] = if muted.inhibited { &["inhibition"] } else { &[] };
    let now = state.clock.unix_millis();
    json!({
        "labels": object(&alert.labels),
        "annotations": object(&alert.annotations),
        "startsAt": rfc3339(alert.fired_at.unwrap_or(alert.active_at)),
        "updatedAt": rfc3339(now),
        "endsAt": rfc3339(now.saturating_add(i64::try_from(notify::valid_for(state.subquery_step).as_millis()).unwrap_or(0))),
        "fingerprint": fingerprint(&alert.labels),
        "generatorURL": format!("/#query={}", encoded(&view.query)),
        "receivers": receivers,
        "status": { "state": word, "silencedBy": muted.silences, "inhibitedBy": inhibited_by, "mutedBy": [] },
    })
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The same for the same labels.
fn fingerprint(labels: &Labels) -> String {
    let mut text = String::new();
    for label in labels.iter() {
        text.extend([&*label.name, "\u{ff}", &*label.value, "\u{ff}"]);
    }
    format!("{:016x}", xxh3_64(text.as_bytes()))
}
