//! Rungs of the ladder, made on demand: one segment of the source's pictures decoded, made smaller and encoded by ffmpeg, on
//! exactly the source's cuts and at the source's times. Where segments begin and what they are called does not depend on what
//! has been made before.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;

use super::asset::Rendition;
use super::ladder::Rung;
use super::package::Package;
use super::track::Track;
use super::{Error, init};
use crate::media::Source;
use crate::media::driven::driven;
use crate::media::encodes::Urgency;
use crate::media::ffmpeg::{self, Ffmpeg, Limits};

mod arguments;
mod chunk;
mod cut;
mod encoder;
mod fragments;

use arguments::{Effort, Job};
use chunk::Chunks;
use cut::Cut;
use fragments::{Fragments, Part};

pub use encoder::{Choice, Encoder};

/// Why there is no rung, or not all of a segment.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TranscodeError {
    #[error(transparent)]
    Video(#[from] Error),
    #[error(transparent)]
    Ffmpeg(#[from] ffmpeg::Error),
    /// More effort has made something that players would have to be told of.
    #[error("the encoder describes a segment otherwise than the one before")]
    Otherwise,
    /// The source's pictures cannot be decoded.
    #[error("no picture could be decoded")]
    NoPictures,
}

/// From this timescale on, times do not fit what encoders count with.
const MAX_TIMESCALE: u32 = 100_000_000;
/// An encode of a segment gets this much, or as many times the segment's own duration.
const LEAST_TIME: Duration = Duration::from_secs(60);
const TIMES_DURATION: u32 = 8;
const MOST_TIME: Duration = Duration::from_secs(900);
/// More effort, behind everybody else.
const TIMES_THOROUGH: u32 = 4;
const NICENESS: i32 = 19;
/// What players wait for before they ask for anything else.
const INIT: (Effort, i32) = (Effort::Quick, 0);

/// ffmpeg as it is on this machine, with the encoder that has been found to work.
#[derive(Debug)]
pub struct Transcoder {
    ffmpeg: Ffmpeg,
    encoder: Encoder,
    /// From before 5.1, as far as its version tells.
    old: bool,
    hardware_failed: AtomicBool,
}

impl Transcoder {
    /// Tries out what there is. None: this ffmpeg cannot encode H.264.
    pub async fn find(ffmpeg: &Ffmpeg, choice: Choice) -> Result<Option<Self>, ffmpeg::Error> {
        let version = ffmpeg.version().await?;
        let Some(encoder) = choice.settle(ffmpeg).await else { return Ok(None) };
        tracing::info!(encoder = encoder.name(), "{} encodes", version.text);
        // Version 5.0 knows the old name alone, and 5.1 both.
        let old = version.major.is_some_and(|major| major <= 5);
        Ok(Some(Self { ffmpeg: ffmpeg.clone(), encoder, old, hardware_failed: AtomicBool::new(false) }))
    }

    /// The encoder for the next job.
    pub fn encoder(&self) -> Encoder {
        if self.hardware_failed.load(Ordering::Relaxed) { Encoder::X264 } else { self.encoder }
    }

    /// The sample entry of a rung: what its encoder says before its first picture. Costs one picture; the same for all segments.
    pub async fn entry(
        &self,
        source: &dyn Source,
        package: &Package,
        rung: u16,
    ) -> Result<Bytes, TranscodeError> {
        let encoder = self.encoder();
        match self.entry_by(encoder, source, package, rung).await {
            Err(TranscodeError::Ffmpeg(error)) if encoder != Encoder::X264 => {
                self.give_hardware_up(&error);
                self.entry_by(Encoder::X264, source, package, rung).await
            }
            made => made,
        }
    }

    fn give_hardware_up(&self, error: &ffmpeg::Error) {
        tracing::warn!(encoder = self.encoder.name(), "going on in software: {error}");
        self.hardware_failed.store(true, Ordering::Relaxed);
    }

    async fn entry_by(
        &self,
        encoder: Encoder,
        source: &dyn Source,
        package: &Package,
        rung: u16,
    ) -> Result<Bytes, TranscodeError> {
        let (track, rung) = package.rung(rung)?;
        let (_, segments) = package.pick(Rendition::Source)?;
        let cut = Cut::beginning(track, segments)?;
        let mut made = self.run(encoder, track, rung, &cut, (true, INIT), source)?;
        let mut fragments = Fragments::default();
        while let Some(bytes) = made.next().await {
            fragments.push(&bytes?);
            if let Some(Part::Entry(entry)) = fragments.next()? {
                return Ok(entry);
            }
        }
        Err(TranscodeError::NoPictures)
    }

    /// `{rung}/init.mp4`
    pub fn init(package: &Package, rung: u16, entry: &[u8]) -> Result<Bytes, Error> {
        let (track, rung) = package.rung(rung)?;
        Ok(init::made(track, entry, rung.width, rung.height))
    }

    /// Segment `number` (from 1) of a rung, in pieces as they are made. Dropping the stream ends the encode. `entry` is what
    /// players have been given as its description.
    pub fn segment(
        self: Arc<Self>,
        source: Arc<dyn Source>,
        package: Arc<Package>,
        (rung, number): (u16, u32),
        entry: Bytes,
        urgency: Urgency,
    ) -> BoxStream<'static, Result<Bytes, TranscodeError>> {
        driven(move |output| async move {
            let encoder = self.encoder();
            let (source, package, effort) = (&*source, &*package, (Effort::Quick, urgency.niceness()));
            let making = Making { transcoder: &self, source, package, rung, number, entry, effort };
            let mut sent = false;
            match making.run(encoder, &output, &mut sent).await {
                Err(TranscodeError::Ffmpeg(error)) if encoder != Encoder::X264 && !sent => {
                    self.give_hardware_up(&error);
                    making.run(Encoder::X264, &output, &mut sent).await
                }
                ended => ended,
            }
        })
    }

    /// The same segment with more effort: other pictures at the same times, for the same description. In software alone.
    pub fn better(
        self: Arc<Self>,
        source: Arc<dyn Source>,
        package: Arc<Package>,
        rung: u16,
        number: u32,
        entry: Bytes,
    ) -> BoxStream<'static, Result<Bytes, TranscodeError>> {
        driven(move |output| async move {
            let (source, package, effort) = (&*source, &*package, (Effort::Thorough, NICENESS));
            let making = Making { transcoder: &self, source, package, rung, number, entry, effort };
            making.run(Encoder::X264, &output, &mut false).await
        })
    }

    fn run<'a>(
        &self,
        encoder: Encoder,
        track: &Track,
        rung: &Rung,
        cut: &Cut,
        (one, (effort, niceness)): (bool, (Effort, i32)),
        source: &'a dyn Source,
    ) -> Result<BoxStream<'a, Result<Bytes, ffmpeg::Error>>, Error> {
        if track.timescale > MAX_TIMESCALE {
            return Err(Error::unsupported(format!("a timescale of {}", track.timescale)));
        }
        let job = Job {
            width: rung.width,
            height: rung.height,
            bits: rung.bits,
            most_bits: rung.most_bits(),
            level: rung.level,
            rate_milli: rung.rate_milli,
            timescale: track.timescale,
            times: cut.wanted(),
            pictures: cut.times.len(),
            one,
            effort,
            old: self.old,
        };
        let arguments: Vec<OsString> = arguments::arguments(encoder, &job);
        let ticks = cut.times.last().zip(cut.times.first()).map_or(0, |(last, first)| last - first);
        let duration = Duration::from_secs(ticks.unsigned_abs() / u64::from(track.timescale) + 1);
        let time = (duration * TIMES_DURATION).clamp(LEAST_TIME, MOST_TIME);
        // Twice what the rate allows, and as much as a first picture may take.
        let output = rung.most_bits() / 4 * (duration.as_secs() + 2) + (4 << 20);
        let output_bytes = usize::try_from(output).unwrap_or(usize::MAX);
        let time = time * if effort == Effort::Thorough { TIMES_THOROUGH } else { 1 };
        let limits = Limits { output_bytes, niceness, ..encoder.limits(time) };
        Ok(self.ffmpeg.with(limits).stream(arguments, cut.excerpt.read(source)))
    }
}

