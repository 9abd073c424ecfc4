//! How loud a sound is over time: decoded once by ffmpeg into a few thousand pairs of a least and a greatest sample, of which
//! pictures and lists of any width are made.

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};

use super::ReadError;
use super::ffmpeg::{self, Ffmpeg};

/// Decoded samples a second, of all channels together.
const RATE: u32 = 8000;
/// Buckets are joined in pairs when there are more.
const MAX_BUCKETS: usize = 16 * 1024;
/// Samples of a bucket to begin with.
const FIRST_BUCKET: u32 = 32;

/// Extremes of equal stretches of a sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peaks {
    buckets: Box<[(i8, i8)]>,
    /// Samples of each bucket, but for the last.
    each: u32,
    samples: u64,
}

/// A sound as files have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    Mp4,
    Mp3,
    Wave,
    Flac,
    Ogg,
    Adts,
}

impl Container {
    /// By the first bytes of a file that is only sound.
    pub fn of_sound(beginning: &[u8]) -> Option<Self> {
        match beginning {
            [b'f', b'L', b'a', b'C', ..] => Some(Self::Flac),
            [b'O', b'g', b'g', b'S', ..] => Some(Self::Ogg),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(Self::Wave),
            [b'I', b'D', b'3', ..] => Some(Self::Mp3),
            // Layer 0 is none of MPEG audio's: AAC (ISO/IEC 13818-7 §6.2).
            [0xff, second, ..] if second & 0xf6 == 0xf0 => Some(Self::Adts),
            [0xff, second, ..] if second & 0xe0 == 0xe0 => Some(Self::Mp3),
            _ => None,
        }
    }

    fn demuxer(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Mp3 => "mp3",
            Self::Wave => "wav",
            Self::Flac => "flac",
            Self::Ogg => "ogg",
            Self::Adts => "aac",
        }
    }
}

/// Decodes the first sound of `input`. Memory does not grow with its length.
pub async fn measure(
    ffmpeg: &Ffmpeg,
    container: Container,
    input: impl Stream<Item = Result<Bytes, ReadError>> + Send,
) -> Result<Peaks, ffmpeg::Error> {
    let rate = RATE.to_string();
    let arguments = [
        &["-hide_banner", "-v", "error", "-nostats", "-protocol_whitelist", "pipe", "-threads", "1"][..],
        &["-f", container.demuxer(), "-i", "pipe:0", "-map", "0:a:0", "-ac", "1", "-ar", &rate],
        &["-f", "s16le", "-c:a", "pcm_s16le", "pipe:1"],
    ];
    let arguments = arguments.concat().into_iter().map(Into::into).collect();
    let mut output = ffmpeg.stream(arguments, input);
    let mut meter = Meter::default();
    while let Some(bytes) = output.next().await {
        meter.push(&bytes?);
    }
    Ok(meter.finish())
}

#[derive(Debug)]
struct Meter {
    buckets: Vec<(i8, i8)>,
    each: u32,
    /// Of the bucket that is being filled.
    extremes: (i8, i8),
    filled: u32,
    samples: u64,
    /// The first byte of a sample of which the second has not come.
    half: Option<u8>,
}

impl Default for Meter {
    fn default() -> Self {
        let (buckets, each) = (Vec::new(), FIRST_BUCKET);
        Self { buckets, each, extremes: (i8::MAX, i8::MIN), filled: 0, samples: 0, half: None }
    }
}

impl Meter {
    fn push(&mut self, bytes: &[u8]) {
        let bytes = match (self.half.take(), bytes) {
            (Some(_), [high, rest @ ..]) => {
                self.sample(*high);
                rest
            }
            (half, bytes) => {
                self.half = half;
                bytes
            }
        };
        let (pairs, rest) = bytes.as_chunks::<2>();
        pairs.iter().for_each(|[_, high]| self.sample(*high));
        self.half = self.half.or(rest.first().copied());
    }

    /// The upper half of a sample says enough.
    fn sample(&mut self, high: u8) {
        let value = high.cast_signed();
        self.extremes = (self.extremes.0.min(value), self.extremes.1.max(value));
        self.samples += 1;
        self.filled += 1;
        if self.filled == self.each {
            self.close();
        }
    }

    fn close(&mut self) {
        self.buckets.push(std::mem::replace(&mut self.extremes, (i8::MAX, i8::MIN)));
        self.filled = 0;
        if self.buckets.len() == MAX_BUCKETS {
            self.buckets = self.buckets.chunks(2).filter_map(joined).collect();
            self.each = self.each.saturating_mul(2);
        }
    }

    fn finish(mut self) -> Peaks {
        if self.filled > 0 {
            self.close();
        }
        Peaks { buckets: self.buckets.into(), each: self.each, samples: self.samples }
    }
}

fn joined(buckets: &[(i8, i8)]) -> Option<(i8, i8)> {
    buckets.iter().copied().reduce(|(low, high), (least, most)| (low.min(least), high.max(most)))
}

