//! What is made of a video beside its streams: storyboards, previews, waveforms, subtitles, clips, downloads.

use std::{path::Path, process::Command, time::Instant};

use millrace::config::raw;

use super::Edge;
use crate::origin_double::{Answer, OriginDouble};

/// Eight seconds with a keyframe in each, and a sound.
fn make(path: &Path, flags: &str) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y"])
        .args(["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=8"])
        .args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=8"])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-b:v", "800k"])
        .args(["-threads", "1", "-c:a", "aac", "-b:a", "64k", "-movflags", flags])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(path).unwrap()
}

const SRT: &str = "1\r\n00:00:01,000 --> 00:00:02,500\r\n<i>Hello</i> R&D\r\n\r\n";

async fn films(flags: &str) -> (tempfile::TempDir, Edge) {
    let directory = tempfile::tempdir().unwrap();
    make(&directory.path().join("film.mp4"), flags);
    std::fs::write(directory.path().join("film.en.srt"), SRT).unwrap();
    std::fs::write(directory.path().join("film.pt-BR.vtt"), "WEBVTT\n\n00:01.000 --> 00:02.000\nOlá\n")
        .unwrap();
    let served = directory.path().to_owned();
    let edge = Edge::start_with(|raw| {
        raw.origins = vec![raw::Origin { url: served.display().to_string(), ..Default::default() }];
        raw.media.subtitles = ["en", "pt-BR", "de"].map(str::to_owned).to_vec();
        raw.media.segment_secs = 2;
    })
    .await;
    (directory, edge)
}

