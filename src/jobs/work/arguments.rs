//! What ffmpeg is asked to do for a preset. Pure: the same work on the same facts gives the same arguments. It runs in the job's
//! own folder, where sources are `in-0`, `in-1`, …

use super::{AudioFilter, Effort, Still, Trim, VideoFilter, Work, sound};

/// What is known of a source, as it is shown: turned, with square pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Name of the demuxer.
    pub format: &'static str,
    pub seconds: f64,
    /// Without, the next three mean nothing.
    pub video: bool,
    pub width: u32,
    pub height: u32,
    /// Pictures per second, as a fraction.
    pub rate: (u32, u32),
    pub audio: bool,
}

/// How this server encodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    pub threads: usize,
}

/// One run of ffmpeg.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub arguments: Vec<String>,
    /// The file that it writes.
    pub file: String,
    /// Of the output.
    pub seconds: f64,
    /// By which it may begin too early: it is cut at the keyframe before.
    pub early: f64,
    /// It is a still: none is checked for its duration.
    pub still: bool,
}

pub const OUTPUT: &str = "out.mp4";

/// In words for who sent the job: it will not do with this source.
pub type Unfit = String;

pub fn plan(work: &Work, facts: &[Facts], setup: Setup) -> Result<Vec<Step>, Unfit> {
    let Some(first) = facts.first() else { return Err("no source".to_owned()) };
    if work.is_sound() {
        return sound::plan(work, facts);
    }
    if !facts.iter().all(|facts| facts.video) {
        return Err("the source has no video; what is only sound has an output that ends in .m4a".to_owned());
    }
    match work {
        // Done through the cache, without ffmpeg of its own.
        Work::Ladder(_) => Ok(Vec::new()),
        Work::Crop(work) => {
            let (width, height) = (f64::from(first.width), f64::from(first.height));
            let (wide, high) = ((height * 9.0 / 16.0).min(width), (width * 16.0 / 9.0).min(height));
            let (wide, high) = (even(wide), even(high));
            let at = |focus: f64, side: f64, part: u32| {
                even_down(
                    (focus * side - f64::from(part) / 2.0).clamp(0.0, (side - f64::from(part)).max(0.0)),
                )
            };
            let (x, y) = (at(work.focus.x, width, wide), at(work.focus.y, height, high));
            let tall = even(f64::from(work.height)).min(high);
            let video = format!(
                "{}crop=w={wide}:h={high}:x={x}:y={y},{}",
                squared(first),
                scaled(even(f64::from(tall) * f64::from(wide) / f64::from(high)), tall)
            );
            Ok(vec![encode(first, setup, Encode { video, crf: work.crf, ..Encode::of(first) })])
        }
        Work::Speed(work) => {
            let video = format!(
                "setpts=PTS/{:.4},fps=fps={}/{},{}",
                work.factor,
                first.rate.0,
                first.rate.1,
                same_size(first)
            );
            let audio = first.audio.then(|| tempo(work.factor));
            let seconds = first.seconds / work.factor;
            Ok(vec![encode(
                first,
                setup,
                Encode { video, audio, seconds, crf: work.crf, ..Encode::of(first) },
            )])
        }
        Work::Trim(work) => {
            let seconds = cut_seconds(work, first)?;
            let cut = Some((work.start, seconds));
            if work.exact {
                return Ok(vec![encode(
                    first,
                    setup,
                    Encode { cut, seconds, crf: work.crf, ..Encode::of(first) },
                )]);
            }
            let mut args = Arguments::opening();
            args.input(0, first, Some(work.start));
            args.pair("-t", format!("{seconds:.3}"));
            args.all(&["-map", "0:v:0", "-map", "0:a:0?", "-c", "copy", "-avoid_negative_ts", "make_zero"]);
            Ok(vec![Step { early: work.start, ..args.file(seconds) }])
        }
        Work::Compress(work) => {
            let (width, height) = match work.height {
                Some(most) if u32::from(most) < first.width.min(first.height) => {
                    let by = f64::from(most) / f64::from(first.width.min(first.height));
                    (even(f64::from(first.width) * by), even(f64::from(first.height) * by))
                }
                _ => (even(first.width.into()), even(first.height.into())),
            };
            let preset = match work.effort {
                Effort::Fast => "fast",
                Effort::Medium => "medium",
                Effort::Slow => "slow",
            };
            let video = scaled(width, height);
            let audio_kbps = work.audio_kbps;
            Ok(vec![encode(
                first,
                setup,
                Encode { video, preset, audio_kbps, crf: work.crf, ..Encode::of(first) },
            )])
        }
        Work::Concat(work) => Ok(vec![join(facts, setup, work.crf)]),
        Work::ThumbnailSet(work) => {
            let height = even(f64::from(work.width) * f64::from(first.height) / f64::from(first.width));
            let (extension, codec): (_, &[&str]) = match work.format {
                Still::Jpg => ("jpg", &["-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p"]),
                Still::Webp => ("webp", &["-c:v", "libwebp", "-quality", "80"]),
                Still::Png => ("png", &["-c:v", "png"]),
            };
            let stills = (0..work.count).map(|index| {
                let mut args = Arguments::opening();
                let at = (f64::from(index) + 0.5) * first.seconds / f64::from(work.count);
                args.input(0, first, Some(at));
                args.all(&["-map", "0:v:0", "-frames:v", "1"]);
                args.pair("-vf", scaled(work.width.into(), height));
                args.all(codec);
                args.all(&["-map_metadata", "-1", "-f", "image2", "-update", "1"]);
                let file = format!("{:04}.{extension}", index + 1);
                args.one(&file);
                Step { arguments: args.0, file, seconds: 0.0, early: 0.0, still: true }
            });
            Ok(stills.collect())
        }
        Work::Custom(work) => {
            let texts = work.video.iter().map(|filter| VideoFilter::text(filter, first.seconds));
            let mut video: Vec<String> = texts.collect();
            // Whatever it has become, its sides are even.
            video.push("scale=w=trunc(iw/2)*2:h=trunc(ih/2)*2".to_owned());
            let texts = work.audio.iter().map(|filter| AudioFilter::text(filter, first.seconds));
            let audio: Vec<String> = texts.collect();
            let audio = (first.audio && !audio.is_empty()).then(|| audio.join(","));
            let video = video.join(",");
            Ok(vec![encode(first, setup, Encode { video, audio, crf: work.crf, ..Encode::of(first) })])
        }
    }
}