impl Peaks {
    /// Whether there is any sound at all.
    pub fn is_empty(&self) -> bool {
        self.samples == 0
    }

    pub fn weight(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.buckets)
    }

    /// One pair for each of `width` equal stretches.
    fn columns(&self, width: u32) -> impl Iterator<Item = (i8, i8)> {
        let (count, width) = (self.buckets.len() as u64, u64::from(width.max(1)));
        (0..width).map(move |column| {
            // Within the buckets, since `column` is below `width`.
            let start = (column * count / width) as usize;
            let end = ((column + 1) * count).div_ceil(width) as usize;
            self.buckets.get(start..end.max(start + 1)).and_then(joined).unwrap_or((0, 0))
        })
    }

    /// As BBC's audiowaveform writes it, version 2, which peaks.js reads.
    pub fn json(&self, width: u32) -> String {
        let data: Vec<i8> = self.columns(width).flat_map(|(least, most)| [least, most]).collect();
        let each = self.samples.div_ceil(u64::from(width.max(1))).max(1);
        serde_json::json!({
            "version": 2,
            "channels": 1,
            "sample_rate": RATE,
            "samples_per_pixel": each,
            "bits": 8,
            "length": data.len() / 2,
            "data": data,
        })
        .to_string()
    }

    /// A picture of two colours, of which one lets through what is behind it.
    pub fn png(&self, width: u32, height: u32) -> Result<Vec<u8>, png::EncodingError> {
        let (wide, high) = (width.max(1), height.max(1));
        let stride = wide.div_ceil(8) as usize;
        let mut rows = vec![0u8; stride * high as usize];
        let row_of = |value: i32| ((127 - value) * high.cast_signed() / 256).clamp(0, high.cast_signed() - 1);
        for (x, (least, most)) in self.columns(wide).enumerate() {
            for y in row_of(most.into())..=row_of(least.into()) {
                if let Some(byte) = rows.get_mut(y.unsigned_abs() as usize * stride + x / 8) {
                    *byte |= 0x80 >> (x % 8);
                }
            }
        }
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, wide, high);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::One);
        encoder.set_palette(&[0xff, 0xff, 0xff, 0x0b, 0x80, 0x80][..]);
        encoder.set_trns(&[0][..]);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&rows)?;
        writer.finish()?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peaks(samples: impl IntoIterator<Item = i16>) -> Peaks {
        let bytes: Vec<u8> = samples.into_iter().flat_map(i16::to_le_bytes).collect();
        let mut meter = Meter::default();
        // In pieces that cut samples in two.
        bytes.chunks(7).for_each(|piece| meter.push(piece));
        meter.finish()
    }

    #[test]
    fn extremes_survive_however_long_the_sound() {
        let long = (0..3_000_000).map(|n| if n == 1_500_000 { i16::MAX } else { 256 });
        let peaks = peaks(long);
        assert!(peaks.buckets.len() < MAX_BUCKETS && peaks.samples == 3_000_000);
        let columns: Vec<_> = peaks.columns(101).collect();
        assert_eq!(columns.iter().filter(|column| column.1 == 127).count(), 1);
        assert_eq!((columns[50], columns[0], columns[100]), ((1, 127), (1, 1), (1, 1)));
        assert_eq!(peaks.columns(60_000).count(), 60_000, "more than there are");
    }

    #[test]
    fn what_is_written() {
        let peaks = peaks((0..8000).map(|n| if n < 4000 { 0 } else { [i16::MIN, i16::MAX][n % 2] }));
        let json: serde_json::Value = serde_json::from_str(&peaks.json(4)).unwrap();
        assert_eq!(json["data"], serde_json::json!([0, 0, 0, 0, -128, 127, -128, 127]));
        assert_eq!((&json["length"], &json["samples_per_pixel"]), (&4.into(), &2000.into()));
        let png = peaks.png(20, 10).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let mut rows = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut rows).unwrap();
        let set = |x: usize, y: usize| rows[y * 3 + x / 8] & 0x80 >> (x % 8) != 0;
        assert!((0..10).all(|y| set(19, y)) && (0..10).filter(|y| set(0, *y)).count() == 1);
        assert!(Peaks { samples: 0, buckets: Box::default(), each: 1 }.is_empty());
    }

    #[test]
    fn sounds_are_known_by_their_beginning() {
        let cases: [(&[u8], Option<Container>); 8] = [
            (b"ID3\x04", Some(Container::Mp3)),
            (b"\xff\xfb\x90", Some(Container::Mp3)),
            (b"\xff\xf1\x50", Some(Container::Adts)),
            (b"fLaC", Some(Container::Flac)),
            (b"OggS", Some(Container::Ogg)),
            (b"RIFF\0\0\0\0WAVE", Some(Container::Wave)),
            (b"RIFF\0\0\0\0AVI ", None),
            (b"#EXTM3U", None),
        ];
        for (beginning, expected) in cases {
            assert_eq!(Container::of_sound(beginning), expected, "{}", beginning.escape_ascii());
        }
    }
}
