//! What ffprobe says of a file: of sources before anything is made of them, of outputs before anybody gets them.

use std::{path::Path, time::Duration};

use serde::Deserialize;
use tokio::{fs::File, io::AsyncReadExt as _};

use super::{Facts, Failure};
use crate::media::{
    ffmpeg::{self, Ffmpeg, Limits},
    waveform::Container,
};

/// It reads indexes, no pictures.
const TIME: Duration = Duration::from_secs(60);
const MAX_SAID: usize = 1 << 20;
const HEAD: usize = 64;
const MAX_SIDE: u32 = 16_384;
const MAX_SECONDS: f64 = 86_400.0 * 2.0;

#[derive(Debug, Deserialize)]
struct Said {
    #[serde(default)]
    streams: Vec<Stream>,
    format: Option<Format>,
}

#[derive(Debug, Deserialize)]
struct Stream {
    codec_type: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    sample_aspect_ratio: Option<String>,
    avg_frame_rate: Option<String>,
    duration: Option<String>,
    #[serde(default)]
    side_data_list: Vec<SideData>,
    #[serde(default)]
    disposition: Disposition,
}

#[derive(Debug, Default, Deserialize)]
struct Disposition {
    /// A cover, which is no film.
    #[serde(default)]
    attached_pic: u8,
}

