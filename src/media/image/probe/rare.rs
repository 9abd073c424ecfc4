//! BMP and TIFF, whose headers the `image` crate reads.

use super::{Coding, Probe};
use crate::media::image::error::Error;
use crate::media::image::geometry::Size;
use crate::media::image::rare;
use crate::media::image::sniff::Kind;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::media::image) struct Rare {
    pub(in crate::media::image) kind: Kind,
    /// Of the decoded samples, as many and as wide as the file has them.
    pub(in crate::media::image) bytes: u64,
}

pub(super) fn probe(source: &[u8], kind: Kind) -> Result<Probe, Error> {
    let headers = rare::headers(source, kind)?;
    Ok(Probe {
        stored: Size::new(headers.width, headers.height),
        orientation: headers.orientation,
        frames: 1,
        coding: Coding::Rare(Rare { kind, bytes: headers.bytes }),
    })
}
