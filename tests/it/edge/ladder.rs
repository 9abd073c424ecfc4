//! Smaller renditions of videos: made when asked for, once for everybody, and not for nobody.

use std::{path::Path, process::Command};

use futures_util::future::join_all;
use millrace::config::{Raw, raw};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{Edge, eventually};

/// So many seconds with a keyframe in each.
fn make(path: &Path, seconds: u32) {
    let picture = format!("testsrc2=size=320x180:rate=25:duration={seconds}");
    let sound = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y"])
        .args(["-f", "lavfi", "-i", &picture])
        .args(["-f", "lavfi", "-i", &sound])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-bf", "2"])
        .args(["-threads", "1", "-c:a", "aac", "-movflags", "+faststart"])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A server over a directory with `a.mp4`, whose segments last two seconds.
async fn edge(directory: &Path, settings: impl FnOnce(&mut Raw)) -> Edge {
    if !directory.join("a.mp4").exists() {
        make(&directory.join("a.mp4"), 8);
    }
    let url = directory.to_str().unwrap().to_owned();
    Edge::start_with(|raw| {
        raw.origins = vec![raw::Origin { url, ..Default::default() }];
        raw.media.segment_secs = 2;
        raw.media.ladder = vec![raw::LadderStep { height: 96, kbps: 150 }];
        raw.media.encode_ahead = 0;
        settings(raw);
    })
    .await
}

async fn encodes(edge: &Edge, result: &str) -> u64 {
    edge.metric("millrace_media_encodes_total", &[&format!("result=\"{result}\"")]).await
}

/// Pictures that can be decoded, and what is said while doing so.
fn decoded(bytes: &[u8], directory: &Path) -> (String, String) {
    let path = directory.join("joined.mp4");
    std::fs::write(&path, bytes).unwrap();
    let output = Command::new("ffprobe")
        .args(["-v", "warning", "-count_frames", "-select_streams", "v:0"])
        .args(["-show_entries", "stream=nb_read_frames,width,height", "-of", "csv=p=0"])
        .arg(&path)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_rung_is_listed_made_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let edge = edge(directory.path(), |_| {}).await;
    let master = edge.get("/a.mp4/master.m3u8").await.text();
    assert!(master.contains("RESOLUTION=170x96") && master.contains("\n96p/index.m3u8"), "{master}");
    assert!(master.find("source/index.m3u8") < master.find("96p/index.m3u8"), "{master}");
    let manifest = edge.get("/a.mp4/manifest.mpd").await.text();
    assert!(manifest.contains("media=\"96p/seg-$Number$.m4s\""), "{manifest}");
    let own = edge.get("/a.mp4/source/index.m3u8").await.text();
    let playlist = edge.get("/a.mp4/96p/index.m3u8").await.text();
    assert_eq!(playlist, own, "the same cuts");

    let init = edge.get("/a.mp4/96p/init.mp4").await;
    assert_eq!((init.status, init.field("content-type")), (200, "video/mp4"));
    let mut whole = init.body;
    for number in 1..=4 {
        let target = format!("/a.mp4/96p/seg-{number}.m4s");
        let made = edge.get(&target).await;
        assert_eq!((made.status, made.cache(), made.field("content-type")), (200, "MISS", "video/mp4"));
        let again = edge.get(&target).await;
        assert!(again.cache() == "HIT" && again.body == made.body);
        assert_eq!(again.field("etag"), made.field("etag"));
        let part = edge.get_range(&target, "bytes=4-7").await;
        assert_eq!((part.status, &part.body[..]), (206, &made.body[4..8]));
        whole.extend(made.body);
    }
    assert_eq!(decoded(&whole, directory.path()), ("170,96,200".to_owned(), String::new()));
    assert_eq!(encodes(&edge, "ok").await, 4);
    for missing in ["96p/seg-5.m4s", "96p/seg-0.m4s", "48p/init.mp4", "180p/index.m3u8", "720p/seg-1.m4s"] {
        assert_eq!(edge.get(&format!("/a.mp4/{missing}")).await.status, 404, "{missing}");
    }
}

#[tokio::test]
async fn a_crowd_has_a_segment_made_once() {
    let directory = tempfile::tempdir().unwrap();
    let edge = edge(directory.path(), |_| {}).await;
    let crowd = (0..100).map(|_| edge.get("/a.mp4/96p/seg-2.m4s"));
    let replies = join_all(crowd).await;
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.body == replies[0].body));
    assert_eq!(encodes(&edge, "ok").await, 1);
}

