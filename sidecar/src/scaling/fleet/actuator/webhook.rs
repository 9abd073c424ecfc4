//! Instances that another program runs, which is asked and told over HTTP:
//!
//! - `GET` answers `{"desired": 3, "instances": [{"name": "a", "data_url": "http://…", "admin_url": "http://…"}]}`; an instance may
//!   be `"leaving": true` and have a `"note"`;
//! - `POST` of `{"group": "edge", "desired": 4}` says how many there shall be; with `"leave": "a"` the one that should go, and with
//!   `"kill": true` that it shall end at once.

use std::time::Duration;

use millrace_kit::config::Faults;
use reqwest::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Actuator, Answer, Error, FleetError, Listing, Running, Stop};
use crate::scaling::fleet::{
    MAX_INSTANCES,
    settings::{path, url},
    wire::Wire,
};

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Gets GET and POST.
    pub url: String,
    /// Holds the token that it wants; read anew each time; empty: none.
    pub token_file: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    url: String,
    token_file: Option<std::path::PathBuf>,
}

impl Config {
    pub(in crate::scaling::fleet) fn resolve(&self, key: &str, faults: &mut Faults) -> Settings {
        Settings { url: url(&self.url, &format!("{key}.url"), faults), token_file: path(&self.token_file) }
    }
}

pub struct Webhook {
    group: String,
    url: String,
    wire: Wire,
}

#[derive(Deserialize)]
struct State {
    desired: u32,
    instances: Vec<Instance>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Instance {
    name: String,
    data_url: String,
    admin_url: String,
    leaving: bool,
    note: String,
}

impl Webhook {
    pub fn new(group: &str, settings: &Settings) -> Result<Self, FleetError> {
        let wire = Wire::new(settings.token_file.clone(), None, TIMEOUT)?;
        Ok(Self { group: group.to_owned(), url: settings.url.clone(), wire })
    }

    async fn tell(&self, body: serde_json::Value) -> Result<(), Error> {
        let sent = self.wire.send(Method::POST, &self.url, Some((&body, "application/json"))).await;
        sent.map(|_| ()).map_err(|fault| Error(format!("webhook: {fault}")))
    }
}

impl Actuator for Webhook {
    fn list(&self) -> Answer<'_, Listing> {
        Box::pin(async move {
            let state: State =
                self.wire.get(&self.url).await.map_err(|fault| Error(format!("webhook: {fault}")))?;
            if state.instances.len() > MAX_INSTANCES as usize {
                return Err(Error(format!("webhook: names more than {MAX_INSTANCES} instances")));
            }
            let base = |url: String| url.trim_end_matches('/').to_owned();
            let named = state.instances.into_iter().filter(|instance| !instance.name.is_empty());
            let instances = named.map(|instance| {
                let Instance { name, data_url, admin_url, leaving, note } = instance;
                let (data_url, admin_url) = (base(data_url), base(admin_url));
                (name, Running { data_url, admin_url, alive: true, leaving, words: note })
            });
            Ok(Listing { instances: instances.collect(), desired: Some(state.desired) })
        })
    }

    fn start(&self, _name: &str, total: u32) -> Answer<'_, ()> {
        Box::pin(self.tell(json!({ "group": self.group, "desired": total })))
    }

    fn stop(&self, name: &str, how: Stop, total: u32) -> Answer<'_, ()> {
        let kill = how == Stop::Kill;
        Box::pin(self.tell(json!({ "group": self.group, "desired": total, "leave": name, "kill": kill })))
    }

    fn clear(&self, _name: &str) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}
