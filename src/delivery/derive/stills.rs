//! Sprites, previews and waveforms: decoded by ffmpeg from the few parts of the source that they show, then coded here.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use tokio::runtime::Handle;

use super::{Media, Refusal, image_variant, poster, source::Source, video as derived};
use crate::{
    delivery::Core,
    media::{
        Source as _,
        encodes::Urgency,
        ffmpeg::{Ffmpeg, Limits},
        image::{self, Encoded, Params},
        video::{self, Package, WaveformForm},
        waveform::{self, Container, Peaks},
    },
};

/// Memory for measured sounds, of up to 32 KiB each.
pub(super) const PEAKS_BYTES: usize = 1 << 20;
/// A file that is only sound does not say how long it is.
const SOUND_TIME: std::time::Duration = std::time::Duration::from_secs(300);

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Still {
    Sprite(u32),
    Preview,
}

/// Decodes on the calling thread, which is one of the media pool, as a poster is.
pub(super) fn make(
    runtime: &Handle,
    source: &Source,
    package: &Arc<Package>,
    still: Still,
    ffmpeg: &Ffmpeg,
) -> Result<Encoded, Refusal> {
    match still {
        Still::Sprite(number) => {
            let sheet = video::sprite(source, &package.movie, number, ffmpeg);
            let sheet = runtime.block_on(sheet).map_err(poster::refusal)?;
            image::encode_rgb(sheet.width, sheet.height, &sheet.rgb, &Params::default())
        }
        Still::Preview => {
            let frames = video::preview(source, &package.movie, ffmpeg);
            let frames = runtime.block_on(frames).map_err(poster::refusal)?;
            image::animate_rgb(frames.width, frames.height, &frames.rgb, frames.millis)
        }
    }
    .map_err(image_variant::refusal)
}

/// A waveform as it is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawing {
    pub(super) form: WaveformForm,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Names it among what is being encoded.
    pub(super) what: u128,
}

enum Sound {
    Track(Arc<Package>),
    File(Container),
}

impl Core {
    /// The sound is measured once for all sizes.
    pub(super) async fn waveform(&self, source: &Source, drawing: Drawing) -> Result<Bytes, Refusal> {
        let Drawing { form, width, height, what } = drawing;
        let peaks = match source.version() {
            Some(version) => {
                let measure = async || self.peaks(source, what).await;
                self.media.peaks.get_or_make(version, Peaks::weight, measure).await?
            }
            None => Arc::new(self.peaks(source, what).await?),
        };
        if peaks.is_empty() {
            return Err(silent());
        }
        match form {
            WaveformForm::Json => Ok(peaks.json(width).into()),
            WaveformForm::Png => peaks.png(width, height).map(Bytes::from).map_err(|error| {
                tracing::error!("drawing a waveform: {error}");
                Refusal::internal("waveform")
            }),
        }
    }

    async fn peaks(&self, source: &Source, what: u128) -> Result<Peaks, Refusal> {
        let beginning = source.read(0..source.length().min(16)).await;
        let beginning = beginning.map_err(|error| derived::refusal(&error.into()))?;
        let sound = match Container::of_sound(&beginning) {
            Some(container) => Sound::File(container),
            None => Sound::Track(self.package(source).await.map_err(|error| derived::refusal(&error))?),
        };
        let media: &Media = &self.media;
        let ticket = media.rungs.encodes.enter(what, Urgency::Next).map_err(|_| Refusal::busy())?;
        let _permit = ticket.permit().await.map_err(|_| Refusal::busy())?;
        let timer = media.instruments.duration.with_label_values(&["waveform"]).start_timer();
        let ffmpeg = &media.config.ffmpeg;
        let measured = match sound {
            Sound::Track(package) => video::loudness(source, &package.movie, ffmpeg).await,
            Sound::File(container) => {
                let input = source.stream(0..source.length());
                let ffmpeg = ffmpeg.with(Limits::within(SOUND_TIME));
                waveform::measure(&ffmpeg, container, input).await.map_err(Into::into)
            }
        };
        let peaks = measured.map_err(|error| {
            let refusal = poster::refusal(error);
            media.instruments.errors.with_label_values(&["waveform", refusal.reason]).inc();
            refusal
        });
        match &peaks {
            Ok(_) => timer.observe_duration(),
            Err(_) => _ = timer.stop_and_discard(),
        }
        peaks
    }
}

fn silent() -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "video_undecodable", "no sound can be decoded")
}
