//! Resampling: Lanczos3 in SIMD, in the source's own gamma as browsers and libvips do. Colour is weighted by
//! alpha, so that the invisible colour of transparent pixels does not bleed into visible ones.

use std::cell::RefCell;

use fast_image_resize as fir;

use super::error::Error;
use super::geometry::{Rect, Size};
use super::raster::{Raster, View};

/// What a thread keeps between two jobs.
const MAX_KEPT: usize = 4 << 20;

thread_local! {
    /// Its buffers between the two passes are used again by the next plane, frame and job.
    static RESIZER: RefCell<fir::Resizer> = RefCell::new(fir::Resizer::new());
}

/// Pixels between the two passes above which their order is chosen to keep them few.
const LARGE: f64 = 16e6;

/// Bytes that scaling a picture of this size and so many channels takes beside it and the result.
pub(super) fn bytes(source: Size, channels: u64, target: Size) -> u64 {
    // Colour is multiplied by alpha in a copy.
    let weighted = if channels == 4 { source.pixels() * channels } else { 0 };
    let down = u64::from(source.width) * u64::from(target.height);
    let across = u64::from(target.width) * u64::from(source.height);
    // Which comes first goes by the part that is shown, which is not known here.
    let turned = down as f64 > LARGE && target.height > source.height;
    let between = if turned { across.max(down.min(LARGE as u64)) } else { down };
    weighted + between * channels
}

/// Scales `crop` of `source` to `target`.
pub(super) fn resize(source: View<'_>, crop: Rect, target: Size) -> Result<Raster, Error> {
    resize_with(source, crop, target, fir::FilterType::Lanczos3)
}

/// The same for what the eye sees less sharply (chroma): of `enough` times as many pixels a shorter filter leaves less that an
/// encoder spends bytes on. Of fewer, what it takes away would be missed.
pub(super) fn resize_chroma(
    source: View<'_>,
    crop: Rect,
    target: Size,
    enough: f64,
) -> Result<Raster, Error> {
    let spare = (crop.width / f64::from(target.width)).min(crop.height / f64::from(target.height));
    let filter = if spare >= enough { fir::FilterType::Hamming } else { fir::FilterType::Lanczos3 };
    resize_with(source, crop, target, filter)
}

fn resize_with(source: View<'_>, crop: Rect, target: Size, filter: fir::FilterType) -> Result<Raster, Error> {
    let crop = snapped(crop, source.size);
    // The resizer goes down first. Stretching a wide, flat image into a tall, narrow one would hold the product
    // of both long sides; going across first holds that of both short ones.
    if crop.width * f64::from(target.height) > LARGE && f64::from(target.height) > crop.height {
        let rows = Size::new(target.width, (crop.height.ceil() as u32).max(1));
        let narrow = resample(source, crop, rows, filter)?;
        return resample(narrow.view(), Rect::whole(rows), target, filter);
    }
    resample(source, crop, target, filter)
}

fn resample(source: View<'_>, crop: Rect, target: Size, filter: fir::FilterType) -> Result<Raster, Error> {
    let pixel_type = match source.channels {
        1 => fir::PixelType::U8,
        3 => fir::PixelType::U8x3,
        _ => fir::PixelType::U8x4,
    };
    let view = fir::images::ImageRef::new(source.size.width, source.size.height, source.data, pixel_type)
        .map_err(|error| Error::internal("resize", error))?;
    let mut out = Raster::new(target, source.channels);
    let mut image = fir::images::Image::from_slice_u8(target.width, target.height, &mut out.data, pixel_type)
        .map_err(|error| Error::internal("resize", error))?;
    let options = fir::ResizeOptions::new()
        .resize_alg(fir::ResizeAlg::Convolution(filter))
        .crop(crop.left, crop.top, crop.width, crop.height)
        .use_alpha(source.channels == 4);
    RESIZER.with_borrow_mut(|resizer| {
        let done = resizer.resize(&view, &mut image, &options);
        if resizer.size_of_internal_buffers() > MAX_KEPT {
            resizer.reset_internal_buffers();
        }
        done.map_err(|error| Error::internal("resize", error))
    })?;
    Ok(out)
}

/// The crop on a grid of 2⁻¹⁶ pixel, where sums and differences of `f64` are exact, and within the image: the
/// resizer refuses a box that rounding has pushed over the edge.
fn snapped(crop: Rect, size: Size) -> Rect {
    const GRID: f64 = 65_536.0;
    const SMALLEST: f64 = 1.0 / GRID;
    let snap = |v: f64, max: f64| ((v * GRID).round() / GRID).clamp(0.0, max);
    let (w, h) = (f64::from(size.width), f64::from(size.height));
    let (left, top) = (snap(crop.left, w - SMALLEST), snap(crop.top, h - SMALLEST));
    let (right, bottom) = (snap(crop.left + crop.width, w), snap(crop.top + crop.height, h));
    Rect { left, top, width: (right - left).max(SMALLEST), height: (bottom - top).max(SMALLEST) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_colour_does_not_bleed() {
        // Opaque red beside fully transparent green, averaged into one pixel.
        let source = Raster { size: Size::new(2, 1), channels: 4, data: vec![255, 0, 0, 255, 0, 255, 0, 0] };
        let out = resize(source.view(), Rect::whole(source.size), Size::new(1, 1)).unwrap();
        let [r, g, b, a] = out.data[..] else { panic!("{out:?}") };
        assert_eq!((r, g, b), (255, 0, 0));
        assert!((126..=129).contains(&a), "{a}");
    }

    #[test]
    fn any_crop_is_accepted() {
        let source = Raster { size: Size::new(7, 5), channels: 3, data: vec![9; 105] };
        for (left, top, width, height) in [
            (0.0, 0.0, 7.000_000_001, 5.1),
            (6.999_999_999, 0.0, 1e-9, 5.0),
            (7.0, 5.0, 0.0, 0.0),
            (1.0 / 3.0, 1.0 / 7.0, 6.666_666_666_7, 4.857_142_857_2),
        ] {
            let out = resize(source.view(), Rect { left, top, width, height }, Size::new(3, 3)).unwrap();
            assert_eq!(out.data, [9; 27]);
        }
    }
}
