//! What jobs read and write, brought together: sources and warm objects through the cache, outputs through the uploads.

use std::{io, path::PathBuf, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use millrace_kit::{clock::Clock, metrics::Registry, tasks::Tasks};
use tokio::{fs::File, io::AsyncReadExt};

use super::{Error, assets};
use crate::{
    config::JobSettings,
    delivery::{Delivery, Nothing},
    jobs::{
        Failure, Jobs, Keeping, Kept, Ladder, Library, Lock, Order, Part, Postgres, Priority, Queue, Scratch,
        Setup, Sqlite, Work, Workshop,
    },
    media::Source,
    upload::{self, Asset, Condition, Digests, Put, Uploads},
};

/// Read from an output at a time.
const CHUNK: usize = 256 << 10;

struct Everything {
    delivery: Arc<Delivery>,
    uploads: Option<Uploads>,
}

/// The queue and those who work it off. What a server before has left is taken up.
pub async fn start(
    settings: JobSettings,
    delivery: Arc<Delivery>,
    uploads: Option<Uploads>,
    (clock, tasks): (Clock, Tasks),
    registry: &Registry,
) -> Result<Jobs, Error> {
    let JobSettings { config, ffmpeg, .. } = settings;
    let dir = config.dir.clone();
    let queue: Arc<dyn Queue> = match &config.database {
        None => Arc::new(on_disk(dir.clone(), |dir| Sqlite::open(&dir)).await?),
        Some(database) => {
            let lock = on_disk(dir.clone(), |dir| Lock::take(&dir)).await?;
            Arc::new(Postgres::open(database, lock, registry).await?)
        }
    };
    // With the right to the directory, what is left in it is nobody's.
    let scratch = on_disk(dir, |dir| Scratch::open(dir.join("scratch"))).await?;
    let jobs = Jobs::new(queue, config.clone(), clock, tasks, registry)?;
    let workshop = Workshop {
        library: Arc::new(Everything { delivery, uploads }),
        scratch,
        ffmpeg,
        setup: Setup { threads: config.threads },
        time: config.time,
        bytes: config.scratch_bytes / config.workers.max(1) as u64,
    };
    jobs.start(workshop);
    Ok(jobs)
}

async fn on_disk<T: Send + 'static, E: Send + 'static>(
    dir: PathBuf,
    open: impl FnOnce(PathBuf) -> Result<T, E> + Send + 'static,
) -> Result<T, Error>
where
    Error: From<E>,
{
    let opened = tokio::task::spawn_blocking(move || open(dir)).await.map_err(io::Error::other)?;
    Ok(opened?)
}

/// Has viewers find what is put here, when they come.
pub fn warm_after(uploads: &Uploads, jobs: &Jobs, parts: Vec<Part>, tasks: &Tasks) {
    let (jobs, tasks) = (jobs.clone(), tasks.clone());
    uploads.after_commit(move |asset: &Asset| {
        let video = ["video/mp4", "video/quicktime", "video/x-m4v"].contains(&asset.media_type.as_str());
        let named =
            ["mp4", "m4v", "mov"].iter().any(|known| asset.key.extension().eq_ignore_ascii_case(known));
        if !video || !named {
            return;
        }
        let work = Work::Ladder(Ladder {
            source: assets::path(&asset.key),
            renditions: Vec::new(),
            parts: parts.clone(),
        });
        let order = Order {
            owner: asset.owner.clone(),
            priority: Priority::Low,
            idempotency: Some(format!("warm {} {}", asset.key, asset.version)),
        };
        let (jobs, key) = (jobs.clone(), asset.key.clone());
        tasks.spawn("warm after commit", async move {
            if let Err(error) = jobs.send(&work, order).await {
                tracing::warn!(%key, "it is not made ready for viewers: {error}");
            }
        });
    });
}

impl Library for Everything {
    fn source<'a>(&'a self, place: &'a str) -> BoxFuture<'a, Result<Arc<dyn Source>, Failure>> {
        async move { self.delivery.source(place).await.map_err(|nothing| failure(place, &nothing)) }.boxed()
    }

    fn warm<'a>(&'a self, place: &'a str, most: usize) -> BoxFuture<'a, Result<Bytes, Failure>> {
        async move { self.delivery.warm(place, most).await.map_err(|nothing| failure(place, &nothing)) }
            .boxed()
    }

    fn keep(&self, keeping: Keeping) -> BoxFuture<'_, Result<Kept, Failure>> {
        async move {
            let uploads = self.uploads.as_ref();
            let uploads =
                uploads.ok_or_else(|| Failure::Lasting("this server keeps no assets".to_owned()))?;
            let unread = |error: io::Error| {
                tracing::warn!("reading what a job has made: {error}");
                Failure::Passing("what it has made cannot be read".to_owned())
            };
            let file = File::open(&keeping.file).await.map_err(unread)?;
            let length = file.metadata().await.map_err(unread)?.len();
            let put = Put {
                key: keeping.key,
                length: Some(length),
                media_type: Some(keeping.media_type.to_owned()),
                tags: Vec::new(),
                digests: Digests::default(),
                condition: Condition::default(),
                owner: keeping.owner,
            };
            let asset = uploads.put(put, pieces(file)).await.map_err(|error| refused(&error))?.asset;
            let (path, etag) = (assets::path(&asset.key), asset.etag());
            Ok(Kept { path, key: asset.key.to_string(), length: asset.length, etag })
        }
        .boxed()
    }

    fn keeps(&self) -> bool {
        self.uploads.is_some()
    }
}

fn pieces(file: File) -> upload::Body {
    let next = |mut file: File| async move {
        let mut piece = BytesMut::with_capacity(CHUNK);
        match file.read_buf(&mut piece).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(piece.freeze()), file)),
            Err(error) => Some((Err(error), file)),
        }
    };
    stream::unfold(file, next).boxed()
}

fn failure(place: &str, nothing: &Nothing) -> Failure {
    let detail = format!("{place}: {nothing}");
    match nothing {
        Nothing { busy: true, .. } => Failure::Busy,
        Nothing { passing: true, .. } => Failure::Passing(detail),
        _ => Failure::Lasting(detail),
    }
}

fn refused(error: &upload::Error) -> Failure {
    use upload::Error;
    let detail = match error {
        Error::Store(error) => {
            tracing::error!("what a job has made: {error}");
            "it cannot be kept: the store has failed".to_owned()
        }
        error => format!("it cannot be kept: {error}"),
    };
    match error {
        Error::Busy | Error::Stopping => Failure::Busy,
        Error::Short | Error::Stalled | Error::Overtaken | Error::Store(_) => Failure::Passing(detail),
        _ => Failure::Lasting(detail),
    }
}
