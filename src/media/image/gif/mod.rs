//! GIF in and out: frames drawn one over the other on a transparent canvas, as browsers do.

mod write;

use std::num::NonZeroU64;

use gif::{ColorOutput, DecodeOptions, Decoder, DecodingError, DisposalMethod, MemoryLimit, Repeat};

use super::super::checkpoint;
use super::error::Error;
use super::geometry::Size;
use super::probe::Gif;
use super::raster::{Raster, Reduced};

pub(super) use write::{Writer, encode};

/// The canvas, its copy where a frame says that what was before comes back, and a frame.
pub(super) fn decode_bytes(gif: &Gif, stored: Size) -> u64 {
    (stored.pixels() * 2 + gif.largest) * 4
}

/// The frame of this number, from 0; of fewer, the last.
pub(super) fn decode(source: &[u8], stored: Size, max_bytes: u64, number: u32) -> Result<Reduced, Error> {
    let mut frames = Frames::open(source, stored, max_bytes)?;
    for _ in 0..=number {
        if frames.next()?.is_none() {
            break;
        }
    }
    Ok(Reduced::unreduced(frames.canvas))
}

/// What the frames show, one after the other.
pub(super) struct Frames<'a> {
    decoder: Decoder<&'a [u8]>,
    canvas: Raster,
    shown: u32,
    /// What is to be undone before the next frame.
    undo: Undo,
}

enum Undo {
    Nothing,
    Clear(Place),
    Restore(Raster),
}

/// A frame's part of the canvas, and the length of its own rows.
#[derive(Clone, Copy)]
struct Place {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    row: usize,
}

impl<'a> Frames<'a> {
    pub(super) fn open(source: &'a [u8], stored: Size, max_bytes: u64) -> Result<Self, Error> {
        let mut options = DecodeOptions::new();
        options.set_color_output(ColorOutput::RGBA);
        options.set_memory_limit(MemoryLimit::Bytes(max_bytes.try_into().unwrap_or(NonZeroU64::MIN)));
        let decoder = options.read_info(source).map_err(corrupt)?;
        Ok(Self { decoder, canvas: Raster::new(stored, 4), shown: 0, undo: Undo::Nothing })
    }

    /// How often the whole is played; 0: for ever. Known after the first frame.
    pub(super) fn loops(&self) -> u32 {
        match self.decoder.repeat() {
            Repeat::Infinite => 0,
            Repeat::Finite(again) => u32::from(again) + 1,
        }
    }

    /// The canvas with the next frame, and how many milliseconds it stays. Ends where frames that came before can be shown
    /// but the next is damaged, as in browsers.
    pub(super) fn next(&mut self) -> Result<Option<(&Raster, u32)>, Error> {
        checkpoint::pass()?;
        self.undo();
        let size = self.canvas.size;
        let frame = match self.decoder.read_next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) if self.shown == 0 => return Err(Error::corrupt("GIF", "no image data")),
            Err(error) if self.shown == 0 => return Err(corrupt(error)),
            _ => return Ok(None),
        };
        let place = Place::of(frame, size);
        let restored = (frame.dispose == DisposalMethod::Previous).then(|| self.canvas.clone());
        draw(&mut self.canvas, &frame.buffer, place);
        self.undo = match (frame.dispose, restored) {
            (DisposalMethod::Background, _) => Undo::Clear(place),
            (_, Some(before)) => Undo::Restore(before),
            _ => Undo::Nothing,
        };
        self.shown += 1;
        // In hundredths of a second; browsers take less than two for a tenth.
        let millis = if frame.delay < 2 { 100 } else { u32::from(frame.delay) * 10 };
        Ok(Some((&self.canvas, millis)))
    }

    fn undo(&mut self) {
        match std::mem::replace(&mut self.undo, Undo::Nothing) {
            Undo::Nothing => {}
            Undo::Restore(before) => self.canvas = before,
            Undo::Clear(place) => {
                let stride = self.canvas.stride();
                for row in self.canvas.data.chunks_exact_mut(stride).skip(place.top).take(place.height) {
                    row[place.left * 4..(place.left + place.width) * 4].fill(0);
                }
            }
        }
    }
}

impl Place {
    /// A frame may reach beyond the screen, where nobody sees it.
    fn of(frame: &gif::Frame<'_>, size: Size) -> Self {
        let (left, top) = (usize::from(frame.left), usize::from(frame.top));
        Self {
            left: left.min(size.width as usize),
            top: top.min(size.height as usize),
            width: usize::from(frame.width).min((size.width as usize).saturating_sub(left)),
            height: usize::from(frame.height).min((size.height as usize).saturating_sub(top)),
            row: usize::from(frame.width),
        }
    }
}

fn draw(canvas: &mut Raster, frame: &[u8], place: Place) {
    if place.width == 0 || place.height == 0 {
        return;
    }
    let stride = canvas.stride();
    let rows = canvas.data.chunks_exact_mut(stride).skip(place.top).take(place.height);
    for (row, source) in rows.zip(frame.chunks_exact(place.row * 4)) {
        let row = row[place.left * 4..(place.left + place.width) * 4].as_chunks_mut::<4>().0;
        for (pixel, drawn) in row.iter_mut().zip(source.as_chunks::<4>().0) {
            if drawn[3] > 0 {
                *pixel = *drawn;
            }
        }
    }
}

fn corrupt(error: DecodingError) -> Error {
    Error::corrupt("GIF", error)
}
