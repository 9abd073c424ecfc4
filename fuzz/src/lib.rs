//! What the fuzz targets share: any bytes must give a picture or an error of the source's or the client's, in bounded time and
//! memory; nothing may panic, and nothing may be our fault.
#![allow(dead_code)]

mod checksums;
mod media;
#[cfg_attr(sanitizer, path = "hooks.rs")]
#[cfg_attr(not(sanitizer), path = "../../src/media/image/tests/counting.rs")]
mod memory;

use media::image::{Error, Fault, Limits, Params, Presets, probe as read_headers, transform, weigh};

/// Beside what is reserved for a job: what is read of metadata, and what the test itself holds.
const SPARE: u64 = 4 << 20;

/// Of the first byte: checksums stay as they are.
const WRONG_CHECKSUMS: u8 = 0x80;

/// Small, so that runs are many.
fn limits() -> Limits {
    Limits {
        max_source_bytes: 1 << 20,
        max_pixels: 1 << 20,
        max_output_pixels: 1 << 20,
        max_decode_bytes: 16 << 20,
        max_frames: 32,
        max_animation_pixels: 4 << 20,
    }
}

pub fn probe(data: &[u8]) {
    let _ = read_headers(data);
}

/// The first byte chooses what is to be made of the rest, in front of which comes what makes it a file of this kind.
pub fn variant(magic: &[u8], data: &[u8], queries: &[&str]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let query = queries[usize::from(*choice) % queries.len()];
    let mut source = if rest.starts_with(magic) { rest.to_vec() } else { [magic, rest].concat() };
    // Which says how long it is, and would else be taken for one that was cut off.
    let body = (source.len() as u32).wrapping_sub(8).to_le_bytes();
    if let (Some(length), b"RIFF") = (source.get_mut(4..8), &magic[..magic.len().min(4)]) {
        length.copy_from_slice(&body);
    }
    // Else hardly anything gets beyond the first chunk.
    if magic.starts_with(b"\x89PNG") && choice & WRONG_CHECKSUMS == 0 {
        checksums::mend(&mut source);
    }
    let Some(params) = parsed(query) else { unreachable!("{query}") };
    let reserved = weigh(&source, &params, &limits()).unwrap_or(0);
    let (made, taken) = memory::peak(|| transform(&source, &params, &limits()));
    assert!(taken <= reserved + SPARE, "{taken} bytes taken, {reserved} reserved");
    if let Err(error) = made {
        assert!(error.fault() != Fault::Internal || is_out_of_memory(&error), "{error}");
    }
}

pub fn params(data: &[u8]) {
    let Ok(query) = std::str::from_utf8(data) else { return };
    if let Some(params) = parsed(query) {
        // What is canonical stays so.
        assert_eq!(params.canonical(), params.canonical());
    }
    let _ = Params::parse_cdn_cgi(query, &Presets::default());
    let _ = Params::parse_imgproxy(query, None, &Presets::default());
}

fn parsed(query: &str) -> Option<Params> {
    let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
    Params::parse(&pairs).ok().flatten()
}

fn is_out_of_memory(error: &Error) -> bool {
    error.to_string().contains("memory")
}

/// Formats, sizes and operations that between them go through all the code behind the decoders.
pub const QUERIES: &[&str] = &[
    "w=16",
    "w=16&fm=png",
    "fm=jpg",
    "w=33&h=17&fit=crop&crop=entropy",
    "trim=auto&fm=png8",
    "lossless=1",
    "fm=gif",
    "fm=json",
    "rot=90&keep=all&q=30",
    "w=20&frame=2&fm=png",
];
