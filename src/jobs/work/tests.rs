//! What may be said in a job, and what ffmpeg is asked to do for it.

use serde_json::{Value, json};

use super::*;

const SETUP: Setup = Setup { threads: 2 };

fn facts() -> Facts {
    Facts {
        format: "mov",
        seconds: 10.0,
        video: true,
        width: 1920,
        height: 1080,
        rate: (30_000, 1001),
        audio: true,
    }
}

fn work(json: Value) -> Work {
    let work: Work = serde_json::from_value(json).unwrap();
    assert_eq!(work.faults(), Vec::<String>::new());
    work
}

/// The lines of all steps for one source.
fn lines(json: Value, facts: &[Facts]) -> Vec<String> {
    plan(&work(json), facts, SETUP).unwrap().iter().map(|step| step.arguments.join(" ")).collect()
}

const OPENING: &str = "-hide_banner -nostdin -v error -nostats -progress pipe:1";
const INPUT: &str = "-protocol_whitelist file -f mov -i in-0";
const MAPPED: &str = "-map 0:v:0 -map 0:a:0?";
const END: &str = "-map_metadata -1 -map_chapters -1 -movflags +faststart -f mp4 out.mp4";

fn codecs(preset: &str, crf: u8, kbps: u16) -> String {
    format!(
        "-c:v libx264 -preset {preset} -crf {crf} -profile:v high -pix_fmt yuv420p -threads 2 \
         -force_key_frames expr:gte(t,n_forced*2) -c:a aac -ac 2 -b:a {kbps}k"
    )
}

#[test]
fn arguments_of_each_preset() {
    let same = "scale=w=1920:h=1080:flags=bicubic,setsar=1";
    let cases = [
        (
            json!({"preset": "crop-9x16", "source": "/a.mp4", "output": "o.mp4"}),
            format!(
                "{OPENING} {INPUT} {MAPPED} -vf {same},crop=w=608:h=1080:x=656:y=0,scale=w=608:h=1080:flags=bicubic,setsar=1 \
                 {} {END}",
                codecs("medium", 21, 128)
            ),
        ),
        (
            json!({"preset": "crop-9x16", "source": "/a.mp4", "output": "o.mp4", "focus": {"x": 1, "y": 0}, "height": 540}),
            format!(
                "{OPENING} {INPUT} {MAPPED} -vf {same},crop=w=608:h=1080:x=1312:y=0,scale=w=304:h=540:flags=bicubic,setsar=1 \
                 {} {END}",
                codecs("medium", 21, 128)
            ),
        ),
        (
            json!({"preset": "speed", "source": "/a.mp4", "output": "o.mp4", "factor": 4}),
            format!(
                "{OPENING} {INPUT} {MAPPED} -vf setpts=PTS/4.0000,fps=fps=30000/1001,{same} -af atempo=2.0,atempo=2.0000 {} {END}",
                codecs("medium", 21, 128)
            ),
        ),
        (
            json!({"preset": "speed", "source": "/a.mp4", "output": "o.mp4", "factor": 0.3, "crf": 18}),
            format!(
                "{OPENING} {INPUT} {MAPPED} -vf setpts=PTS/0.3000,fps=fps=30000/1001,{same} -af atempo=0.5,atempo=0.6000 {} {END}",
                codecs("medium", 18, 128)
            ),
        ),
        (
            json!({"preset": "trim", "source": "/a.mp4", "output": "o.mp4", "start": 2.5, "end": 60}),
            format!(
                "{OPENING} -ss 2.500 {INPUT} -t 7.500 {MAPPED} -vf {same} {} {END}",
                codecs("medium", 21, 128)
            ),
        ),
        (
            json!({"preset": "trim", "source": "/a.mp4", "output": "o.mp4", "end": 3, "exact": false}),
            format!(
                "{OPENING} -ss 0.000 {INPUT} -t 3.000 {MAPPED} -c copy -avoid_negative_ts make_zero {END}"
            ),
        ),
        (
            json!({"preset": "compress", "source": "/a.mp4", "output": "o.mp4", "height": 480, "effort": "fast"}),
            format!(
                "{OPENING} {INPUT} {MAPPED} -vf scale=w=854:h=480:flags=bicubic,setsar=1 {} {END}",
                codecs("fast", 28, 96)
            ),
        ),
        (
            json!({"preset": "compress", "source": "/a.mp4", "output": "o.mp4", "height": 2160}),
            format!("{OPENING} {INPUT} {MAPPED} -vf {same} {} {END}", codecs("medium", 28, 96)),
        ),
        (
            json!({"preset": "custom", "source": "/a.mp4", "output": "o.mp4",
                "video": [{"filter": "rotate", "degrees": 90}, {"filter": "adjust", "contrast": 1.2},
                          {"filter": "fade-out", "seconds": 2}],
                "audio": [{"filter": "volume", "decibels": -3}, {"filter": "fade-in", "seconds": 1.5}]}),
            format!(
                "{OPENING} {INPUT} {MAPPED} -vf transpose=clock,eq=brightness=0.000:contrast=1.200:saturation=1.000:gamma=1.000,\
                 fade=t=out:st=8.000:d=2.000,scale=w=trunc(iw/2)*2:h=trunc(ih/2)*2 \
                 -af volume=volume=-3.00dB,afade=t=in:st=0:d=1.500 {} {END}",
                codecs("medium", 21, 128)
            ),
        ),
    ];
    for (job, expected) in cases {
        assert_eq!(lines(job, &[facts()]), [expected]);
    }
}

