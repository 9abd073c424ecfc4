//! One attempt at one job, from its sources to its assets. Dropping it stops whatever it has started.

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use tokio::{fs::File, io::AsyncWriteExt as _};

mod probe;
mod progress;
mod warm;

use super::{
    library::{Failure, Keeping, Kept, Library},
    scratch::Scratch,
    work::{self, Facts, Setup, Step, Still, Work},
};
use crate::{
    media::ffmpeg::{self, Ffmpeg, Limits},
    store::AssetKey,
};

/// What attempts need.
pub struct Workshop {
    pub library: Arc<dyn Library>,
    pub scratch: Scratch,
    pub ffmpeg: Ffmpeg,
    pub setup: Setup,
    /// Of one attempt.
    pub time: Duration,
    /// Sources and outputs of one attempt.
    pub bytes: u64,
}

/// Who hears how far an attempt is.
pub trait Watcher: Send + Sync {
    /// From 0 to 1.
    fn progress(&self, done: f64);

    /// From now on its assets are put in place. False: it is not wanted any more.
    fn storing(&self) -> bool;
}

/// What has come of it, as it is told.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Made {
    Assets { assets: Vec<Kept> },
    Warmed { warmed: usize },
}

/// The part of the whole that fetching sources is taken for.
const STAGING: f64 = 0.05;
/// A still has no more bytes than this.
const MAX_STILL: u64 = 32 << 20;
/// What ffmpeg says of its progress, all in all.
const MAX_SAID: usize = 64 << 20;
/// Behind whoever serves somebody.
const NICENESS: i32 = 19;
/// By which an output may be longer or shorter than wanted, and at least so many seconds.
const TOLERANCE: f64 = 0.05;
const TOLERANCE_SECONDS: f64 = 1.0;

impl Workshop {
    pub async fn run(
        &self,
        id: &str,
        owner: &str,
        work: &Work,
        watcher: &dyn Watcher,
    ) -> Result<Made, Failure> {
        if let Work::Ladder(ladder) = work {
            let warmed = tokio::time::timeout(self.time, warm::run(&*self.library, ladder, watcher)).await;
            let late = |_| Failure::Passing("it took too long".to_owned());
            return Ok(Made::Warmed { warmed: warmed.map_err(late)?? });
        }
        let output = work.output().map(AssetKey::parse).and_then(Result::ok);
        let output = output.ok_or_else(|| Failure::Lasting("it has no output".to_owned()))?;
        let folder = self.scratch.folder(id).map_err(|error| failed("making a folder", &error))?;
        let begun = Instant::now();
        let left = || self.time.saturating_sub(begun.elapsed());
        let bytes = self.stage(work, folder.path(), watcher, left()).await?;
        let mut facts = Vec::new();
        for index in 0..work.sources().len() {
            facts.push(probe::source(&self.ffmpeg, folder.path(), &format!("in-{index}")).await?);
        }
        let steps = work::plan(work, &facts, self.setup).map_err(Failure::Lasting)?;
        let mut room = self.bytes.saturating_sub(bytes);
        for (index, step) in steps.iter().enumerate() {
            let tell = |done: f64| {
                let done = (index as f64 + done) / steps.len() as f64;
                watcher.progress(STAGING + (1.0 - STAGING) * done);
            };
            if room == 0 {
                return Err(Failure::Lasting("there is no room left for what it makes".to_owned()));
            }
            self.step(step, folder.path(), room, left(), &tell).await?;
            room = room.saturating_sub(check(&self.ffmpeg, step, folder.path()).await?);
        }
        if !watcher.storing() {
            return Err(Failure::Lasting("it was cancelled".to_owned()));
        }
        let mut assets = Vec::new();
        for step in &steps {
            let (key, media_type) = name(&output, step, work)?;
            let file = folder.path().join(&step.file);
            assets.push(self.library.keep(Keeping { key, media_type, owner: owner.to_owned(), file }).await?);
        }
        Ok(Made::Assets { assets })
    }

    /// Brings the sources into the folder, as `in-0` and so on. How long they are together.
    async fn stage(
        &self,
        work: &Work,
        folder: &Path,
        watcher: &dyn Watcher,
        time: Duration,
    ) -> Result<u64, Failure> {
        let staged = async {
            let mut sources = Vec::new();
            for place in work.sources() {
                sources.push(self.library.source(place).await?);
            }
            let all: u64 = sources.iter().map(|source| source.len()).sum();
            // Half of the room is for what is made of them.
            if all > self.bytes / 2 {
                let most = self.bytes / 2;
                return Err(Failure::Lasting(format!(
                    "the sources have {all} bytes, and {most} are possible"
                )));
            }
            let mut done = 0;
            for (index, source) in sources.iter().enumerate() {
                let mut file = File::create_new(folder.join(format!("in-{index}"))).await.map_err(writing)?;
                let mut bytes = source.stream(0..source.len());
                while let Some(piece) = bytes.next().await {
                    let piece = piece.map_err(|error| {
                        // It may name what is behind us.
                        tracing::warn!("{error}");
                        Failure::Passing("its sources cannot be read".to_owned())
                    })?;
                    file.write_all(&piece).await.map_err(writing)?;
                    done += piece.len() as u64;
                    watcher.progress(STAGING * done as f64 / all.max(1) as f64);
                }
                file.flush().await.map_err(writing)?;
            }
            Ok(all)
        };
        let late = |_| Failure::Passing("fetching its sources took too long".to_owned());
        tokio::time::timeout(time, staged).await.map_err(late)?
    }

