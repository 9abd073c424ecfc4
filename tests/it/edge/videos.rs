//! Video packaged on the way: playlists, segments and stills of an MP4 file, from a directory and from an HTTP origin.

use std::{path::Path, process::Command};

use super::{BLOCK, Edge, images};
use crate::origin_double::{Answer, OriginDouble};

/// Eight seconds with a keyframe in each, the index in front.
fn make(path: &Path, rate: &str) {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y"])
        .args(["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=8"])
        .args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=8"])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-b:v", rate])
        .args(["-minrate", rate, "-maxrate", rate, "-bufsize", rate, "-x264-params", "nal-hrd=cbr"])
        .args(["-threads", "1", "-c:a", "aac", "-b:a", "64k", "-movflags", "+faststart"])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Names of the segments of a playlist.
fn segments(playlist: &str) -> Vec<String> {
    playlist.lines().filter(|line| line.ends_with(".m4s")).map(str::to_owned).collect()
}

/// How many frames and seconds ffprobe finds in the first stream of a file.
fn probe(bytes: &[u8], directory: &Path) -> (u64, f64) {
    let path = directory.join("probed.mp4");
    std::fs::write(&path, bytes).unwrap();
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_packets", "-select_streams", "0"])
        .args(["-show_entries", "stream=nb_read_packets:format=duration", "-of", "json"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<f64>().unwrap();
    (number(&found["streams"][0]["nb_read_packets"]) as u64, number(&found["format"]["duration"]))
}

#[tokio::test]
async fn a_file_of_a_directory_is_packaged() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("films")).unwrap();
    make(&directory.path().join("films/a b.mp4"), "500k");
    std::fs::write(directory.path().join("films/no.mp4"), "this is no video").unwrap();
    let edge = Edge::over_directory(directory.path()).await;
    let base = "/films/a%20b.mp4";
    let get = async |name: &str| {
        let reply = edge.get(&format!("{base}/{name}")).await;
        assert_eq!(reply.status, 200, "{name}: {}", String::from_utf8_lossy(&reply.body));
        reply
    };

    let master = get("master.m3u8").await;
    assert_eq!(master.field("content-type"), "application/vnd.apple.mpegurl");
    let text = master.text();
    assert!(text.contains("RESOLUTION=320x180") && text.contains("\nsource/index.m3u8"), "{text}");
    assert!(text.contains("source-audio/index.m3u8"), "{text}");
    for (rendition, frames, kind) in [("source", 200, "video/mp4"), ("source-audio", 376, "audio/mp4")] {
        let playlist = get(&format!("{rendition}/index.m3u8")).await.text();
        let init = get(&format!("{rendition}/init.mp4")).await;
        assert_eq!(init.field("content-type"), kind);
        let mut whole = init.body;
        let names = segments(&playlist);
        assert!(names.len() > 1, "{playlist}");
        for name in &names {
            let segment = get(&format!("{rendition}/{name}")).await;
            assert_eq!(segment.field("content-type"), kind);
            // Pictures are put together from blocks of the source, which may have come with those before.
            assert!(segment.cache() == "MISS" || rendition == "source");
            let again = get(&format!("{rendition}/{name}")).await;
            assert!(again.cache() == "HIT" && again.body == segment.body);
            let head = edge.ask("HEAD", &format!("{base}/{rendition}/{name}"), &[]).await;
            assert_eq!(head.field("content-length"), segment.body.len().to_string());
            let part = edge.get_range(&format!("{base}/{rendition}/{name}"), "bytes=4-7").await;
            assert_eq!((part.status, &part.body[..]), (206, &segment.body[4..8]));
            whole.extend(segment.body);
        }
        let (found, seconds) = probe(&whole, directory.path());
        assert!(found.abs_diff(frames) <= 1, "{rendition}: {found} of {frames} frames");
        assert!((seconds - 8.0).abs() < 0.2, "{rendition}: {seconds} s");
        for name in ["seg-0.m4s", "seg-99.m4s", "seg--1.m4s", "seg-1e9.m4s", "seg-01.m4s", "seg-.m4s"] {
            let reply = edge.get(&format!("{base}/{rendition}/{name}")).await;
            assert_eq!(reply.status, 404, "{rendition}/{name}");
        }
    }
    let poster = get("poster.webp?t=2.5&w=160").await;
    assert_eq!((poster.field("content-type"), &poster.body[8..12]), ("image/webp", &b"WEBP"[..]));
    assert_eq!(get("poster.webp?w=160&t=2.500").await.cache(), "HIT");
    // Of the frame, as large as it is.
    for (query, size) in
        [("w=160", (160, 90)), ("w=160&rot=90", (160, 284)), ("w=160&rect=160,0,160,180", (160, 180))]
    {
        assert_eq!(images::size(&get(&format!("poster.webp?t=2.5&{query}")).await), size, "{query}");
    }
    // Beyond the end, the last picture.
    assert_eq!(get("poster.webp?t=9999&w=160").await.status, 200);

    for (target, status) in [
        (format!("{base}/720p/index.m3u8"), 404),
        (format!("{base}/source-audio-2/index.m3u8"), 404),
        (format!("{base}/poster.webp?t=-1"), 400),
        (format!("{base}/poster.webp?t=nan"), 400),
        (format!("{base}/poster.webp?t=1000001"), 400),
        (format!("{base}/poster.webp?w=0"), 400),
        ("/films/no.mp4/master.m3u8".to_owned(), 422),
        ("/films/no.mp4/source/seg-1.m4s".to_owned(), 422),
        ("/films/no.mp4/poster.webp".to_owned(), 422),
        ("/films/missing.mp4/master.m3u8".to_owned(), 404),
        ("/films/../../etc/passwd.mp4/master.m3u8".to_owned(), 400),
    ] {
        let reply = edge.get(&target).await;
        assert_eq!(reply.status, status, "{target}: {}", String::from_utf8_lossy(&reply.body));
        assert_eq!(reply.field("content-type"), "application/problem+json", "{target}");
    }
    // The file itself, with ranges.
    let file = std::fs::read(directory.path().join("films/a b.mp4")).unwrap();
    assert!(edge.get(base).await.body == file);
    let part = edge.get_range(base, "bytes=-100").await;
    assert!(part.status == 206 && part.body == file[file.len() - 100..]);
}