#[test]
fn upright_pictures_are_cropped_in_height() {
    let tall = Facts { width: 1080, height: 2400, ..facts() };
    let job =
        json!({"preset": "crop-9x16", "source": "/a.mp4", "output": "o.mp4", "focus": {"x": 0.5, "y": 0.9}});
    let line = &lines(job, &[tall])[0];
    assert!(line.contains("crop=w=1080:h=1920:x=0:y=480,scale=w=1080:h=1920:"), "{line}");
}

#[test]
fn sources_are_joined_in_the_shape_of_the_first() {
    let job = json!({"preset": "concat", "sources": ["/a.mp4", "/b.mkv"], "output": "o.mp4"});
    let second = Facts {
        format: "matroska",
        seconds: 4.5,
        width: 640,
        height: 640,
        audio: false,
        rate: (25, 1),
        ..facts()
    };
    let shape = "scale=w=1920:h=1080:force_original_aspect_ratio=decrease:flags=bicubic,\
                 pad=w=1920:h=1080:x=(ow-iw)/2:y=(oh-ih)/2,setsar=1,fps=fps=30000/1001,format=yuv420p";
    let expected = format!(
        "{OPENING} {INPUT} -protocol_whitelist file -f matroska -i in-1 -filter_complex [0:v:0]{shape}[v0];\
         [0:a:0]aresample=48000:async=1:first_pts=0,aformat=channel_layouts=stereo,apad=whole_dur=10.000,atrim=duration=10.000[a0];\
         [1:v:0]{shape}[v1];anullsrc=r=48000:cl=stereo,atrim=duration=4.500[a1];\
         [v0][a0][v1][a1]concat=n=2:v=1:a=1[v][a] -map [v] -map [a] {} {END}",
        codecs("medium", 21, 128)
    );
    assert_eq!(lines(job.clone(), &[facts(), second.clone()]), [expected]);
    let silent = &lines(job, &[second.clone(), second])[0];
    assert!(silent.contains("[v0][v1]concat=n=2:v=1:a=0[v] -map [v] -c:v"), "{silent}");
}

#[test]
fn stills_are_spread_evenly() {
    let job = json!({"preset": "thumbnail-set", "source": "/a.mp4", "output": "t/a", "count": 2, "width": 160, "format": "webp"});
    let still = |at: &str, file: &str| {
        format!(
            "{OPENING} -ss {at} {INPUT} -map 0:v:0 -frames:v 1 -vf scale=w=160:h=90:flags=bicubic,setsar=1 \
             -c:v libwebp -quality 80 -map_metadata -1 -f image2 -update 1 {file}"
        )
    };
    assert_eq!(lines(job, &[facts()]), [still("2.500", "0001.webp"), still("7.500", "0002.webp")]);
}

