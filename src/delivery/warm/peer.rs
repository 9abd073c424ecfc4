//! A peer's admin port, as far as a run needs it.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use url::Url;

use super::super::handover::{Hottest, hex};
use crate::{
    cache::purge::Since,
    origin::{
        self, Origin as _,
        http::{Config, Http},
    },
};

pub struct Peer {
    pub name: Arc<str>,
    http: Http,
}

#[derive(Debug, Clone, Copy)]
pub enum PurgesOf {
    /// Those that not all servers may have heard of yet.
    Lately,
    After(u64),
}

/// Within this time whoever purges has told all servers.
const LATELY_SECS: u32 = 600;
/// Of a list or of purges.
const MAX_JSON: usize = 16 << 20;
/// How long a peer is waited for, and a stream that stands still.
const PATIENCE: Duration = Duration::from_secs(10);

impl Peer {
    pub fn new(url: &Url, token: &str) -> Result<Self, String> {
        let name: Arc<str> = url.as_str().trim_end_matches('/').into();
        let mut fields = HeaderMap::new();
        if !token.is_empty() {
            let bearer = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut bearer = bearer.map_err(|_| "the token is no field value".to_owned())?;
            bearer.set_sensitive(true);
            fields.insert(header::AUTHORIZATION, bearer);
        }
        let config = Config {
            fields,
            allow_private: true,
            first_byte_timeout: PATIENCE,
            idle_timeout: PATIENCE,
            max_requests: super::run::AT_A_TIME + 2,
            ..Config::new(name.clone(), url.clone())
        };
        let http = Http::new(config).map_err(|error| error.to_string())?;
        Ok(Self { name, http })
    }

    pub async fn hottest(&self, most: usize, bytes: u64) -> Result<Hottest, String> {
        self.json(format!("/api/v1/cache/hot?limit={most}&bytes={bytes}")).await
    }

    pub async fn purges(&self, which: PurgesOf) -> Result<Since, String> {
        let which = match which {
            PurgesOf::Lately => format!("within_secs={LATELY_SECS}"),
            PurgesOf::After(number) => format!("after={number}"),
        };
        self.json(format!("/api/v1/cache/purges?{which}")).await
    }

    /// None: it has gone meanwhile.
    pub async fn object(&self, id: u128) -> Result<Option<origin::Body>, String> {
        let answer = self.get(format!("/api/v1/cache/object/{}", hex(id))).await?;
        match answer.status {
            StatusCode::OK => Ok(Some(answer.body)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(format!("{}: {status}", self.name)),
        }
    }

    async fn json<T: DeserializeOwned>(&self, target: String) -> Result<T, String> {
        let mut answer = self.get(target).await?;
        if answer.status != StatusCode::OK {
            return Err(format!("{}: {}", self.name, answer.status));
        }
        let mut text = BytesMut::new();
        while let Some(piece) = answer.body.next().await {
            let piece = piece.map_err(|error| error.to_string())?;
            if text.len() + piece.len() > MAX_JSON {
                return Err(format!("{}: an answer of more than {MAX_JSON} bytes", self.name));
            }
            text.extend_from_slice(&piece);
        }
        serde_json::from_slice(&text).map_err(|wrong| format!("{}: {wrong}", self.name))
    }

    async fn get(&self, target: String) -> Result<origin::Response, String> {
        let request = origin::Request::new(Method::GET, target);
        self.http.fetch(request).await.map_err(|error| error.to_string())
    }
}
