//! What the conductor asks of an instance itself, on its admin port: is it ready, how warm is it, what does it do.

use std::{collections::BTreeSet, time::Duration};

use millrace_kit::metrics::catalogue;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Error, Settings,
    value::Worth,
    wire::{Fault, Wire},
};
use crate::scrape::parse::{Format, Limits, Parser};

const TIMEOUT: Duration = Duration::from_secs(2);
/// Objects that an instance names as its hottest.
const HOT_OBJECTS: usize = 1_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Health {
    Ready,
    /// It answers that it is not.
    NotReady(String),
    Silent(String),
}

/// How far an instance is with fetching from its peers.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Warmth {
    Idle,
    Running(Option<f64>),
    Done {
        ratio: Option<f64>,
        bytes: u64,
    },
    Failed(String),
    /// It cannot be warmed at all.
    Unable(String),
}

/// What was seen of one instance in this round.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Probe {
    pub(super) health: Health,
    pub(super) streams: Option<u64>,
    pub(super) warmth: Option<Warmth>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub(super) streams: bool,
    pub(super) warmth: bool,
}

#[derive(Deserialize)]
struct WarmAnswer {
    state: String,
    #[serde(default)]
    bytes: u64,
    ratio: Option<f64>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct HotAnswer {
    objects: Vec<HotObject>,
}

#[derive(Deserialize)]
struct HotObject {
    name: String,
    bytes: u64,
}

#[derive(Debug)]
pub(super) struct Client(Wire);

impl Client {
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        Ok(Self(Wire::new(settings.token_file.clone(), None, TIMEOUT)?))
    }

    pub(super) async fn probe(&self, admin: &str, question: Question) -> Probe {
        let health = match self.0.send(Method::GET, &format!("{admin}/health/ready"), None).await {
            Ok(_) => Health::Ready,
            Err(Fault::Silent(reason)) => Health::Silent(reason),
            Err(fault) => Health::NotReady(fault.to_string()),
        };
        if matches!(health, Health::Silent(_)) {
            return Probe { health, streams: None, warmth: None };
        }
        let streams = if question.streams { self.streams(admin).await } else { None };
        let warmth = if question.warmth { self.warmth(admin).await } else { None };
        Probe { health, streams, warmth }
    }

    /// Requests that it is answering.
    async fn streams(&self, admin: &str) -> Option<u64> {
        let body = self.0.send(Method::GET, &format!("{admin}/metrics"), None).await.ok()?;
        active(&body)
    }

    async fn warmth(&self, admin: &str) -> Option<Warmth> {
        match self.0.get::<WarmAnswer>(&format!("{admin}/api/v1/cache/warm")).await {
            Ok(answer) => Some(match answer.state.as_str() {
                "idle" => Warmth::Idle,
                "done" => Warmth::Done { ratio: answer.ratio, bytes: answer.bytes },
                "failed" => Warmth::Failed(answer.error.unwrap_or_else(|| "it does not say why".to_owned())),
                _ => Warmth::Running(answer.ratio),
            }),
            Err(fault) => unable(&fault).map(Warmth::Unable),
        }
    }

    /// Err with a reason: it will never be. Err without: it may be asked again.
    pub(super) async fn warm(
        &self,
        admin: &str,
        peers: &[String],
        settings: &Settings,
    ) -> Result<(), Option<String>> {
        let body = json!({
            "peers": peers,
            "bytes": settings.warm.bytes,
            "bytes_per_sec": settings.warm.bytes_per_sec,
            "deadline_secs": settings.warm.deadline.as_secs(),
        });
        self.order(admin, &body).await
    }

    /// Has it take these objects from a peer that leaves; the rate is shared by `takers`. The answer is as to [`Self::warm`].
    pub(super) async fn take(
        &self,
        admin: &str,
        leaving: &str,
        objects: &[String],
        takers: usize,
        settings: &Settings,
    ) -> Result<(), Option<String>> {
        let takers = u64::try_from(takers).unwrap_or(u64::MAX).max(1);
        let body = json!({
            "peers": [leaving],
            "objects": objects,
            "bytes": settings.warm.bytes,
            "bytes_per_sec": (settings.warm.bytes_per_sec / takers).max(1),
            "deadline_secs": settings.handover_deadline().as_secs().max(1),
        });
        self.order(admin, &body).await
    }

    async fn order(&self, admin: &str, body: &Value) -> Result<(), Option<String>> {
        let url = format!("{admin}/api/v1/cache/warm");
        let answer = self.0.send(Method::POST, &url, Some((body, "application/json"))).await;
        answer.map(drop).map_err(|fault| unable(&fault))
    }

    pub(super) async fn worth(&self, admin: &str) -> Worth {
        let streams = self.streams(admin).await;
        Worth { streams, ..self.hot(admin).await.unwrap_or_default() }
    }

    /// What it is asked for most; nothing when it does not know the question. None: no answer.
    pub(super) async fn hot(&self, admin: &str) -> Option<Worth> {
        let url = format!("{admin}/api/v1/cache/hot?limit={HOT_OBJECTS}");
        let objects = match self.0.get::<HotAnswer>(&url).await {
            Ok(answer) => answer.objects,
            Err(Fault::Silent(_)) => return None,
            Err(fault) => {
                tracing::warn!("{admin} does not say what it has: {fault}");
                Vec::new()
            }
        };
        let mut seen = BTreeSet::new();
        let once = objects.into_iter().filter(|hot| seen.insert(hot.name.clone())).take(HOT_OBJECTS);
        Some(Worth { streams: None, hot: once.map(|hot| (hot.name, hot.bytes)).collect() })
    }
}

/// A server that does not know the question, or refuses it, will not know it a second later.
fn unable(fault: &Fault) -> Option<String> {
    match fault {
        Fault::Status(status, _)
            if matches!(
                *status,
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
            ) =>
        {
            Some("this server cannot be warmed".to_owned())
        }
        Fault::Status(status, _) if status.is_client_error() && *status != StatusCode::CONFLICT => {
            Some(format!("it refused to be warmed: {fault}"))
        }
        _ => None,
    }
}

fn active(exposition: &[u8]) -> Option<u64> {
    let name = catalogue::HTTP_SERVER_ACTIVE.name;
    let samples = Parser::new(exposition, Format::Text, Limits::default()).ok()?.map_while(Result::ok);
    let values = samples
        .filter(|sample| sample.series.text().split('{').next() == Some(name) && sample.value.is_finite())
        .map(|sample| sample.value.max(0.0).round() as u64);
    values.reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_in_flight_are_read_from_the_metrics() {
        let text = b"# TYPE http_server_active_requests gauge\nhttp_server_active_requests{a=\"x\"} 3\n\
                     http_server_active_requests_other 9\nhttp_server_active_requests 1\n";
        assert_eq!(active(text), Some(4));
        assert_eq!(active(b"other 1\n"), None);
    }
}
