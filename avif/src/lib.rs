//! AV1 out: rav1e on the calling thread, one still picture of 8 bits in full range. A crate of its own since the encoder is generic and
//! so compiled with whoever calls it: `[profile.dev.package]` can optimise this, and not a part of the server.

use rav1e::prelude::{
    ChromaSampling, ColorDescription, ColorPrimaries, Config, Context, EncoderConfig, EncoderStatus,
    InvalidConfig, MatrixCoefficients, PixelRange, SpeedSettings, TransferCharacteristics,
};

/// Samples row by row, without padding: luma alone, or luma and chroma of half the sides (BT.601, the colours of sRGB).
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    pub width: u32,
    pub height: u32,
    pub y: &'a [u8],
    pub chroma: Option<[&'a [u8]; 2]>,
}

/// How it is to be coded.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// 0, the finest, to 255.
    pub quantizer: u8,
    /// 0 to 10, the fastest.
    pub speed: u8,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} samples in a plane of {1}×{2}")]
    Plane(usize, usize, usize),
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    #[error(transparent)]
    Encoder(#[from] EncoderStatus),
}

/// The picture as AV1 data: a sequence header and a frame. Blocks until it is done.
pub fn encode(picture: Picture<'_>, tuning: Tuning) -> Result<Vec<u8>, Error> {
    let (width, height) = (picture.width as usize, picture.height as usize);
    let planes = picture.planes()?;
    let coloured = planes.len() == 3;
    let description = ColorDescription {
        color_primaries: ColorPrimaries::BT709,
        transfer_characteristics: TransferCharacteristics::SRGB,
        matrix_coefficients: MatrixCoefficients::BT601,
    };
    let config = EncoderConfig {
        width,
        height,
        bit_depth: 8,
        still_picture: true,
        low_latency: true,
        chroma_sampling: if coloured { ChromaSampling::Cs420 } else { ChromaSampling::Cs400 },
        pixel_range: PixelRange::Full,
        color_description: coloured.then_some(description),
        quantizer: tuning.quantizer.into(),
        min_key_frame_interval: 0,
        max_key_frame_interval: 0,
        speed_settings: SpeedSettings::from_preset(tuning.speed),
        ..EncoderConfig::default()
    };
    let mut context: Context<u8> = Config::new().with_threads(1).with_encoder_config(config).new_context()?;
    let mut frame = context.new_frame();
    for (plane, (samples, stride)) in frame.planes.iter_mut().zip(planes) {
        plane.copy_from_raw_u8(samples, stride, 1);
    }
    context.send_frame(frame)?;
    context.flush();
    loop {
        match context.receive_packet() {
            Ok(packet) => return Ok(packet.data),
            Err(EncoderStatus::Encoded) => {}
            Err(status) => return Err(status.into()),
        }
    }
}

impl<'a> Picture<'a> {
    /// Samples and their number in a row, of each plane.
    fn planes(&self) -> Result<Vec<(&'a [u8], usize)>, Error> {
        let (width, height) = (self.width as usize, self.height as usize);
        let half = (width.div_ceil(2), height.div_ceil(2));
        let chroma = self.chroma.into_iter().flatten().map(|samples| (samples, half));
        [(self.y, (width, height))]
            .into_iter()
            .chain(chroma)
            .map(|(samples, (width, height))| {
                let whole = samples.len() == width * height;
                whole.then_some((samples, width)).ok_or(Error::Plane(samples.len(), width, height))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_of_a_wrong_size_are_refused() {
        let tuning = Tuning { quantizer: 100, speed: 10 };
        let (luma, chroma) = ([7; 15], [128; 6]);
        let picture = Picture { width: 5, height: 3, y: &luma, chroma: Some([&chroma, &chroma]) };
        assert!(encode(picture, tuning).is_ok());
        assert!(encode(Picture { chroma: None, ..picture }, tuning).is_ok());
        for wrong in [
            Picture { width: 4, ..picture },
            Picture { height: 4, ..picture },
            Picture { chroma: Some([&chroma, &chroma[1..]]), ..picture },
        ] {
            assert!(matches!(encode(wrong, tuning), Err(Error::Plane(..))), "{wrong:?}");
        }
    }
}
