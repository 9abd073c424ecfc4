//! Fragments of a rung's segment as they are sent: ffmpeg's pictures under the times of the source's segment.

use bytes::Bytes;

use super::super::boxes::Writer;
use super::super::fmp4::{NON_SYNC_FLAGS, STYP, SYNC_FLAGS, TRACK_ID};
use super::super::track::Track;
use super::fragments::Picture;

/// Where a segment is in being written.
#[derive(Debug)]
pub(super) struct Chunks {
    /// Segment number, from 1.
    number: u32,
    written: u32,
    /// Sample of the source whose decode time comes next.
    next: u32,
}

impl Chunks {
    pub(super) fn new(number: u32, first: u32) -> Self {
        Self { number, written: 0, next: first }
    }

    pub(super) fn pictures(&self, first: u32) -> u32 {
        self.next - first
    }

    /// `moof` and the header of `mdat`; the picture data follow. `times` of pictures are those of the output.
    ///
    /// Decode times are the source's, one after the other: they ascend, and add up over all segments. The encoder's own order
    /// shows in the composition offsets, which may be negative.
    pub(super) fn header(&mut self, track: &Track, pictures: &[Picture], data_len: usize) -> Bytes {
        let mut w = Writer::with_capacity(160 + pictures.len() * 16);
        if self.written == 0 {
            w.raw(STYP);
        }
        let moof = w.position();
        let sequence = self.number.wrapping_mul(256).wrapping_add(self.written);
        self.written += 1;
        let decode = |index| track.samples.decode_time(index) as i64 + track.decode_shift;
        let mut data_offset_at = 0;
        w.nest(*b"moof", |w| {
            w.nest_full(*b"mfhd", 0, 0, |w| w.u32(sequence));
            w.nest(*b"traf", |w| {
                // default-base-is-moof
                w.nest_full(*b"tfhd", 0, 0x02_0000, |w| w.u32(TRACK_ID));
                w.nest_full(*b"tfdt", 1, 0, |w| w.u64(u64::try_from(decode(self.next)).unwrap_or(0)));
                // Duration, size, flags and offset of each.
                w.nest_full(*b"trun", 1, 0xf01, |w| {
                    w.u32(pictures.len() as u32);
                    data_offset_at = w.position();
                    w.u32(0);
                    for picture in pictures {
                        let (now, then) = (decode(self.next), decode(self.next + 1));
                        w.u32(u32::try_from(then - now).unwrap_or(0));
                        w.u32(picture.size);
                        w.u32(if picture.keyframe { SYNC_FLAGS } else { NON_SYNC_FLAGS });
                        w.i32(i32::try_from(picture.time - now).unwrap_or(0));
                        self.next += 1;
                    }
                });
            });
        });
        let data_offset = (w.position() - moof + 8) as u32;
        w.patch_u32(data_offset_at, data_offset);
        w.u32((data_len + 8) as u32);
        w.raw(b"mdat");
        w.finish().into()
    }
}