#[test]
fn sound_alone_as_the_output_says() {
    let sound = Facts { format: "flac", video: false, ..facts() };
    let aac = |kbps: u16| format!("-c:a aac -ac 2 -b:a {kbps}k -brand M4A  {END}");
    let from = |format: &str| format!("-protocol_whitelist file -f {format} -i in-0");
    for (job, facts, expected) in [
        (
            json!({"preset": "compress", "source": "/a.flac", "output": "o.m4a", "audio_kbps": 64}),
            sound.clone(),
            format!("{OPENING} {} -map 0:a:0 {}", from("flac"), aac(64)),
        ),
        (
            json!({"preset": "speed", "source": "/a.mp4", "output": "o.m4a", "factor": 2}),
            facts(),
            format!("{OPENING} {INPUT} -map 0:a:0 -af atempo=2.0000 {}", aac(128)),
        ),
        (
            json!({"preset": "trim", "source": "/a.mp4", "output": "o.m4a", "start": 1, "end": 3, "exact": false}),
            facts(),
            format!(
                "{OPENING} -ss 1.000 {INPUT} -t 2.000 -map 0:a:0 -c copy -avoid_negative_ts make_zero -brand M4A  {END}"
            ),
        ),
        (
            json!({"preset": "trim", "source": "/a.flac", "output": "o.m4a", "end": 3, "exact": false}),
            sound.clone(),
            format!("{OPENING} -ss 0.000 {} -t 3.000 -map 0:a:0 {}", from("flac"), aac(128)),
        ),
        (
            json!({"preset": "custom", "source": "/a.mp4", "output": "o.m4a", "audio": [{"filter": "volume", "decibels": -3}]}),
            facts(),
            format!("{OPENING} {INPUT} -map 0:a:0 -af volume=volume=-3.00dB {}", aac(128)),
        ),
    ] {
        assert_eq!(lines(job, &[facts]), [expected]);
    }
    let job = json!({"preset": "concat", "sources": ["/a.mp4", "/b.flac"], "output": "o.m4a"});
    let line = &lines(job.clone(), &[facts(), sound.clone()])[0];
    assert!(
        line.contains("[a0][a1]concat=n=2:v=0:a=1[a] -map [a] -c:a aac") && !line.contains("x264"),
        "{line}"
    );
    // What is not there cannot be kept.
    let mute = Facts { audio: false, ..facts() };
    assert!(plan(&work(job), &[facts(), mute], SETUP).unwrap_err().contains("no sound"));
    let pictures = json!({"preset": "compress", "source": "/a.flac", "output": "o.mp4"});
    assert!(plan(&work(pictures), &[sound], SETUP).unwrap_err().contains("no video"));
}

#[test]
fn a_cut_behind_the_end_is_refused() {
    let job = json!({"preset": "trim", "source": "/a.mp4", "output": "o.mp4", "start": 10, "end": 12});
    assert!(plan(&work(job), &[facts()], SETUP).unwrap_err().contains("ends after 10.000"));
}

#[test]
fn what_is_not_known_cannot_be_said() {
    for job in [
        json!({}),
        json!({"preset": "shell", "source": "/a.mp4", "output": "o.mp4"}),
        json!({"preset": "trim", "source": "/a.mp4", "output": "o.mp4", "end": 1, "args": "-f lavfi"}),
        json!({"preset": "trim", "source": "/a.mp4", "output": "o.mp4", "end": "1;sleep"}),
        json!({"preset": "speed", "source": ["/a.mp4"], "output": "o.mp4", "factor": 2}),
        json!({"preset": "compress", "source": "/a.mp4", "output": "o.mp4", "crf": -1}),
        json!({"preset": "compress", "source": "/a.mp4", "output": "o.mp4", "effort": "placebo"}),
        json!({"preset": "compress", "source": "/a.mp4", "output": "o.mp4", "height": 1e99}),
        json!({"preset": "thumbnail-set", "source": "/a.mp4", "output": "o", "format": "svg"}),
        json!({"preset": "custom", "source": "/a.mp4", "output": "o.mp4", "video": ["movie=/etc/passwd"]}),
        json!({"preset": "custom", "source": "/a.mp4", "output": "o.mp4", "video": [{"filter": "movie"}]}),
        json!({"preset": "custom", "source": "/a.mp4", "output": "o.mp4", "video": [{"filter": "blur", "sigma": 1, "x": 2}]}),
        json!({"preset": "custom", "source": "/a.mp4", "output": "o.mp4", "video": [{"filter": "blur", "sigma": "1,movie=x"}]}),
        json!({"preset": "ladder", "source": "/a.mp4", "output": "o.mp4"}),
        json!({"preset": "ladder", "source": "/a.mp4", "parts": ["everything"]}),
    ] {
        assert!(serde_json::from_value::<Work>(job.clone()).is_err(), "{job}");
    }
}

