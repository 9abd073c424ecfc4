//! A source as media operations read it: through the cache, at any place, without holding it whole.

use std::{ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use http::{HeaderMap, Method, StatusCode};

use super::{
    super::{
        Core,
        fill::{self, Attachment, Born, Fills, Object, Pace, Transfer, Upstream},
        forward::OriginUpstream,
        policy::Policy,
        range::Spec,
        reader::Reader,
        request::Target,
        resolve::{Query, Resolved},
        respond::Available,
        route::{Plan, Shape},
    },
    Refusal, SOURCE,
};
use crate::{
    cache::{Head, control::RequestControl},
    media::{self, ReadError},
    origin,
};

/// Why a source cannot be read.
pub enum SourceError {
    Origin(origin::Error),
    /// Something other than 200; passed on in kind.
    Status(StatusCode),
    Refused(Refusal),
}

/// Where a source is to be had: what is asked for, under whose rules, with which of the client's fields.
#[derive(Clone)]
pub struct Address {
    target: Target,
    policy: Arc<Policy>,
    headers: Arc<HeaderMap>,
}

impl Address {
    pub fn of(plan: &Plan<'_>, headers: &HeaderMap) -> Self {
        let headers = plan.policy.rules.fields.for_source(headers).into();
        Self { target: plan.source.clone(), policy: plan.policy.clone(), headers }
    }

    /// A file beside it, whose name ends otherwise: `film.en.vtt` for `film.mp4` and `en.vtt`. None where a route of its own is
    /// for that, since other rules may hold there.
    pub(super) fn beside(&self, core: &Core, ending: &str) -> Option<Self> {
        let path = self.target.path();
        let stem = path.strip_suffix(self.target.extension()?)?;
        let target = Target::of_path(&format!("{stem}{ending}"));
        let same = |other: &&Arc<Policy>| Arc::ptr_eq(other, &self.policy);
        core.router
            .at_once()
            .policies
            .on_any_host(target.path())
            .iter()
            .any(same)
            .then(|| Self { target, ..self.clone() })
    }
}

/// A stored object of known length.
#[derive(Clone)]
pub struct Source {
    fills: Arc<Fills>,
    object: Object,
    following: Option<Arc<Transfer>>,
    /// Keeps the transfer wanted between two reads.
    _hold: Option<Arc<Attachment>>,
    length: u64,
}

/// How much of the source the operation will want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    All,
    /// Parts; the first block to begin with.
    Parts,
}

impl Core {
    /// The current version of a source, for something that is as old as this then. What an origin answers without allowing
    /// it to be stored cannot be a source.
    pub async fn source(&self, address: &Address, want: Want, born: &Born) -> Result<Source, SourceError> {
        self.source_of(&self.query_for(address, want), born).await
    }

    pub fn query_for(&self, address: &Address, want: Want) -> Query {
        let seed = self.fills.store().seed();
        let block_size = u64::from(self.fills.store().block_size());
        let Address { target, policy, headers } = address;
        let upstream: Arc<dyn Upstream> = Arc::new(OriginUpstream::new(policy.chain.clone(), target));
        let plan = Shape::as_it_is(target).under(policy);
        Query {
            key: plan.key(seed),
            upstream,
            method: Method::GET,
            headers: headers.clone(),
            policy: policy.clone(),
            control: RequestControl::default(),
            range: (want == Want::Parts).then_some(Spec::FromTo(0, block_size - 1)),
        }
    }

    /// The same of what a query finds.
    pub async fn source_of(&self, query: &Query, born: &Born) -> Result<Source, SourceError> {
        match self.resolve(query).await {
            Resolved::Object { available, hold, .. } if available.object.head.status == StatusCode::OK => {
                born.with(&available.object.head);
                let length = match available.length() {
                    Some(length) => length,
                    None => self.drain(&available.object, available.following.as_ref()).await?,
                };
                let (object, following) = (available.object, available.following);
                let _hold = hold.map(Arc::new);
                Ok(Source { fills: self.fills.clone(), object, following, _hold, length })
            }
            Resolved::Object { available, .. } => Err(SourceError::Status(available.object.head.status)),
            Resolved::Answer { response, .. } if response.status == StatusCode::OK => {
                let detail = "the source may not be stored, so nothing can be made of it";
                Err(SourceError::Refused(Refusal::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "uncacheable",
                    detail,
                )))
            }
            Resolved::Answer { response, .. } => Err(SourceError::Status(response.status)),
            Resolved::Failed { error, .. } => Err(SourceError::Origin(error)),
            Resolved::NotCached => Err(SourceError::Status(StatusCode::GATEWAY_TIMEOUT)),
            Resolved::Overloaded { .. } => Err(SourceError::Refused(Refusal::busy())),
        }
    }

    /// Waits for the end of a source of unannounced length; what it holds is its length. No further than the tiers can
    /// keep: nothing could be made of more.
    async fn drain(&self, object: &Object, following: Option<&Arc<Transfer>>) -> Result<u64, SourceError> {
        let gone = || SourceError::Refused(Refusal::internal("source"));
        let transfer = following.ok_or_else(gone)?;
        let mut bytes =
            std::pin::pin!(Reader::to_the_end(self.fills.clone(), object.clone(), transfer).into_stream());
        let mut length = 0;
        while let Some(item) = bytes.next().await {
            length += item.map_err(|error| SourceError::broken(&error))?.len() as u64;
            if !self.fills.store().keeps(Some(length)) {
                let detail = "the source does not announce its length, and is too long to be kept";
                return Err(SourceError::Refused(Refusal::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "too_large",
                    detail,
                )));
            }
        }
        transfer.object_length().ok_or_else(gone)
    }
}

