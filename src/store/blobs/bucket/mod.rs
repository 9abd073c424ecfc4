//! Blobs as objects of a bucket of S3, or of what speaks like it: `blobs/{id}`, and of drafts that last or have parts already
//! `drafts/{id}`, which says how far they have come. Any server that may use the bucket can go on with a draft.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_sdk_s3::{
    Client,
    config::{retry::RetryConfig, timeout::TimeoutConfig},
};
use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use tokio::runtime::Handle;

use super::{BlobId, Blobs, Content, Draft, Error, Result};

mod draft;
mod requests;
mod state;
#[cfg(test)]
mod tests;

use draft::BucketDraft;
use state::State;

/// No object has more parts.
const MOST_PARTS: u64 = 10_000;
/// Of all parts but the last. S3 wants 5 MiB at least, and some of its kind that all are equal.
const LEAST_PART: u64 = 8 << 20;
/// A request with all its attempts: who asks for more of an upload waits for one that is under way.
const LONGEST: Duration = Duration::from_secs(150);
/// Says which catalogue knows the blobs.
const OWNER: &str = "catalogue";

pub struct Bucket {
    shared: Arc<Shared>,
}

/// How a bucket is used.
#[derive(Debug, Clone)]
pub struct Place {
    pub bucket: String,
    /// Keys begin with it; empty, or with a slash at its end.
    pub prefix: String,
    /// Longest blob.
    pub longest: u64,
}

/// For all drafts and contents.
struct Shared {
    client: Client,
    place: Place,
    part: u64,
    runtime: Handle,
}

struct ObjectContent {
    shared: Arc<Shared>,
    key: String,
    length: u64,
}

impl Bucket {
    /// Must be called within a runtime. Fails if another catalogue than this one knows what is in the bucket.
    pub async fn open(client: &Client, place: Place, catalogue: &str) -> Result<Self> {
        let retry = RetryConfig::standard().with_max_attempts(4);
        let limits = TimeoutConfig::disabled().to_builder().operation_timeout(LONGEST).build();
        let config = client.config().to_builder().retry_config(retry).timeout_config(limits);
        let client = Client::from_conf(config.build());
        let part = place.longest.div_ceil(MOST_PARTS).next_multiple_of(1 << 20).max(LEAST_PART);
        let shared = Arc::new(Shared { client, place, part, runtime: Handle::current() });
        match shared.get(OWNER).await? {
            None => shared.put(OWNER, Bytes::copy_from_slice(catalogue.as_bytes()), None).await?,
            Some((found, _)) if found == catalogue.as_bytes() => {}
            Some(_) => {
                let Place { bucket, prefix, .. } = &shared.place;
                return Err(Error::InUse(format!("s3://{bucket}/{prefix} with another catalogue")));
            }
        }
        Ok(Self { shared })
    }
}

fn blob(id: &BlobId) -> String {
    format!("blobs/{id}")
}

fn draft(id: &BlobId) -> String {
    format!("drafts/{id}")
}

impl Blobs for Bucket {
    fn is_shared(&self) -> bool {
        true
    }

    fn draft<'a>(&'a self, id: &'a BlobId, lasting: bool) -> BoxFuture<'a, Result<Box<dyn Draft>>> {
        async move {
            let mut draft =
                BucketDraft::new(self.shared.clone(), id.clone(), State::new(self.shared.part), lasting);
            if lasting {
                draft.save().await?;
            }
            Ok(Box::new(draft) as Box<dyn Draft>)
        }
        .boxed()
    }

    fn reopen<'a>(&'a self, id: &'a BlobId) -> BoxFuture<'a, Result<Option<Box<dyn Draft>>>> {
        async move {
            let Some(saved) = self.shared.get(&draft(id)).await? else { return Ok(None) };
            let state = State::read(saved)?;
            let draft = BucketDraft::reopened(self.shared.clone(), id.clone(), state);
            Ok(Some(Box::new(draft) as Box<dyn Draft>))
        }
        .boxed()
    }

    fn discard<'a>(&'a self, id: &'a BlobId) -> BoxFuture<'a, Result<()>> {
        async move {
            let Some(saved) = self.shared.get(&draft(id)).await? else { return Ok(()) };
            // Its parts first: nobody would know of them afterwards.
            if let Some(upload) = State::read(saved)?.upload {
                self.shared.abort(&blob(id), &upload).await?;
            }
            self.shared.delete(&draft(id)).await
        }
        .boxed()
    }

    fn open<'a>(&'a self, id: &'a BlobId) -> BoxFuture<'a, Result<Option<Arc<dyn Content>>>> {
        async move {
            let key = blob(id);
            let Some(length) = self.shared.length(&key).await? else { return Ok(None) };
            let shared = self.shared.clone();
            Ok(Some(Arc::new(ObjectContent { shared, key, length }) as Arc<dyn Content>))
        }
        .boxed()
    }

    fn remove<'a>(&'a self, id: &'a BlobId) -> BoxFuture<'a, Result<()>> {
        async move { self.shared.delete(&blob(id)).await }.boxed()
    }

    /// A lasting draft that has been published is known until it is discarded, so there is nothing to do.
    fn take_back<'a>(&'a self, _: &'a BlobId) -> BoxFuture<'a, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn idle_drafts(&self, least: Duration) -> BoxFuture<'_, Result<Vec<BlobId>>> {
        self.idle("drafts/", least).boxed()
    }

    fn idle_blobs(&self, least: Duration) -> BoxFuture<'_, Result<Vec<BlobId>>> {
        self.idle("blobs/", least).boxed()
    }
}

impl Bucket {
    async fn idle(&self, below: &str, least: Duration) -> Result<Vec<BlobId>> {
        let before = SystemTime::now().checked_sub(least).unwrap_or(SystemTime::UNIX_EPOCH);
        self.shared.older(below, before).await
    }
}

impl Content for ObjectContent {
    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move {
            let range = range.start..range.end.min(range.start.saturating_add(super::directory::CHUNK));
            self.shared.read(&self.key, range).await
        }
        .boxed()
    }

    /// In one request.
    fn stream(self: Arc<Self>, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
        if range.is_empty() {
            return stream::empty().boxed();
        }
        let begin = async move { self.shared.stream(&self.key, range).await };
        begin
            .into_stream()
            .flat_map(|begun| match begun {
                Ok(bytes) => bytes,
                Err(error) => stream::iter([Err(error)]).boxed(),
            })
            .boxed()
    }
}