#[tokio::test]
async fn a_segment_costs_the_origin_its_own_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.mp4");
    make(&path, "4000k");
    let file = std::fs::read(&path).unwrap();
    let length = file.len() as u64;
    assert!(length > 40 * BLOCK, "{length} bytes are too few to tell");
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| raw.media.segment_secs = 1).await;
    origin.on("/a.mp4", Answer::ok(file).etag("\"1\"").cache_control("max-age=60"));

    let playlist = edge.get("/a.mp4/source/index.m3u8").await.text();
    assert_eq!(segments(&playlist).len(), 8);
    let index = origin.bytes_sent("/a.mp4");
    assert!(index <= 2 * BLOCK, "{index} bytes for the index");
    let segment = edge.get("/a.mp4/source/seg-7.m4s").await;
    let cost = origin.bytes_sent("/a.mp4") - index;
    // The stretch that the segment lies in holds sound as well, and begins and ends within a block.
    let most = segment.body.len() as u64 * 5 / 4 + 2 * BLOCK;
    assert!(cost <= most, "{cost} bytes for a segment of {}", segment.body.len());
    assert!(origin.requests("/a.mp4").iter().all(|asked| !asked.header("range").is_empty()));

    // The sound of the same second is there already.
    let hits = origin.hits("/a.mp4");
    assert_eq!(edge.get("/a.mp4/source-audio/seg-7.m4s").await.status, 200);
    assert!(origin.hits("/a.mp4") <= hits + 1, "one block at most beyond");

    // Stale and unchanged: confirmed, not packaged again.
    edge.advance(61);
    let sent = origin.bytes_sent("/a.mp4");
    let again = edge.get("/a.mp4/source/seg-7.m4s").await;
    assert_eq!((again.cache(), origin.bytes_sent("/a.mp4")), ("REVALIDATED", sent));
    assert!(again.body == segment.body);

    // Changed: the old index is not applied to the new bytes.
    let other = directory.path().join("b.mp4");
    make(&other, "1000k");
    let other = std::fs::read(other).unwrap();
    origin.on("/a.mp4", Answer::ok(other).etag("\"2\"").cache_control("max-age=60"));
    edge.advance(61);
    let changed = edge.get("/a.mp4/source/seg-7.m4s").await;
    assert_eq!((changed.status, changed.cache()), (200, "MISS"));
    assert!(changed.body.len() < segment.body.len() / 2);
    let init = edge.get("/a.mp4/source/init.mp4").await.body;
    let (frames, _) = probe(&[init, changed.body].concat(), directory.path());
    assert_eq!(frames, 25);
}

