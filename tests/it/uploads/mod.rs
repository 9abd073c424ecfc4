//! Uploads and access as clients see them, and the store below them.

mod access;
mod assets;
mod between;
mod catalogues;
mod conformance;
mod contents;
pub(crate) mod database;
mod faults;
mod fleet;
mod forms;
mod full_disk;
mod refused;
mod tokens;
mod tus;

use millrace::admission::{Claims, Secret};

use crate::edge::{Edge, client};

pub(crate) const SECRET: &str = "a-secret-of-the-tests-0123456789-abcdef";

/// A server that takes uploads, in front of nothing else.
pub(crate) async fn server(settings: impl FnOnce(&mut millrace::config::Raw)) -> Edge {
    Edge::alone(|raw| {
        raw.access.secret.0 = SECRET.to_owned();
        settings(raw);
    })
    .await
}

/// `Authorization` of a token with this scope and prefix, for all times.
pub(crate) fn token(scope: &str, prefix: Option<&str>) -> String {
    let claims = Claims {
        exp: i64::MAX / 2,
        scope: scope.to_owned(),
        sub: Some("tests".to_owned()),
        prefix: prefix.map(str::to_owned),
        ..Claims::default()
    };
    format!("Bearer {}", Secret::new(SECRET).unwrap().sign(&claims).unwrap())
}

/// Sends a request with a token for uploads.
pub(crate) async fn send(
    edge: &Edge,
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> client::Reply {
    let token = token("upload", None);
    let mut all = vec![("authorization", &*token)];
    all.extend_from_slice(fields);
    if body.is_empty() && method != "DELETE" {
        all.push(("content-length", "0"));
    }
    client::open(edge.data(), method, target, &all, body).await.whole().await
}

/// All files of the store.
pub(crate) fn files(edge: &Edge) -> Vec<String> {
    fn below(dir: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => below(&path, found),
                false => found.push(path.display().to_string()),
            }
        }
    }
    let mut found = Vec::new();
    for part in ["drafts", "blobs"] {
        below(&edge.directory().join("assets").join(part), &mut found);
    }
    found
}