#[tokio::test]
async fn a_storyboard_names_its_sprites() {
    let (_directory, edge) = films("+faststart").await;
    let cues = edge.get("/film.mp4/storyboard.vtt").await;
    assert_eq!(
        (cues.status, cues.field("content-type")),
        (200, "text/vtt; charset=utf-8"),
        "{}",
        cues.text()
    );
    let text = cues.text();
    assert_eq!(text.matches("storyboard-1.webp#xywh=").count(), 8, "{text}");
    let sprite = edge.get("/film.mp4/storyboard-1.webp").await;
    assert_eq!((sprite.status, sprite.field("content-type")), (200, "image/webp"), "{}", sprite.text());
    assert_eq!(&sprite.body[8..12], b"WEBP");
    assert_eq!(edge.get("/film.mp4/storyboard-1.webp").await.cache(), "HIT");
    for missing in
        ["storyboard-2.webp", "storyboard-0.webp", "storyboard-01.webp", "storyboard-4294967295.webp"]
    {
        assert_eq!(edge.get(&format!("/film.mp4/{missing}")).await.status, 404, "{missing}");
    }
    let preview = edge.get("/film.mp4/preview.webp").await;
    assert_eq!((preview.status, preview.field("content-type")), (200, "image/webp"), "{}", preview.text());
    assert!(preview.body.windows(4).any(|kind| kind == b"ANIM"), "it moves");
    // All of it goes with the source.
    edge.purge(r#"{"urls":["/film.mp4"]}"#).await;
    for gone in ["storyboard.vtt", "storyboard-1.webp", "preview.webp"] {
        assert_eq!(edge.get(&format!("/film.mp4/{gone}")).await.cache(), "MISS", "{gone}");
    }
}

#[tokio::test]
async fn waveforms_in_sizes_from_the_grid() {
    let (directory, edge) = films("+faststart").await;
    let json = edge.get("/film.mp4/waveform.json?w=320").await;
    assert_eq!((json.status, json.field("content-type")), (200, "application/json"), "{}", json.text());
    let told: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert_eq!((&told["length"], told["data"].as_array().unwrap().len()), (&320.into(), 640));
    let png = edge.get("/film.mp4/waveform.png?w=317&h=60").await;
    assert_eq!((png.status, png.field("content-type")), (200, "image/png"));
    assert_eq!(&png.body[16..24], &[0, 0, 1, 64, 0, 0, 0, 60], "320 wide");
    assert_eq!(edge.get("/film.mp4/waveform.png?h=60&w=319").await.cache(), "HIT");
    for bad in ["w=0", "w=5000", "h=2000", "w=x", "w=-1", "w=1e3"] {
        assert_eq!(edge.get(&format!("/film.mp4/waveform.png?{bad}")).await.status, 400, "{bad}");
    }
    // Sound of other kinds.
    for (name, codec) in
        [("a.mp3", "libmp3lame"), ("a.flac", "flac"), ("a.wav", "pcm_s16le"), ("a.ogg", "libvorbis")]
    {
        let output = Command::new("ffmpeg")
            .args([
                "-nostdin",
                "-v",
                "error",
                "-y",
                "-f",
                "lavfi",
                "-i",
                "sine=frequency=440:duration=2",
                "-c:a",
                codec,
            ])
            .arg(directory.path().join(name))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let reply = edge.get(&format!("/{name}/waveform.json?w=64")).await;
        assert_eq!(reply.status, 200, "{name}: {}", reply.text());
        let told: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert!(told["data"][65].as_i64().unwrap() > 5, "{name}: {told}");
    }
    // A playlist in disguise is read by nobody.
    std::fs::write(directory.path().join("evil.mp3"), "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n").unwrap();
    assert_eq!(edge.get("/evil.mp3/waveform.json").await.status, 422);
}

#[tokio::test]
async fn subtitles_beside_a_video() {
    let (directory, edge) = films("+faststart").await;
    let vtt = edge.get("/film.mp4/subtitles/en.vtt").await;
    assert_eq!((vtt.status, vtt.field("content-type")), (200, "text/vtt; charset=utf-8"), "{}", vtt.text());
    assert_eq!(
        vtt.text(),
        "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n\n00:00:01.000 --> 00:00:02.500\n<i>Hello</i> R&amp;D\n"
    );
    let master = edge.get("/film.mp4/master.m3u8").await.text();
    let named = |language: &str| master.contains(&format!("LANGUAGE=\"{language}\",DEFAULT=NO"));
    assert!(named("en") && named("pt-BR") && !named("de"), "{master}");
    let variants = master.lines().filter(|line| line.starts_with("#EXT-X-STREAM-INF")).count();
    assert_eq!(master.matches(",SUBTITLES=\"subtitles\"").count(), variants, "{master}");
    let playlist = edge.get("/film.mp4/subtitles/pt-BR.m3u8").await.text();
    assert!(playlist.contains("#EXTINF:8.") && playlist.contains("\npt-BR.vtt\n"), "{playlist}");
    let manifest = edge.get("/film.mp4/manifest.mpd").await.text();
    assert!(
        manifest.contains("<BaseURL>subtitles/en.vtt</BaseURL>") && !manifest.contains("de.vtt"),
        "{manifest}"
    );
    for missing in ["subtitles/de.vtt", "subtitles/EN.vtt", "subtitles/en.srt", "subtitles/..%2fen.vtt"] {
        let status = edge.get(&format!("/film.mp4/{missing}")).await.status;
        assert!(matches!(status, 404 | 400), "{missing}: {status}");
    }
    // A purge of the film lets new texts in, and new languages.
    std::fs::write(directory.path().join("film.de.srt"), SRT).unwrap();
    std::fs::write(directory.path().join("film.en.srt"), "no cue").unwrap();
    edge.purge(r#"{"prefixes":["/"]}"#).await;
    assert!(edge.get("/film.mp4/master.m3u8").await.text().contains("LANGUAGE=\"de\""));
    assert_eq!(edge.get("/film.mp4/subtitles/en.vtt").await.status, 422);
}

#[tokio::test]
async fn a_page_for_what_is_missing_is_no_subtitles() {
    let directory = tempfile::tempdir().unwrap();
    let film = make(&directory.path().join("film.mp4"), "+faststart");
    let origin = OriginDouble::start().await;
    origin.on_any(
        Answer::ok("<!doctype html><p>Lost?")
            .content_type("text/html; charset=utf-8")
            .cache_control("max-age=60"),
    );
    origin.on("/film.mp4", Answer::ok(film).etag("\"1\"").content_type("video/mp4"));
    let edge = Edge::with(&origin, |raw| raw.media.subtitles = vec!["en".to_owned()]).await;
    let master = edge.get("/film.mp4/master.m3u8").await.text();
    assert!(master.contains("source/index.m3u8") && !master.contains("SUBTITLES"), "{master}");
    assert_eq!(edge.get("/film.mp4/subtitles/en.vtt").await.status, 404);
}

#[tokio::test]
async fn clips_are_files_of_their_own() {
    let (directory, edge) = films("+faststart").await;
    let file = std::fs::read(directory.path().join("film.mp4")).unwrap();
    let clip = edge.get("/film.mp4?start=2.5&end=5").await;
    assert_eq!((clip.status, clip.field("content-type")), (200, "video/mp4"), "{}", clip.text());
    assert!(clip.body.len() < file.len() / 2, "{} of {}", clip.body.len(), file.len());
    let path = directory.path().join("clip.mp4");
    std::fs::write(&path, &clip.body).unwrap();
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "format=duration:stream=codec_name", "-of", "csv=p=0"])
        .arg(&path)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("h264") && told.contains("aac") && told.contains("3.0"), "{told}");
    // From the keyframe at 2 s; in any spelling one answer, in parts too.
    let tag = clip.field("etag").to_owned();
    let again = edge.get("/film.mp4?end=5.000&start=02.5").await;
    assert!(again.body == clip.body && again.field("etag") == tag && again.cache() == "HIT");
    let part = edge.get_range("/film.mp4?start=2.5&end=5", "bytes=-1000").await;
    assert!(part.status == 206 && part.body == clip.body[clip.body.len() - 1000..]);
    let head = edge.ask("HEAD", "/film.mp4?start=2.5&end=5", &[]).await;
    assert_eq!((head.field("etag"), head.field("content-length")), (&*tag, &*clip.body.len().to_string()));
    assert_eq!(edge.ask("GET", "/film.mp4?start=2.5&end=5", &[("if-none-match", &tag)]).await.status, 304);
    assert_ne!(edge.get("/film.mp4?start=2.5&end=6").await.field("etag"), tag);
    assert!(edge.get("/film.mp4").await.body == file);
    for (bad, status) in
        [("start=5&end=5", 400), ("start=x", 400), ("start=-1", 400), ("start=9", 422), ("start=1e9", 400)]
    {
        let reply = edge.get(&format!("/film.mp4?{bad}")).await;
        assert_eq!(
            (reply.status, reply.field("content-type")),
            (status, "application/problem+json"),
            "{bad}"
        );
    }
    assert_eq!(edge.get("/none.mp4?start=1").await.status, 404);
}