#[tokio::test]
async fn a_long_segment_is_put_together_from_the_sources_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.mp4");
    make(&path, "4000k");
    let file = std::fs::read(&path).unwrap();
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| raw.media.segment_secs = 1).await;
    origin.on("/a.mp4", Answer::ok(file).etag("\"1\"").cache_control("max-age=60"));
    assert_eq!(edge.get("/a.mp4").await.status, 200);
    let held = async || edge.metric("millrace_cache_tier_bytes", &["memory"]).await;
    let explained = async |target: &str| {
        let url = format!("/api/v1/cache/explain?url=http://edge.example{target}");
        let told: serde_json::Value = serde_json::from_slice(&edge.admin_get(&url).await.body).unwrap();
        told["verdict"]["outcome"].as_str().unwrap().to_owned()
    };
    edge.settled().await;
    let (before, sent) = (held().await, origin.bytes_sent("/a.mp4"));

    let mut length = 0;
    for number in 1..=8 {
        let target = format!("/a.mp4/source/seg-{number}.m4s");
        let whole = edge.get(&target).await;
        assert_eq!((whole.cache(), whole.field("content-type")), ("HIT", "video/mp4"), "{number}");
        assert!(edge.get(&target).await.body == whole.body);
        let tag = whole.field("etag").to_owned();
        let end = whole.body.len();
        for part in [0..10, 60..end / 2, end - 50_000..end] {
            let range = format!("bytes={}-{}", part.start, part.end - 1);
            let fields = [("range", &*range), ("if-range", &*tag)];
            let reply = edge.ask("GET", &target, &fields).await;
            assert_eq!((reply.status, reply.cache()), (206, "HIT"), "{range}");
            assert_eq!(reply.field("content-range"), format!("{}/{end}", range.replace('=', " ")));
            assert!(reply.body == whole.body[part], "{range}");
        }
        let head = edge.ask("HEAD", &target, &[]).await;
        assert_eq!((head.field("etag"), head.field("content-length")), (&*tag, &*end.to_string()));
        assert_eq!(edge.ask("GET", &target, &[("if-none-match", &tag)]).await.status, 304);
        length += end as u64;
    }
    edge.settled().await;
    assert_eq!(origin.bytes_sent("/a.mp4"), sent);
    assert!(length > 40 * BLOCK && held().await < before + length / 8, "nothing is stored twice");
    assert_eq!(explained("/a.mp4/source/seg-3.m4s").await, "hit");

    // What it is made of is gone, and so is it.
    edge.purge(r#"{"urls":["/a.mp4"]}"#).await;
    assert_eq!(explained("/a.mp4/source/seg-3.m4s").await, "miss");
    assert_eq!(edge.get("/a.mp4/source/seg-3.m4s").await.cache(), "MISS");
    assert!(origin.bytes_sent("/a.mp4") > sent);
}

/// While a change of settings is rolled out, servers with either stand side by side.
#[tokio::test]
async fn what_is_cut_in_another_way_has_another_tag() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.mp4");
    make(&path, "4000k");
    let origin = OriginDouble::start().await;
    let file = std::fs::read(&path).unwrap();
    origin.on("/a.mp4", Answer::ok(file).etag("\"1\"").cache_control("max-age=60"));
    let edges = [
        Edge::with(&origin, |raw| raw.media.segment_secs = 1).await,
        Edge::with(&origin, |raw| raw.media.segment_secs = 1).await,
        Edge::with(&origin, |raw| raw.media.segment_secs = 2).await,
    ];
    for name in ["source/seg-1.m4s", "source-audio/seg-1.m4s", "source/index.m3u8", "master.m3u8"] {
        let mut tags = Vec::new();
        for edge in &edges {
            let reply = edge.get(&format!("/a.mp4/{name}")).await;
            let tag = reply.field("etag").to_owned();
            assert!(reply.status == 200 && tag.starts_with('"'), "{name}: {} {tag}", reply.status);
            tags.push(tag);
        }
        assert!(tags[0] == tags[1] && tags[0] != tags[2], "{name}: {tags:?}");
    }
}

/// What ails the source ails its segments, and for these nobody asks it a second time.
#[tokio::test]
async fn a_source_that_fails_is_not_asked_again_for_its_segment() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        (raw.breaker.least_answers, raw.breaker.unreachable) = (10_000, 10_000);
    })
    .await;
    for (name, trouble) in [("error", Answer::empty(503)), ("hang-up", Answer::hang_up())] {
        let [alone, cut] = ["alone", "cut"].map(|kind| format!("/{kind}-{name}.mp4"));
        origin.on(&alone, trouble.clone());
        origin.on(&cut, trouble);
        let whole = edge.get(&alone).await;
        let segment = edge.get(&format!("{cut}/source/seg-1.m4s")).await;
        assert_eq!(segment.status, whole.status, "{name}: {}", segment.text());
        let (hits, most) = (origin.hits(&cut), origin.hits(&alone));
        assert!((1..=most).contains(&hits), "{name}: {hits} requests instead of {most}");
    }
}

