//! Animated WebP through libwebp's own player and writer, which keeps what differs from frame to frame. Sound as `webp` says;
//! besides: the player keeps a pointer to the file, which it may not outlive; the canvas it hands out is read before it goes on.

use std::ffi::c_int;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use libwebp_sys as sys;

use super::super::super::checkpoint;
use super::super::error::Error;
use super::super::geometry::Size;
use super::super::raster::{Raster, View};
use super::{Picture, Tuning, corrupt, internal, may_go_on, side};

/// What the frames show, one after the other.
pub(in super::super) struct Frames<'a> {
    player: NonNull<sys::WebPAnimDecoder>,
    file: PhantomData<&'a [u8]>,
    size: Size,
    pub(in super::super) loops: u32,
    until: c_int,
}

/// The canvas twice, and the frame.
pub(in super::super) fn decode_bytes(stored: Size) -> u64 {
    stored.pixels() * 12
}

impl<'a> Frames<'a> {
    pub(in super::super) fn open(source: &'a [u8], stored: Size) -> Result<Self, Error> {
        let mut options = std::mem::MaybeUninit::<sys::WebPAnimDecoderOptions>::uninit();
        let data = sys::WebPData { bytes: source.as_ptr(), size: source.len() };
        let mut info = sys::WebPAnimInfo::default();
        // SAFETY: `options` is written by its initialiser before it is read; pointer and length are of one slice that outlives
        // the player; `info` is plain data.
        unsafe {
            if sys::WebPAnimDecoderOptionsInit(options.as_mut_ptr()) == 0 {
                return Err(internal("decode", "version mismatch"));
            }
            let mut options = options.assume_init();
            options.color_mode = sys::WEBP_CSP_MODE::MODE_RGBA;
            options.use_threads = 0;
            let player = sys::WebPAnimDecoderNew(&raw const data, &raw const options);
            let player = NonNull::new(player).ok_or_else(|| corrupt("bad animation"))?;
            let mut frames = Self { player, file: PhantomData, size: stored, loops: 0, until: 0 };
            if sys::WebPAnimDecoderGetInfo(player.as_ptr(), &raw mut info) == 0
                || (info.canvas_width, info.canvas_height) != (stored.width, stored.height)
            {
                return Err(corrupt("two different sizes"));
            }
            frames.loops = info.loop_count;
            Ok(frames)
        }
    }

    /// The canvas with the next frame, and how many milliseconds it stays.
    pub(in super::super) fn next(&mut self) -> Result<Option<(View<'_>, u32)>, Error> {
        checkpoint::pass()?;
        let (mut canvas, mut until) = (ptr::null_mut(), 0);
        // SAFETY: the player is live; the canvas it hands out has four bytes per pixel of the size that `open` compared, and
        // stays until it goes on, which needs `&mut self`.
        let data = unsafe {
            if sys::WebPAnimDecoderHasMoreFrames(self.player.as_ptr()) == 0 {
                return Ok(None);
            }
            if sys::WebPAnimDecoderGetNext(self.player.as_ptr(), &raw mut canvas, &raw mut until) == 0
                || canvas.is_null()
            {
                return Err(corrupt("bad frame"));
            }
            std::slice::from_raw_parts(canvas.cast_const(), self.size.pixels() as usize * 4)
        };
        // Browsers take what is too short to be meant for a tenth of a second.
        let millis = u32::try_from(until.saturating_sub(self.until)).unwrap_or(0);
        self.until = until;
        let view = View { size: self.size, channels: 4, data };
        Ok(Some((view, if millis <= 10 { 100 } else { millis })))
    }
}

impl Drop for Frames<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `WebPAnimDecoderNew`, and freed only here.
        unsafe { sys::WebPAnimDecoderDelete(self.player.as_ptr()) }
    }
}

pub(in super::super) struct Writer {
    encoder: NonNull<sys::WebPAnimEncoder>,
    size: Size,
    tuning: Tuning,
    at: c_int,
}

impl Writer {
    pub(in super::super) fn new(size: Size, loops: u32, tuning: Tuning) -> Result<Self, Error> {
        let mut options = std::mem::MaybeUninit::<sys::WebPAnimEncoderOptions>::uninit();
        let (width, height) = (side(size.width)?, side(size.height)?);
        // SAFETY: `options` is written by its initialiser before it is read, and copied by the encoder.
        let encoder = unsafe {
            let version = sys::WEBP_MUX_ABI_VERSION as c_int;
            if sys::WebPAnimEncoderOptionsInitInternal(options.as_mut_ptr(), version) == 0 {
                return Err(internal("encode", "version mismatch"));
            }
            let mut options = options.assume_init();
            options.anim_params.loop_count = c_int::try_from(loops).unwrap_or(0);
            sys::WebPAnimEncoderNewInternal(width, height, &raw const options, version)
        };
        let encoder = NonNull::new(encoder).ok_or_else(|| internal("encode", "out of memory"))?;
        Ok(Self { encoder, size, tuning, at: 0 })
    }

    pub(in super::super) fn add(&mut self, raster: &Raster, millis: u32) -> Result<(), Error> {
        if raster.size != self.size {
            return Err(internal("encode", "frames of different sizes"));
        }
        let mut picture = Picture::of(raster, true)?;
        picture.0.progress_hook = Some(may_go_on);
        let config = self.tuning.config(side(self.size.width)?, side(self.size.height)?)?;
        // SAFETY: encoder, picture and configuration are live and initialised; the encoder keeps none of them.
        let added = unsafe {
            sys::WebPAnimEncoderAdd(self.encoder.as_ptr(), &raw mut picture.0, self.at, &raw const config)
        };
        self.at = self.at.saturating_add(c_int::try_from(millis).unwrap_or(c_int::MAX));
        if added == 0 {
            checkpoint::pass()?;
            return Err(internal("encode", "a frame was refused"));
        }
        Ok(())
    }

    pub(in super::super) fn finish(self) -> Result<Vec<u8>, Error> {
        let mut data = sys::WebPData { bytes: ptr::null(), size: 0 };
        // SAFETY: a null picture is how the end is told; what is assembled is copied within its length and then freed.
        unsafe {
            let encoder = self.encoder.as_ptr();
            if sys::WebPAnimEncoderAdd(encoder, ptr::null_mut(), self.at, ptr::null()) == 0
                || sys::WebPAnimEncoderAssemble(encoder, &raw mut data) == 0
                || data.bytes.is_null()
            {
                return Err(internal("encode", "the animation could not be put together"));
            }
            let bytes = std::slice::from_raw_parts(data.bytes, data.size).to_vec();
            sys::WebPDataClear(&mut data);
            Ok(bytes)
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // SAFETY: made by `WebPAnimEncoderNewInternal`, and freed only here.
        unsafe { sys::WebPAnimEncoderDelete(self.encoder.as_ptr()) }
    }
}