#[tokio::test]
async fn a_cold_clip_costs_its_own_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let file = make(&directory.path().join("a.mp4"), "+faststart");
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/a.mp4", Answer::ok(file.clone()).etag("\"1\"").cache_control("max-age=60"));
    let head = edge.ask("HEAD", "/a.mp4?start=6", &[]).await;
    let clip = edge.get("/a.mp4?start=6").await;
    assert_eq!((clip.status, head.field("content-length")), (200, &*clip.body.len().to_string()));
    let sent = origin.bytes_sent("/a.mp4");
    assert!(sent < file.len() as u64 * 2 / 3, "{sent} of {}", file.len());
    assert!(
        origin.requests("/a.mp4").iter().all(|asked| asked.target == "/a.mp4"),
        "no parameter reaches the origin"
    );
    // What cannot be told apart from another version is not cut.
    origin.on("/weak.mp4", Answer::ok(file).cache_control("max-age=60"));
    assert_eq!(edge.get("/weak.mp4?start=6").await.status, 422);
}

#[tokio::test]
async fn downloads_have_names() {
    let (_directory, edge) = films("+faststart").await;
    let plain = edge.get("/film.mp4").await;
    for (target, expected) in [
        ("/film.mp4?download", "attachment; filename=\"film.mp4\""),
        (
            "/film.mp4?dl=Caf%C3%A9%20%22x%22.mp4",
            "attachment; filename=\"Caf_ _x_.mp4\"; filename*=UTF-8''Caf%C3%A9%20_x_.mp4",
        ),
        ("/film.mp4?start=2&dl=part.mp4", "attachment; filename=\"part.mp4\""),
    ] {
        let reply = edge.get(target).await;
        assert_eq!((reply.status, reply.field("content-disposition")), (200, expected), "{target}");
    }
    let again = edge.get("/film.mp4?download").await;
    assert!(again.body == plain.body && again.cache() == "HIT", "one object, however it is handed out");
    assert_eq!(plain.fields("content-disposition"), Vec::<&str>::new());
    assert_eq!(edge.get("/none.mp4?download").await.fields("content-disposition"), Vec::<&str>::new());
}

#[tokio::test]
async fn a_route_sets_the_pace() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        let route = raw::Route {
            path: "/slow".into(),
            pace: "1MiB".into(),
            pace_burst: "2MiB".into(),
            ..Default::default()
        };
        raw.routes.push(route);
    })
    .await;
    for path in ["/slow/a.mp4", "/fast/a.mp4"] {
        origin.on(path, Answer::ok(vec![7; 3 << 20]).etag("\"1\"").cache_control("max-age=60"));
    }
    let took = async |path: &str| {
        let begun = Instant::now();
        assert_eq!(edge.get(path).await.body.len(), 3 << 20, "{path}");
        begun.elapsed().as_secs_f64()
    };
    assert!(took("/slow/a.mp4").await >= 0.9, "the last mebibyte takes a second");
    let part = edge.get_range("/slow/a.mp4", "bytes=0-1048575").await;
    assert_eq!(part.body.len(), 1 << 20);
    took("/fast/a.mp4").await;
}

#[tokio::test]
async fn fragmented_files_are_streams_like_any_other() {
    let (directory, edge) = films("+frag_keyframe+empty_moov+default_base_moof").await;
    let master = edge.get("/film.mp4/master.m3u8").await;
    assert_eq!(master.status, 200, "{}", master.text());
    let playlist = edge.get("/film.mp4/source/index.m3u8").await.text();
    let names: Vec<_> = playlist.lines().filter(|line| line.ends_with(".m4s")).collect();
    assert_eq!(names.len(), 4, "{playlist}");
    let mut whole = edge.get("/film.mp4/source/init.mp4").await.body;
    for name in names {
        whole.extend(edge.get(&format!("/film.mp4/source/{name}")).await.body);
    }
    let path = directory.path().join("joined.mp4");
    std::fs::write(&path, whole).unwrap();
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0"])
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!((String::from_utf8_lossy(&output.stdout).trim(), &*output.stderr), ("200", &b""[..]));
    assert_eq!(edge.get("/film.mp4/poster.webp?t=3").await.status, 200);
    assert_eq!(edge.get("/film.mp4/storyboard-1.webp").await.status, 200);
}
