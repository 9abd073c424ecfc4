//! AVIF in and out. Files of other makes than ours are put together here, around what our encoder made.

use super::probe::{Avif, Coding};
use super::samples::{Png, scene};
use super::*;

fn made(picture: &Raster) -> Vec<u8> {
    try_transform(&Png::of(picture), "fm=avif&q=95").unwrap().bytes.to_vec()
}

fn coding(file: &[u8]) -> Avif {
    match probe(file).unwrap().coding {
        Coding::Avif(avif) => avif,
        other => panic!("{other:?}"),
    }
}

/// The AV1 data of the main picture.
fn data(file: &[u8]) -> Vec<u8> {
    let (start, end) = coding(file).colour.place;
    file[start..end].to_vec()
}

pub(super) fn framed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as u32 + 8).to_be_bytes(), kind.as_slice(), &body].concat()
}

/// A file of one item of this kind, with its data in `idat`, and these properties, all essential.
pub(super) fn file(brand: &[u8; 4], kind: &[u8; 4], properties: &[Vec<u8>], data: &[u8]) -> Vec<u8> {
    let item = framed(b"infe", &[&[2, 0, 0, 0, 0, 1, 0, 0], kind, &[0]]);
    let length = (data.len() as u32).to_be_bytes();
    let numbers: Vec<u8> = (1..=properties.len() as u8).map(|number| 0x80 | number).collect();
    let associations = [&[0, 0, 0, 0, 0, 0, 0, 1, 0, 1, numbers.len() as u8], numbers.as_slice()].concat();
    let meta = framed(
        b"meta",
        &[
            &[0; 4],
            &framed(b"pitm", &[&[0, 0, 0, 0, 0, 1]]),
            &framed(b"iloc", &[&[1, 0, 0, 0, 0x44, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0], &length]),
            &framed(b"iinf", &[&[0, 0, 0, 0, 0, 1], &item]),
            &framed(
                b"iprp",
                &[&framed(b"ipco", &[&properties.concat()]), &framed(b"ipma", &[&associations])],
            ),
            &framed(b"idat", &[data]),
        ],
    );
    [framed(b"ftyp", &[brand, &[0; 4], b"avif"]), meta].concat()
}

pub(super) fn sides(width: u32, height: u32) -> Vec<u8> {
    framed(b"ispe", &[&[0; 4], &width.to_be_bytes(), &height.to_be_bytes()])
}

/// Numbers of so many bits each, and a bit that says that this is the end.
fn bits(fields: &[(u32, u32)]) -> Vec<u8> {
    let bits: Vec<u32> = [fields, &[(1, 1)]]
        .concat()
        .iter()
        .flat_map(|(v, count)| (0..*count).rev().map(move |at| if at < 32 { v >> at & 1 } else { 0 }))
        .collect();
    bits.chunks(8)
        .map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | *bit as u8) << (8 - byte.len()))
        .collect()
}

/// A unit of the bitstream.
fn unit(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind << 3 | 2, body.len() as u8], body].concat()
}

/// A sequence header of a still picture of these sides, and nothing behind it.
fn header(width: u32, height: u32) -> Vec<u8> {
    let fields =
        [(0, 3), (1, 1), (1, 1), (0, 5), (15, 4), (15, 4), (width - 1, 16), (height - 1, 16), (0, 40)];
    unit(1, &bits(&fields))
}

/// The same, as for a film, with a key frame that may say another size.
pub(super) fn non_reduced((width, height): (u32, u32), own: Option<(u32, u32)>) -> Vec<u8> {
    // Up to the sides; numbers of frames, blocks, tools, which each frame may choose; colours.
    let sequence =
        [(0, 5), (0, 2), (0, 5), (0, 12), (0, 5), (15, 4), (15, 4), (width - 1, 16), (height - 1, 16)];
    let tools = [(0, 1), (0, 3), (0, 4), (0, 1), (1, 1), (1, 1), (0, 3), (0, 4), (0, 2), (0, 2)];
    // Shown for the first time, a key frame, shown; neither tool.
    let mut frame = vec![(0, 1), (0, 2), (1, 1), (0, 1), (0, 1)];
    match own {
        None => frame.push((0, 1)),
        Some((width, height)) => frame.extend([(1, 1), (width - 1, 16), (height - 1, 16)]),
    }
    // Neither another size to be shown at nor updates; uniform tiles, as few as can be; all else plain.
    frame.extend([(0, 1), (1, 1), (1, 1), (0, 1), (0, 800)]);
    [unit(1, &bits(&[sequence.as_slice(), &tools].concat())), unit(6, &bits(&frame))].concat()
}

