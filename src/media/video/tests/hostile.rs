//! Hostile files end in errors, in bounded time, and never in a panic.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::fixture::{Memory, bytes_of, open, ordinary};
use crate::media::video::boxes::Writer;
use crate::media::video::{Asset, Error, Ladder, Movie, Package, Rendition};

/// Far more than any of these takes on a busy machine, and far less than a loop without a bound.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens a file and asks for everything it offers.
async fn exercise(bytes: Bytes) -> Result<(), Error> {
    let begun = Instant::now();
    let source = Memory::new(bytes.clone());
    let result = match Movie::open(&source).await {
        Ok(movie) => Package::new(movie, Duration::from_secs(2), &Ladder::default()).map(|package| {
            for rendition in [Rendition::Source, Rendition::SourceAudio(0)] {
                let _ = package.asset(&Asset::MediaPlaylist(rendition));
                let _ = package.asset(&Asset::Init(rendition));
                let numbers = (1..).take_while(|&n| {
                    let asset = Asset::Segment(rendition, n);
                    match package.asset(&asset) {
                        Ok(splice) => {
                            assert!(splice.ranges.iter().all(|r| r.end <= bytes.len() as u64));
                            true
                        }
                        Err(_) => false,
                    }
                });
                assert!(numbers.count() <= 100_000);
            }
            let _ = package.asset(&Asset::Master);
        }),
        Err(error) => Err(error),
    };
    assert!(begun.elapsed() < PATIENCE, "took {:?}", begun.elapsed());
    result
}

/// Where the first box of this kind within `moov` starts, or `moov` itself.
fn position_of(bytes: &[u8], kind: &[u8; 4]) -> usize {
    let moov = bytes.windows(4).rposition(|window| window == b"moov").unwrap();
    moov + bytes[moov..].windows(4).position(|window| window == kind).unwrap() - 4
}

/// `bytes` with others written over it.
fn patched(bytes: &[u8], at: usize, with: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes.into()
}

fn malformed(result: &Result<(), Error>) -> bool {
    matches!(result, Err(Error::Malformed { .. }))
}

#[tokio::test]
async fn cut_anywhere() {
    let source = ordinary();
    for i in 0..200 {
        let end = source.len() * i / 200;
        let result = exercise(source.slice(..end)).await;
        assert!(malformed(&result), "cut at {end}: {result:?}");
    }
    // moov in front: what is missing is media.
    let front = Bytes::from(front_moov(&source));
    exercise(front.clone()).await.unwrap();
    for i in 0..200 {
        let end = front.len() * i / 200;
        let result = exercise(front.slice(..end)).await;
        assert!(malformed(&result), "cut at {end}: {result:?}");
    }
}

fn front_moov(source: &[u8]) -> Vec<u8> {
    let path = super::fixture::folder().join("ordinary.mp4");
    assert!(path.exists() && !source.is_empty());
    super::fixture::remux("front.mp4", "ordinary.mp4", &[], &["-movflags", "+faststart"]).to_vec()
}

#[tokio::test]
async fn flipped_bytes() {
    let source = ordinary();
    let moov = position_of(&source, b"moov");
    // A small generator, so that a failing seed can be run again.
    for seed in 0..600u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % bound as u64) as usize
        };
        let mut bytes = source.to_vec();
        for _ in 0..=next(8) {
            let at = moov + next(source.len() - moov);
            bytes[at] = match next(4) {
                0 => 0xff,
                1 => 0,
                2 => 0x7f,
                _ => next(256) as u8,
            };
        }
        // Any answer will do.
        let _ = exercise(bytes.into()).await;
    }
}

#[tokio::test]
async fn tables_that_claim_too_much() {
    let source = ordinary();
    for (table, at) in
        [(b"stts", 12), (b"ctts", 12), (b"stsc", 12), (b"stsz", 16), (b"stco", 12), (b"stss", 12)]
    {
        let start = position_of(&source, table);
        for claim in [10_000_000u32, u32::MAX, 1_000_000] {
            let result = exercise(patched(&source, start + at, &claim.to_be_bytes())).await;
            assert!(result.is_err(), "{} of {claim}", table.escape_ascii());
        }
    }
    // A run that claims many samples in one entry, and all samples of one size.
    let stts = position_of(&source, b"stts");
    exercise(patched(&source, stts + 16, &u32::MAX.to_be_bytes())).await.unwrap();
    let stsz = position_of(&source, b"stsz");
    let same = [1u32.to_be_bytes(), 2_000_000u32.to_be_bytes()].concat();
    let result = exercise(patched(&source, stsz + 12, &same)).await;
    assert!(malformed(&result), "{result:?}");
}

