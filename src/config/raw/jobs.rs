//! `[jobs]`: slow work, and how much of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Mode, Secret};

/// Work that nobody waits for: `POST /api/v1/jobs` on the admin port. What a job makes of videos is put in place as an asset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Jobs {
    /// `auto`: where uploads are taken; `on`: also elsewhere, for making ladders ahead of viewers; `off`.
    pub mode: Mode,
    /// Where the queue is kept, and what is being worked on; empty: `jobs` in `cache.data_dir`, or if that is empty too,
    /// `millrace/jobs` where the user's data is. One server per directory.
    pub dir: String,
    /// Where the queue is: empty for a file in `dir`, or `postgres://user@host/name?sslmode=require`, which any number of servers may
    /// share: each takes jobs from it, and what one that died has left is taken up by another.
    #[schemars(with = "String")]
    pub database: Secret,
    /// Connections to the database.
    pub database_connections: u32,
    /// File of certificates (PEM) to trust beside the system's when connecting to the database.
    pub database_ca_file: String,
    /// Jobs that run at a time, on this server.
    pub workers: u32,
    /// Jobs that may wait, at all servers that share the queue; more are answered 503.
    pub queue: u32,
    /// Jobs that one owner (`sub` of the token) may have waiting and running; more are answered 429.
    pub per_owner: u32,
    /// How often a job is tried that may still succeed.
    pub attempts: u32,
    /// Longest run of one attempt.
    pub timeout_secs: u32,
    /// Room on the disk for the sources and outputs of all jobs that run; half of each job's part is for its sources.
    pub scratch: String,
    /// Jobs that are over are forgotten after this time.
    pub keep_secs: u32,
    /// Threads of an encoder; 0: one per core.
    pub threads: u32,
}

/// What is made of a video before viewers ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ready {
    Poster,
    Ladder,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            dir: String::new(),
            database: Secret::default(),
            database_connections: 4,
            database_ca_file: String::new(),
            workers: 2,
            queue: 1000,
            per_owner: 100,
            attempts: 3,
            timeout_secs: 6 * 3600,
            scratch: "20GiB".to_owned(),
            keep_secs: 7 * 24 * 3600,
            threads: 0,
        }
    }
}
