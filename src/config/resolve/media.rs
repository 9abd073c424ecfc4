//! What images and videos may take, and what is made of them.

use std::{sync::Arc, time::Duration};

use millrace_kit::config::Faults;

use super::{super::raw, bytes, or_cores};
use crate::{
    delivery::MediaConfig,
    media::{
        encodes,
        ffmpeg::Ffmpeg,
        image, pool,
        video::{Choice, Encoder, Ladder, Language, Step},
    },
};

pub fn media(raw: &raw::Media, faults: &mut Faults) -> MediaConfig {
    let threads = or_cores(raw.threads);
    let ascending = raw.widths.is_sorted_by(|one, next| one < next);
    if !ascending || raw.widths.iter().any(|width| !(1..=image::MAX_SIDE).contains(width)) {
        faults.push("media.widths", format!("must ascend from 1 to {}", image::MAX_SIDE));
    }
    let max_decode = bytes(&raw.max_decode, "media.max_decode", faults);
    let memory_bytes = bytes(&raw.max_memory, "media.max_memory", faults);
    if memory_bytes < max_decode {
        faults.push("media.max_memory", "is less than media.max_decode");
    }
    MediaConfig {
        pool: pool::Config { threads, queue: if raw.queue == 0 { threads * 16 } else { raw.queue as usize } },
        limits: image::Limits {
            max_source_bytes: bytes(&raw.max_source, "media.max_source", faults),
            max_pixels: u64::from(raw.max_megapixels) * 1_000_000,
            max_output_pixels: u64::from(raw.max_output_megapixels) * 1_000_000,
            max_decode_bytes: max_decode,
            max_frames: raw.max_frames,
            max_animation_pixels: u64::from(raw.max_animation_megapixels) * 1_000_000,
        },
        memory_bytes,
        image_timeout: Duration::from_secs(u64::from(raw.image_timeout_secs)),
        improve_after: raw.improve_after,
        lengths: raw.widths.clone().into(),
        segment_target: Duration::from_secs(u64::from(raw.segment_secs)),
        ffmpeg: Ffmpeg::new(&raw.ffmpeg, Duration::from_secs(u64::from(raw.ffmpeg_timeout_secs))),
        ladder: ladder(&raw.ladder, faults),
        encoder: encoder(&raw.encoder, faults),
        encodes: encodes::Config { running: or_cores(raw.encodes), queue: raw.encode_queue as usize },
        ahead: raw.encode_ahead,
        subtitles: subtitles(&raw.subtitles, faults),
    }
}

/// More languages would be more requests to origins than a playlist is worth.
const MAX_LANGUAGES: usize = 32;

fn subtitles(raw: &[String], faults: &mut Faults) -> Arc<[Language]> {
    if raw.len() > MAX_LANGUAGES {
        faults.push("media.subtitles", format!("at most {MAX_LANGUAGES} languages are possible"));
    }
    let mut languages = Vec::with_capacity(raw.len());
    for tag in raw {
        match Language::parse(tag) {
            Some(language) if languages.contains(&language) => {
                faults.push("media.subtitles", format!("{tag:?} is there twice"));
            }
            Some(language) => languages.push(language),
            None => faults.push("media.subtitles", format!("{tag:?} is not a language such as en or pt-BR")),
        }
    }
    languages.into()
}

fn ladder(raw: &[raw::LadderStep], faults: &mut Faults) -> Ladder {
    for (index, step) in raw.iter().enumerate() {
        if !(16..=4320).contains(&step.height) {
            faults.push(format!("media.ladder[{index}].height"), "must be from 16 to 4320");
        }
        if !(32..=200_000).contains(&step.kbps) {
            faults.push(format!("media.ladder[{index}].kbps"), "must be from 32 to 200000");
        }
        if raw[..index].iter().any(|other| other.height == step.height) {
            faults.push(format!("media.ladder[{index}].height"), "is there twice");
        }
    }
    Ladder::new(raw.iter().map(|step| Step { height: step.height, kbps: step.kbps }))
}

fn encoder(name: &str, faults: &mut Faults) -> Option<Choice> {
    match name {
        "auto" => Some(Choice::Auto),
        "off" => None,
        name => {
            let named = Encoder::parse(name);
            if named.is_none() {
                let known = Encoder::ALL.map(Encoder::name).join(", ");
                faults.push("media.encoder", format!("must be auto, off or one of {known}"));
            }
            named.map(Choice::Named)
        }
    }
}
