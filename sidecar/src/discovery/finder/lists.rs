//! Lists of targets in Prometheus' format (`[{"targets": ["host:port"], "labels": {…}}]`), in files and over HTTP.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use super::{MAX_BYTES, json};
use crate::model::{Builder, Labels};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

pub(super) async fn from_file(file: &str) -> Result<Vec<Labels>, String> {
    let size = tokio::fs::metadata(file).await.map_err(|error| error.to_string())?.len();
    if size > MAX_BYTES as u64 {
        return Err(format!("is larger than {MAX_BYTES} bytes"));
    }
    let text = tokio::fs::read_to_string(file).await.map_err(|error| error.to_string())?;
    let is_json = Path::new(file).extension().is_some_and(|kind| kind == "json");
    let groups = match is_json {
        true => serde_json::from_str(&text).map_err(|error| error.to_string()),
        false => serde_yaml_ng::from_str(&text).map_err(|error| error.to_string()),
    };
    Ok(expanded(groups?, "__meta_filepath", file))
}

pub(super) async fn from_http(url: &str, http: &reqwest::Client) -> Result<Vec<Labels>, String> {
    Ok(expanded(json(http.get(url)).await?, "__meta_url", url))
}

fn expanded(groups: Vec<Group>, origin_label: &str, origin: &str) -> Vec<Labels> {
    let mut all = Vec::new();
    for group in groups {
        for target in group.targets {
            let mut labels = Builder::default();
            for (name, value) in &group.labels {
                labels.set(name, value);
            }
            labels.set(origin_label, origin).set("__address__", &target);
            all.push(labels.build());
        }
    }
    all
}
