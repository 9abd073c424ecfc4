//! The gate in front of media work. Whoever passes has a place in a bounded line, then memory for the source, then memory
//! for the job, then a thread; each is given back on every way out. Who finds the line full is told to come again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use millrace_kit::metrics::{self, Registry, catalogue};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    Refusal,
    improve::Improvements,
    progressive::{Arrangements, Clips},
    rung::Rungs,
    slots::Slots,
    stills::PEAKS_BYTES,
};
use crate::media::{
    checkpoint::{Stop, Token},
    encodes,
    ffmpeg::Ffmpeg,
    image,
    pool::{self, Pool},
    video::{Choice, Ladder, Language, Package},
    waveform::Peaks,
};

/// Memory for the sample indexes of videos, and as much each for what stands in front of rearranged ones and of clips. An hour of video takes
/// one or two MiB.
const INDEX_BYTES: usize = 16 << 20;

/// What a semaphore can count, at least.
const MAX_PAGES: u32 = u32::MAX >> 3;

#[derive(Debug, Clone)]
pub struct MediaConfig {
    pub pool: pool::Config,
    pub limits: image::Limits,
    /// Memory for all image jobs together, sources not counted; at least what one may take.
    pub memory_bytes: u64,
    /// Running time of one image job.
    pub image_timeout: Duration,
    /// Images that are asked for more often than this are encoded again with more effort; 0: never.
    pub improve_after: u32,
    /// Widths and heights of images, ascending; empty: any.
    pub lengths: Arc<[u32]>,
    pub segment_target: Duration,
    pub ffmpeg: Ffmpeg,
    pub ladder: Ladder,
    /// Languages of which subtitles are looked for beside videos.
    pub subtitles: Arc<[Language]>,
    /// None: nothing is encoded.
    pub encoder: Option<Choice>,
    pub encodes: encodes::Config,
    /// Segments made ahead of a viewer.
    pub ahead: u32,
}

/// What media operations need.
pub struct Media {
    pub(super) config: MediaConfig,
    pool: Pool,
    /// Operations that hold a source in memory, waiting ones included: no more than the pool takes.
    places: Semaphore,
    /// Pages of memory for sources: as much as the longest one.
    sources: Semaphore,
    /// Pages of memory for jobs.
    memory: Semaphore,
    pub(super) packages: Slots<Package>,
    pub(super) arrangements: Arrangements,
    pub(super) clips: Clips,
    pub(super) peaks: Slots<Peaks>,
    pub(super) rungs: Rungs,
    improvements: Improvements,
    pub(super) instruments: Instruments,
}

pub(super) struct Instruments {
    pub duration: prometheus::HistogramVec,
    pub steps: prometheus::HistogramVec,
    pub errors: prometheus::IntCounterVec,
    pub improved: prometheus::IntCounterVec,
    pub encodes: prometheus::IntCounterVec,
    cancelled: prometheus::IntCounterVec,
    depth: metrics::IntGauge,
    entering: metrics::IntGauge,
    encoding: metrics::IntGauge,
}

#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("starting media threads: {0}")]
    Threads(#[from] std::io::Error),
    #[error(transparent)]
    Metrics(#[from] metrics::Error),
}

/// A place in the line.
pub(super) struct Place<'m> {
    _place: SemaphorePermit<'m>,
}

/// Room in memory.
pub(super) struct Room<'m> {
    _pages: SemaphorePermit<'m>,
}

/// A job, as the gate sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    /// In metrics.
    pub operation: &'static str,
    /// Running time after which it is stopped; None: it has a bound of its own.
    pub budget: Option<Duration>,
    pub urgency: Urgency,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Somebody waits.
    Awaited,
    /// Only when there is nothing else to do.
    Spare,
}

impl Task {
    /// One that somebody waits for.
    pub(super) fn awaited(operation: &'static str) -> Self {
        Self { operation, budget: None, urgency: Urgency::Awaited }
    }
}

/// What a job gave, and how long it waited for a thread.
pub(super) struct Done<T> {
    pub result: T,
    pub queued: Duration,
}

impl Media {
    pub fn new(config: MediaConfig, registry: &Registry) -> Result<Self, SetupError> {
        let config = MediaConfig { ffmpeg: config.ffmpeg.confined(), ..config };
        let depth = registry.gauge(&catalogue::QUEUE_DEPTH)?;
        let instruments = Instruments {
            duration: registry.histogram(&catalogue::MEDIA_DURATION)?,
            steps: registry.histogram(&catalogue::MEDIA_STEP)?,
            errors: registry.counter(&catalogue::MEDIA_ERRORS)?,
            improved: registry.counter(&catalogue::MEDIA_IMPROVEMENTS)?,
            encodes: registry.counter(&catalogue::MEDIA_ENCODES)?,
            cancelled: registry.counter(&catalogue::MEDIA_CANCELLED)?,
            depth: depth.with_label_values(&["media"]),
            entering: depth.with_label_values(&["media-memory"]),
            encoding: depth.with_label_values(&["encode"]),
        };
        let pool = Pool::new(config.pool)?;
        let places = pool.config().threads + pool.config().queue;
        Ok(Self {
            places: Semaphore::new(places),
            sources: Semaphore::new(pages(config.limits.max_source_bytes) as usize),
            memory: Semaphore::new(pages(config.memory_bytes) as usize),
            pool,
            packages: Slots::new(INDEX_BYTES),
            arrangements: Slots::new(INDEX_BYTES),
            clips: Clips::new(INDEX_BYTES),
            peaks: Slots::new(PEAKS_BYTES),
            rungs: Rungs::new(config.encodes),
            improvements: Improvements::new(config.improve_after),
            instruments,
            config,
        })
    }

