//! Files with `moov` at the end play from the front, and nothing else about them changes.

use bytes::Bytes;

use super::fixture::{Memory, clip, ordinary, packets, remux};
use crate::media::video::{Piece, faststart};

async fn plan(bytes: &Bytes) -> Option<Vec<u8>> {
    let splice = faststart::plan(&Memory::new(bytes.clone())).await.unwrap()?;
    let pieces = splice.pieces(0..splice.len).into_iter().map(|piece| match piece {
        Piece::Bytes(bytes) => bytes,
        Piece::Source(stretch) => stretch.cut(0, bytes).concat().into(),
    });
    let whole: Vec<u8> = pieces.flatten().collect();
    assert_eq!(whole.len() as u64, splice.len);
    Some(whole)
}

fn position(bytes: &[u8], kind: &[u8; 4]) -> usize {
    bytes.windows(4).position(|window| window == kind).unwrap()
}

#[tokio::test]
async fn moov_comes_first_and_all_packets_stay() {
    for (name, source) in [
        ("ordinary", ordinary()),
        (
            "quick",
            clip(
                "quick-late.mov",
                3.0,
                "25",
                &["-map", "0:v", "-map", "1:a", "-c:v", "mpeg4", "-c:a", "pcm_s16le"],
            ),
        ),
    ] {
        let fast = plan(&source).await.unwrap();
        assert_eq!(fast.len(), source.len(), "{name}");
        assert!(position(&fast, b"moov") < position(&fast, b"mdat"), "{name}");
        assert!(position(&source, b"moov") > position(&source, b"mdat"), "{name}");
        for stream in ["v:0", "a:0"] {
            let before = packets(&source, &format!("late-{name}.mp4"), stream);
            let after = packets(&fast, &format!("fast-{name}.mp4"), stream);
            assert!(!before.is_empty());
            assert_eq!(before, after, "{name} {stream}");
        }
        assert!(plan(&fast.into()).await.is_none(), "{name}: nothing left to do");
    }
}

#[tokio::test]
async fn a_moov_that_reaches_to_the_end_gets_a_size() {
    let mut bytes = ordinary().to_vec();
    let moov = bytes.windows(4).rposition(|window| window == b"moov").unwrap() - 4;
    bytes[moov..moov + 4].fill(0);
    let fast = plan(&bytes.into()).await.unwrap();
    assert_eq!(fast, plan(&ordinary()).await.unwrap());
}

#[tokio::test]
async fn other_files_are_left_alone() {
    let source = ordinary();
    let front = remux("front.mp4", "ordinary.mp4", &[], &["-movflags", "+faststart"]);
    let fragmented = remux("fragments.mp4", "ordinary.mp4", &[], &["-movflags", "+frag_keyframe"]);
    let cases = [
        ("already fast", front),
        ("fragmented", fragmented),
        ("cut off", source.slice(..source.len() - 1)),
        ("no MP4", Bytes::from_static(b"#EXTM3U\n")),
        ("nothing", Bytes::new()),
    ];
    for (what, bytes) in cases {
        assert!(plan(&bytes).await.is_none(), "{what}");
    }
}

#[tokio::test]
async fn reads_are_few() {
    let bytes = ordinary();
    let source = Memory::new(bytes.clone());
    faststart::plan(&source).await.unwrap().unwrap();
    let moov = bytes.len() - position(&bytes, b"moov");
    assert!(source.bytes_read() < moov as u64 + 3 * 4096, "{}", source.bytes_read());
}
