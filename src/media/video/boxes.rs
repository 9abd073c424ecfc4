//! ISO base media boxes (ISO/IEC 14496-12 §4.2): walking a slice box by box, and writing boxes whose size is known only
//! at their end. What a box means is for others.

use super::Error;

pub(super) type Kind = [u8; 4];

/// One box inside a slice.
#[derive(Debug, Clone, Copy)]
pub(super) struct BoxRef<'a> {
    pub(super) kind: Kind,
    /// What follows the box header.
    pub(super) body: &'a [u8],
    /// Where the body starts in the slice that was walked.
    pub(super) body_start: usize,
    /// Header and body.
    pub(super) raw: &'a [u8],
}

/// A box header as it stands at some place of a file or slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Length of the header itself, 8 or 16 bytes.
    pub(super) header_len: u64,
    /// Header and body. `None`: the box reaches to the end of what contains it.
    pub(super) len: Option<u64>,
}

impl Header {
    /// `bytes` are those at the start of the box; 16 suffice. `None` if there are too few.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, Error> {
        let (Some(size), Some(kind)) = (be_u32(bytes, 0), bytes.get(4..8)) else { return Ok(None) };
        let kind = [kind[0], kind[1], kind[2], kind[3]];
        let (header_len, len) = match size {
            0 => (8, None),
            1 => match be_u64(bytes, 8) {
                Some(len) => (16, Some(len)),
                None => return Ok(None),
            },
            size => (8, Some(u64::from(size))),
        };
        if len.is_some_and(|len| len < header_len) {
            return Err(Error::malformed(format!("box {} is smaller than its header", name(kind))));
        }
        Ok(Some(Self { kind, header_len, len }))
    }
}

/// The boxes that fill `data`. Ends at the first error. A remainder too short for a box is padding (QuickTime ends
/// lists with four zero bytes) and is passed over.
pub(super) fn children(data: &[u8]) -> impl Iterator<Item = Result<BoxRef<'_>, Error>> {
    let mut position = 0;
    std::iter::from_fn(move || {
        let rest = data.get(position..)?;
        if rest.len() < 8 {
            return None;
        }
        let found = child_at(rest, position);
        position = found.as_ref().map_or(data.len(), |found| position + found.raw.len());
        Some(found)
    })
}

/// The first box of that kind among the children of `data`.
pub(super) fn find(data: &[u8], kind: Kind) -> Result<Option<BoxRef<'_>>, Error> {
    for child in children(data) {
        let child = child?;
        if child.kind == kind {
            return Ok(Some(child));
        }
    }
    Ok(None)
}

pub(super) fn require(data: &[u8], kind: Kind) -> Result<&[u8], Error> {
    let found = find(data, kind)?.ok_or_else(|| Error::malformed(format!("no {} box", name(kind))))?;
    Ok(found.body)
}

/// A kind for messages: printable whatever the bytes are.
pub(super) fn name(kind: Kind) -> String {
    kind.escape_ascii().to_string()
}

pub(super) fn be_u16(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]))
}

pub(super) fn be_u32(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

pub(super) fn be_u64(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(be_u32(data, at)?) << 32 | u64::from(be_u32(data, at + 4)?))
}

fn child_at(rest: &[u8], position: usize) -> Result<BoxRef<'_>, Error> {
    let header = Header::parse(rest)?.ok_or_else(|| Error::malformed("cut box header"))?;
    let len = header.len.unwrap_or(rest.len() as u64);
    let raw = usize::try_from(len).ok().and_then(|len| rest.get(..len)).ok_or_else(|| {
        Error::malformed(format!("box {} reaches beyond what contains it", name(header.kind)))
    })?;
    // 8 or 16, and `parse` has checked that the box is no shorter.
    let header_len = header.header_len as usize;
    let body = raw.get(header_len..).ok_or_else(|| Error::malformed("cut box header"))?;
    Ok(BoxRef { kind: header.kind, body, body_start: position + header_len, raw })
}

/// Boxes being written, in memory. Everything written here is bounded far below 4 GiB by the limits on tables.
#[derive(Debug, Default)]
pub(super) struct Writer {
    buffer: Vec<u8>,
}

impl Writer {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { buffer: Vec::with_capacity(capacity) }
    }

    /// A box whose body is whatever `body` writes.
    pub(super) fn nest(&mut self, kind: Kind, body: impl FnOnce(&mut Self)) {
        let start = self.buffer.len();
        self.u32(0);
        self.raw(&kind);
        body(self);
        let len = (self.buffer.len() - start) as u32;
        self.patch_u32(start, len);
    }

    /// A full box: version and 24 bits of flags come first.
    pub(super) fn nest_full(&mut self, kind: Kind, version: u8, flags: u32, body: impl FnOnce(&mut Self)) {
        self.nest(kind, |w| {
            w.u32(u32::from(version) << 24 | flags);
            body(w);
        });
    }

    pub(super) fn position(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn patch_u32(&mut self, at: usize, value: u32) {
        if let Some(slot) = self.buffer.get_mut(at..at + 4) {
            slot.copy_from_slice(&value.to_be_bytes());
        }
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub(super) fn zeros(&mut self, count: usize) {
        self.buffer.resize(self.buffer.len() + count, 0);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_walked() {
        let mut w = Writer::default();
        w.nest(*b"moov", |w| {
            w.nest_full(*b"mvhd", 1, 2, |w| w.u64(7));
            w.nest(*b"free", |_| {});
        });
        w.zeros(4);
        let bytes = w.finish();
        let moov = require(&bytes, *b"moov").unwrap();
        let kinds: Vec<_> = children(moov).map(|child| child.unwrap().kind).collect();
        assert_eq!(kinds, [*b"mvhd", *b"free"]);
        assert_eq!(require(moov, *b"mvhd").unwrap(), [1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert!(find(&bytes, *b"mdat").unwrap().is_none());
    }

    #[test]
    fn sizes_that_lie_are_refused() {
        let cases: [(&str, &[u8]); 5] = [
            ("smaller than its header", b"\0\0\0\x07moov"),
            ("beyond the parent", b"\0\0\0\x09moov"),
            ("64-bit size cut off", b"\0\0\0\x01moov\0\0\0\0"),
            ("64-bit size below its header", b"\0\0\0\x01moov\0\0\0\0\0\0\0\x0f"),
            ("64-bit size overflows", b"\0\0\0\x01moov\xff\xff\xff\xff\xff\xff\xff\xff"),
        ];
        for (what, bytes) in cases {
            let mut walk = children(bytes);
            assert!(walk.next().unwrap().is_err(), "{what}");
            assert!(walk.next().is_none(), "{what}: the walk must end");
        }
    }

    #[test]
    fn size_zero_reaches_to_the_end() {
        let all: Vec<_> = children(b"\0\0\0\0mdatabc").map(Result::unwrap).collect();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].body, b"abc");
    }
}
