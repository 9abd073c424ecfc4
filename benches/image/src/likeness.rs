//! How alike two pictures of one size are: SSIMULACRA2 (100 is the same, 90 cannot be told apart, 70 is good), and the mean
//! structural similarity of luma over windows of 8×8 (Wang et al. 2004).

use serde_json::{Value, json};
use ssimulacra2::{ColorPrimaries, Rgb, TransferCharacteristic, compute_frame_ssimulacra2};

use crate::{
    Outcome,
    media::image::{Limits, Params, transform},
};

pub fn compare(reference: &[u8], picture: &[u8]) -> Outcome<Value> {
    let (size, reference) = decode(reference)?;
    let (other, picture) = decode(picture)?;
    if size != other {
        return Err(format!("{size:?} against {other:?}").into());
    }
    let (width, height) = size;
    let frame = |rgb: &[u8]| {
        let pixels = rgb.as_chunks::<3>().0.iter().map(|pixel| pixel.map(|v| f32::from(v) / 255.0)).collect();
        Rgb::new(pixels, width, height, TransferCharacteristic::SRGB, ColorPrimaries::BT709)
    };
    let ssimulacra2 = compute_frame_ssimulacra2(frame(&reference)?, frame(&picture)?)?;
    let ssim = ssim(&luma(&reference), &luma(&picture), width);
    Ok(json!({ "ssimulacra2": ssimulacra2, "ssim": ssim, "width": width, "height": height }))
}

/// Width and height, and rows of R, G, B.
fn decode(file: &[u8]) -> Outcome<((usize, usize), Vec<u8>)> {
    let params = Params::parse(&[("fm".into(), "png".into())])?.ok_or("no parameter")?;
    let png = transform(file, &params, &Limits::default())?;
    let mut reader = png::Decoder::new(std::io::Cursor::new(&png.bytes)).read_info()?;
    let mut rgb = vec![0; reader.output_buffer_size().ok_or("too large")?];
    let info = reader.next_frame(&mut rgb)?;
    if info.color_type != png::ColorType::Rgb {
        return Err("not opaque".into());
    }
    Ok(((info.width as usize, info.height as usize), rgb))
}

fn luma(rgb: &[u8]) -> Vec<f64> {
    let weigh = |[r, g, b]: &[u8; 3]| 0.299 * f64::from(*r) + 0.587 * f64::from(*g) + 0.114 * f64::from(*b);
    rgb.as_chunks::<3>().0.iter().map(weigh).collect()
}

fn ssim(a: &[f64], b: &[f64], width: usize) -> f64 {
    const SIDE: usize = 8;
    const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
    const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);
    let height = a.len() / width;
    let (mut sum, mut count) = (0.0, 0.0);
    for top in (0..=height.saturating_sub(SIDE)).step_by(4) {
        for left in (0..=width.saturating_sub(SIDE)).step_by(4) {
            let places = (top..height.min(top + SIDE))
                .flat_map(|y| (left..width.min(left + SIDE)).map(move |x| y * width + x));
            let (mut n, mut s) = (0.0, [0.0; 5]);
            for at in places {
                let (x, y) = (a[at], b[at]);
                n += 1.0;
                for (sum, term) in s.iter_mut().zip([x, y, x * x, y * y, x * y]) {
                    *sum += term;
                }
            }
            let [mx, my, xx, yy, xy] = s.map(|sum| sum / n);
            let (vx, vy, cov) = (xx - mx * mx, yy - my * my, xy - mx * my);
            sum += (2.0 * mx * my + C1) * (2.0 * cov + C2) / ((mx * mx + my * my + C1) * (vx + vy + C2));
            count += 1.0;
        }
    }
    sum / count
}
