//! What a user writes of warming up, as delivery wants it.

use std::time::Duration;

use http::HeaderValue;
use millrace_kit::config::Faults;

use super::{raw, resolve::bytes};
use crate::delivery::warm::{Config, MAX_PEERS, Token, address};

pub fn resolve(raw: &raw::Warm, faults: &mut Faults) -> Config {
    if raw.peers.len() > MAX_PEERS {
        faults.push("warm.peers", format!("at most {MAX_PEERS}"));
    }
    let peers = raw.peers.iter().enumerate().filter_map(|(index, peer)| {
        let url = address(peer);
        if url.is_none() {
            let wrong = format!("{peer:?} is not an address such as http://10.0.0.2:8081");
            faults.push(format!("warm.peers[{index}]"), wrong);
        }
        url
    });
    let peers = peers.collect();
    if HeaderValue::from_str(&raw.token.0).is_err() {
        faults.push("warm.token", "has characters that no field can carry");
    }
    if raw.deadline_secs == 0 {
        faults.push("warm.deadline_secs", "must be at least 1");
    }
    Config {
        peers,
        token: Token(raw.token.0.clone()),
        bytes: bytes(&raw.bytes, "warm.bytes", faults),
        bytes_per_sec: bytes(&raw.bytes_per_sec, "warm.bytes_per_sec", faults),
        deadline: Duration::from_secs(u64::from(raw.deadline_secs)),
        at_start: raw.at_start,
    }
}