#[test]
fn what_goes_out_can_come_in() {
    let picture = scene(161, 107);
    let mut clear = picture.clone().into_rgba();
    for (at, pixel) in clear.data.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        pixel[3] = if at % 161 < 80 { 255 } else { 40 };
    }
    for (name, picture) in [("opaque", picture), ("translucent", clear)] {
        let file = made(&picture);
        assert_eq!(probe(&file).unwrap().kind(), Kind::Avif);
        assert_alike(&variant(&file, "fm=png"), &picture, 4.0, name);
        assert_alike(&variant(&file, "w=40&fm=png"), &variant(&Png::of(&picture), "w=40&fm=png"), 4.0, name);
    }
    for (width, height) in [(1, 1), (2, 3), (17, 1)] {
        let small = Raster::new(Size::new(width, height), 3);
        assert_alike(&variant(&made(&small), "fm=png"), &small, 6.0, "small");
    }
}

#[test]
fn it_is_turned_as_the_file_says() {
    let picture = scene(64, 48);
    let av1 = data(&made(&picture));
    let flat = variant(&file(b"avif", b"av01", &[sides(64, 48)], &av1), "fm=png");
    assert_alike(&flat, &picture, 4.0, "in idat");
    for (properties, query) in [
        (vec![framed(b"irot", &[&[1]])], "rot=90&fm=png"),
        (vec![framed(b"irot", &[&[3]])], "rot=270&fm=png"),
        (vec![framed(b"imir", &[&[0]])], "flip=v&fm=png"),
        (vec![framed(b"imir", &[&[1]])], "flip=h&fm=png"),
    ] {
        let turned = file(b"mif1", b"av01", &[vec![sides(64, 48)], properties].concat(), &av1);
        assert_eq!(variant(&turned, "fm=png"), variant(&Png::of(&flat), query), "{query}");
    }
}

#[test]
fn what_is_not_read_is_refused_in_words() {
    let av1 = data(&made(&scene(64, 48)));
    let own = sides(64, 48);
    let hdr = framed(b"colr", &[b"nclx", &[0, 9, 0, 16, 0, 9, 0x80]]);
    for (name, source, word) in [
        ("grid", file(b"avif", b"grid", std::slice::from_ref(&own), &av1), "tiles"),
        ("sequence", file(b"avis", b"av01", std::slice::from_ref(&own), &av1), "sequence"),
        ("HEVC", file(b"avif", b"hvc1", std::slice::from_ref(&own), &av1), "this make"),
        ("cropped", file(b"avif", b"av01", &[own.clone(), framed(b"clap", &[&[0; 32]])], &av1), "this make"),
        ("HDR", file(b"avif", b"av01", &[own.clone(), hdr], &av1), "dynamic range"),
        ("frames", file(b"avif", b"av01", std::slice::from_ref(&own), &av1.repeat(2)), "several frames"),
        ("its own size", file(b"avif", b"av01", &[own], &non_reduced((64, 48), Some((64, 48)))), "this make"),
    ] {
        let error = try_transform(&source, "w=10").unwrap_err();
        assert!(
            matches!(error, Error::Unsupported { .. }) && error.to_string().contains(word),
            "{name}: {error}"
        );
        assert_eq!(error.fault(), Fault::Source);
    }
}