#[derive(Debug, Deserialize)]
struct SideData {
    rotation: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Format {
    duration: Option<String>,
}

/// Of a source, whose bytes anybody may have made.
pub async fn source(ffmpeg: &Ffmpeg, folder: &Path, file: &str) -> Result<Facts, Failure> {
    let mut head = Vec::with_capacity(HEAD);
    let opened = File::open(folder.join(file)).await.map_err(super::writing)?;
    opened.take(HEAD as u64).read_to_end(&mut head).await.map_err(super::writing)?;
    let unfit = || {
        let known = "MP4, QuickTime, Matroska, WebM, MP3, WAV, FLAC or Ogg";
        Failure::Lasting(format!("the source is no {known}"))
    };
    probe(ffmpeg, folder, file, demuxer(&head).ok_or_else(unfit)?).await
}

pub async fn output(ffmpeg: &Ffmpeg, folder: &Path, file: &str) -> Result<Facts, Failure> {
    probe(ffmpeg, folder, file, "mov").await
}

/// Told here, so that no playlist or script is taken for a video.
fn demuxer(head: &[u8]) -> Option<&'static str> {
    match head {
        [0x1a, 0x45, 0xdf, 0xa3, ..] => Some("matroska"),
        [_, _, _, _, kind @ ..] if kind.len() >= 4 => {
            let known: [&[u8]; 6] = [b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip"];
            known.iter().any(|known| kind.starts_with(known)).then_some("mov")
        }
        _ => None,
    }
    .or_else(|| match Container::of_sound(head)? {
        Container::Mp3 => Some("mp3"),
        Container::Wave => Some("wav"),
        Container::Flac => Some("flac"),
        Container::Ogg => Some("ogg"),
        // It does not say how long it is.
        Container::Adts | Container::Mp4 => None,
    })
}

async fn probe(ffmpeg: &Ffmpeg, folder: &Path, file: &str, format: &'static str) -> Result<Facts, Failure> {
    let limits = Limits { niceness: super::NICENESS, ..Limits::within(TIME) };
    let arguments = [
        "-v",
        "error",
        "-protocol_whitelist",
        "file",
        "-f",
        format,
        "-of",
        "json",
        "-show_entries",
        "format=duration:stream=codec_type,width,height,sample_aspect_ratio,avg_frame_rate,duration:\
         stream_side_data=rotation:stream_disposition=attached_pic",
        "-i",
        file,
    ];
    let ffprobe = ffmpeg.beside("ffprobe").confined_to(folder).with(limits);
    let said = ffprobe.run(arguments, futures_util::stream::empty(), MAX_SAID).await;
    let said = said.map_err(|error| match error {
        ffmpeg::Error::Missing { .. } => {
            tracing::error!("{error}");
            Failure::Passing("this server has no usable ffprobe".to_owned())
        }
        ffmpeg::Error::TooMuchOutput { .. } => Failure::Lasting("the source has too many streams".to_owned()),
        other => super::told(&other),
    })?;
    let said: Said = serde_json::from_slice(&said)
        .map_err(|error| Failure::Passing(format!("ffprobe cannot be understood: {error}")))?;
    facts(&said, format).map_err(|wrong| Failure::Lasting(wrong.to_owned()))
}

fn facts(said: &Said, format: &'static str) -> Result<Facts, &'static str> {
    let of = |kind| {
        let mut streams = said.streams.iter().filter(|stream| stream.disposition.attached_pic == 0);
        streams.find(|stream| stream.codec_type.as_deref() == Some(kind))
    };
    let (video, audio) = (of("video"), of("audio"));
    let stream = video.or(audio).ok_or("the source has neither pictures nor sound")?;
    let times =
        [said.format.as_ref().and_then(|format| format.duration.as_deref()), stream.duration.as_deref()];
    let seconds = times.into_iter().flatten().find_map(|time| time.parse::<f64>().ok());
    let seconds = seconds.filter(|seconds| (0.01..MAX_SECONDS).contains(seconds));
    let seconds = seconds.ok_or("the source does not say how long it is, or is too long")?;
    let rate = stream.avg_frame_rate.as_deref().and_then(|text| fraction(text, '/'));
    let rate = rate.filter(|(of, to)| (1.0..=120.0).contains(&(f64::from(*of) / f64::from(*to))));
    let (width, height) = video.map_or(Ok((0, 0)), shown)?;
    Ok(Facts {
        format,
        seconds,
        video: video.is_some(),
        width,
        height,
        rate: rate.unwrap_or((25, 1)),
        audio: audio.is_some(),
    })
}

/// Width and height, turned, with square pixels.
fn shown(video: &Stream) -> Result<(u32, u32), &'static str> {
    let (Some(width), Some(height)) = (video.width, video.height) else {
        return Err("the source's pictures have no size");
    };
    if !(2..=MAX_SIDE).contains(&width) || !(2..=MAX_SIDE).contains(&height) {
        return Err("the source's pictures have a size that is not possible");
    }
    let aspect = video.sample_aspect_ratio.as_deref().and_then(|text| fraction(text, ':'));
    let aspect = aspect.map_or(1.0, |(of, to)| f64::from(of) / f64::from(to)).clamp(0.1, 10.0);
    let width = ((f64::from(width) * aspect).round() as u32).clamp(2, MAX_SIDE);
    let rotation = video.side_data_list.iter().find_map(|data| data.rotation).unwrap_or(0.0);
    let lies = (rotation / 90.0).round() as i64 % 2 != 0;
    Ok(if lies { (height, width) } else { (width, height) })
}

fn fraction(text: &str, between: char) -> Option<(u32, u32)> {
    let (of, to) = text.split_once(between)?;
    let (of, to) = (of.parse().ok()?, to.parse().ok()?);
    (of > 0 && to > 0).then_some((of, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_counts() {
        let said = r#"{"streams":[
            {"codec_type":"audio","avg_frame_rate":"0/0"},
            {"codec_type":"video","width":720,"height":576,"sample_aspect_ratio":"16:15","avg_frame_rate":"30000/1001",
             "duration":"9.5","side_data_list":[{"rotation":-90}]}],"format":{"duration":"10.000000"}}"#;
        let said: Said = serde_json::from_str(said).unwrap();
        let wanted = Facts {
            format: "mov",
            seconds: 10.0,
            video: true,
            width: 576,
            height: 768,
            rate: (30_000, 1001),
            audio: true,
        };
        assert_eq!(facts(&said, "mov"), Ok(wanted));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (said, wrong) in [
            ("{}", "neither"),
            (
                r#"{"streams":[{"codec_type":"video","width":8,"height":8,"disposition":{"attached_pic":1}}]}"#,
                "neither",
            ),
            (r#"{"streams":[{"codec_type":"audio"}]}"#, "how long"),
            (r#"{"streams":[{"codec_type":"video","duration":"1"}]}"#, "no size"),
            (
                r#"{"streams":[{"codec_type":"video","duration":"1","width":99999,"height":2}]}"#,
                "not possible",
            ),
            (r#"{"streams":[{"codec_type":"video","width":8,"height":8}]}"#, "how long"),
            (r#"{"streams":[{"codec_type":"video","width":8,"height":8,"duration":"inf"}]}"#, "how long"),
            (r#"{"streams":[{"codec_type":"video","width":8,"height":8,"duration":"1e9"}]}"#, "too long"),
        ] {
            let said: Said = serde_json::from_str(said).unwrap();
            let refused = facts(&said, "mov").unwrap_err();
            assert!(refused.contains(wrong), "{refused}");
        }
    }

    #[test]
    fn only_containers_are_opened() {
        for (head, format) in [
            (&b"\0\0\0\x20ftypisom"[..], Some("mov")),
            (b"\0\0\0\x08wide", Some("mov")),
            (b"\x1a\x45\xdf\xa3\x01", Some("matroska")),
            (b"fLaC\0\0\0\x22", Some("flac")),
            (b"ID3\x04\0\0\0\0", Some("mp3")),
            (b"\xff\xf1\x50\x80", None),
            (b"#EXTM3U\nfile:///etc/passwd", None),
            (b"ffconcat version 1.0\n", None),
            (b"", None),
        ] {
            assert_eq!(demuxer(head), format);
        }
    }
}