#[tokio::test]
async fn what_comes_next_is_made_ahead() {
    let directory = tempfile::tempdir().unwrap();
    let edge = edge(directory.path(), |raw| raw.media.encode_ahead = 2).await;
    assert_eq!(edge.get("/a.mp4/96p/seg-1.m4s").await.cache(), "MISS");
    eventually("the next two", async || encodes(&edge, "ok").await == 3).await;
    for number in [2, 3] {
        assert_eq!(edge.get(&format!("/a.mp4/96p/seg-{number}.m4s")).await.cache(), "HIT", "{number}");
    }
}

/// An ffmpeg that takes its time with a segment.
fn slow(directory: &Path) -> String {
    let path = directory.join("slow-ffmpeg");
    let trickle = "$|=1; while (read STDIN, $b, 6000) { print $b; select undef, undef, undef, 0.5 }";
    let body = format!(
        "#!/bin/sh\ncase \"$*\" in\n*frames:v*) exec ffmpeg \"$@\";;\n\
         *frag_duration*) ffmpeg \"$@\" | perl -e '{trickle}';;\n*) exec ffmpeg \"$@\";;\nesac\n"
    );
    let script = "printf '%s' \"$1\" > \"$0\" && chmod 755 \"$0\"";
    assert!(Command::new("sh").args(["-c", script]).arg(&path).arg(body).status().unwrap().success());
    path.to_str().unwrap().to_owned()
}

async fn ask_for(edge: &Edge, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(edge.data()).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn nothing_is_made_for_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let ffmpeg = slow(directory.path());
    // Each segment takes some ten seconds.
    make(&directory.path().join("a.mp4"), 24);
    let edge = edge(directory.path(), |raw| {
        raw.media.ffmpeg = ffmpeg;
        raw.media.segment_secs = 8;
        raw.media.encodes = 1;
        raw.media.encode_queue = 1;
    })
    .await;
    assert_eq!(edge.get("/a.mp4/96p/init.mp4").await.status, 200);
    let running = ask_for(&edge, "/a.mp4/96p/seg-1.m4s").await;
    // Its answer begins: it has the one place.
    running.readable().await.unwrap();
    let waiting =
        [ask_for(&edge, "/a.mp4/96p/seg-2.m4s").await, ask_for(&edge, "/a.mp4/96p/seg-2.m4s").await];
    let depth = async || edge.metric("millrace_queue_depth", &["queue=\"encode\""]).await;
    eventually("one waits", async || depth().await == 1).await;
    // Full: told at once.
    let full = edge.send("GET", "/a.mp4/96p/seg-3.m4s", &[]).await;
    assert_eq!((full.status, full.field("retry-after")), (503, "1"));

    let [one, other] = waiting;
    drop(one);
    drop(running);
    eventually("the running one is left", async || encodes(&edge, "left").await == 1).await;
    eventually("the next begins", async || depth().await == 0).await;
    drop(other);
    eventually("and is left as well", async || encodes(&edge, "left").await == 2).await;
    assert_eq!(encodes(&edge, "ok").await, 0);
}

#[tokio::test]
async fn without_ffmpeg_videos_are_passed_on() {
    let directory = tempfile::tempdir().unwrap();
    let edge = edge(directory.path(), |raw| raw.media.ffmpeg = "/nowhere/ffmpeg".to_owned()).await;
    let master = edge.get("/a.mp4/master.m3u8").await.text();
    assert!(master.contains("source/index.m3u8") && !master.contains("96p"), "{master}");
    assert_eq!(edge.get("/a.mp4/source/seg-1.m4s").await.status, 200);
    assert_eq!(edge.get("/a.mp4/96p/seg-1.m4s").await.status, 404);
    assert_eq!(edge.get("/a.mp4/poster.webp").await.status, 503);
}
