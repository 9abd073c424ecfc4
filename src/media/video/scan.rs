//! Finds `moov` in a source by reading box headers only: the boxes before it are passed over by their sizes.

use bytes::Bytes;

use super::Error;
use super::boxes::{Header, Kind, name};
use crate::media::Source;

/// Top-level boxes looked at before giving up. A progressive file has fewer than ten.
const MAX_TOP_LEVEL_BOXES: usize = 256;
/// `moov` is read whole. Ten hours with video and several sound tracks need about 40 MiB.
const MAX_MOOV_BYTES: u64 = 64 * 1024 * 1024;
/// Headers are read this much at a time, so that the small boxes at the front cost one read.
const WINDOW_BYTES: u64 = 4096;
/// What a file may start with; anything else (a playlist, HTML, …) is refused at the first four bytes of its kind.
const FIRST_BOXES: [&Kind; 8] = [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp"];

/// A box at the top level of a file. `end` may lie beyond the file when the size lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TopBox {
    pub(super) kind: Kind,
    pub(super) start: u64,
    pub(super) header_len: u64,
    pub(super) end: u64,
}

/// Where `moov` is, and what stands before it.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) before: Vec<TopBox>,
    pub(super) moov: TopBox,
}

pub(super) async fn locate_moov(source: &dyn Source) -> Result<Located, Error> {
    let len = source.len();
    let mut window = Window::new(source);
    let mut before = Vec::new();
    let mut position = 0;
    while before.len() < MAX_TOP_LEVEL_BOXES {
        let Some(header) = Header::parse(&window.at(position).await?)? else { break };
        if position == 0 && !FIRST_BOXES.contains(&&header.kind) {
            return Err(Error::malformed("not an MP4 or QuickTime file"));
        }
        if header.kind == *b"moof" {
            return Err(Error::unsupported("fragmented MP4"));
        }
        let end = match header.len {
            Some(box_len) => position.saturating_add(box_len),
            None => len,
        };
        let found = TopBox { kind: header.kind, start: position, header_len: header.header_len, end };
        if found.kind == *b"moov" {
            if end > len {
                return Err(Error::malformed("moov is cut off"));
            }
            if end - position > MAX_MOOV_BYTES {
                return Err(Error::unsupported(format!("moov of {} bytes", end - position)));
            }
            return Ok(Located { before, moov: found });
        }
        if end > len {
            let kind = name(found.kind);
            return Err(Error::malformed(format!("the file ends within its {kind} box, before any moov")));
        }
        before.push(found);
        position = end;
    }
    Err(Error::malformed("no moov box"))
}

/// The body of `moov`.
pub(super) async fn read_moov(source: &dyn Source, moov: &TopBox) -> Result<Bytes, Error> {
    Ok(source.read(moov.start + moov.header_len..moov.end).await?)
}

/// The last bytes read, so that neighbouring headers need no further read.
pub(super) struct Window<'a> {
    source: &'a dyn Source,
    start: u64,
    bytes: Bytes,
}

impl<'a> Window<'a> {
    pub(super) fn new(source: &'a dyn Source) -> Self {
        Self { source, start: 0, bytes: Bytes::new() }
    }

    /// Up to 16 bytes at `position`; fewer only at the end of the source.
    pub(super) async fn at(&mut self, position: u64) -> Result<Bytes, Error> {
        let len = self.source.len();
        let wanted = len.saturating_sub(position).min(16);
        let held = self.start..self.start + self.bytes.len() as u64;
        if position < held.start || position + wanted > held.end {
            let end = position.saturating_add(WINDOW_BYTES).min(len);
            if position >= end {
                return Ok(Bytes::new());
            }
            self.bytes = self.source.read(position..end).await?;
            self.start = position;
        }
        // Both are at most WINDOW_BYTES.
        let from = (position - self.start) as usize;
        let to = (from + wanted as usize).min(self.bytes.len());
        Ok(self.bytes.slice(from.min(to)..to))
    }
}
