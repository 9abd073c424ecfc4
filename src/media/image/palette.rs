//! Pictures of few colours, for GIF and 8-bit PNG. Where there are few already, exactly those; else a palette learnt from the
//! picture (NeuQuant), to which stills are dithered. Animations are not: the grain would move.

use std::collections::HashMap;

use color_quant::NeuQuant;

use super::super::checkpoint::{self, Stop};
use super::raster::Raster;

/// Entries of a palette.
const MOST: usize = 256;

/// Share of the pixels that the palette learns from, one in so many.
const SAMPLED: i32 = 10;

/// Samples of a transparent pixel, in whose place all transparent ones come.
const CLEAR: [u8; 4] = [0; 4];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alpha {
    /// As in PNG.
    Full,
    /// A pixel is there or it is not, as in GIF.
    OnOff,
}

#[derive(Debug)]
pub(super) struct Indexed {
    /// Red, green, blue, alpha.
    pub(super) palette: Vec<[u8; 4]>,
    /// A place in the palette for each pixel.
    pub(super) pixels: Vec<u8>,
}

impl Indexed {
    pub(super) fn of(raster: &Raster, alpha: Alpha, dither: bool) -> Result<Self, Stop> {
        let pixels = rgba(raster, alpha);
        match Self::exact(&pixels) {
            Some(exact) => Ok(exact),
            None => Self::learnt(pixels, raster, alpha, dither),
        }
    }

    fn exact(pixels: &[[u8; 4]]) -> Option<Self> {
        let mut places = HashMap::new();
        let mut palette = Vec::new();
        let mut indices = Vec::with_capacity(pixels.len());
        // Neighbours are often alike.
        let mut last = None;
        for pixel in pixels {
            if let Some((colour, place)) = last
                && colour == *pixel
            {
                indices.push(place);
                continue;
            }
            let next = palette.len();
            let place = *places.entry(*pixel).or_insert_with(|| {
                palette.push(*pixel);
                next
            });
            // At most 256 entries, so that each has a place in a byte.
            let place = u8::try_from(place).ok()?;
            last = Some((*pixel, place));
            indices.push(place);
        }
        Some(Self { palette, pixels: indices })
    }

    fn learnt(mut pixels: Vec<[u8; 4]>, raster: &Raster, alpha: Alpha, dither: bool) -> Result<Self, Stop> {
        // One entry stays for what is not there.
        let clear = alpha == Alpha::OnOff && pixels.contains(&CLEAR);
        let network = if clear {
            let seen: Vec<_> = pixels.iter().filter(|pixel| pixel[3] > 0).copied().collect();
            NeuQuant::new(SAMPLED, MOST - 1, seen.as_flattened())
        } else {
            NeuQuant::new(SAMPLED, MOST, pixels.as_flattened())
        };
        let mut palette: Vec<[u8; 4]> = network.color_map_rgba().as_chunks().0.to_vec();
        // The network begins with some translucent colours, whatever it is shown.
        if alpha == Alpha::OnOff || pixels.iter().all(|pixel| pixel[3] == 255) {
            palette.iter_mut().for_each(|colour| colour[3] = 255);
        }
        let nothing = (palette.len().min(MOST - 1)) as u8;
        if clear {
            palette.push(CLEAR);
        }
        let width = raster.size.width as usize;
        let mut indices = Vec::with_capacity(pixels.len());
        let mut nearest = Nearest { network: &network, last: None };
        for at in 0..pixels.len() {
            if at.is_multiple_of(width) {
                checkpoint::pass()?;
            }
            let pixel = pixels[at];
            if clear && pixel[3] == 0 {
                indices.push(nothing);
                continue;
            }
            let index = nearest.place(pixel);
            indices.push(index);
            if dither {
                let chosen = palette[usize::from(index)];
                spread(
                    &mut pixels,
                    at,
                    width,
                    std::array::from_fn(|c| i16::from(pixel[c]) - i16::from(chosen[c])),
                );
            }
        }
        Ok(Self { palette, pixels: indices })
    }
}

