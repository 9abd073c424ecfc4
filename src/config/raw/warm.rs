//! `[warm]`: filling an empty cache from other servers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;

/// Filling the cache from the admin ports of servers with the same routes and origins: what they are asked for most, never anything from
/// an origin. `POST /api/v1/cache/warm` begins it at any time, with these bounds if it names no others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Warm {
    /// Such as `http://10.0.0.2:8081`. What they say is believed.
    pub peers: Vec<String>,
    /// Shown to them as `Authorization: Bearer`: their `admin.token`, or a token with the scope `admin`.
    #[schemars(with = "String")]
    pub token: Secret,
    /// Bytes of bodies, such as `256MiB`.
    pub bytes: String,
    /// In a second; `0`: no bound.
    pub bytes_per_sec: String,
    /// It ends after this time, with what has come.
    pub deadline_secs: u32,
    /// Begin with the server, if there are peers. It is not ready before it has ended.
    pub at_start: bool,
}

impl Default for Warm {
    fn default() -> Self {
        Self {
            peers: Vec::new(),
            token: Secret::default(),
            bytes: "256MiB".to_owned(),
            bytes_per_sec: "50MiB".to_owned(),
            deadline_secs: 60,
            at_start: true,
        }
    }
}
