//! What is told of a picture instead of showing it: its measures, colours and origin in JSON; a BlurHash; a tiny picture to stand
//! in its place. All of them are made of a miniature that has been through all that was asked for.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::error::Error;
use super::exif;
use super::finish::{self, Finish};
use super::geometry::{Plan, Rect, Size};
use super::metadata::Metadata;
use super::params::{Effort, Format};
use super::probe::Probe;
use super::raster::Raster;
use super::resize::resize;
use super::steps::Steps;
use super::webp::{self, Tuning};
use super::{Encoded, dominant};

/// Longest side of the miniature.
const SIDE: u32 = 64;
/// Of the placeholder, which is to fit in a page's own text.
const PLACEHOLDER_SIDE: u32 = 32;
const PLACEHOLDER_QUALITY: u8 = 20;

/// Colours told of.
const COLOURS: usize = 6;

/// The same plan for a miniature.
pub(super) fn miniature(plan: Plan) -> Plan {
    let longest = plan.canvas.width.max(plan.canvas.height);
    let scale = (f64::from(SIDE) / f64::from(longest)).min(1.0);
    let canvas = plan.canvas.scaled(scale);
    let content = plan.content.scaled(scale);
    let content = Size::new(content.width.min(canvas.width), content.height.min(canvas.height));
    let place = |offset: u32, room: u32| ((f64::from(offset) * scale) as u32).min(room);
    let offset = (
        place(plan.offset.0, canvas.width - content.width),
        place(plan.offset.1, canvas.height - content.height),
    );
    Plan { content, canvas, offset, ..plan }
}

/// `size` is that of the picture that the miniature stands for.
pub(super) fn encode(
    source: &[u8],
    probe: &Probe,
    size: Size,
    miniature: Raster,
    finish: &Finish<'_>,
    steps: Steps,
) -> Result<Encoded, Error> {
    if finish.params.format() != Format::Json {
        return encode_frame(size, miniature, finish, steps);
    }
    let shown = probe.size();
    let mut told = describe(size, &miniature)?;
    told.insert("frames".to_owned(), json!(probe.frames));
    let original = json!({
        "width": shown.width, "height": shown.height, "file_size": source.len(), "format": probe.kind().media_type(),
        "orientation": probe.orientation.exif(),
    });
    told.insert("original".to_owned(), original);
    if let Some(block) = Metadata::of(source, probe).exif {
        let fields = exif::told(block).into_iter().map(|(name, text)| (name, Value::String(text)));
        told.insert("exif".to_owned(), Value::Object(fields.collect()));
    }
    Ok(finished(Value::Object(told).to_string().into_bytes(), size, Format::Json, steps))
}

/// Of a picture without a file.
pub(super) fn encode_frame(
    size: Size,
    miniature: Raster,
    finish: &Finish<'_>,
    steps: Steps,
) -> Result<Encoded, Error> {
    match finish.params.format() {
        Format::Json => {
            let told = Value::Object(describe(size, &miniature)?);
            Ok(finished(told.to_string().into_bytes(), size, Format::Json, steps))
        }
        Format::Blurhash => Ok(finished(blurhash(miniature)?.into_bytes(), size, Format::Blurhash, steps)),
        _ => {
            let (size, bytes) = placeholder(&miniature)?;
            Ok(finished(bytes, size, Format::Lqip, steps))
        }
    }
}

fn describe(size: Size, miniature: &Raster) -> Result<Map<String, Value>, Error> {
    let (_, tiny) = placeholder(miniature)?;
    let colours = dominant::colours(miniature, COLOURS);
    let hex = |[r, g, b]: [u8; 3]| format!("#{r:02x}{g:02x}{b:02x}");
    let palette: Vec<_> = colours
        .iter()
        .map(|(colour, share)| json!({ "hex": hex(*colour), "share": (share * 1000.0).round() / 1000.0 }))
        .collect();
    let told = json!({
        "width": size.width,
        "height": size.height,
        "has_alpha": !miniature.is_opaque(),
        "dominant_color": colours.first().map(|(colour, _)| hex(*colour)),
        "palette": palette,
        "blurhash": blurhash(miniature.clone())?,
        "lqip": format!("data:image/webp;base64,{}", STANDARD.encode(tiny)),
    });
    match told {
        Value::Object(told) => Ok(told),
        _ => Ok(Map::new()),
    }
}

/// Four components along the longer side and three along the other, as its makers advise.
fn blurhash(miniature: Raster) -> Result<String, Error> {
    let Size { width, height } = miniature.size;
    let (across, down) = if width >= height { (4, 3) } else { (3, 4) };
    let flat = miniature.flattened([255; 3]).into_rgba();
    blurhash::encode(across, down, width, height, &flat.data)
        .map_err(|error| Error::internal("encode", error))
}

fn placeholder(miniature: &Raster) -> Result<(Size, Vec<u8>), Error> {
    let longest = miniature.size.width.max(miniature.size.height);
    let size = miniature.size.scaled((f64::from(PLACEHOLDER_SIDE) / f64::from(longest)).min(1.0));
    let mut tiny = resize(miniature.view(), Rect::whole(miniature.size), size)?;
    if tiny.is_opaque() {
        tiny = tiny.flattened([255; 3]);
    }
    let tuning = Tuning { quality: PLACEHOLDER_QUALITY, lossless: false, effort: Effort::Thorough };
    Ok((size, webp::encode(&tiny, tuning)?))
}

fn finished(bytes: Vec<u8>, size: Size, format: Format, mut steps: Steps) -> Encoded {
    steps.done("encode");
    finish::encoded(bytes, size, format, steps)
}
