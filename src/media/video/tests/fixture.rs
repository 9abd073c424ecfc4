//! Sources for tests: small files made by ffmpeg, and a source that counts what is read of it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::media::video::{Asset, Ladder, Movie, Package, Piece, Rendition};
use crate::media::{ReadError, Source};

/// A file in memory.
#[derive(Debug)]
pub(super) struct Memory {
    bytes: Bytes,
    pub(super) reads: Mutex<Vec<Range<u64>>>,
}

impl Memory {
    pub(super) fn new(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), reads: Mutex::default() }
    }

    pub(super) fn bytes_read(&self) -> u64 {
        self.reads.lock().iter().map(|range| range.end - range.start).sum()
    }
}

impl Source for Memory {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        assert!(range.start <= range.end && range.end <= self.len(), "read of {range:?}");
        self.reads.lock().push(range.clone());
        let bytes = self.bytes.slice(range.start as usize..range.end as usize);
        async move { Ok(bytes) }.boxed()
    }
}

/// A folder for this test process. Nothing runs when a test process ends, so the next one removes it.
pub(super) fn folder() -> &'static Path {
    const PREFIX: &str = "millrace-video-tests-";
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let parent = std::env::temp_dir();
        for left in std::fs::read_dir(&parent).unwrap().flatten() {
            let name = left.file_name();
            let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
                // Another test process may be at it, too.
                let _ = std::fs::remove_dir_all(left.path());
            }
        }
        let folder = parent.join(format!("{PREFIX}{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    })
}

/// Makes a file with ffmpeg. `arguments` come after two inputs, picture 0 and sound 1, of
/// `seconds` each.
pub(super) fn clip(name: &str, seconds: f64, rate: &str, arguments: &[&str]) -> Bytes {
    let picture = format!("testsrc2=size=160x96:rate={rate}:duration={seconds}");
    let sound = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
    let inputs = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound];
    ffmpeg(name, &[&inputs, arguments].concat())
}

/// Makes a file from another test file, with all its streams as they are.
pub(super) fn remux(name: &str, from: &str, before: &[&str], after: &[&str]) -> Bytes {
    let from = folder().join(from);
    let input = ["-i", from.to_str().unwrap(), "-map", "0", "-c", "copy"];
    ffmpeg(name, &[before, &input, after].concat())
}

/// Makes a file, once for each name.
pub(super) fn ffmpeg(name: &str, arguments: &[&str]) -> Bytes {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MAKING.lock();
    let path = folder().join(name);
    if !path.exists() {
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-v", "error", "-y"]).args(arguments).arg(&path);
        let output = ffmpeg.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::read(path).unwrap().into()
}

pub(super) const H264: [&str; 12] = [
    "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", "25", "-bf", "2", "-threads", "1",
];
pub(super) const AAC: [&str; 4] = ["-c:a", "aac", "-b:a", "64k"];
pub(super) const BOTH: [&str; 4] = ["-map", "0:v", "-map", "1:a"];

/// 8 s of 25 pictures a second with B-frames, a keyframe every second, and AAC; `moov` at the end.
pub(super) fn ordinary() -> Bytes {
    clip("ordinary.mp4", 8.0, "25", &[&BOTH[..], &H264, &AAC].concat())
}

/// Everything of a rendition joined: init segment and all media segments.
pub(super) fn joined(package: &Package, source: &Bytes, rendition: Rendition) -> Vec<u8> {
    let mut out = bytes_of(package, source, Asset::Init(rendition));
    for number in 1.. {
        match package.asset(&Asset::Segment(rendition, number)) {
            Ok(_) => out.extend(bytes_of(package, source, Asset::Segment(rendition, number))),
            Err(_) => break,
        }
    }
    out
}

pub(super) fn bytes_of(package: &Package, source: &Bytes, asset: Asset) -> Vec<u8> {
    let splice = package.asset(&asset).unwrap();
    let mut out = Vec::new();
    for piece in splice.pieces(0..splice.len) {
        match piece {
            Piece::Bytes(bytes) => out.extend(bytes),
            Piece::Source(stretch) => out.extend(stretch.cut(0, source).concat()),
        }
    }
    assert_eq!(out.len() as u64, splice.len, "{asset}");
    out
}

pub(super) async fn open(bytes: &Bytes) -> Package {
    let movie = Movie::open(&Memory::new(bytes.clone())).await.unwrap();
    Package::new(movie, std::time::Duration::from_secs(2), &Ladder::default()).unwrap()
}

/// What ffprobe says of one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) pts: i64,
    pub(super) dts: i64,
    pub(super) duration: i64,
    pub(super) key: bool,
    pub(super) hash: String,
}

/// The packets of one stream, such as `v:0`.
pub(super) fn packets(bytes: &[u8], name: &str, stream: &str) -> Vec<Packet> {
    let path = save(name, bytes);
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_data_hash", "md5", "-select_streams", stream])
        .args(["-show_entries", "packet=pts,dts,duration,flags,data_hash", "-of", "json"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |value: &serde_json::Value| value.as_i64().unwrap_or(0);
    let packets = json["packets"].as_array().unwrap().iter().map(|packet| Packet {
        pts: number(&packet["pts"]),
        dts: number(&packet["dts"]),
        duration: number(&packet["duration"]),
        key: packet["flags"].as_str().unwrap().contains('K'),
        hash: packet["data_hash"].as_str().unwrap().to_owned(),
    });
    packets.collect()
}

/// Decodes everything and returns what ffmpeg complains about.
pub(super) fn complaints(bytes: &[u8], name: &str) -> String {
    let path = save(name, bytes);
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "warning", "-xerror", "-i"])
        .arg(&path)
        .args(["-f", "null", "-"])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn save(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}
