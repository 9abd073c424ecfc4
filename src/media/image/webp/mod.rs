//! WebP in and out, with unsafe code: calls of libwebp. The safe `webp` crate pins
//! an older libwebp, cannot encode planes, and cannot shrink while decoding.
//!
//! Why the calls are sound: each struct is initialised by libwebp's own initialiser, whose result is checked;
//! each pointer comes from a live slice or `Vec` whose length is checked here against the dimensions and
//! stride given beside it (libwebp checks decoder output again); libwebp keeps no pointer past the call; what
//! it allocates is freed by a guard on each path. Input bytes are only read within the given length.
#![allow(unsafe_code)]

pub(super) mod animated;

use std::ffi::c_int;

use libwebp_sys as sys;

use super::super::checkpoint;
use super::error::Error;
use super::geometry::{Rect, Size};
use super::params::Effort;
use super::planes::Yuv420;
use super::probe::Webp;
use super::raster::{Raster, Reduced};

/// How a picture is to be coded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tuning {
    /// 1 to 100.
    pub(super) quality: u8,
    pub(super) lossless: bool,
    pub(super) effort: Effort,
}

impl Tuning {
    fn config(self, width: c_int, height: c_int) -> Result<sys::WebPConfig, Error> {
        let mut config = sys::WebPConfig::new().map_err(|()| internal("encode", "version mismatch"))?;
        config.quality = f32::from(self.quality);
        config.method = method(width, height, self.effort);
        if self.lossless {
            // Its quality is an effort; this is libwebp's own middle.
            (config.lossless, config.quality) = (1, 75.0);
        }
        Ok(config)
    }
}

/// Up to here a picture is small: on a larger one effort takes most of the time.
pub(super) const THUMBNAIL_PIXELS: u64 = 300_000;

/// Effort of the encoder, 0 to 6. On a thumbnail 4 gains a point of SSIMULACRA2 and four percent of bytes for 3 ms; on a
/// large image it would double the time of the whole operation. Behind, nobody waits: 6 is worth it, and on a large image,
/// where it takes three times as long, 4.
fn method(width: c_int, height: c_int, effort: Effort) -> c_int {
    let small = i64::from(width) * i64::from(height) <= THUMBNAIL_PIXELS as i64;
    match (effort, small) {
        (Effort::Quick, true) => 4,
        (Effort::Quick, false) => 2,
        (Effort::Thorough, true) => 6,
        (Effort::Thorough, false) => 4,
    }
}

/// How much larger than its target the decoded image is at least.
const RESIDUAL: f64 = 2.0;

/// The divisor by which the decoder shrinks. Its rescaler does not weigh colour by alpha.
pub(super) fn shrink(webp: &Webp, crop: Rect, target: Size) -> u32 {
    if webp.alpha || webp.first_frame.is_some() {
        return 1;
    }
    let ratio = (crop.width / f64::from(target.width)).min(crop.height / f64::from(target.height));
    ((ratio / RESIDUAL) as u32).max(1)
}

fn shrunk(stored: Size, shrink: u32) -> Size {
    Size::new(stored.width.div_ceil(shrink), stored.height.div_ceil(shrink))
}

/// Memory to decode an image of this size; of an animation, its frame of this number, from 0.
pub(super) fn decode_bytes(webp: &Webp, stored: Size, shrink: u32, number: u32) -> u64 {
    if webp.first_frame.is_some() && number > 0 {
        return animated::decode_bytes(stored) + stored.pixels() * 4;
    }
    let whole = if webp.lossless { stored.pixels() * 4 } else { 0 };
    let canvas = if webp.first_frame.is_some() { stored.pixels() * 4 } else { 0 };
    let rows = u64::from(stored.width) * 64;
    whole + canvas + rows + shrunk(stored, shrink).pixels() * if webp.alpha { 4 } else { 3 }
}

