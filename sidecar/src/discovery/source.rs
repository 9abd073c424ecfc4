//! Sources of targets that change while the sidecar runs: files and HTTP lists in Prometheus' format
//! (`[{"targets": ["host:port"], "labels": {…}}]`), and addresses in DNS. Each yields sets of labels; [`super::target_of`]
//! makes targets of them.

use std::{collections::BTreeMap, net::IpAddr, path::Path, time::Duration};

use serde::Deserialize;

use super::SourceConfig;
use crate::model::{Builder, Labels};

/// Of a file or an answer.
const MAX_BYTES: u64 = 8 << 20;
/// Of one source.
pub const MAX_TARGETS: usize = 10_000;
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// What the source names now, or why that cannot be said: then the targets of before stay.
pub async fn look(config: &SourceConfig, http: &reqwest::Client) -> Result<Vec<Labels>, String> {
    let mut found = Vec::new();
    for file in &config.files {
        found.extend(from_file(file).await.map_err(|error| format!("{file}: {error}"))?);
    }
    if !config.http.is_empty() {
        found.extend(
            from_http(&config.http, http).await.map_err(|error| format!("{}: {error}", config.http))?,
        );
    }
    for name in &config.dns {
        found.extend(from_dns(name, config.port).await.map_err(|error| format!("{name}: {error}"))?);
    }
    match found.len() > MAX_TARGETS {
        true => Err(format!("names more than {MAX_TARGETS} targets")),
        false => Ok(found),
    }
}

async fn from_file(file: &str) -> Result<Vec<Labels>, String> {
    let size = tokio::fs::metadata(file).await.map_err(|error| error.to_string())?.len();
    if size > MAX_BYTES {
        return Err(format!("is larger than {MAX_BYTES} bytes"));
    }
    let text = tokio::fs::read_to_string(file).await.map_err(|error| error.to_string())?;
    let json = Path::new(file).extension().is_some_and(|kind| kind == "json");
    let groups = match json {
        true => serde_json::from_str(&text).map_err(|error| error.to_string()),
        false => serde_yaml_ng::from_str(&text).map_err(|error| error.to_string()),
    };
    Ok(expanded(groups?, "__meta_filepath", file))
}

async fn from_http(url: &str, http: &reqwest::Client) -> Result<Vec<Labels>, String> {
    let ask = async {
        let request = http.get(url).header("accept", "application/json");
        let mut answer = request.send().await.map_err(|error| error.without_url().to_string())?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(format!("answered {}", answer.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| error.without_url().to_string())? {
            if (body.len() + piece.len()) as u64 > MAX_BYTES {
                return Err(format!("answered with more than {MAX_BYTES} bytes"));
            }
            body.extend_from_slice(&piece);
        }
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    };
    let groups =
        tokio::time::timeout(TIMEOUT, ask).await.map_err(|_| format!("no answer within {TIMEOUT:?}"))?;
    Ok(expanded(groups?, "__meta_url", url))
}

/// A and AAAA records.
async fn from_dns(name: &str, port: u16) -> Result<Vec<Labels>, String> {
    let looked_up = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((name, port))).await;
    let found = looked_up.map_err(|_| format!("no answer within {TIMEOUT:?}"))?;
    let mut addresses: Vec<IpAddr> =
        found.map_err(|error| error.to_string())?.map(|found| found.ip()).collect();
    addresses.sort();
    addresses.dedup();
    let labels = addresses.into_iter().map(|address| {
        let address = std::net::SocketAddr::new(address, port).to_string();
        Labels::from_pairs([("__address__", address.as_str()), ("__meta_dns_name", name)])
    });
    Ok(labels.collect())
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
