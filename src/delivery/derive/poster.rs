//! A still of a video: one frame decoded by ffmpeg, then resized and encoded as an image variant is.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use tokio::runtime::Handle;

use super::{Refusal, image_variant, source::Source};
use crate::media::{
    ffmpeg::{self, Ffmpeg},
    image::{self, Encoded, Fit, Orientation, Params},
    video::{self, Package, PosterError},
};

/// Decodes on the calling thread, which is one of the media pool: ffmpeg takes the place of a job that computes.
pub fn make(
    runtime: &Handle,
    source: &Source,
    package: &Arc<Package>,
    at_millis: u64,
    params: &Params,
    ffmpeg: &Ffmpeg,
) -> Result<Encoded, Refusal> {
    let seconds = Duration::from_millis(at_millis).as_secs_f64();
    let frame = runtime
        .block_on(video::poster(source, &package.movie, seconds, decoded_width(params), ffmpeg))
        .map_err(refusal)?;
    image::encode_rgb(frame.width, frame.height, &frame.rgb, params).map_err(image_variant::refusal)
}

/// ffmpeg scales down as it decodes where the width alone decides the size, and is that of the whole frame as it stands.
fn decoded_width(params: &Params) -> u32 {
    let whole = params.rect().is_none() && params.trim().is_none();
    let stands = !params.orientation(Orientation::default()).swaps_axes();
    match (params.width(), params.height(), params.fit()) {
        (Some(width), None, Fit::Clip) if whole && stands => width,
        _ => u32::MAX,
    }
}

pub(super) fn refusal(error: PosterError) -> Refusal {
    match error {
        PosterError::InvalidTime => {
            Refusal::new(StatusCode::BAD_REQUEST, "time", "not a time within the video")
        }
        PosterError::Video(error) => super::video::refusal(&error),
        PosterError::Ffmpeg(ffmpeg::Error::Failed { status, stderr }) => {
            tracing::warn!("ffmpeg ended with {status}: {stderr}");
            let detail = "no picture can be decoded at this place of the video";
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "video_undecodable", detail)
        }
        PosterError::Ffmpeg(error @ (ffmpeg::Error::Missing { .. } | ffmpeg::Error::TooOld { .. })) => {
            tracing::error!("{error}");
            Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ffmpeg_missing",
                "this server has no usable ffmpeg",
            )
        }
        PosterError::Ffmpeg(ffmpeg::Error::TimedOut { limit }) => {
            tracing::warn!("ffmpeg was stopped after {limit:?}");
            Refusal::new(StatusCode::GATEWAY_TIMEOUT, "ffmpeg_timeout", "decoding the picture took too long")
        }
        PosterError::Ffmpeg(error) => {
            tracing::error!("{error}");
            Refusal::internal("ffmpeg")
        }
    }
}