/// Of an animation, the frame of this number, from 0; of fewer, the last.
pub(super) fn decode(
    source: &[u8],
    webp: &Webp,
    stored: Size,
    shrink: u32,
    number: u32,
) -> Result<Reduced, Error> {
    match webp.first_frame {
        Some(_) if number > 0 => {
            let mut frames = animated::Frames::open(source, stored)?;
            let mut last: Option<Raster> = None;
            for _ in 0..=number {
                let Some((canvas, _)) = frames.next()? else { break };
                match &mut last {
                    Some(last) => last.data.copy_from_slice(canvas.data),
                    None => last = Some(canvas.to_raster()),
                }
            }
            last.map(Reduced::unreduced).ok_or_else(|| corrupt("no frame"))
        }
        None => {
            let raster = decode_still(source, shrunk(stored, shrink), webp.alpha, shrink > 1)?;
            let mut reduced = Reduced::unreduced(raster);
            if shrink > 1 {
                // The decoder scales the whole image to exactly this size.
                reduced.extent =
                    (f64::from(reduced.raster.size.width), f64::from(reduced.raster.size.height));
            }
            Ok(reduced)
        }
        Some(frame) => {
            let data = source.get(frame.data.0..frame.data.1).ok_or_else(|| corrupt("frame cut off"))?;
            let raster = decode_still(data, frame.size, webp.alpha, false)?;
            Ok(Reduced::unreduced(raster.padded(stored, frame.offset)))
        }
    }
}

fn decode_still(source: &[u8], size: Size, alpha: bool, scaled: bool) -> Result<Raster, Error> {
    let mut raster = Raster::new(size, if alpha { 4 } else { 3 });
    let mut config = sys::WebPDecoderConfig::new().map_err(|()| internal("decode", "version mismatch"))?;
    let (width, height) = (side(size.width)?, side(size.height)?);
    config.options.use_scaling = scaled.into();
    config.options.scaled_width = width;
    config.options.scaled_height = height;
    config.output.colorspace =
        if alpha { sys::WEBP_CSP_MODE::MODE_RGBA } else { sys::WEBP_CSP_MODE::MODE_RGB };
    config.output.is_external_memory = 1;
    config.output.u.RGBA = sys::WebPRGBABuffer {
        rgba: raster.data.as_mut_ptr(),
        stride: stride(raster.stride())?,
        size: raster.data.len(),
    };
    if !scaled {
        // Without scaling libwebp takes the size from the bitstream, and checks it against the buffer: equal
        // it must be too, or rows would be left unwritten.
        let mut found = std::mem::MaybeUninit::uninit();
        // SAFETY: pointer and length are of one slice; `found` is written when the status is OK.
        let features = unsafe {
            match sys::WebPGetFeatures(source.as_ptr(), source.len(), found.as_mut_ptr()) {
                sys::VP8StatusCode::VP8_STATUS_OK => found.assume_init(),
                status => return Err(refused(status)),
            }
        };
        if (features.width, features.height) != (width, height) {
            return Err(corrupt("two different sizes"));
        }
    }
    // SAFETY: `config` is initialised, its output buffer is `raster`'s whole data and outlives the call.
    let status = unsafe { sys::WebPDecode(source.as_ptr(), source.len(), &raw mut config) };
    match status {
        sys::VP8StatusCode::VP8_STATUS_OK => Ok(raster),
        status => Err(refused(status)),
    }
}

fn refused(status: sys::VP8StatusCode) -> Error {
    use sys::VP8StatusCode as S;
    match status {
        S::VP8_STATUS_INVALID_PARAM => internal("decode", "invalid parameter"),
        S::VP8_STATUS_UNSUPPORTED_FEATURE => Error::Unsupported { what: "WebP feature" },
        S::VP8_STATUS_NOT_ENOUGH_DATA | S::VP8_STATUS_SUSPENDED => corrupt("ends early"),
        // "Out of memory" is said of damaged alpha headers as well; the memory needed was admitted before.
        _ => corrupt("bad bitstream"),
    }
}

pub(super) fn encode(raster: &Raster, tuning: Tuning) -> Result<Vec<u8>, Error> {
    Picture::of(raster, tuning.lossless)?.encode(tuning)
}

pub(super) fn encode_planes(planes: &mut Yuv420, tuning: Tuning) -> Result<Vec<u8>, Error> {
    let Yuv420 { y, u, v } = planes;
    let half = Size::new(y.size.width.div_ceil(2), y.size.height.div_ceil(2));
    let whole = |plane: &Raster| plane.channels == 1 && plane.data.len() as u64 == plane.size.pixels();
    if u.size != half || v.size != half || ![&*y, u, v].into_iter().all(whole) {
        return Err(internal("encode", "planes of wrong size"));
    }
    let mut picture = Picture::new(side(y.size.width)?, side(y.size.height)?)?;
    // The planes stay ours: `WebPPictureFree` frees only what is in `memory_`. They are borrowed mutably since
    // libwebp may clean up samples in place.
    picture.0.colorspace = sys::WebPEncCSP::WEBP_YUV420;
    picture.0.y = y.data.as_mut_ptr();
    picture.0.u = u.data.as_mut_ptr();
    picture.0.v = v.data.as_mut_ptr();
    picture.0.y_stride = side(y.size.width)?;
    picture.0.uv_stride = side(half.width)?;
    picture.encode(tuning)
}

