//! What ffmpeg is asked to do for a rung. Pure: the same rung and encoder give the same arguments, and these the same bytes
//! wherever the same encoder runs.

use std::ffi::OsString;

use super::encoder::Encoder;

/// Pictures to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) bits: u64,
    /// Over a buffer of one second.
    pub(super) most_bits: u64,
    /// 30 is level 3.
    pub(super) level: u8,
    /// Pictures per second, in thousandths: for spreading bits, not for times.
    pub(super) rate_milli: u64,
    /// Ticks per second of input and output.
    pub(super) timescale: u32,
    /// First and last time of a picture, in ticks of the input.
    pub(super) times: (i64, i64),
    /// How many pictures there are.
    pub(super) pictures: usize,
    /// The first picture alone.
    pub(super) one: bool,
    pub(super) effort: Effort,
    /// The program is from before `-fps_mode`.
    pub(super) old: bool,
}

impl Job {
    /// In pictures: the segment in even parts, so that none is left with a few pictures.
    fn between_keyframes(&self) -> usize {
        let (first, last) = self.times;
        let part = (i64::from(self.timescale) * KEYFRAME_SECS).max(1);
        let parts = last.saturating_sub(first).saturating_add(part / 2) / part;
        self.pictures.div_ceil(usize::try_from(parts).unwrap_or(1).max(1)).max(LEAST_BETWEEN)
    }
}

/// How long may be thought about each picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// Somebody waits.
    Quick,
    /// Nobody waits. Described like what is made quickly, so that players can change from one to the other.
    Thorough,
}

/// A fragment is sent on as soon as it is made.
const FRAGMENT_MICROS: &str = "500000";
/// Between keyframes within a segment, about: a player that jumps into it has to decode no more than that before it shows a picture.
const KEYFRAME_SECS: i64 = 2;
/// With fewer pictures than this between them, keyframes would be most of the segment.
const LEAST_BETWEEN: usize = 12;
/// Where Linux has the first graphics processor.
const RENDER_NODE: &str = "/dev/dri/renderD128";

pub(super) fn arguments(encoder: Encoder, job: &Job) -> Vec<OsString> {
    let mut args = Arguments(Vec::with_capacity(96));
    args.all(&["-hide_banner", "-v", "error", "-nostats", "-nostdin", "-protocol_whitelist", "pipe"]);
    if encoder == Encoder::Vaapi {
        args.all(&["-vaapi_device", RENDER_NODE]);
    }
    // What is told of the stream suffices: nothing is read ahead to find out more. Without `output_corrupt`, the H.264 decoder
    // keeps back pictures after a keyframe that follows on others.
    args.all(&["-threads", "2", "-flags", "+output_corrupt", "-copyts", "-fpsprobesize", "0"]);
    args.all(&["-analyzeduration", "0", "-f", "mp4", "-i", "pipe:0", "-map", "0:v:0"]);
    args.pair("-vf", filter(encoder, job));
    args.all(if job.old { &["-vsync", "passthrough"] } else { &["-fps_mode", "passthrough"] });
    args.pair("-enc_time_base", format!("1/{}", job.timescale));
    if job.one {
        args.all(&["-frames:v", "1"]);
    }
    codec(&mut args, encoder, job);
    args.pair("-b:v", job.bits.to_string());
    args.pair("-maxrate", job.most_bits.to_string());
    args.pair("-bufsize", job.bits.to_string());
    args.pair("-g", job.between_keyframes().to_string());
    args.all(&["-fflags", "+bitexact", "-flags:v", "+bitexact"]);
    args.pair("-video_track_timescale", job.timescale.to_string());
    args.all(&["-avoid_negative_ts", "disabled", "-frag_duration", FRAGMENT_MICROS, "-f", "mp4"]);
    args.all(&["-movflags", "+empty_moov+default_base_moof+frag_discont+negative_cts_offsets", "pipe:1"]);
    args.0
}

/// A few pictures out of nothing, to see whether an encoder works on this machine.
pub(super) fn trial(encoder: Encoder) -> Vec<OsString> {
    let job = Job {
        width: 320,
        height: 180,
        bits: 500_000,
        most_bits: 535_000,
        level: 30,
        rate_milli: 25_000,
        timescale: 12_800,
        times: (0, 0),
        pictures: 5,
        one: false,
        effort: Effort::Quick,
        old: false,
    };
    let mut args = Arguments(Vec::with_capacity(48));
    args.all(&["-hide_banner", "-v", "error", "-nostats", "-nostdin"]);
    if encoder == Encoder::Vaapi {
        args.all(&["-vaapi_device", RENDER_NODE]);
    }
    args.all(&["-f", "lavfi", "-i", "color=size=320x180:rate=25:duration=0.2"]);
    args.pair("-vf", format!("format={}", pixels(encoder)));
    codec(&mut args, encoder, &job);
    args.all(&["-b:v", "500000", "-f", "h264", "pipe:1"]);
    args.0
}

fn filter(encoder: Encoder, job: &Job) -> String {
    let Job { width, height, times: (first, last), .. } = job;
    // Numbers made here, and nothing else.
    format!(
        "select=between(pts\\,{first}\\,{last}),scale=w={width}:h={height}:flags=bicubic,setsar=1,format={}",
        pixels(encoder)
    )
}

fn pixels(encoder: Encoder) -> &'static str {
    match encoder {
        Encoder::X264 | Encoder::Nvenc | Encoder::VideoToolbox => "yuv420p",
        Encoder::Qsv => "nv12",
        Encoder::Vaapi => "nv12,hwupload",
    }
}

