//! Changes of colour and sharpness on finished pixels, alpha untouched. Each channel is 8 bits in the source's own gamma, as
//! in browsers' CSS filters.

use super::params::Look;
use super::raster::Raster;

/// Weights of ITU-R BT.709 in 1/65536.
const LUMA: [u32; 3] = [13_933, 46_871, 4_732];

/// Boxes that together are close to a bell curve.
const BOXES: usize = 3;

/// Standard deviation of the unsharp mask in pixels, as for screens.
const SHARPEN_SIGMA: f64 = 0.8;

pub(super) fn apply(look: &Look, raster: &mut Raster) {
    if look.brightness != 0 || look.contrast != 0 {
        let table = tone_table(look.brightness, look.contrast);
        each_pixel(raster, |colour| {
            for sample in colour {
                *sample = table[usize::from(*sample)];
            }
        });
    }
    if look.saturation != 0 {
        let weight = 1.0 + f32::from(look.saturation) / 100.0;
        each_pixel(raster, |colour| {
            let grey = f32::from(luma(colour));
            for sample in colour {
                // Saturates at 0 and 255.
                *sample = (grey + (f32::from(*sample) - grey) * weight).round() as u8;
            }
        });
    }
    if let Some(tint) = look.mono {
        let shades = shades_of(tint);
        each_pixel(raster, |colour| colour.copy_from_slice(&shades[usize::from(luma(colour))]));
    }
    if look.blur > 0 {
        blur(raster, f64::from(look.blur) / 20.0);
    }
    if look.sharpen > 0 {
        sharpen(raster, f32::from(look.sharpen) / 50.0);
    }
}

fn each_pixel(raster: &mut Raster, mut change: impl FnMut(&mut [u8])) {
    let channels = raster.channels;
    for pixel in raster.data.chunks_exact_mut(channels) {
        change(&mut pixel[..channels.min(3)]);
    }
}

/// Of one grey or three coloured samples.
fn luma(colour: &[u8]) -> u8 {
    match colour {
        [r, g, b] => {
            let sum: u32 = [r, g, b].into_iter().zip(LUMA).map(|(v, weight)| u32::from(*v) * weight).sum();
            ((sum + 32_768) >> 16) as u8
        }
        [grey, ..] => *grey,
        [] => 0,
    }
}

/// Contrast turns around the middle; brightness then moves all towards white or black.
fn tone_table(brightness: i8, contrast: i8) -> [u8; 256] {
    let (slope, shift) = (1.0 + f64::from(contrast) / 100.0, f64::from(brightness) * 2.55);
    std::array::from_fn(|value| ((value as f64 - 127.5) * slope + 127.5 + shift).round() as u8)
}

/// From black through the colour to white.
fn shades_of(tint: [u8; 3]) -> [[u8; 3]; 256] {
    std::array::from_fn(|grey| {
        tint.map(|c| {
            let (grey, c) = (grey as u32, u32::from(c));
            let shade = if grey < 128 { c * grey / 127 } else { c + (255 - c) * (grey - 128) / 127 };
            shade.min(255) as u8
        })
    })
}

/// Gaussian of this standard deviation, by boxes: the time does not depend on it. Colour is weighted by alpha.
fn blur(raster: &mut Raster, sigma: f64) {
    premultiply(raster);
    let mut other = vec![0; raster.data.len()];
    let (width, height, channels) =
        (raster.size.width as usize, raster.size.height as usize, raster.channels);
    for radius in box_radii(sigma) {
        // Rows, then columns.
        for (row, out) in
            raster.data.chunks_exact(width * channels).zip(other.chunks_exact_mut(width * channels))
        {
            for channel in 0..channels {
                box_line(row, out, channel, channels, width, radius);
            }
        }
        for start in 0..width * channels {
            box_line(&other, &mut raster.data, start, width * channels, height, radius);
        }
    }
    unpremultiply(raster);
}