/// A picture whose own memory is freed.
struct Picture(sys::WebPPicture);

impl Picture {
    fn new(width: c_int, height: c_int) -> Result<Self, Error> {
        let mut picture = sys::WebPPicture::new().map_err(|()| internal("encode", "version mismatch"))?;
        (picture.width, picture.height, picture.use_argb) = (width, height, 0);
        Ok(Self(picture))
    }

    /// Of a raster's pixels, as ARGB or as YCbCr.
    fn of(raster: &Raster, argb: bool) -> Result<Self, Error> {
        let (width, height, stride) =
            (side(raster.size.width)?, side(raster.size.height)?, stride(raster.stride())?);
        if raster.data.len() < raster.stride() * raster.size.height as usize {
            return Err(internal("encode", "raster too short"));
        }
        let mut picture = Self::new(width, height)?;
        picture.0.use_argb = argb.into();
        // SAFETY: the picture has its size set, and the raster holds `height` rows of `stride` bytes.
        let imported = unsafe {
            if raster.channels == 4 {
                sys::WebPPictureImportRGBA(&raw mut picture.0, raster.data.as_ptr(), stride)
            } else {
                sys::WebPPictureImportRGB(&raw mut picture.0, raster.data.as_ptr(), stride)
            }
        };
        if imported == 0 { Err(internal("encode", "out of memory")) } else { Ok(picture) }
    }

    fn encode(&mut self, tuning: Tuning) -> Result<Vec<u8>, Error> {
        let mut config = tuning.config(self.0.width, self.0.height)?;
        match self.attempt(&config) {
            Err(sys::WebPEncodingError::VP8_ENC_ERROR_PARTITION0_OVERFLOW) => {
                // Very large and detailed: trade modes for space, as libwebp's documentation advises.
                config.partition_limit = 100;
                self.attempt(&config)
            }
            other => other,
        }
        .or_else(|error| {
            checkpoint::pass()?;
            Err(internal("encode", &format!("{error:?}")))
        })
    }

    fn attempt(&mut self, config: &sys::WebPConfig) -> Result<Vec<u8>, sys::WebPEncodingError> {
        let mut out: Vec<u8> = Vec::new();
        self.0.writer = Some(append);
        self.0.progress_hook = Some(may_go_on);
        self.0.custom_ptr = (&raw mut out).cast();
        // SAFETY: config and picture are initialised, the picture's planes are live, and `out` outlives the call
        // and is touched by nobody else meanwhile.
        let done = unsafe { sys::WebPEncode(config, &raw mut self.0) };
        self.0.custom_ptr = std::ptr::null_mut();
        if done == 0 { Err(self.0.error_code) } else { Ok(out) }
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        // SAFETY: initialised, and freed only here.
        unsafe { sys::WebPPictureFree(&raw mut self.0) }
    }
}

/// Takes encoded bytes. Does not unwind into C: running out of memory is reported by the result.
unsafe extern "C" fn append(data: *const u8, length: usize, picture: *const sys::WebPPicture) -> c_int {
    if length == 0 {
        return 1;
    }
    // SAFETY: libwebp passes the picture that `attempt` gave it, whose `custom_ptr` is that call's `Vec`, and
    // `length` readable bytes.
    let (out, data) =
        unsafe { (&mut *(*picture).custom_ptr.cast::<Vec<u8>>(), std::slice::from_raw_parts(data, length)) };
    if out.try_reserve(length).is_err() {
        return 0;
    }
    out.extend_from_slice(data);
    1
}

/// Asked many times on the way through a picture: 0 ends it. Does not unwind into C.
unsafe extern "C" fn may_go_on(_percent: c_int, _picture: *const sys::WebPPicture) -> c_int {
    checkpoint::pass().is_ok().into()
}

fn side(value: u32) -> Result<c_int, Error> {
    c_int::try_from(value).map_err(|error| internal("webp", &error.to_string()))
}

fn stride(value: usize) -> Result<c_int, Error> {
    c_int::try_from(value).map_err(|error| internal("webp", &error.to_string()))
}

fn corrupt(detail: &str) -> Error {
    Error::corrupt("WebP", detail)
}

fn internal(step: &'static str, detail: &str) -> Error {
    Error::internal(step, detail)
}