fn codec(args: &mut Arguments, encoder: Encoder, job: &Job) {
    args.pair("-c:v", encoder.name().to_owned());
    let level = format!("{}.{}", job.level / 10, job.level % 10);
    match encoder {
        Encoder::X264 => {
            // More threads would make the bytes depend on their timing.
            let (preset, same) = match job.effort {
                Effort::Quick => ("superfast", ""),
                // More references, or a finer search with its own offset of colour, would need other parameter sets.
                Effort::Thorough => ("medium", ":ref=1:weightp=1:subme=5:trellis=1"),
            };
            args.all(&["-preset", preset, "-threads", "1", "-sc_threshold", "0", "-profile:v", "high"]);
            args.pair("-level:v", level);
            args.pair("-x264-params", format!("fps={}/1000{same}", job.rate_milli));
        }
        Encoder::Nvenc => {
            args.all(&["-preset", "p2", "-rc", "vbr", "-forced-idr", "1", "-no-scenecut", "1"]);
            args.all(&["-profile:v", "high"]);
            args.pair("-level:v", level);
        }
        Encoder::Qsv => {
            args.all(&["-preset", "veryfast", "-look_ahead", "0", "-forced_idr", "1", "-profile:v", "high"]);
            args.pair("-level:v", job.level.to_string());
        }
        Encoder::Vaapi => {
            args.all(&["-rc_mode", "VBR", "-bf", "0", "-profile:v", "high"]);
            args.pair("-level:v", job.level.to_string());
        }
        Encoder::VideoToolbox => {
            args.all(&["-realtime", "1", "-allow_sw", "0", "-bf", "0", "-profile:v", "high"]);
            args.pair("-level:v", level);
        }
    }
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn all(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    fn pair(&mut self, name: &str, value: String) {
        self.0.extend([name.into(), value.into()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: Job = Job {
        width: 854,
        height: 480,
        bits: 1_400_000,
        most_bits: 1_500_000,
        level: 31,
        rate_milli: 29_970,
        timescale: 30_000,
        times: (480_000, 637_157),
        pictures: 158,
        one: false,
        effort: Effort::Quick,
        old: false,
    };

    fn line(arguments: Vec<OsString>) -> String {
        arguments.join(" ".as_ref()).into_string().unwrap()
    }

    const INPUT: &str = "-threads 2 -flags +output_corrupt -copyts -fpsprobesize 0 -analyzeduration 0 -f mp4 -i pipe:0 -map 0:v:0";
    const OUTPUT: &str = "-b:v 1400000 -maxrate 1500000 -bufsize 1400000 -g 53 -fflags +bitexact -flags:v +bitexact \
        -video_track_timescale 30000 -avoid_negative_ts disabled -frag_duration 500000 -f mp4 \
        -movflags +empty_moov+default_base_moof+frag_discont+negative_cts_offsets pipe:1";

    #[test]
    fn arguments_of_each_encoder() {
        let cases = [
            (
                Encoder::X264,
                "",
                "yuv420p",
                "-c:v libx264 -preset superfast -threads 1 -sc_threshold 0 -profile:v high -level:v 3.1 \
                 -x264-params fps=29970/1000",
            ),
            (
                Encoder::Nvenc,
                "",
                "yuv420p",
                "-c:v h264_nvenc -preset p2 -rc vbr -forced-idr 1 -no-scenecut 1 -profile:v high -level:v 3.1",
            ),
            (
                Encoder::Qsv,
                "",
                "nv12",
                "-c:v h264_qsv -preset veryfast -look_ahead 0 -forced_idr 1 -profile:v high -level:v 31",
            ),
            (
                Encoder::Vaapi,
                "-vaapi_device /dev/dri/renderD128 ",
                "nv12,hwupload",
                "-c:v h264_vaapi -rc_mode VBR -bf 0 -profile:v high -level:v 31",
            ),
            (
                Encoder::VideoToolbox,
                "",
                "yuv420p",
                "-c:v h264_videotoolbox -realtime 1 -allow_sw 0 -bf 0 -profile:v high -level:v 3.1",
            ),
        ];
        for (encoder, device, pixels, codec) in cases {
            let expected = format!(
                "-hide_banner -v error -nostats -nostdin -protocol_whitelist pipe {device}{INPUT} \
                 -vf select=between(pts\\,480000\\,637157),scale=w=854:h=480:flags=bicubic,setsar=1,format={pixels} \
                 -fps_mode passthrough -enc_time_base 1/30000 {codec} {OUTPUT}"
            );
            assert_eq!(line(arguments(encoder, &JOB)), expected);
        }
        let thorough = line(arguments(Encoder::X264, &Job { effort: Effort::Thorough, ..JOB }));
        let wanted = " -preset medium -threads 1 -sc_threshold 0 -profile:v high -level:v 3.1 \
                      -x264-params fps=29970/1000:ref=1:weightp=1:subme=5:trellis=1 ";
        assert!(thorough.contains(wanted), "{thorough}");
        let one = line(arguments(Encoder::X264, &Job { one: true, old: true, ..JOB }));
        assert!(one.contains(" -vsync passthrough -enc_time_base 1/30000 -frames:v 1 -c:v "), "{one}");
    }

    #[test]
    fn a_trial_encodes_for_real() {
        assert_eq!(
            line(trial(Encoder::Vaapi)),
            "-hide_banner -v error -nostats -nostdin -vaapi_device /dev/dri/renderD128 -f lavfi -i \
             color=size=320x180:rate=25:duration=0.2 -vf format=nv12,hwupload -c:v h264_vaapi -rc_mode VBR -bf 0 \
             -profile:v high -level:v 30 -b:v 500000 -f h264 pipe:1"
        );
    }
}