    async fn step(
        &self,
        step: &Step,
        folder: &Path,
        room: u64,
        time: Duration,
        tell: &(dyn Fn(f64) + Send + Sync),
    ) -> Result<(), Failure> {
        let threads = u32::try_from(self.setup.threads).unwrap_or(1).saturating_add(1);
        let limits = Limits {
            processor: time.saturating_mul(threads),
            output_bytes: MAX_SAID,
            file_bytes: if step.still { MAX_STILL.min(room) } else { room },
            niceness: NICENESS,
            ..Limits::within(time)
        };
        let arguments = step.arguments.iter().map(Into::into).collect();
        let running = self.ffmpeg.confined_to(folder).with(limits);
        let mut said = running.stream(arguments, futures_util::stream::empty());
        let mut lines = progress::Lines::default();
        while let Some(bytes) = said.next().await {
            if let Some(seconds) = lines.see(&bytes.map_err(|error| told(&error))?)
                && step.seconds > 0.0
            {
                tell((seconds / step.seconds).clamp(0.0, 1.0));
            }
        }
        tell(1.0);
        Ok(())
    }
}

/// Where an output belongs.
fn name(output: &AssetKey, step: &Step, work: &Work) -> Result<(AssetKey, &'static str), Failure> {
    let Work::ThumbnailSet(set) = work else {
        return Ok((output.clone(), if work.is_sound() { "audio/mp4" } else { "video/mp4" }));
    };
    let key = AssetKey::parse(&format!("{output}/{}", step.file));
    let media_type = match set.format {
        Still::Jpg => "image/jpeg",
        Still::Webp => "image/webp",
        Still::Png => "image/png",
    };
    Ok((key.map_err(|wrong| Failure::Lasting(format!("output: {wrong}")))?, media_type))
}

/// Whether an output is what was wanted, before anybody gets it. How long it is.
async fn check(ffmpeg: &Ffmpeg, step: &Step, folder: &Path) -> Result<u64, Failure> {
    let length = tokio::fs::metadata(folder.join(&step.file)).await.map_or(0, |file| file.len());
    if length == 0 {
        return Err(Failure::Lasting("nothing came out of it".to_owned()));
    }
    if step.still {
        return Ok(length);
    }
    let facts: Facts = probe::output(ffmpeg, folder, &step.file).await?;
    if !is_as_long(step, facts.seconds) {
        let (is, wanted) = (facts.seconds, step.seconds);
        return Err(Failure::Lasting(format!("it came out {is:.3} seconds long instead of {wanted:.3}")));
    }
    Ok(length)
}

fn is_as_long(step: &Step, seconds: f64) -> bool {
    let most = (step.seconds * TOLERANCE).max(TOLERANCE_SECONDS);
    (step.seconds - most..=step.seconds + most + step.early).contains(&seconds)
}

fn failed(doing: &str, error: &io::Error) -> Failure {
    tracing::warn!("{doing} for a job: {error}");
    Failure::Passing(format!("{doing} failed"))
}

fn writing(error: io::Error) -> Failure {
    failed("keeping its sources", &error)
}

/// What ffmpeg says of paths is about its own folder.
fn told(error: &ffmpeg::Error) -> Failure {
    match error {
        // It was not the source: there is no room, or too little memory.
        ffmpeg::Error::Failed { status, stderr }
            if stderr.contains("No space left") || status.contains("SIGKILL") =>
        {
            tracing::warn!("{error}");
            Failure::Passing("there was not enough room for it".to_owned())
        }
        ffmpeg::Error::Failed { stderr, .. } => {
            let said = stderr.lines().next_back().unwrap_or_default();
            let said: String = said.chars().filter(|char| !char.is_control()).take(300).collect();
            Failure::Lasting(format!("the video cannot be processed: {said}"))
        }
        ffmpeg::Error::TimedOut { limit } => Failure::Lasting(format!("it took longer than {limit:?}")),
        ffmpeg::Error::Missing { .. } | ffmpeg::Error::TooOld { .. } => {
            tracing::error!("{error}");
            Failure::Passing("this server has no usable ffmpeg".to_owned())
        }
        other => Failure::Passing(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_at_a_keyframe_may_begin_as_early_as_the_video() {
        let step = |early| Step { arguments: vec![], file: String::new(), seconds: 2.0, early, still: false };
        let lengths =
            |early| [0.9, 1.5, 2.9, 3.1, 13.0, 13.1].map(|seconds| is_as_long(&step(early), seconds));
        assert_eq!(lengths(0.0), [false, true, true, false, false, false]);
        assert_eq!(lengths(10.0), [false, true, true, true, true, false]);
    }
}