    pub fn improvements(&self) -> &Improvements {
        &self.improvements
    }

    pub fn lengths(&self) -> &[u32] {
        &self.config.lengths
    }

    /// A place in the line; busy when there is none.
    pub(super) fn enter(&self) -> Result<Place<'_>, Refusal> {
        Ok(Place { _place: self.places.try_acquire().map_err(|_| Refusal::busy())? })
    }

    /// Waits for room to hold a source.
    pub(super) async fn room_for_source(&self, _: &Place<'_>, bytes: u64) -> Result<Room<'_>, Refusal> {
        self.room(&self.sources, bytes).await
    }

    /// Waits for the memory that a job will take. More than there is at all counts as all of it.
    pub(super) async fn room_for_job(&self, _: &Place<'_>, bytes: u64) -> Result<Room<'_>, Refusal> {
        self.room(&self.memory, bytes.min(self.config.memory_bytes)).await
    }

    async fn room<'m>(&self, of: &'m Semaphore, bytes: u64) -> Result<Room<'m>, Refusal> {
        Ok(Room { _pages: of.acquire_many(pages(bytes)).await.map_err(|_| Refusal::busy())? })
    }

    /// Waits until there is nothing to do.
    pub(super) async fn idle(&self) {
        self.pool.idle().await;
    }

    /// Brings gauges up to date, before they are read.
    pub fn observe(&self) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let (waiting, running) = (self.pool.depth(), self.pool.running());
        let config = self.pool.config();
        let inside = (config.threads + config.queue).saturating_sub(self.places.available_permits());
        self.instruments.depth.set(gauge(waiting));
        self.instruments.encoding.set(gauge(self.rungs.encodes.depth()));
        self.instruments.entering.set(gauge(inside.saturating_sub(waiting + running)));
    }

    /// Runs CPU work on the pool and records how it went. When nobody waits any more, and this future is dropped, what is
    /// queued does not start, and what runs stops at its next checkpoint.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        task: Task,
        job: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<Done<T>, Refusal> {
        let Task { operation, budget, urgency } = task;
        let asked = Instant::now();
        let waiting = Waiting { media: self, token: Token::new(budget), over: false };
        let token = waiting.token.clone();
        let timed = move || {
            let (queued, begun) = (asked.elapsed(), Instant::now());
            (token.run(job), queued, begun.elapsed())
        };
        let ran = match urgency {
            Urgency::Awaited => self.pool.run(timed).await,
            Urgency::Spare => self.pool.run_when_idle(timed).await,
        };
        waiting.end();
        let result = match ran {
            Ok((result, queued, took)) => result.map(|result| (Done { result, queued }, took)),
            Err(pool::Error::Busy) => Err(Refusal::busy()),
            Err(failed) => {
                tracing::error!(operation, "{failed}");
                Err(Refusal::internal("internal"))
            }
        };
        match result {
            Ok((done, took)) => {
                self.instruments.duration.with_label_values(&[operation]).observe(took.as_secs_f64());
                Ok(done)
            }
            Err(refusal) => {
                self.instruments.errors.with_label_values(&[operation, refusal.reason]).inc();
                Err(refusal)
            }
        }
    }
}

/// Somebody waits for a job.
struct Waiting<'m> {
    media: &'m Media,
    token: Arc<Token>,
    over: bool,
}

impl Waiting<'_> {
    fn end(mut self) {
        self.over = true;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.token.abandon();
            let stage = if self.token.has_begun() { "running" } else { "queued" };
            self.media.instruments.cancelled.with_label_values(&[stage]).inc();
        }
    }
}

/// What a stopped job is answered with, though hardly anybody is left to hear it.
pub(super) fn stopped(stop: Stop, reason: &'static str) -> Refusal {
    match stop {
        Stop::Abandoned => Refusal { reason, ..Refusal::busy() },
        Stop::OutOfTime => Refusal::new(
            http::StatusCode::GATEWAY_TIMEOUT,
            reason,
            "making this takes longer than is allowed here",
        ),
    }
}

fn pages(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(4096)).unwrap_or(u32::MAX).min(MAX_PAGES)
}

#[cfg(test)]
mod tests;