struct Nearest<'a> {
    network: &'a NeuQuant,
    last: Option<([u8; 4], u8)>,
}

impl Nearest<'_> {
    fn place(&mut self, pixel: [u8; 4]) -> u8 {
        match self.last {
            Some((colour, place)) if colour == pixel => place,
            _ => {
                let place = self.network.index_of(&pixel).min(MOST - 1) as u8;
                self.last = Some((pixel, place));
                place
            }
        }
    }
}

/// Hands the error on to the neighbours to come (Floyd and Steinberg 1976). Alpha has no grain.
fn spread(pixels: &mut [[u8; 4]], at: usize, width: usize, error: [i16; 4]) {
    let column = at % width;
    let shares = [
        (at + 1, 7, column + 1 < width),
        (at + width - 1, 3, column > 0),
        (at + width, 5, true),
        (at + width + 1, 1, column + 1 < width),
    ];
    for (place, share, inside) in shares {
        let Some(pixel) = pixels.get_mut(place).filter(|pixel| inside && pixel[3] > 0) else { continue };
        for (sample, error) in pixel[..3].iter_mut().zip(error) {
            *sample = (i16::from(*sample) + error * share / 16).clamp(0, 255) as u8;
        }
    }
}

fn rgba(raster: &Raster, alpha: Alpha) -> Vec<[u8; 4]> {
    if raster.channels != 4 {
        let (pixels, _) = raster.data.as_chunks::<3>();
        return pixels.iter().map(|&[r, g, b]| [r, g, b, 255]).collect();
    }
    let (pixels, _) = raster.data.as_chunks::<4>();
    let one = |&[r, g, b, a]: &[u8; 4]| match (alpha, a) {
        (_, 0) => CLEAR,
        (Alpha::Full, a) => [r, g, b, a],
        (Alpha::OnOff, 128..) => [r, g, b, 255],
        (Alpha::OnOff, _) => CLEAR,
    };
    pixels.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::image::geometry::Size;

    fn shown(indexed: &Indexed) -> Vec<[u8; 4]> {
        indexed.pixels.iter().map(|at| indexed.palette[usize::from(*at)]).collect()
    }

    #[test]
    fn few_colours_are_kept_exactly() {
        let colours: Vec<u8> = (0..=255).flat_map(|v| [v, 255 - v, v / 2, 255]).collect();
        let raster = Raster { size: Size::new(16, 16), channels: 4, data: colours.clone() };
        let indexed = Indexed::of(&raster, Alpha::Full, true).unwrap();
        assert_eq!(shown(&indexed).as_flattened(), colours);
    }

    #[test]
    fn many_colours_become_the_nearest_and_clear_stays_clear() {
        let mut raster = Raster::new(Size::new(128, 128), 4);
        for (at, pixel) in raster.data.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let (x, y) = (at % 128, at / 128);
            *pixel = [x as u8 * 2, y as u8 * 2, 80, if x < 8 { 0 } else { 255 }];
        }
        for (alpha, dither) in [(Alpha::Full, true), (Alpha::OnOff, false), (Alpha::OnOff, true)] {
            let indexed = Indexed::of(&raster, alpha, dither).unwrap();
            assert!(indexed.palette.len() <= 256);
            let mut error = 0;
            for (got, wanted) in shown(&indexed).iter().zip(raster.data.as_chunks::<4>().0) {
                assert_eq!(got[3] > 127, wanted[3] > 127, "{alpha:?}");
                if wanted[3] > 0 {
                    error += (0..3).map(|c| u64::from(got[c].abs_diff(wanted[c]))).sum::<u64>();
                }
            }
            let mean = error as f64 / (120.0 * 128.0 * 3.0);
            assert!(mean < 6.0, "{alpha:?} {dither}: {mean}");
        }
    }
}