/// Of one source.
struct Encode {
    video: String,
    audio: Option<String>,
    /// Start and duration.
    cut: Option<(f64, f64)>,
    seconds: f64,
    crf: u8,
    preset: &'static str,
    audio_kbps: u16,
}

const PRESET: &str = "medium";
pub(super) const AUDIO_KBPS: u16 = 128;

impl Encode {
    fn of(facts: &Facts) -> Self {
        Self {
            video: same_size(facts),
            audio: None,
            cut: None,
            seconds: facts.seconds,
            crf: 21,
            preset: PRESET,
            audio_kbps: AUDIO_KBPS,
        }
    }
}

fn encode(facts: &Facts, setup: Setup, encode: Encode) -> Step {
    let mut args = Arguments::opening();
    args.input(0, facts, encode.cut.map(|(start, _)| start));
    if let Some((_, seconds)) = encode.cut {
        args.pair("-t", format!("{seconds:.3}"));
    }
    args.all(&["-map", "0:v:0", "-map", "0:a:0?"]);
    args.pair("-vf", encode.video);
    if let Some(audio) = encode.audio {
        args.pair("-af", audio);
    }
    args.codecs(setup, encode.preset, encode.crf, encode.audio_kbps);
    args.file(encode.seconds)
}

fn join(facts: &[Facts], setup: Setup, crf: u8) -> Step {
    let first = &facts[0];
    let (width, height) = (even(first.width.into()), even(first.height.into()));
    let audible = facts.iter().any(|facts| facts.audio);
    let mut args = Arguments::opening();
    let mut graph = String::new();
    for (index, one) in facts.iter().enumerate() {
        args.input(index, one, None);
        graph.push_str(&format!(
            "[{index}:v:0]scale=w={width}:h={height}:force_original_aspect_ratio=decrease:flags=bicubic,\
             pad=w={width}:h={height}:x=(ow-iw)/2:y=(oh-ih)/2,setsar=1,fps=fps={}/{},format=yuv420p[v{index}];",
            first.rate.0, first.rate.1
        ));
        if !audible {
            continue;
        }
        let seconds = one.seconds;
        match one.audio {
            true => graph.push_str(&format!(
                "[{index}:a:0]aresample=48000:async=1:first_pts=0,aformat=channel_layouts=stereo,\
                 apad=whole_dur={seconds:.3},atrim=duration={seconds:.3}[a{index}];"
            )),
            false => {
                graph.push_str(&format!("anullsrc=r=48000:cl=stereo,atrim=duration={seconds:.3}[a{index}];"))
            }
        }
    }
    for index in 0..facts.len() {
        graph.push_str(&format!("[v{index}]"));
        if audible {
            graph.push_str(&format!("[a{index}]"));
        }
    }
    let out = if audible { "[v][a]" } else { "[v]" };
    graph.push_str(&format!("concat=n={}:v=1:a={}{out}", facts.len(), u8::from(audible)));
    args.pair("-filter_complex", graph);
    args.all(&["-map", "[v]"]);
    if audible {
        args.all(&["-map", "[a]"]);
    }
    args.codecs(setup, PRESET, crf, AUDIO_KBPS);
    args.file(facts.iter().map(|one| one.seconds).sum())
}

