//! Writes GIF. Of a frame only the part that differs from the one before is written, and in that only the pixels that do.

use gif::{DisposalMethod, Encoder, EncodingError, Frame, Repeat};

use super::super::error::Error;
use super::super::geometry::Size;
use super::super::palette::{Alpha, Indexed};
use super::super::raster::Raster;

/// A still.
pub(in super::super) fn encode(raster: &Raster) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::new(raster.size, 1)?;
    writer.dither = true;
    writer.add(raster.clone(), 0)?;
    writer.finish()
}

pub(in super::super) struct Writer {
    encoder: Encoder<Vec<u8>>,
    size: Size,
    dither: bool,
    /// The last frame, which is written when it is known what follows it.
    last: Option<Waiting>,
}

struct Waiting {
    raster: Raster,
    millis: u32,
    /// What is on the screen before it.
    before: Option<Raster>,
}

/// In pixels.
struct Part {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Writer {
    /// `loops` as `Frames::loops` has it.
    pub(in super::super) fn new(size: Size, loops: u32) -> Result<Self, Error> {
        let side =
            |side: u32| u16::try_from(side).map_err(|_| Error::internal("encode", "a side too long for GIF"));
        let mut encoder =
            Encoder::new(Vec::new(), side(size.width)?, side(size.height)?, &[]).map_err(failed)?;
        let repeat = match loops {
            0 => Some(Repeat::Infinite),
            1 => None,
            again => Some(Repeat::Finite((again - 1).min(u32::from(u16::MAX)) as u16)),
        };
        if let Some(repeat) = repeat {
            encoder.set_repeat(repeat).map_err(failed)?;
        }
        Ok(Self { encoder, size, dither: false, last: None })
    }

    pub(in super::super) fn add(&mut self, raster: Raster, millis: u32) -> Result<(), Error> {
        let raster = raster.into_rgba();
        let before = match self.last.take() {
            None => None,
            Some(last) if covers(&raster, &last.raster) => {
                self.write(&last, DisposalMethod::Keep)?;
                Some(last.raster)
            }
            Some(last) => {
                // What is to vanish is wiped out with all the rest.
                self.write(&last, DisposalMethod::Background)?;
                None
            }
        };
        self.last = Some(Waiting { raster, millis, before });
        Ok(())
    }

    pub(in super::super) fn finish(mut self) -> Result<Vec<u8>, Error> {
        if let Some(last) = self.last.take() {
            self.write(&last, DisposalMethod::Keep)?;
        }
        self.encoder.into_inner().map_err(failed)
    }

    fn write(&mut self, frame: &Waiting, dispose: DisposalMethod) -> Result<(), Error> {
        let whole =
            Part { left: 0, top: 0, width: self.size.width as usize, height: self.size.height as usize };
        // To wipe out all, the frame has to cover all.
        let part = match &frame.before {
            Some(before) if dispose == DisposalMethod::Keep => changed(&frame.raster, before),
            _ => whole,
        };
        let mut shown = cut(&frame.raster, &part);
        if let Some(before) = &frame.before {
            let before = cut(before, &part);
            for (pixel, before) in
                shown.data.as_chunks_mut::<4>().0.iter_mut().zip(before.data.as_chunks::<4>().0)
            {
                if pixel == before {
                    *pixel = [0; 4];
                }
            }
        }
        let Indexed { palette, pixels } = Indexed::of(&shown, Alpha::OnOff, self.dither)?;
        let frame = Frame {
            // Hundredths of a second.
            delay: (frame.millis.div_ceil(10)).min(u32::from(u16::MAX)) as u16,
            dispose,
            transparent: palette.iter().position(|colour| colour[3] == 0).map(|at| at as u8),
            // Sides of the screen, and of parts of it.
            top: part.top as u16,
            left: part.left as u16,
            width: part.width as u16,
            height: part.height as u16,
            palette: Some(palette.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect()),
            buffer: pixels.into(),
            ..Frame::default()
        };
        self.encoder.write_frame(&frame).map_err(failed)
    }
}

fn is_there(pixel: &[u8; 4]) -> bool {
    pixel[3] >= 128
}

/// Whether nothing that `before` shows is to vanish.
fn covers(raster: &Raster, before: &Raster) -> bool {
    let (now, before) = (raster.data.as_chunks::<4>().0, before.data.as_chunks::<4>().0);
    now.iter().zip(before).all(|(now, before)| is_there(now) || !is_there(before))
}

/// The smallest part that holds all differences; of equal frames, one pixel.
fn changed(raster: &Raster, before: &Raster) -> Part {
    let stride = raster.stride();
    let rows = || raster.data.chunks_exact(stride).zip(before.data.chunks_exact(stride)).enumerate();
    let differing = || rows().filter(|(_, (now, before))| now != before);
    let Some((top, _)) = differing().next() else { return Part { left: 0, top: 0, width: 1, height: 1 } };
    let (mut left, mut right, mut bottom) = (stride / 4, 0, top);
    for (y, (now, before)) in differing() {
        let differs = |x: &usize| now[x * 4..x * 4 + 4] != before[x * 4..x * 4 + 4];
        left = (0..left).find(differs).unwrap_or(left);
        right = (right..stride / 4).rev().find(differs).map_or(right, |x| x + 1);
        bottom = y + 1;
    }
    Part { left, top, width: right.saturating_sub(left).max(1), height: bottom - top }
}

fn cut(raster: &Raster, part: &Part) -> Raster {
    let rows = raster.data.chunks_exact(raster.stride()).skip(part.top).take(part.height);
    let data = rows.flat_map(|row| &row[part.left * 4..(part.left + part.width) * 4]).copied().collect();
    Raster { size: Size::new(part.width as u32, part.height as u32), channels: 4, data }
}

fn failed(error: EncodingError) -> Error {
    Error::internal("encode", error)
}
