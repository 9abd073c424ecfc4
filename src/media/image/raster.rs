//! Decoded pixels on their way from a decoder to an encoder, and the plain operations on them: turning and
//! mirroring, padding, flattening. Resampling is `resize`.

use super::geometry::{Rect, Size};
use super::orientation::Orientation;
use super::params::Rgba;

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

    /// Stands on a canvas that it does not exceed, transparent around it.
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

    /// Stands on this colour where it is transparent; what is transparent of both stays so.
    pub(super) fn on(mut self, [r, g, b, a]: Rgba) -> Self {
        if self.channels != 4 {
            return self;
        }
        if a == 255 {
            return self.flattened([r, g, b]);
        }
        for pixel in self.data.as_chunks_mut::<4>().0 {
            let front = u32::from(pixel[3]);
            let back = u32::from(a) * (255 - front);
            let alpha = front * 255 + back;
            if alpha == 0 {
                continue;
            }
            for (sample, behind) in pixel.iter_mut().zip([r, g, b]) {
                let mixed = u32::from(*sample) * front * 255 + u32::from(behind) * back;
                *sample = ((mixed + alpha / 2) / alpha) as u8;
            }
            pixel[3] = ((alpha + 127) / 255) as u8;
        }
        self
    }

    pub(super) fn into_rgba(self) -> Self {
        if self.channels == 4 {
            return self;
        }
        let (pixels, _) = self.data.as_chunks::<3>();
        let data = pixels.iter().flat_map(|&[r, g, b]| [r, g, b, 255]).collect();
        Self { size: self.size, channels: 4, data }
    }

    pub(super) fn is_opaque(&self) -> bool {
        self.channels != 4 || self.data.as_chunks::<4>().0.iter().all(|pixel| pixel[3] == 255)
    }

    /// Without alpha channel: stands on this colour where it is transparent.
    pub(super) fn flattened(self, behind: [u8; 3]) -> Self {
        if self.channels != 4 {
            return self;
        }
        let mixed = |c: u8, behind: u8, a: u8| {
            let (c, behind, a) = (u32::from(c), u32::from(behind), u32::from(a));
            ((c * a + behind * (255 - a) + 127) / 255) as u8
        };
        let [red, green, blue] = behind;
        let (pixels, _) = self.data.as_chunks::<4>();
        let flat = |&[r, g, b, a]: &[u8; 4]| [mixed(r, red, a), mixed(g, green, a), mixed(b, blue, a)];
        Self { size: self.size, channels: 3, data: pixels.iter().flat_map(flat).collect() }
    }
}

impl View<'_> {
    pub(super) fn to_raster(self) -> Raster {
        Raster { size: self.size, channels: self.channels, data: self.data.to_vec() }
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

    /// The way back.
    pub(super) fn uncrop(&self, crop: Rect, source: Size) -> Rect {
        crop.scaled(f64::from(source.width) / self.extent.0, f64::from(source.height) / self.extent.1)
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
    fn flattening_mixes_with_what_is_behind() {
        let data = vec![0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 128];
        let out = Raster { size: Size::new(3, 1), channels: 4, data: data.clone() };
        assert_eq!(out.clone().flattened([255; 3]).data, [255, 255, 255, 0, 0, 0, 255, 127, 127]);
        assert_eq!(out.clone().on([0, 0, 255, 255]).data, [0, 0, 255, 0, 0, 0, 128, 0, 127]);
        assert_eq!(out.on([0, 0, 255, 0]).data, data);
    }
}