#[tokio::test]
async fn contradictions() {
    let source = ordinary();
    let at = |kind| position_of(&source, kind);
    let cases: [(&str, usize, &[u8]); 9] = [
        ("timescale 0 in mvhd", at(b"mvhd") + 20, &[0; 4]),
        ("timescale 0 in mdhd", at(b"mdhd") + 20, &[0; 4]),
        ("chunk beyond the end", at(b"stco") + 16, &[0xff; 4]),
        ("sync sample 0", at(b"stss") + 16, &[0; 4]),
        ("chunk 0", at(b"stsc") + 16, &[0; 4]),
        ("empty chunks", at(b"stsc") + 20, &[0; 4]),
        ("media before time", at(b"elst") + 20, &[0xff, 0xff, 0xff, 0xfe]),
        ("no picture size", at(b"avc1") + 8 + 24, &[0; 4]),
        ("sample larger than the file", at(b"stsz") + 20, &[0xff; 4]),
    ];
    for (what, at, with) in cases {
        let result = exercise(patched(&source, at, with)).await;
        assert!(malformed(&result), "{what}: {result:?}");
    }
    let unsupported: [(&str, usize, &[u8]); 2] =
        [("encrypted", at(b"avc1") + 4, b"encv"), ("another codec", at(b"avc1") + 4, b"mp4v")];
    for (what, at, with) in unsupported {
        let result = exercise(patched(&source, at, with)).await;
        assert!(matches!(result, Err(Error::Unsupported { .. })), "{what}: {result:?}");
    }
}

#[tokio::test]
async fn what_is_no_movie() {
    let boxes = |count: usize| b"\0\0\0\x08free".repeat(count);
    let cases: [(&str, Vec<u8>); 12] = [
        ("nothing", vec![]),
        ("too little", b"\0\0\0\x18".to_vec()),
        ("a playlist", b"#EXTM3U\n#EXT-X-VERSION:3\nfile:///etc/passwd\n".to_vec()),
        ("a concat script", b"ffconcat version 1.0\nfile /etc/passwd\n".to_vec()),
        ("HTML", b"<!DOCTYPE html><html></html>".to_vec()),
        ("zeros", vec![0; 4096]),
        ("a box of size 7", b"\0\0\0\x07ftypisom".to_vec()),
        ("endless small boxes", boxes(1_000_000)),
        ("a box that reaches to the end", b"\0\0\0\0mdat0123456789".to_vec()),
        ("a 64-bit size that overflows", b"\0\0\0\x01mdat\xff\xff\xff\xff\xff\xff\xff\xff0123".to_vec()),
        ("a moov of 2 GB", b"\x7f\xff\xff\xffmoov0123456789".to_vec()),
        ("an empty moov", b"\0\0\0\x08moov".to_vec()),
    ];
    for (what, bytes) in cases {
        let result = exercise(bytes.into()).await;
        assert!(malformed(&result), "{what}: {result:?}");
    }
}

#[tokio::test]
async fn endless_small_boxes_are_not_walked() {
    let source = Memory::new(b"\0\0\0\x08free".repeat(1_000_000));
    assert!(matches!(Movie::open(&source).await, Err(Error::Malformed { .. })));
    assert!(source.bytes_read() < 16 * 1024, "{} bytes", source.bytes_read());
}

#[tokio::test]
async fn what_is_too_large() {
    /// A source whose moov would not fit in memory; its bytes are never asked for.
    #[derive(Debug)]
    struct Huge;
    impl crate::media::Source for Huge {
        fn len(&self) -> u64 {
            1 << 40
        }
        fn read(
            &self,
            range: std::ops::Range<u64>,
        ) -> futures_util::future::BoxFuture<'_, Result<Bytes, crate::media::ReadError>> {
            assert!(range.end - range.start <= 4096, "read of {range:?}");
            let mut bytes = vec![0; (range.end - range.start) as usize];
            bytes[..8].copy_from_slice(b"\x7f\xff\xff\xffmoov");
            Box::pin(async move { Ok(bytes.into()) })
        }
    }
    assert!(matches!(Movie::open(&Huge).await, Err(Error::Unsupported { .. })));
}