/// Radii of boxes whose variances add up to the bell's.
fn box_radii(sigma: f64) -> [usize; BOXES] {
    let n = BOXES as f64;
    let ideal = (12.0 * sigma * sigma / n + 1.0).sqrt();
    let lower = (((ideal - 1.0) / 2.0).floor() as usize) * 2 + 1;
    let l = lower as f64;
    let smaller = ((12.0 * sigma * sigma - n * l * l - 4.0 * n * l - 3.0 * n) / (-4.0 * l - 4.0)).round();
    std::array::from_fn(|index| if (index as f64) < smaller { lower / 2 } else { lower / 2 + 1 })
}

/// The mean of `2 · radius + 1` samples around each of `count`, `step` apart; the edge samples go on beyond the edges.
fn box_line(source: &[u8], out: &mut [u8], start: usize, step: usize, count: usize, radius: usize) {
    let at = |index: isize| {
        let index = index.clamp(0, count as isize - 1) as usize;
        u32::from(source[start + index * step])
    };
    let reach = radius as isize;
    let size = 2 * radius as u32 + 1;
    let mut sum: u32 = (-reach..=reach).map(at).sum();
    for index in 0..count {
        out[start + index * step] = ((sum + size / 2) / size) as u8;
        let index = index as isize;
        sum = sum + at(index + reach + 1) - at(index - reach);
    }
}

fn premultiply(raster: &mut Raster) {
    if raster.channels == 4 {
        for pixel in raster.data.as_chunks_mut::<4>().0 {
            let alpha = u32::from(pixel[3]);
            for sample in &mut pixel[..3] {
                *sample = ((u32::from(*sample) * alpha + 127) / 255) as u8;
            }
        }
    }
}

fn unpremultiply(raster: &mut Raster) {
    if raster.channels == 4 {
        for pixel in raster.data.as_chunks_mut::<4>().0 {
            let alpha = u32::from(pixel[3]).max(1);
            for sample in &mut pixel[..3] {
                *sample = ((u32::from(*sample) * 255 + alpha / 2) / alpha).min(255) as u8;
            }
        }
    }
}

/// Unsharp mask: what blurring takes away is added `amount` times.
fn sharpen(raster: &mut Raster, amount: f32) {
    let mut soft = raster.clone();
    blur(&mut soft, SHARPEN_SIGMA);
    let channels = raster.channels;
    for (pixel, soft) in raster.data.chunks_exact_mut(channels).zip(soft.data.chunks_exact(channels)) {
        for (sample, soft) in pixel[..channels.min(3)].iter_mut().zip(soft) {
            let detail = f32::from(*sample) - f32::from(*soft);
            *sample = (f32::from(*sample) + amount * detail).round() as u8;
        }
    }
}