impl Source {
    /// What is available already. None while its length is not known.
    pub fn of(fills: &Arc<Fills>, available: &Available) -> Option<Self> {
        let length = available.length()?;
        let (object, following) = (available.object.clone(), available.following.clone());
        Some(Self { fills: fills.clone(), object, following, _hold: None, length })
    }

    pub fn head(&self) -> &Arc<Head> {
        &self.object.head
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// Identifies this version of this source, for memory caches. None when the version is not known.
    pub fn version(&self) -> Option<String> {
        version_of(self.object.key.text(), &self.object.head)
    }

    pub fn reader(&self, range: Range<u64>, pace: Pace) -> Reader {
        Reader::new(self.fills.clone(), self.object.clone(), range, pace, self.following.as_ref())
    }

    /// No more than `most` of its first bytes.
    pub async fn beginning(&self, most: u64) -> Result<Bytes, fill::Error> {
        self.collect(0..self.length.min(most), Pace::Demand).await
    }

    /// Waits for its last byte, if it is still coming and the tiers can keep it until it is read.
    pub async fn arrived(&self) -> Result<(), fill::Error> {
        if self.following.is_none() || !self.fills.store().keeps(Some(self.length)) {
            return Ok(());
        }
        let mut reader = self.reader(0..self.length, Pace::Whole);
        while reader.next().await.transpose()?.is_some() {}
        Ok(())
    }

    pub async fn read_all(&self) -> Result<Bytes, fill::Error> {
        self.collect(0..self.length, Pace::Whole).await
    }

    async fn collect(&self, range: Range<u64>, pace: Pace) -> Result<Bytes, fill::Error> {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut reader = self.reader(range, pace);
        let Some(first) = reader.next().await.transpose()? else { return Ok(Bytes::new()) };
        if first.len() == length {
            return Ok(first);
        }
        let mut all = BytesMut::with_capacity(length);
        all.extend_from_slice(&first);
        while let Some(bytes) = reader.next().await.transpose()? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }
}

impl media::Source for Source {
    fn len(&self) -> u64 {
        self.length
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        async move {
            if range.start > range.end || range.end > self.length {
                return Err(ReadError { detail: format!("{range:?} is not within {} bytes", self.length) });
            }
            self.collect(range, Pace::Demand).await.map_err(|error| ReadError { detail: error.to_string() })
        }
        .boxed()
    }

    fn stream(&self, range: Range<u64>) -> BoxStream<'_, Result<Bytes, ReadError>> {
        let range = range.start.min(self.length)..range.end.min(self.length);
        let bytes = self.reader(range, Pace::Demand).into_stream();
        bytes.map(|item| item.map_err(|error| ReadError { detail: error.to_string() })).boxed()
    }
}

/// Identifies the version of a source that is stored under a key of this text. A purge doubts what the validator says.
pub fn version_of(key: &str, head: &Head) -> Option<String> {
    let validator = head.strong_validator()?;
    let validator = String::from_utf8_lossy(validator.as_bytes());
    Some(format!("{key}\n{}\n{validator}", head.born))
}

/// For bodies of derived answers, which break when their source does.
pub fn as_origin_error(error: &fill::Error) -> origin::Error {
    match error {
        fill::Error::Origin(error) => error.clone(),
        other => origin::Error::new(&Arc::from("cache"), origin::ErrorKind::BrokenBody, other.to_string()),
    }
}

impl SourceError {
    /// Of a body that breaks while it is read.
    pub fn broken(error: &fill::Error) -> Self {
        match error {
            fill::Error::Full => Self::Refused(Refusal::busy()),
            other => Self::Origin(as_origin_error(other)),
        }
    }

    /// As an answer of the derived object: the same class of error as the source's.
    pub fn into_answer(self) -> Result<origin::Response, origin::Error> {
        match self {
            Self::Origin(error) => Err(error),
            Self::Refused(refusal) => Ok(refusal.into_response()),
            Self::Status(status) if status.is_client_error() || status.is_server_error() => {
                Ok(Refusal::new(status, SOURCE, format!("the source answered {status}")).into_response())
            }
            Self::Status(status) => {
                let detail = format!("the source answered {status}, which is nothing to work on");
                Ok(Refusal::new(StatusCode::BAD_GATEWAY, SOURCE, detail).into_response())
            }
        }
    }
}