#[test]
fn headers_that_lie_are_errors_and_not_memory() {
    let av1 = data(&made(&scene(64, 48)));
    // More than is allowed, by all headers.
    let bomb = file(b"avif", b"av01", &[sides(16_384, 16_384)], &header(16_384, 16_384));
    let expected =
        Error::TooLarge { measure: Measure::SourcePixels, actual: 16_384 * 16_384, limit: 100_000_000 };
    assert_eq!(try_transform(&bomb, "w=320").unwrap_err(), expected);
    let limits = Limits { max_pixels: u64::MAX, ..Limits::default() };
    let error = transform(&bomb, &params("w=320"), &limits).unwrap_err();
    assert!(matches!(error, Error::TooLarge { measure: Measure::DecodeBytes, .. }), "{error}");
    // Small by the file, large by AV1; and large only behind a small one.
    let second = [av1.as_slice(), &header(16_384, 16_384), &av1[2..]].concat();
    for (name, source) in [
        ("two sizes", file(b"avif", b"av01", &[sides(64, 48)], &header(16_384, 16_384))),
        ("two headers", file(b"avif", b"av01", &[sides(64, 48)], &second)),
        ("no frame", file(b"avif", b"av01", &[sides(64, 48)], &header(64, 48))),
        ("no header", file(b"avif", b"av01", &[sides(64, 48)], b"")),
    ] {
        let error = try_transform(&source, "w=10").unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{name}: {error}");
    }
}

#[test]
fn more_effort_takes_fewer_bytes_and_too_much_is_refused() {
    let picture = Png::of(&scene(300, 200));
    let quick = params("fm=avif&q=60");
    let length = |params: &Params| transform(&picture, params, &Limits::default()).unwrap().bytes.len();
    assert!(length(&quick.thorough().unwrap()) <= length(&quick));
    let error = try_transform(&picture, "w=4000&h=4000&fit=scale&fm=avif").unwrap_err();
    assert!(matches!(error, Error::TooLarge { measure: Measure::OutputPixels, .. }), "{error}");
    assert_eq!(error.fault(), Fault::Client);
}

/// A file with these boxes behind its list of one item.
fn listed(boxes: &[Vec<u8>]) -> Vec<u8> {
    let item = framed(b"infe", &[&[2, 0, 0, 0, 0, 1, 0, 0], b"av01", &[0]]);
    let meta = framed(
        b"meta",
        &[
            &[0; 4],
            &framed(b"pitm", &[&[0, 0, 0, 0, 0, 1]]),
            &framed(b"iloc", &[&[1, 0, 0, 0, 0x44, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]]),
            &framed(b"iinf", &[&[0, 0, 0, 0, 0, 1], &item]),
            &boxes.concat(),
        ],
    );
    [framed(b"ftyp", &[b"avif", &[0; 4], b"avif"]), meta].concat()
}

#[test]
fn lists_are_bounded_over_all_boxes_of_a_kind() {
    let entry = [&[0, 1, 255], [0; 255].as_slice()].concat();
    let associations = framed(b"ipma", &[&[0, 0, 0, 0, 0, 0, 0, 8], &entry.repeat(8)]);
    let properties = framed(b"ipco", &[&framed(b"pixi", &[&[0; 4]]).repeat(500)]);
    for (part, times) in [(associations, 3), (properties, 9)] {
        let together = framed(b"iprp", &[&part.repeat(times)]);
        let apart = vec![framed(b"iprp", &[&part]); times];
        for file in [listed(&[together]), listed(&apart)] {
            let refused = probe(&file).unwrap_err().to_string();
            assert!(refused.contains("too many properties"), "{refused}");
        }
    }
}

#[test]
fn a_box_ends_where_what_it_stands_in_does() {
    // Each seems to go on through all that follow.
    let overlong = |rest: usize| {
        let inner = [&(rest as u32).to_be_bytes(), b"ipma".as_slice(), &[0, 0, 0, 0, 0, 0, 0, 200]].concat();
        framed(b"iprp", &[&inner])
    };
    let overlong = (0..500).map(|at| overlong((500 - at) * 24));
    let boxes: Vec<_> = overlong.chain([framed(b"free", &[&[0; 64]])]).collect();
    let refused = probe(&listed(&boxes)).unwrap_err().to_string();
    assert!(refused.contains("no size"), "{refused}");
}
