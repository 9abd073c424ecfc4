//! Raw pictures as an animation.

use super::error::Error;
use super::finish::encoded;
use super::geometry::Size;
use super::limits::Limits;
use super::params::{Effort, Format};
use super::raster::Raster;
use super::steps::Steps;
use super::webp::{Tuning, animated};
use super::{Encoded, checkpoint};

/// A few seconds in small: the first look counts, not each leaf.
const QUALITY: u8 = 60;

/// An endless WebP animation of pictures of one size: rows of R, G, B without padding, each shown for `millis`.
pub fn animate_rgb(width: u32, height: u32, rgb: &[u8], millis: u32) -> Result<Encoded, Error> {
    let mut steps = Steps::start();
    let size = Size::new(width, height);
    Limits::default().admit_pixels(size)?;
    let each = size.pixels() as usize * 3;
    if each == 0 || rgb.is_empty() || !rgb.len().is_multiple_of(each) {
        return Err(Error::internal("frame", format!("{} bytes for {width}×{height}", rgb.len())));
    }
    let tuning = Tuning { quality: QUALITY, lossless: false, effort: Effort::default() };
    let mut writer = animated::Writer::new(size, 0, tuning)?;
    for frame in rgb.chunks_exact(each) {
        checkpoint::pass()?;
        writer.add(&Raster { size, channels: 3, data: frame.to_vec() }, millis)?;
    }
    let bytes = writer.finish()?;
    steps.done("encode");
    Ok(encoded(bytes, size, Format::Webp, steps))
}
