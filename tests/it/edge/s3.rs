//! A bucket on a real S3 server behind the edge: objects, thumbnails, video, alone and as the second of a chain.

use std::{path::Path, process::Command};

use millrace::config::raw;
use tempfile::TempDir;

use super::{Edge, http_origin};
use crate::{
    origin::s3_server::{KEY, S3Server},
    origin_double::{OriginDouble, pattern_bytes},
};

const LENGTH: u64 = 300_000;

fn bucket(server: &S3Server) -> raw::Origin {
    let s3 = raw::S3 {
        endpoint: server.endpoint(),
        access_key_id: KEY.0.to_owned(),
        secret_access_key: raw::Secret(KEY.1.to_owned()),
        ..Default::default()
    };
    raw::Origin { name: "bucket".to_owned(), url: "s3://media/library".to_owned(), s3, ..Default::default() }
}

fn library() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let library = dir.path().join("media/library");
    std::fs::create_dir_all(&library).unwrap();
    std::fs::write(library.join("any.bin"), pattern_bytes(3, 0..LENGTH)).unwrap();
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=640x360", "-frames:v", "1"];
    ffmpeg(&picture, &library.join("a picture.jpg"));
    let film =
        ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=4", "-pix_fmt", "yuv420p", "-g", "25"];
    ffmpeg(&film, &library.join("film.mp4"));
    dir
}

fn ffmpeg(arguments: &[&str], to: &Path) {
    let output =
        Command::new("ffmpeg").args(["-nostdin", "-v", "error", "-y"]).args(arguments).arg(to).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_bucket_is_delivered_like_any_origin() {
    let library = library();
    let server = S3Server::start(library.path()).await;
    let edge = Edge::before(vec![bucket(&server)]).await;
    let whole = edge.get("/any.bin").await;
    assert_eq!((whole.status, whole.cache()), (200, "MISS"));
    assert!(whole.is_pattern(3, 0..LENGTH));
    assert_eq!(edge.get("/any.bin").await.cache(), "HIT");
    let part = edge.get_range("/any.bin", "bytes=100000-100009").await;
    assert_eq!((part.status, part.cache(), part.is_pattern(3, 100_000..100_010)), (206, "HIT", true));
    // Stale, and confirmed by what S3 says.
    edge.advance(61);
    assert_eq!(edge.get("/any.bin").await.cache(), "REVALIDATED");
    let thumbnail = edge.get("/a%20picture.jpg?w=64").await;
    assert_eq!((thumbnail.status, thumbnail.field("content-type")), (200, "image/webp"));
    let master = edge.get("/film.mp4/master.m3u8").await.text();
    assert!(master.contains("RESOLUTION=320x180"), "{master}");
    let segment = edge.get("/film.mp4/source/seg-1.m4s").await;
    assert_eq!((segment.status, segment.field("content-type")), (200, "video/mp4"));
    assert_eq!(edge.get("/film.mp4/poster.webp?t=1&w=64").await.status, 200);
    // The playlist has looked for subtitles as well.
    let missing = async || {
        edge.metric("millrace_origin_requests_total", &["origin=\"bucket\"", "result=\"missing\""]).await
    };
    let before = missing().await;
    assert_eq!(edge.get("/none.mp4").await.status, 404);
    assert_eq!(missing().await, before + 1);
}

#[tokio::test]
async fn a_bucket_steps_in_for_an_origin_that_is_down() {
    let library = library();
    let server = S3Server::start(library.path()).await;
    let first = OriginDouble::start().await;
    let edge = Edge::before(vec![http_origin(&first.url()), bucket(&server)]).await;
    first.go_down().await;
    assert!(edge.get("/any.bin").await.is_pattern(3, 0..LENGTH));
    assert_eq!(edge.get("/film.mp4/master.m3u8").await.status, 200);
}

#[tokio::test]
async fn a_bucket_that_refuses_us_is_no_missing_asset() {
    let library = library();
    let server = S3Server::start(library.path()).await;
    let mut wrong = bucket(&server);
    wrong.s3.secret_access_key = raw::Secret("another secret".to_owned());
    let edge = Edge::before(vec![wrong]).await;
    let reply = edge.get("/any.bin").await;
    assert_eq!(reply.status, 502);
    assert!(reply.field("cache-status").contains("refused"), "{:?}", reply.headers);
}