/// One segment being made.
struct Making<'a> {
    transcoder: &'a Transcoder,
    source: &'a dyn Source,
    package: &'a Package,
    rung: u16,
    number: u32,
    entry: Bytes,
    /// With its niceness.
    effort: (Effort, i32),
}

impl Making<'_> {
    async fn run(
        &self,
        encoder: Encoder,
        output: &mpsc::Sender<Bytes>,
        sent: &mut bool,
    ) -> Result<(), TranscodeError> {
        let (track, rung) = self.package.rung(self.rung)?;
        let (_, segments) = self.package.pick(Rendition::Source)?;
        let index = (self.number as usize).checked_sub(1).ok_or(Error::NotFound)?;
        let cut = Cut::of(track, segments, index)?;
        let mut made = self.transcoder.run(encoder, track, rung, &cut, (false, self.effort), self.source)?;
        let mut fragments = Fragments::default();
        let mut chunks = Chunks::new(self.number, cut.first);
        let mut shift = None;
        let mut repeated = None;
        while let Some(bytes) = made.next().await {
            fragments.push(&bytes?);
            while let Some(part) = fragments.next()? {
                match part {
                    Part::Entry(entry) if entry != self.entry && self.effort.0 == Effort::Thorough => {
                        return Err(TranscodeError::Otherwise);
                    }
                    Part::Entry(entry) if entry != self.entry => {
                        tracing::warn!("the encoder describes a segment otherwise than the first one");
                        repeated = fragments::parameter_sets(&entry);
                    }
                    Part::Entry(_) => {}
                    Part::Pictures(mut pictures, mut data) => {
                        let Some(first) = pictures.first_mut() else { continue };
                        if let Some(sets) = repeated.take() {
                            first.size += sets.len() as u32;
                            data = [&sets[..], &data].concat().into();
                        }
                        // Every time is one of the source's, unless this ffmpeg counts from elsewhere.
                        let first = first.time;
                        let shift = *shift.get_or_insert_with(|| {
                            match cut.times.binary_search(&(first + cut.shift)) {
                                Ok(_) => cut.shift,
                                Err(_) => cut.times.first().map_or(cut.shift, |time| time - first),
                            }
                        });
                        pictures.iter_mut().for_each(|picture| picture.time += shift);
                        let mut piece = BytesMut::from(&chunks.header(track, &pictures, data.len())[..]);
                        piece.extend_from_slice(&data);
                        *sent = true;
                        // Whoever has the receiver polls this very future: it is there.
                        let _ = output.send(piece.freeze()).await;
                    }
                }
            }
        }
        match chunks.pictures(cut.first) as usize {
            0 => Err(TranscodeError::NoPictures),
            made if made < cut.times.len() => {
                tracing::warn!(
                    number = self.number,
                    "{made} of {} pictures could be decoded",
                    cut.times.len()
                );
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