/// Position of a box at the top level.
fn position(file: &[u8], kind: &[u8; 4]) -> usize {
    let mut at = 0;
    while &file[at + 4..at + 8] != kind {
        at += u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    }
    at
}

/// The same file with its index behind the media.
fn put_index_last(from: &Path, to: &Path) {
    let status = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y", "-i"])
        .arg(from)
        .args(["-c", "copy"])
        .arg(to)
        .status()
        .unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn an_index_at_the_end_is_delivered_in_front() {
    let directory = tempfile::tempdir().unwrap();
    let [front, late] = ["front.mp4", "late.mp4"].map(|name| directory.path().join(name));
    make(&front, "2000k");
    put_index_last(&front, &late);
    let [front, late] = [front, late].map(|path| std::fs::read(path).unwrap());
    assert!(position(&late, b"moov") > position(&late, b"mdat"));
    let length = late.len();
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let answer = |file: &[u8]| Answer::ok(file).etag("\"1\"").cache_control("max-age=60");
    origin.on("/whole.mp4", answer(&late));
    origin.on("/parts.mp4", answer(&late));
    origin.on("/front.mp4", answer(&front));
    origin.on("/weak.mp4", Answer::ok(&late[..]).etag("W/\"1\"").cache_control("max-age=60"));

    let whole = edge.get("/whole.mp4").await;
    assert_eq!((whole.status, whole.cache(), whole.body.len()), (200, "MISS", length));
    assert!(position(&whole.body, b"moov") < position(&whole.body, b"mdat"));
    assert_eq!(probe(&whole.body, directory.path()), probe(&late, directory.path()));
    // The index is not waited for: it is asked for by itself, and may come once more with the rest.
    assert!(origin.bytes_sent("/whole.mp4") <= length as u64 + BLOCK);
    let tag = whole.field("etag").to_owned();
    assert!(tag.starts_with('"') && tag != "\"1\"", "{tag}");
    let again = edge.get("/whole.mp4").await;
    assert!(again.cache() == "HIT" && again.body == whole.body && again.field("etag") == tag);

    // The answer's bytes in parts, cold.
    for (range, part) in [
        (format!("bytes={}-", length - 1000), length - 1000..length),
        ("bytes=0-99".to_owned(), 0..100),
        (format!("bytes={}-{}", length / 2, length / 2 + 99_999), length / 2..length / 2 + 100_000),
        ("bytes=-70000".to_owned(), length - 70_000..length),
    ] {
        let reply = edge.get_range("/parts.mp4", &range).await;
        assert_eq!(reply.status, 206, "{range}");
        assert_eq!(reply.field("content-range"), format!("bytes {}-{}/{length}", part.start, part.end - 1));
        assert!(reply.body == whole.body[part], "{range}");
    }
    assert!(origin.bytes_sent("/parts.mp4") < length as u64 / 2, "only what was asked for, and the index");
    let parts = edge.get_range("/parts.mp4", "bytes=0-9,500000-500009").await;
    assert_eq!(parts.status, 206);
    assert!(parts.body.windows(10).any(|bytes| bytes == &whole.body[500_000..500_010]));

    // One representation, whichever way it is asked for.
    let head = edge.ask("HEAD", "/whole.mp4", &[]).await;
    assert_eq!((head.field("etag"), head.field("content-length")), (&*tag, &*length.to_string()));
    assert_eq!(edge.ask("GET", "/whole.mp4", &[("if-none-match", &tag)]).await.status, 304);
    let resumed = [("range", "bytes=100000-"), ("if-range", &*tag)];
    assert!(edge.ask("GET", "/whole.mp4", &resumed).await.body == whole.body[100_000..]);
    let other = [("range", "bytes=100000-"), ("if-range", "\"1\"")];
    assert_eq!(edge.ask("GET", "/whole.mp4", &other).await.status, 200);
    edge.advance(61);
    let confirmed = edge.get("/whole.mp4").await;
    assert!(confirmed.cache() == "REVALIDATED" && confirmed.body == whole.body);

    // In front already, or not to be told apart from another version: as it is.
    for (path, file, tag) in [("/front.mp4", &front, "\"1\""), ("/weak.mp4", &late, "W/\"1\"")] {
        let reply = edge.get(path).await;
        assert!(reply.body == *file && reply.field("etag") == tag, "{path}");
    }
}
