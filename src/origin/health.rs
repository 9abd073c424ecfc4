//! Active health checks: an origin is asked for a path again and again. Its breaker is open while they fail.

use std::{sync::Weak, time::Duration};

use super::Member;

#[derive(Debug, Clone)]
pub struct Config {
    /// Path and query; good is what is answered with 2xx or 3xx.
    pub path: String,
    /// Between the end of a check and the next one, with up to a tenth more or less.
    pub interval: Duration,
    pub timeout: Duration,
    /// Checks in a row that have to fail, or succeed, to change the verdict.
    pub fall: u32,
    pub rise: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Unknown,
    Healthy,
    Unhealthy,
}

impl Status {
    pub(super) fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Healthy,
            2 => Self::Unhealthy,
            _ => Self::Unknown,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// Checks for as long as there is such a member.
pub(super) async fn check(member: Weak<Member>, config: Config) {
    let mut status = Status::Unknown;
    let (mut good, mut bad) = (0, 0);
    while let Some(member) = member.upgrade() {
        match member.is_healthy(&config).await {
            true => (good, bad) = (good + 1, 0),
            false => (good, bad) = (0, bad + 1),
        }
        let verdict = match status {
            // A new server takes the first good word for it.
            Status::Unknown if good > 0 => Status::Healthy,
            _ if good >= config.rise => Status::Healthy,
            _ if bad >= config.fall => Status::Unhealthy,
            status => status,
        };
        if verdict != status {
            status = verdict;
            member.health_changed(status);
        }
        drop(member);
        tokio::time::sleep(config.interval.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
    }
}