#[test]
fn what_is_out_of_bounds_is_refused_and_all_of_it_told() {
    let trim = |source: &str, output: &str, start: f64, end: f64| json!({"preset": "trim", "source": source, "output": output, "start": start, "end": end});
    let custom =
        |filter: Value| json!({"preset": "custom", "source": "/a.mp4", "output": "o.mp4", "video": [filter]});
    let long = format!("/{}", "x".repeat(3000));
    for (job, wrong) in [
        (trim("file:///etc/passwd", "o.mp4", 0.0, 1.0), &["source"][..]),
        (trim("concat:a|b", "o.mp4", 0.0, 1.0), &["source"]),
        (trim("-i", "o.mp4", 0.0, 1.0), &["source"]),
        (trim("/a.mp4?x", "o.mp4", 0.0, 1.0), &["source"]),
        (trim(&long, "o.mp4", 0.0, 1.0), &["source"]),
        (trim("/a.mp4", "../o.mp4", 0.0, 1.0), &["output"]),
        (trim("/a.mp4", "o.html", 0.0, 1.0), &["output"]),
        (json!({"preset": "crop-9x16", "source": "/a.mp4", "output": "o.m4a"}), &["output"]),
        (
            json!({"preset": "custom", "source": "/a.mp4", "output": "o.m4a", "video": [{"filter": "grayscale"}]}),
            &["output"],
        ),
        (trim("a", "", -1.0, 1e9), &["source", "output", "start", "end"]),
        (trim("/a.mp4", "o.mp4", 3.0, 3.0), &["end"]),
        (json!({"preset": "speed", "source": "/a.mp4", "output": "o.mp4", "factor": 0.2}), &["factor"]),
        (json!({"preset": "speed", "source": "/a.mp4", "output": "o.mp4", "factor": 4.1}), &["factor"]),
        (
            json!({"preset": "crop-9x16", "source": "/a.mp4", "output": "o.mp4", "focus": {"x": 1.1, "y": -0.1}, "crf": 0}),
            &["focus.x", "focus.y", "crf"],
        ),
        (json!({"preset": "concat", "sources": ["/a.mp4"], "output": "o.mp4"}), &["sources"]),
        (json!({"preset": "concat", "sources": vec!["/a.mp4"; 17], "output": "o.mp4"}), &["sources"]),
        (
            json!({"preset": "thumbnail-set", "source": "/a.mp4", "output": "t", "count": 0, "width": 60000}),
            &["count", "width"],
        ),
        (json!({"preset": "custom", "source": "/a.mp4", "output": "o.mp4"}), &["video, audio"]),
        (
            json!({"preset": "custom", "source": "/a.mp4", "output": "o.mp4", "video": vec![json!({"filter": "grayscale"}); 17]}),
            &["video, audio"],
        ),
        (custom(json!({"filter": "scale", "width": 60000, "height": 0})), &["width", "height"]),
        (custom(json!({"filter": "rotate", "degrees": 45})), &["degrees"]),
        (custom(json!({"filter": "blur", "sigma": 1e30})), &["sigma"]),
        (custom(json!({"filter": "fps", "rate": 0})), &["rate"]),
        (json!({"preset": "ladder", "source": "/a.mp4", "renditions": ["../x"]}), &["renditions"]),
        (json!({"preset": "ladder", "source": "/a.mp4", "parts": []}), &["parts"]),
    ] {
        let work: Work = serde_json::from_value(job.clone()).unwrap();
        let faults = work.faults();
        let places: Vec<_> = faults.iter().map(|fault| fault.split(':').next().unwrap()).collect();
        assert_eq!(places, wrong, "{job}");
    }
}
