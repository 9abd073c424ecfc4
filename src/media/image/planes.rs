//! The short way from JPEG to WebP: both code YCbCr with halved chroma, so that planes are resampled each for
//! itself and never become RGB. Saves two colour conversions and two thirds of the resampling.

use super::error::Error;
use super::geometry::{Rect, Size};
use super::orientation::Orientation;
use super::raster::{Raster, View};
use super::resize::{resize, resize_chroma};
use super::webp::THUMBNAIL_PIXELS;

/// How many times as many samples of chroma there are when a shorter filter does for them. A large picture is coded with an effort that
/// does not weigh bytes against what they show (`webp::method`): on details of colour it would spend one per cent of them, for 0.2
/// points of SSIMULACRA2. Of a small one they would be missed more.
const ENOUGH_CHROMA: f64 = 1.4;
const ENOUGH_CHROMA_OF_SMALL: f64 = 2.0;

/// Decoded planes, full range, in one buffer: Y, then Cb and Cr if there is colour.
#[derive(Debug, PartialEq)]
pub(super) struct Planes {
    pixels: Vec<u8>,
    luma: Size,
    chroma: Option<Size>,
    /// Luma samples per chroma sample, across and down.
    sampling: (usize, usize),
    /// The image within the luma plane; codecs pad planes beyond it.
    extent: (f64, f64),
}

/// 4:2:0 planes in the limited range of ITU-R BT.601, as WebP stores them.
pub(super) struct Yuv420 {
    pub(super) y: Raster,
    pub(super) u: Raster,
    pub(super) v: Raster,
}

impl Planes {
    pub(super) fn new(
        pixels: Vec<u8>,
        luma: (usize, usize),
        chroma: Option<(usize, usize)>,
        sampling: (usize, usize),
        extent: (f64, f64),
    ) -> Self {
        let size = |(w, h): (usize, usize)| Size::new(w as u32, h as u32);
        Self { pixels, luma: size(luma), chroma: chroma.map(size), sampling, extent }
    }

    /// Scales `crop`, given in pixels of a source of size `stored`, to `target`, and turns it upright.
    pub(super) fn resized(
        &self,
        crop: Rect,
        stored: Size,
        target: Size,
        orientation: Orientation,
    ) -> Result<Yuv420, Error> {
        let (scale_x, scale_y) =
            (self.extent.0 / f64::from(stored.width), self.extent.1 / f64::from(stored.height));
        let crop = crop.scaled(scale_x, scale_y);
        let (luma, rest) = self.pixels.split_at(self.luma.pixels() as usize);
        let y = resize(View { size: self.luma, channels: 1, data: luma }, crop, target)?;

        let half = Size::new(target.width.div_ceil(2), target.height.div_ceil(2));
        let (u, v) = match self.chroma {
            None => (neutral(half), neutral(half)),
            Some(size) => {
                let crop = widened(crop, target, orientation)
                    .scaled(1.0 / self.sampling.0 as f64, 1.0 / self.sampling.1 as f64);
                let (u, v) = rest.split_at(size.pixels() as usize);
                let enough =
                    if target.pixels() > THUMBNAIL_PIXELS { ENOUGH_CHROMA } else { ENOUGH_CHROMA_OF_SMALL };
                (
                    resize_chroma(View { size, channels: 1, data: u }, crop, half, enough)?,
                    resize_chroma(View { size, channels: 1, data: v }, crop, half, enough)?,
                )
            }
        };
        let finish = |plane: Raster, table: &[u8; 256]| {
            let mut plane = plane.oriented(orientation);
            for sample in &mut plane.data {
                *sample = table[usize::from(*sample)];
            }
            plane
        };
        Ok(Yuv420 { y: finish(y, &LUMA), u: finish(u, &CHROMA), v: finish(v, &CHROMA) })
    }
}

/// An odd side's last chroma sample stands for one pixel beyond the edge, so that the chroma planes show a
/// little more of the source: at the right and bottom once the image is upright.
fn widened(crop: Rect, target: Size, orientation: Orientation) -> Rect {
    let mut crop = crop;
    if target.width % 2 == 1 {
        let extra = crop.width / f64::from(target.width);
        crop.width += extra;
        if orientation.mirrors_columns() {
            crop.left -= extra;
        }
    }
    if target.height % 2 == 1 {
        let extra = crop.height / f64::from(target.height);
        crop.height += extra;
        if orientation.mirrors_rows() {
            crop.top -= extra;
        }
    }
    crop
}

fn neutral(size: Size) -> Raster {
    Raster { size, channels: 1, data: vec![128; size.pixels() as usize] }
}

/// JPEG is full range (JFIF §7), WebP limited (RFC 6386 §9.2): Y → 16 + Y·219/255, C → 128 + (C−128)·224/255.
static LUMA: [u8; 256] = limited(16, 0, 219);
static CHROMA: [u8; 256] = limited(128, 128, 224);

const fn limited(base: i32, zero: i32, span: i32) -> [u8; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let scaled = (i as i32 - zero) * span;
        let rounded = if scaled < 0 { (scaled * 2 - 255) / 510 } else { (scaled * 2 + 255) / 510 };
        table[i] = (base + rounded) as u8;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_meet_at_their_ends() {
        assert_eq!((LUMA[0], LUMA[255], LUMA[128]), (16, 235, 126));
        assert_eq!((CHROMA[0], CHROMA[128], CHROMA[255]), (16, 128, 240));
    }

    /// A chroma sample stands in the middle of its two pixels, also where the last has only one.
    #[test]
    fn chroma_stays_under_its_pixels_at_odd_widths() {
        // Chroma rises by 6 per sample, that is by 3 per pixel.
        let ramp: Vec<u8> = (0..40).map(|x| x * 6).collect();
        let pixels = [vec![0; 160], ramp.clone(), ramp].concat();
        let planes = Planes::new(pixels, (80, 2), Some((40, 1)), (2, 2), (80.0, 2.0));
        // 40 pixels become 5, and 3 chroma samples: their middles are at pixels 24, 40, 56 of the source from
        // the left; mirrored, at 48, 32, 16.
        let crop = Rect { left: 16.0, top: 0.0, width: 40.0, height: 2.0 };
        for (orientation, middles) in [(1, [24.0, 40.0, 56.0]), (2, [48.0, 32.0, 16.0])] {
            let out = planes
                .resized(crop, Size::new(80, 2), Size::new(5, 2), Orientation::from_exif(orientation))
                .unwrap();
            assert_eq!(out.u.size, Size::new(3, 1));
            for (got, middle) in out.u.data.iter().zip(middles) {
                // The ramp ends within reach of the filter, which costs a little.
                let full: f64 = (middle / 2.0 - 0.5) * 6.0;
                let expected = 128.0 + (full - 128.0) * 224.0 / 255.0;
                assert!((f64::from(*got) - expected).abs() < 5.0, "{orientation}: {:?}", out.u.data);
            }
        }
    }
}
