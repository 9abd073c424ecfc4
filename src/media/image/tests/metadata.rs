//! Colour profiles and EXIF: heeded, and gone unless asked for.

use std::sync::LazyLock;

use moxcms::ColorProfile;
use turbojpeg::Subsamp;

use super::super::metadata::Metadata;
use super::samples;
use super::*;

fn profiled(jpeg: &[u8], icc: &[u8]) -> Vec<u8> {
    let body = [b"ICC_PROFILE\0\x01\x01", icc].concat();
    samples::with_segment(jpeg, 0xe2, &body)
}

/// Made once: it has the time of day in it.
fn p3() -> Vec<u8> {
    static PROFILE: LazyLock<Vec<u8>> = LazyLock::new(|| ColorProfile::new_display_p3().encode().unwrap());
    PROFILE.clone()
}

fn plain(colour: [u8; 3]) -> Raster {
    Raster { size: Size::new(32, 32), channels: 3, data: colour.repeat(32 * 32) }
}

fn middle(raster: &Raster) -> [u8; 3] {
    let at = raster.data.len() / 2;
    let at = at - at % raster.channels;
    raster.data[at..at + 3].try_into().unwrap()
}

#[track_caller]
fn assert_colour(raster: &Raster, expected: [u8; 3], what: &str) {
    let got = middle(raster);
    assert!(got.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 6), "{what}: {got:?}, not {expected:?}");
}

#[test]
fn colours_come_into_srgb_unless_the_profile_is_kept() {
    let (stored, seen) = ([200, 100, 100], [213, 94, 97]);
    let jpeg = samples::jpeg(&plain(stored), Subsamp::None, false);
    let zlib = samples::stored_zlib(&p3());
    let png = samples::png_with(&plain(stored), &[(b"iCCP", &[b"P3\0\0".as_slice(), &zlib].concat())]);
    let lossless = try_transform(&png, "keep=icc&lossless=1").unwrap().bytes.to_vec();
    for (name, source) in [("JPEG", profiled(&jpeg, &p3())), ("PNG", png), ("WebP", lossless)] {
        for query in ["fm=png", "q=100", "fm=jpg&q=100", "lossless=1", "w=8"] {
            let made = try_transform(&source, query).unwrap();
            assert_colour(&decoded(&made.bytes), seen, &format!("{name} {query}"));
            assert!(Metadata::of(&made.bytes, &probe(&made.bytes).unwrap()).icc.is_none(), "{name} {query}");

            let kept = try_transform(&source, &format!("{query}&keep=icc")).unwrap().bytes;
            assert_colour(&decoded(&kept), stored, &format!("{name} {query} kept"));
            let found = Metadata::of(&kept, &probe(&kept).unwrap()).icc.map(|icc| icc.into_owned());
            assert_eq!(found, Some(p3()), "{name} {query} kept");
        }
    }
}

#[test]
fn a_profile_of_nonsense_changes_nothing() {
    let jpeg = samples::jpeg(&plain([200, 100, 100]), Subsamp::None, false);
    let expected = variant(&jpeg, "fm=png");
    let srgb = ColorProfile::new_srgb().encode().unwrap();
    let mut wild = p3();
    wild[128..].fill(0xff);
    for icc in [&b"nonsense"[..], &[0; 300], &wild, &p3()[..150], &srgb] {
        assert_eq!(variant(&profiled(&jpeg, icc), "fm=png"), expected, "{} bytes", icc.len());
    }
    // Some kilobytes that become gigabytes.
    let bomb = samples::deflated_zeros(1 << 30);
    let png = samples::png_with(&plain([1, 2, 3]), &[(b"iCCP", &[b"x\0\0".as_slice(), &bomb].concat())]);
    assert_eq!(middle(&variant(&png, "fm=png")), [1, 2, 3]);
}

#[test]
fn ink_is_light_by_its_profile_or_without() {
    // Inverted, as Adobe has it; turbojpeg writes the marker that says so.
    let ink = Raster { size: Size::new(32, 32), channels: 4, data: [255, 0, 0, 255].repeat(1024) };
    let jpeg = samples::jpeg(&ink, Subsamp::None, false);
    assert_colour(&variant(&jpeg, "fm=png"), [255, 0, 0], "no profile");
    assert_colour(&variant(&profiled(&jpeg, b"nonsense"), "fm=png"), [255, 0, 0], "nonsense");
    assert_colour(&variant(&profiled(&jpeg, &p3()), "fm=png"), [255, 0, 0], "a profile of light");
}

/// Fields of the EXIF block of a variant, by their names.
fn fields(file: &[u8]) -> Vec<String> {
    let probe = probe(file).unwrap();
    let Some(block) = Metadata::of(file, &probe).exif else { return Vec::new() };
    let exif = ::exif::Reader::new().read_raw(block.to_vec()).unwrap();
    exif.fields().map(|field| field.tag.to_string()).collect()
}

#[test]
fn metadata_goes_unless_asked_for_and_places_go_first() {
    let block = samples::camera_exif();
    let jpeg = samples::with_segment(
        &samples::jpeg(&samples::scene(40, 30), Subsamp::None, false),
        0xe1,
        &[b"Exif\0\0".as_slice(), &block].concat(),
    );
    assert_eq!(fields(&jpeg).len(), 7);
    for format in ["webp", "jpg", "png", "webp&lossless=1"] {
        let kept = |keep: &str| {
            let made = try_transform(&jpeg, &format!("fm={format}{keep}")).unwrap().bytes;
            // Turned upright, whatever else is kept.
            let probe = probe(&made).unwrap();
            assert_eq!(
                (probe.orientation, probe.stored),
                (Orientation::default(), Size::new(30, 40)),
                "{format}{keep}"
            );
            assert!(
                !made.windows(10).any(|bytes| bytes == b"48 degrees") || keep == "&keep=all",
                "{format}{keep}"
            );
            let mut names = fields(&made);
            names.sort();
            names
        };
        assert!(kept("").is_empty(), "{format}");
        assert!(kept("&keep=icc").is_empty(), "{format}");
        assert_eq!(kept("&keep=copyright"), ["Artist", "Copyright"], "{format}");
        assert_eq!(kept("&keep=exif"), ["Artist", "Copyright", "FNumber", "Make"], "{format}");
        assert_eq!(kept("&keep=copyright,icc"), ["Artist", "Copyright"], "{format}");
        assert_eq!(
            kept("&keep=all"),
            ["Artist", "Copyright", "FNumber", "GPSAreaInformation", "Make", "UserComment"],
            "{format}"
        );
    }
}

#[test]
fn broken_exif_harms_nobody() {
    let plain = samples::jpeg(&samples::scene(16, 16), Subsamp::None, false);
    let expected = variant(&plain, "fm=png");
    // A directory whose next directory is itself, and one that is its own part.
    let looped = b"II\x2a\0\x08\0\0\0\x00\0\x08\0\0\0".to_vec();
    let nested = b"II\x2a\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0".to_vec();
    let mut wild = samples::camera_exif();
    wild[30..].fill(0xff);
    for block in [looped, nested, wild, Vec::new(), vec![0xff; 5000]] {
        let jpeg = samples::with_segment(&plain, 0xe1, &[b"Exif\0\0".as_slice(), &block].concat());
        for keep in ["", "&keep=all", "&keep=exif,icc"] {
            assert_eq!(variant(&jpeg, &format!("fm=png{keep}")), expected);
        }
        try_transform(&jpeg, "fm=json").unwrap();
    }
}
