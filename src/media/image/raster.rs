//! Decoded pixels on their way from a decoder to an encoder, and the plain operations on them: turning and
//! mirroring, padding, flattening. Resampling is `resize`.

use super::geometry::{Rect, Size};
use super::orientation::Orientation;

/// Interleaved 8-bit samples, rows without padding: 1 (a plane), 3 (RGB) or 4 (RGBA, not premultiplied)
/// samples per pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raster {
    pub(super) size: Size,
    pub(super) channels: usize,
    pub(super) data: Vec<u8>,
}

/// Borrowed samples in a raster's layout.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) size: Size,
    pub(super) channels: usize,
    pub(super) data: &'a [u8],
}

/// What a decoder made of a source, perhaps already reduced.
#[derive(Debug)]
pub(super) struct Reduced {
    pub(super) raster: Raster,
    /// Where the whole source lies in the raster. Reduction by a whole number leaves a part of a pixel at the
    /// right and bottom edges, and codecs pad beyond it; resampling must not stretch that over the output.
    pub(super) extent: (f64, f64),
}

impl Raster {
    /// A zeroed raster. The size has been admitted by the limits before.
    pub(super) fn new(size: Size, channels: usize) -> Self {
        let data = vec![0; size.pixels() as usize * channels];
        Self { size, channels, data }
    }

    pub(super) fn view(&self) -> View<'_> {
        View { size: self.size, channels: self.channels, data: &self.data }
    }

    pub(super) fn stride(&self) -> usize {
        self.size.width as usize * self.channels
    }

    /// Turns stored pixels into upright ones.
    pub(super) fn oriented(self, orientation: Orientation) -> Self {
        if orientation.is_upright() {
            return self;
        }
        match self.channels {
            1 => self.oriented_as::<1>(orientation),
            3 => self.oriented_as::<3>(orientation),
            _ => self.oriented_as::<4>(orientation),
        }
    }

    fn oriented_as<const C: usize>(self, orientation: Orientation) -> Self {
        let (w, h) = (self.size.width as usize, self.size.height as usize);
        let mut out = Raster::new(orientation.apply(self.size), self.channels);
        let out_stride = out.stride();
        let (source, _) = self.data.as_chunks::<C>();
        for (y, row) in out.data.chunks_exact_mut(out_stride.max(1)).enumerate() {
            let (row, _) = row.as_chunks_mut::<C>();
            for (x, pixel) in row.iter_mut().enumerate() {
                let (u, v) = if orientation.swaps_axes() { (y, x) } else { (x, y) };
                let u = if orientation.mirrors_columns() { w - 1 - u } else { u };
                let v = if orientation.mirrors_rows() { h - 1 - v } else { v };
                *pixel = source[v * w + u];
            }
        }
        out
    }

    /// Stands on a transparent canvas that it does not exceed.
    pub(super) fn padded(self, canvas: Size, offset: (u32, u32)) -> Self {
        if canvas == self.size {
            return self;
        }
        let source = self.into_rgba();
        let mut out = Raster::new(canvas, 4);
        let (stride, out_stride) = (source.stride(), out.stride());
        let left = offset.0 as usize * 4;
        let rows = out.data.chunks_exact_mut(out_stride).skip(offset.1 as usize);
        for (row, source) in rows.zip(source.data.chunks_exact(stride)) {
            row[left..left + stride].copy_from_slice(source);
        }
        out
    }

    fn into_rgba(self) -> Self {
        if self.channels == 4 {
            return self;
        }
        let (pixels, _) = self.data.as_chunks::<3>();
        let data = pixels.iter().flat_map(|&[r, g, b]| [r, g, b, 255]).collect();
        Self { size: self.size, channels: 4, data }
    }

    /// Drops the alpha channel where every pixel is opaque: smaller and faster to encode.
    pub(super) fn without_needless_alpha(self) -> Self {
        if self.channels == 4 && self.data.as_chunks::<4>().0.iter().all(|p| p[3] == 255) {
            return self.flattened();
        }
        self
    }

    /// Stands on white where it is transparent.
    pub(super) fn flattened(self) -> Self {
        if self.channels != 4 {
            return self;
        }
        let over_white = |c: u8, a: u8| {
            let (c, a) = (u32::from(c), u32::from(a));
            ((c * a + 255 * (255 - a) + 127) / 255) as u8
        };
        let (pixels, _) = self.data.as_chunks::<4>();
        let data = pixels.iter().flat_map(|&[r, g, b, a]| [r, g, b].map(|c| over_white(c, a))).collect();
        Self { size: self.size, channels: 3, data }
    }
}

impl Reduced {
    pub(super) fn unreduced(raster: Raster) -> Self {
        let extent = (f64::from(raster.size.width), f64::from(raster.size.height));
        Self { raster, extent }
    }

    /// The part of the raster that shows `crop` of a source of this size.
    pub(super) fn crop(&self, crop: Rect, source: Size) -> Rect {
        crop.scaled(self.extent.0 / f64::from(source.width), self.extent.1 / f64::from(source.height))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3×2: abc / def
    fn letters() -> Raster {
        Raster { size: Size::new(3, 2), channels: 1, data: b"abcdef".to_vec() }
    }

    #[test]
    fn each_orientation_puts_pixels_where_exif_says() {
        for (value, size, pixels) in [
            (1, (3, 2), b"abcdef"),
            (2, (3, 2), b"cbafed"),
            (3, (3, 2), b"fedcba"),
            (4, (3, 2), b"defabc"),
            (5, (2, 3), b"adbecf"),
            (6, (2, 3), b"daebfc"),
            (7, (2, 3), b"fcebda"),
            (8, (2, 3), b"cfbead"),
        ] {
            let out = letters().oriented(Orientation::from_exif(value));
            assert_eq!((out.size.width, out.size.height), size, "{value}");
            assert_eq!(out.data, pixels, "{value}");
        }
    }

    #[test]
    fn padding_is_transparent() {
        let red = Raster { size: Size::new(1, 1), channels: 3, data: vec![255, 0, 0] };
        let out = red.padded(Size::new(3, 2), (1, 1));
        let mut expected = vec![0; 24];
        expected[16..20].copy_from_slice(&[255, 0, 0, 255]);
        assert_eq!(out.data, expected);
    }

    #[test]
    fn flattening_mixes_with_white() {
        let data = vec![0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 128];
        let out = Raster { size: Size::new(3, 1), channels: 4, data }.flattened();
        assert_eq!(out.data, [255, 255, 255, 0, 0, 0, 255, 127, 127]);
    }
}
