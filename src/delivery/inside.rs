//! What the server itself asks for, as its viewers would: sources of jobs, and what is made before anybody wants it. Whether whoever
//! has it asked may have it is judged before.

use std::{fmt, sync::Arc};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::{
    derive::{Address, SourceError, Want},
    fill::{Born, Pace},
    pipeline::Delivery,
    purge::split,
    reader::Reader,
    request::{Request, Target},
    resolve::Resolved,
    route::{Plan, Work},
    routing::Routing,
};
use crate::{
    media::{self, encodes::Urgency},
    origin,
};

/// Why there is nothing.
#[derive(Debug)]
pub struct Nothing {
    /// Asking again may help.
    pub passing: bool,
    /// There is too much else to do.
    pub busy: bool,
    /// May be shown.
    pub detail: String,
}

impl Delivery {
    /// What is at a path or address, to be read through the cache.
    pub async fn source(&self, place: &str) -> Result<Arc<dyn media::Source>, Nothing> {
        let request = request(place)?;
        let routing = self.core.router.now();
        let plan = self.planned(&routing, &request)?;
        if !matches!(plan.work, Work::Fetch) {
            return Err(Nothing::lasting("this is made of something else, and no source"));
        }
        let address = Address::of(&plan, &request.headers);
        let born = Born::after(self.store().purges().latest());
        match self.core.source(&address, Want::Parts, &born).await {
            Ok(source) => Ok(Arc::new(source)),
            Err(SourceError::Origin(error)) => Err(Nothing::from(&error)),
            Err(SourceError::Status(status)) => Err(Nothing::answered(status)),
            Err(SourceError::Refused(refusal)) => {
                Err(Nothing { detail: refusal.detail, ..Nothing::answered(refusal.status) })
            }
        }
    }

    /// Has something made and stored, when nothing else is to do. Its first bytes, at most so many.
    pub async fn warm(&self, place: &str, most: usize) -> Result<Bytes, Nothing> {
        let request = request(place)?;
        let routing = self.core.router.now();
        let plan = self.planned(&routing, &request)?;
        let query = self.query_of(&request, &plan, Urgency::Spare);
        let (available, hold) = match self.core.resolve(&query).await {
            Resolved::Object { available, hold, .. } => (available, hold),
            Resolved::Answer { response, .. } if response.status.is_success() => {
                return Err(Nothing::lasting("this is not stored, so there is no use in making it"));
            }
            Resolved::Answer { response, .. } => return Err(Nothing::answered(response.status)),
            Resolved::Failed { error, .. } => return Err(Nothing::from(&error)),
            Resolved::NotCached | Resolved::Overloaded { .. } => return Err(Nothing::busy()),
        };
        let status = available.object.head.status;
        if !status.is_success() {
            return Err(Nothing::answered(status));
        }
        let (object, fills) = (available.object.clone(), self.core.fills.clone());
        let mut reader = match (&available.following, available.length()) {
            // It is all there.
            (None, Some(length)) => {
                let wanted = length.min(most as u64);
                Reader::new(fills, object, 0..wanted, Pace::Whole, None)
            }
            (Some(following), _) => Reader::to_the_end(fills, object, following),
            (None, None) => return Err(Nothing::busy()),
        };
        drop(hold);
        let mut first = BytesMut::new();
        while let Some(bytes) = reader.next().await {
            let bytes = bytes.map_err(|error| Nothing::from(&super::derive::as_origin_error(&error)))?;
            let room = most - first.len().min(most);
            first.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        }
        Ok(first.freeze())
    }

    fn planned<'p>(&self, routing: &'p Routing, request: &Request) -> Result<Plan<'p>, Nothing> {
        self.plan(routing, &request.asked()).map_err(|bad| Nothing::lasting(&bad.to_string()))
    }
}

fn request(place: &str) -> Result<Request, Nothing> {
    let (host, path) = split(place);
    let target = Target::parse(path).map_err(|bad| Nothing::lasting(&bad.to_string()))?;
    let mut headers = HeaderMap::new();
    if let Some(host) = host {
        let host = HeaderValue::try_from(host).map_err(|_| Nothing::lasting("this is no host"))?;
        headers.insert(header::HOST, host);
    }
    Ok(Request { method: Method::GET, target, headers: Arc::new(headers), interims: None, client: None })
}

impl Nothing {
    fn lasting(detail: &str) -> Self {
        Self { passing: false, busy: false, detail: detail.to_owned() }
    }

    fn busy() -> Self {
        Self { passing: true, busy: true, detail: "the server is busy".to_owned() }
    }

    fn answered(status: StatusCode) -> Self {
        let busy = status == StatusCode::SERVICE_UNAVAILABLE;
        let passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        Self { passing, busy, detail: format!("it is answered {status}") }
    }
}

impl From<&origin::Error> for Nothing {
    /// What the origin is called and what it said stays in the log.
    fn from(error: &origin::Error) -> Self {
        use origin::ErrorKind;
        tracing::warn!("{error}");
        let busy = matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Saturated);
        let passing = error.kind != ErrorKind::Forbidden;
        Self { passing, busy, detail: format!("it cannot be read: {}", error.kind.as_str()) }
    }
}

impl fmt::Display for Nothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}
