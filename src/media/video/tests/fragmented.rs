//! Fragmented sources give the very packets that the same file gives with an index in front.

use std::time::Instant;

use bytes::Bytes;

use super::fixture::{Memory, complaints, joined, open, ordinary, packets, remux};
use crate::media::video::{Asset, Error, Movie, Package, Rendition};

/// Each packet of each rendition, from the first one on.
fn shape(name: &str, bytes: &[u8], stream: &str) -> Vec<(i64, i64, bool, String)> {
    let packets = packets(bytes, name, stream);
    let (pts, dts) = (packets[0].pts, packets[0].dts);
    packets.into_iter().map(|packet| (packet.pts - pts, packet.dts - dts, packet.key, packet.hash)).collect()
}

async fn assert_same(name: &str, fragmented: &Bytes) {
    let whole = ordinary();
    let (expected, found) = (open(&whole).await, open(fragmented).await);
    // Some ways of writing fragments leave out the edit list, and with it the delay of B-frames.
    let cuts = |package: &Package| -> Vec<_> {
        let first = package.segmentation.video[0].start;
        package
            .segmentation
            .video
            .iter()
            .map(|s| (s.samples.clone(), s.start - first, s.end - first))
            .collect()
    };
    assert_eq!(cuts(&found), cuts(&expected), "{name}");
    for (rendition, stream) in [(Rendition::Source, "v:0"), (Rendition::SourceAudio(0), "a:0")] {
        // Without a delayed index, ffmpeg lengthens the first packet of sound: the file itself is what counts.
        let expected = shape("fragment-whole.mp4", fragmented, stream);
        let got = shape("fragment-part.mp4", &joined(&found, fragmented, rendition), stream);
        assert!(expected == got, "{name} {rendition}: {} and {} packets", expected.len(), got.len());
    }
    let joined = joined(&found, fragmented, Rendition::Source);
    assert_eq!(complaints(&joined, "fragment-joined.mp4"), "", "{name}");
}

#[tokio::test]
async fn fragments_are_as_good_as_an_index() {
    ordinary();
    let cases: [(&str, &[&str]); 6] = [
        ("frag-key.mp4", &["-movflags", "+frag_keyframe+empty_moov+default_base_moof"]),
        // Offsets from the beginning of the file, and some samples in `moov`.
        ("frag-hybrid.mp4", &["-movflags", "+frag_keyframe"]),
        ("frag-half.mp4", &["-movflags", "+empty_moov+default_base_moof", "-frag_duration", "500000"]),
        ("frag-dash.mp4", &["-movflags", "+dash+global_sidx+delay_moov", "-frag_duration", "2000000"]),
        ("frag-cmaf.mp4", &["-movflags", "+cmaf+frag_keyframe+negative_cts_offsets"]),
        ("frag-sep.mp4", &["-movflags", "+frag_keyframe+separate_moof+delay_moov+omit_tfhd_offset"]),
    ];
    for (name, flags) in cases {
        let fragmented = remux(name, "ordinary.mp4", &[], flags);
        assert!(fragmented.windows(4).any(|kind| kind == b"moof"), "{name}");
        assert_same(name, &fragmented).await;
    }
}

#[tokio::test]
async fn a_recording_that_broke_off_plays_to_its_last_fragment() {
    ordinary();
    let whole = remux(
        "frag-key.mp4",
        "ordinary.mp4",
        &[],
        &["-movflags", "+frag_keyframe+empty_moov+default_base_moof"],
    );
    for length in [whole.len() - 1, whole.len() * 2 / 3] {
        let cut = whole.slice(..length);
        let package = open(&cut).await;
        let joined = joined(&package, &cut, Rendition::Source);
        let count = packets(&joined, "fragment-cut.mp4", "v:0").len();
        assert!((100..=200).contains(&count), "{count} pictures");
    }
}

#[tokio::test]
async fn what_starts_late_starts_at_once() {
    ordinary();
    let late = ["-output_ts_offset", "1000", "-movflags", "+frag_keyframe+empty_moov+default_base_moof"];
    let fragmented = remux("frag-late.mp4", "ordinary.mp4", &[], &late);
    let package = open(&fragmented).await;
    let first = &package.segmentation.video[0];
    assert!(first.start <= 1024, "starts at {}", first.start);
}

#[tokio::test]
async fn hostile_fragments_cost_bounded_time_and_memory() {
    ordinary();
    let good = remux(
        "frag-key.mp4",
        "ordinary.mp4",
        &[],
        &["-movflags", "+frag_keyframe+empty_moov+default_base_moof"],
    );
    let at = |kind: &[u8]| good.windows(4).position(|window| window == kind).unwrap();
    let patched = |at: usize, with: &[u8]| {
        let mut bytes = good.to_vec();
        bytes[at..at + with.len()].copy_from_slice(with);
        Bytes::from(bytes)
    };
    let cases: Vec<(&str, Bytes)> = vec![
        ("2^32 samples in a run", patched(at(b"trun") + 8, &[0xff; 4])),
        ("2^31 samples without fields", patched(at(b"trun") + 4, &[0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff])),
        ("track 0", patched(at(b"tfhd") + 8, &[0; 4])),
        ("decode time at the end of time", patched(at(b"tfdt") + 8, &[0xff; 4])),
        ("data before the file", patched(at(b"trun") + 12, &[0x80, 0, 0, 0])),
        ("data beyond the file", patched(at(b"trun") + 12, &[0x7f, 0xff, 0xff, 0xff])),
        ("moof of 2 GiB", patched(at(b"moof") - 4, &[0x7f, 0xff, 0xff, 0xff])),
        ("moof of 8 bytes", patched(at(b"moof") - 4, &[0, 0, 0, 8])),
        ("traf of 0 bytes", patched(at(b"traf") - 4, &[0; 4])),
        ("10^6 boxes", [&good[..], &b"\0\0\0\x08free".repeat(1_000_000)].concat().into()),
        ("fragments without end", {
            let empty = b"\0\0\0\x28moof\0\0\0\x20traf\0\0\0\x10tfhd\0\x02\0\0\0\0\0\x01\0\0\0\x08free";
            [&good[..], &empty.repeat(60_000)].concat().into()
        }),
    ];
    for (what, bytes) in cases {
        let begun = Instant::now();
        let opened = Movie::open(&Memory::new(bytes)).await;
        let took = begun.elapsed();
        assert!(took.as_secs() < 60, "{what}: {took:?}");
        match opened {
            Ok(movie) => assert!(movie.weight() < 64 << 20, "{what}: {} bytes", movie.weight()),
            Err(error) => {
                assert!(
                    matches!(error, Error::Malformed { .. } | Error::Unsupported { .. }),
                    "{what}: {error}"
                );
            }
        }
    }
    // Whatever is broken, an answer comes.
    let mut seed = 7u64;
    for _ in 0..300 {
        let mut bytes = good.to_vec();
        for _ in 0..4 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let place = (seed >> 33) as usize % 4096;
            bytes[place] = (seed >> 20) as u8;
        }
        let bytes = Bytes::from(bytes);
        let source = Memory::new(bytes.clone());
        if let Ok(movie) = Movie::open(&source).await {
            drop(movie);
        }
    }
    let package = open(&good).await;
    assert!(package.asset(&Asset::Master).is_ok());
}