#[tokio::test]
async fn opening_reads_headers_and_moov_only() {
    let bytes = ordinary();
    let source = Memory::new(bytes.clone());
    let movie = Movie::open(&source).await.unwrap();
    let moov = bytes.len() - position_of(&bytes, b"moov");
    assert!(source.bytes_read() <= moov as u64 + 2 * 4096 + 16, "{} bytes", source.bytes_read());
    assert!(source.reads.lock().len() <= 3);
    assert!(movie.weight() < 2 * moov, "{} bytes in memory for {moov} of moov", movie.weight());
}

#[tokio::test]
async fn requests_beyond_what_is_there() {
    let source = ordinary();
    let package = open(&source).await;
    bytes_of(&package, &source, Asset::Segment(Rendition::Source, 4));
    let missing = [
        Asset::Segment(Rendition::Source, 0),
        Asset::Segment(Rendition::Source, 5),
        Asset::Segment(Rendition::Source, u32::MAX),
        Asset::Segment(Rendition::SourceAudio(1), 1),
        Asset::MediaPlaylist(Rendition::SourceAudio(1)),
        Asset::Init(Rendition::SourceAudio(63)),
    ];
    for asset in missing {
        assert!(matches!(package.asset(&asset), Err(Error::NotFound)), "{asset}");
    }
}

/// A `moov` with the largest tables that are let in: every picture a keyframe, all in one chunk, and so long that there
/// are as many segments as there may be.
fn largest_tables(samples: u32, ticks: u32) -> Vec<u8> {
    let source = ordinary();
    let moov_at = position_of(&source, b"moov");
    let moov = &source[moov_at..];
    let entry = {
        let at = position_of(&source, b"stsd") - moov_at;
        let len = u32::from_be_bytes(moov[at..at + 4].try_into().unwrap()) as usize;
        moov[at..at + len].to_vec()
    };
    let mut w = Writer::default();
    let copy = |w: &mut Writer, kind: &[u8; 4]| {
        let at = position_of(&source, kind) - moov_at;
        let len = u32::from_be_bytes(moov[at..at + 4].try_into().unwrap()) as usize;
        w.raw(&moov[at..at + len]);
    };
    copy(&mut w, b"mvhd");
    w.nest(*b"trak", |w| {
        copy(w, b"tkhd");
        w.nest(*b"mdia", |w| {
            copy(w, b"mdhd");
            copy(w, b"hdlr");
            w.nest(*b"minf", |w| {
                w.nest(*b"stbl", |w| {
                    w.raw(&entry);
                    w.nest_full(*b"stts", 0, 0, |w| {
                        w.u32(samples);
                        (0..samples).for_each(|_| {
                            w.u32(1);
                            w.u32(ticks);
                        });
                    });
                    w.nest_full(*b"ctts", 0, 0, |w| {
                        w.u32(samples);
                        (0..samples).for_each(|i| {
                            w.u32(1);
                            w.u32(i % 2);
                        });
                    });
                    w.nest_full(*b"stsc", 0, 0, |w| [1, 1, samples, 1].into_iter().for_each(|v| w.u32(v)));
                    w.nest_full(*b"stsz", 0, 0, |w| {
                        w.u32(0);
                        w.u32(samples);
                        w.zeros(samples as usize * 4);
                    });
                    w.nest_full(*b"stco", 0, 0, |w| [1, 0].into_iter().for_each(|v| w.u32(v)));
                });
            });
        });
    });
    w.finish()
}

#[test]
fn the_largest_tables_cost_bounded_time() {
    let samples = 1 << 21;
    let begun = Instant::now();
    // Timescale 12800: at 640 ticks a picture, 2^21 pictures make 52,000 segments of two seconds.
    let moov = largest_tables(samples, 640);
    let built = begun.elapsed();
    let movie = Movie::parse(&moov, 1 << 30, None).unwrap();
    let weight = movie.weight();
    let package = Package::new(movie, Duration::from_secs(2), &Ladder::default()).unwrap();
    assert_eq!(package.segmentation.video.len(), 52_429);
    for asset in
        [Asset::Master, Asset::MediaPlaylist(Rendition::Source), Asset::Segment(Rendition::Source, 52_429)]
    {
        package.asset(&asset).unwrap();
    }
    assert!(begun.elapsed() - built < PATIENCE * 2, "took {:?}", begun.elapsed() - built);
    assert!(weight < 64 << 20, "{weight} bytes");
    // Longer pictures would make more segments than are allowed.
    let movie = Movie::parse(&largest_tables(samples, 640_000), 1 << 30, None).unwrap();
    assert!(matches!(
        Package::new(movie, Duration::from_secs(2), &Ladder::default()),
        Err(Error::Unsupported { .. })
    ));
}