/// Rounds the corners, with soft edges, to at most half of the shorter side. Samples outside become transparent.
pub(super) fn round_corners(raster: Raster, radius: u32) -> Raster {
    let mut raster = raster.into_rgba();
    let (width, height) = (raster.size.width, raster.size.height);
    let radius = f64::from(radius).min(f64::from(width.min(height)) / 2.0);
    let corner = radius.ceil() as u32;
    let stride = raster.stride();
    // Distance of a pixel's middle into the corner square, from its inner edge; both corners of a side at once.
    let inward = |at: u32, side: u32| {
        let nearest = at.min(side - 1 - at);
        (radius - (f64::from(nearest) + 0.5)).max(0.0)
    };
    for y in (0..height).filter(|y| *y < corner || height - 1 - y < corner) {
        for x in (0..width).filter(|x| *x < corner || width - 1 - x < corner) {
            let distance = inward(x, width).hypot(inward(y, height));
            let cover = (radius - distance + 0.5).clamp(0.0, 1.0);
            let alpha = &mut raster.data[y as usize * stride + x as usize * 4 + 3];
            *alpha = (f64::from(*alpha) * cover).round() as u8;
        }
    }
    raster
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::image::Size;

    fn row(pixels: &[[u8; 3]]) -> Raster {
        Raster { size: Size::new(pixels.len() as u32, 1), channels: 3, data: pixels.concat() }
    }

    fn looked(look: Look, raster: &Raster) -> Vec<u8> {
        let mut out = raster.clone();
        apply(&look, &mut out);
        out.data
    }

    #[test]
    fn colours_move_as_asked() {
        let plain = Look::default();
        let source = row(&[[0, 100, 255]]);
        let cases = [
            (plain, [0, 100, 255]),
            (Look { brightness: 100, ..plain }, [255, 255, 255]),
            (Look { brightness: -100, ..plain }, [0, 0, 0]),
            (Look { brightness: 10, ..plain }, [26, 126, 255]),
            (Look { contrast: -100, ..plain }, [128, 128, 128]),
            (Look { contrast: 100, ..plain }, [0, 73, 255]),
            (Look { saturation: -100, ..plain }, [90, 90, 90]),
            (Look { saturation: 100, ..plain }, [0, 110, 255]),
            (Look { mono: Some([255, 0, 0]), ..plain }, [180, 0, 0]),
        ];
        for (look, expected) in cases {
            assert_eq!(looked(look, &source), expected, "{look:?}");
        }
        let ends = row(&[[0; 3], [255; 3]]);
        assert_eq!(looked(Look { mono: Some([10, 20, 30]), ..plain }, &ends), [0, 0, 0, 255, 255, 255]);
    }

    #[test]
    fn blurring_spreads_and_keeps_the_mean() {
        let mut point = Raster::new(Size::new(41, 41), 1);
        point.data[20 * 41 + 20] = 255;
        let out = looked(Look { blur: 40, ..Look::default() }, &point);
        // A bell of standard deviation 2 has 1/(2π·4) of the sum in its middle pixel.
        assert!((9..=11).contains(&out[20 * 41 + 20]), "{}", out[20 * 41 + 20]);
        assert_eq!(out[20 * 41 + 18], out[20 * 41 + 22]);
        assert_eq!(out[18 * 41 + 20], out[22 * 41 + 20]);
        assert_eq!(out[0], 0);
        let even = Raster { size: Size::new(5, 3), channels: 3, data: vec![77; 45] };
        for blur in [1, 20, 2000] {
            assert_eq!(looked(Look { blur, ..Look::default() }, &even), even.data, "{blur}");
        }
    }

    #[test]
    fn sharpening_steepens_edges_only() {
        let edge = row(&[[50; 3], [50; 3], [50; 3], [200; 3], [200; 3], [200; 3]]);
        let out = looked(Look { sharpen: 50, ..Look::default() }, &edge);
        assert!(out[6] < 50 && out[9] > 200, "{out:?}");
        assert_eq!((out[0], out[15]), (50, 200));
    }

    #[test]
    fn invisible_colour_stays_out_of_blurs() {
        let data = [[255, 0, 0, 255], [0, 255, 0, 0], [0, 255, 0, 0]].concat();
        let mut raster = Raster { size: Size::new(3, 1), channels: 4, data };
        apply(&Look { blur: 20, ..Look::default() }, &mut raster);
        for pixel in raster.data.as_chunks::<4>().0.iter().filter(|pixel| pixel[3] > 0) {
            assert_eq!(pixel[1], 0, "{:?}", raster.data);
        }
    }

    #[test]
    fn corners_are_cut_and_the_middle_is_not() {
        let square = Raster { size: Size::new(20, 20), channels: 3, data: vec![9; 1200] };
        let round = round_corners(square.clone(), 10_000);
        let alpha = |x: usize, y: usize| round.data[(y * 20 + x) * 4 + 3];
        assert_eq!((alpha(0, 0), alpha(19, 19), alpha(0, 19)), (0, 0, 0));
        assert_eq!((alpha(10, 10), alpha(10, 1), alpha(1, 10)), (255, 255, 255));
        // A disc.
        let area: f64 = round.data.as_chunks::<4>().0.iter().map(|pixel| f64::from(pixel[3]) / 255.0).sum();
        assert!((area - std::f64::consts::PI * 100.0).abs() < 4.0, "{area}");
        assert!(round_corners(square, 0).is_opaque());
    }
}
