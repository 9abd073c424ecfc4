//! GIF's logical screen (GIF89a §18). An animation is taken as its first frame.

use super::{Coding, Probe, le16};
use crate::media::image::error::Error;
use crate::media::image::geometry::Size;
use crate::media::image::orientation::Orientation;

pub(super) fn probe(source: &[u8]) -> Result<Probe, Error> {
    let (width, height) = le16(source, 6)
        .zip(le16(source, 8))
        .ok_or_else(|| Error::corrupt("GIF", "ends within its header"))?;
    Ok(Probe {
        stored: Size::new(width.into(), height.into()),
        orientation: Orientation::default(),
        coding: Coding::Gif,
    })
}
