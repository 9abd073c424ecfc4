//! Rows of the usual PNG (PNG specification, third edition): eight bits a sample, no palette, not interlaced. They are inflated
//! by ISA-L into one window, and their filters are undone where they lie, as the row above stands right before them. Every
//! other PNG is the `png` crate's.

use super::super::probe::{be32, png_chunk};
use super::filter;
use super::inflate::{Inflate, STATE_BYTES, Step};

/// Inflated at a time, if a row is no longer.
const WINDOW: usize = 128 << 10;

/// What a reader takes besides two rows.
pub(super) const BYTES: u64 = (STATE_BYTES + WINDOW) as u64;

/// What is wrong with a file.
pub(super) type Fault = &'static str;

const CUT_OFF: Fault = "ends within its image data";
const NOT_DEFLATE: Fault = "image data that is not deflate";

/// Of a picture that this reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Header {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Bytes, and samples, of a pixel.
    pub(super) channels: usize,
}

pub(super) struct Rows<'a> {
    chunks: Chunks<'a>,
    /// Of the image data's current chunk, what is not inflated yet.
    input: &'a [u8],
    inflate: Inflate,
    ended: bool,
    channels: usize,
    /// Bytes of a row, without its filter's.
    stride: usize,
    /// The row above, and then what is inflated.
    window: Vec<u8>,
    /// Where the next row begins, with the byte of its filter.
    at: usize,
    filled: usize,
    /// The next row was done with the one above it.
    ready: bool,
}

impl<'a> Rows<'a> {
    /// Nothing if the picture is not one of the usual kind.
    pub(super) fn open(source: &'a [u8]) -> Result<Option<(Header, Self)>, Fault> {
        let mut header = None;
        let mut at = 8;
        loop {
            let (name, body, next) = png_chunk(source, at).ok_or("no image data")?;
            match name {
                b"IDAT" => break,
                b"IHDR" => {
                    check(name, body, source.get(at + 8 + body.len()..next))?;
                    header = usual(body);
                }
                b"tRNS" => return Ok(None),
                _ => {}
            }
            at = next;
        }
        let Some(header) = header else { return Ok(None) };
        let stride = header.width as usize * header.channels;
        let mut rows = Self {
            chunks: Chunks { source, at },
            input: &[],
            inflate: Inflate::new(),
            ended: false,
            channels: header.channels,
            stride,
            window: vec![0; stride + WINDOW.max(stride + 1)],
            at: stride,
            filled: stride,
            ready: false,
        };
        rows.zlib_header()?;
        Ok(Some((header, rows)))
    }

    /// Reads the two bytes in front of the stream (RFC 1950 §2.2).
    fn zlib_header(&mut self) -> Result<(), Fault> {
        let mut header = [0; 2];
        for byte in &mut header {
            while self.input.is_empty() {
                self.input = self.chunks.next()?.ok_or(CUT_OFF)?;
            }
            (*byte, self.input) = (self.input[0], &self.input[1..]);
        }
        let [method, flags] = header;
        let right = method & 0x0f == 8
            && method >> 4 <= 7
            && flags & 0x20 == 0
            && u16::from_be_bytes(header).is_multiple_of(31);
        if right { Ok(()) } else { Err("image data that is not zlib's") }
    }

    /// The next row, its filter undone.
    pub(super) fn next(&mut self) -> Result<&[u8], Fault> {
        let length = self.stride + 1;
        if self.filled - self.at < length {
            // The row above moves to the front.
            let from = self.at - self.stride;
            self.window.copy_within(from..self.filled, 0);
            (self.at, self.filled) = (self.stride, self.filled - from);
            self.fill(self.at + length)?;
        }
        let from = self.at;
        self.at += length;
        if self.ready {
            self.ready = false;
            return Ok(&self.window[from + 1..self.at]);
        }
        let (above, rows) = self.window[from - self.stride..self.filled].split_at_mut(self.stride);
        let (row, below) = rows.split_at_mut(length);
        if let Some(below) = below.get_mut(..length) {
            self.ready = filter::undo_two(self.channels, above, row, below);
        }
        let (kind, row) = row.split_first_mut().ok_or(CUT_OFF)?;
        if !self.ready {
            filter::undo(*kind, self.channels, above, row).ok_or("a filter that there is not")?;
        }
        Ok(row)
    }

    /// Inflates until the window is full, or at least up to `least`.
    fn fill(&mut self, least: usize) -> Result<(), Fault> {
        while self.filled < self.window.len() && !self.ended {
            let Step { read, written, ended } =
                self.inflate.step(self.input, &mut self.window[self.filled..]).map_err(|_| NOT_DEFLATE)?;
            self.input = &self.input[read..];
            self.filled += written;
            self.ended = ended;
            if ended || read > 0 || written > 0 {
                continue;
            }
            if !self.input.is_empty() {
                return Err(NOT_DEFLATE);
            }
            match self.chunks.next()? {
                Some(body) => self.input = body,
                None => break,
            }
        }
        if self.filled >= least { Ok(()) } else { Err(CUT_OFF) }
    }
}

/// A header of the usual kind.
fn usual(body: &[u8]) -> Option<Header> {
    let (&[depth, colour, compression, filter, interlace], sides) =
        (body.last_chunk::<5>()?, body.first_chunk::<8>()?);
    let channels = match colour {
        0 => 1,
        2 => 3,
        4 => 2,
        6 => 4,
        _ => return None,
    };
    ((body.len(), depth, compression, filter, interlace) == (13, 8, 0, 0, 0)).then_some(Header {
        width: be32(sides, 0)?,
        height: be32(sides, 4)?,
        channels,
    })
}

/// The chunks of image data, which stand behind each other.
struct Chunks<'a> {
    source: &'a [u8],
    at: usize,
}

impl<'a> Chunks<'a> {
    /// The data of the next one: of one that is cut off, what there is.
    fn next(&mut self) -> Result<Option<&'a [u8]>, Fault> {
        let (source, at) = (self.source, self.at);
        let (Some(length), Some(b"IDAT")) = (be32(source, at), source.get(at + 4..at + 8)) else {
            return Ok(None);
        };
        let rest = &source[at + 8..];
        let Some((body, behind)) = rest.split_at_checked(length as usize) else {
            self.at = source.len();
            return Ok(Some(rest));
        };
        check(b"IDAT", body, behind.get(..4))?;
        self.at = at + 12 + body.len();
        Ok(Some(body))
    }
}

/// The checksum of a chunk, if the file goes so far.
fn check(name: &[u8], body: &[u8], checksum: Option<&[u8]>) -> Result<(), Fault> {
    let mut sum = crc32fast::Hasher::new();
    sum.update(name);
    sum.update(body);
    match checksum {
        Some(bytes) if bytes != sum.finalize().to_be_bytes() => Err("a checksum that is wrong"),
        _ => Ok(()),
    }
}