/// How long what is cut out is.
pub(super) fn cut_seconds(work: &Trim, facts: &Facts) -> Result<f64, Unfit> {
    if work.start >= facts.seconds {
        return Err(format!("start: the source ends after {:.3} seconds", facts.seconds));
    }
    Ok(work.end.min(facts.seconds) - work.start)
}

/// One filter changes tempo by at most two without leaving samples out.
pub(super) fn tempo(factor: f64) -> String {
    let mut left = factor;
    let mut chain = Vec::new();
    while left > 2.0 {
        chain.push("atempo=2.0".to_owned());
        left /= 2.0;
    }
    while left < 0.5 {
        chain.push("atempo=0.5".to_owned());
        left /= 0.5;
    }
    chain.push(format!("atempo={left:.4}"));
    chain.join(",")
}

/// Pixels made square, where what follows counts them.
fn squared(facts: &Facts) -> String {
    format!("scale=w={}:h={}:flags=bicubic,setsar=1,", facts.width, facts.height)
}

fn same_size(facts: &Facts) -> String {
    scaled(even(facts.width.into()), even(facts.height.into()))
}

fn scaled(width: u32, height: u32) -> String {
    format!("scale=w={width}:h={height}:flags=bicubic,setsar=1")
}

fn even(side: f64) -> u32 {
    ((side / 2.0).round().clamp(1.0, 8192.0) as u32) * 2
}

fn even_down(place: f64) -> u32 {
    (place / 2.0).floor().clamp(0.0, 8192.0) as u32 * 2
}

pub(super) struct Arguments(Vec<String>);

impl Arguments {
    pub(super) fn opening() -> Self {
        let mut args = Self(Vec::with_capacity(64));
        args.all(&["-hide_banner", "-nostdin", "-v", "error", "-nostats", "-progress", "pipe:1"]);
        args
    }

    pub(super) fn input(&mut self, index: usize, facts: &Facts, start: Option<f64>) {
        if let Some(start) = start {
            self.pair("-ss", format!("{start:.3}"));
        }
        self.all(&["-protocol_whitelist", "file", "-f", facts.format]);
        self.pair("-i", format!("in-{index}"));
    }

    fn codecs(&mut self, setup: Setup, preset: &str, crf: u8, audio_kbps: u16) {
        self.all(&["-c:v", "libx264", "-preset", preset]);
        self.pair("-crf", crf.to_string());
        self.all(&["-profile:v", "high", "-pix_fmt", "yuv420p"]);
        self.pair("-threads", setup.threads.to_string());
        // So that it can be cut into segments.
        self.all(&["-force_key_frames", "expr:gte(t,n_forced*2)"]);
        self.sound(audio_kbps);
    }

    pub(super) fn sound(&mut self, kbps: u16) {
        self.all(&["-c:a", "aac", "-ac", "2"]);
        self.pair("-b:a", format!("{kbps}k"));
    }

    pub(super) fn file(mut self, seconds: f64) -> Step {
        self.all(&[
            "-map_metadata",
            "-1",
            "-map_chapters",
            "-1",
            "-movflags",
            "+faststart",
            "-f",
            "mp4",
            OUTPUT,
        ]);
        Step { arguments: self.0, file: OUTPUT.to_owned(), seconds, early: 0.0, still: false }
    }

    fn one(&mut self, word: &str) {
        self.0.push(word.to_owned());
    }

    pub(super) fn all(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(|word| (*word).to_owned()));
    }

    pub(super) fn pair(&mut self, name: &str, value: String) {
        self.0.extend([name.to_owned(), value]);
    }
}
