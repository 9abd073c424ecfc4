//! Edit lists (ISO/IEC 14496-12 §8.6.6): which part of a track is presented, and when. Understood are an initial delay
//! and one stretch of media, which is all that cameras and encoders write; real montages are refused.

use mp4_atom::{Atom, Elst};

use super::Error;
use super::boxes::{be_u32, find};

/// Entries looked at; understood are only a few.
const MAX_EDITS: u32 = 4096;
/// Times beyond this (in any timescale) are nonsense; below it, sums cannot overflow.
const MAX_TICKS: i128 = 1 << 54;

/// The part of a track that is presented, in its own timescale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Edit {
    /// Presentation starts this late.
    pub(super) delay: i64,
    /// Composition time of what is presented first.
    pub(super) media_start: i64,
    /// Composition time at which the presentation ends, if the edit says so. Includes one tick of the movie's
    /// timescale of tolerance, since durations are rounded to it.
    pub(super) media_end: Option<i64>,
}

impl Edit {
    /// The same on a clock that shows 0 where this one shows `first`. Of fragments, the end is not known when the edit is written.
    pub(super) fn from(self, first: u64) -> Self {
        // Times of fragments are below 2^53.
        let late = first as i64 - self.media_start;
        Self { delay: self.delay + late.max(0), media_start: (-late).max(0), media_end: None }
    }
}

/// `trak` is the body of that box.
pub(super) fn read(trak: &[u8], movie_timescale: u32, timescale: u32) -> Result<Edit, Error> {
    let Some(edts) = find(trak, *b"edts")? else { return Ok(Edit::default()) };
    let Some(elst) = find(edts.body, *b"elst")? else { return Ok(Edit::default()) };
    if be_u32(elst.body, 4).is_none_or(|count| count > MAX_EDITS) {
        return Err(Error::malformed("elst has too many entries"));
    }
    let elst = Elst::decode_body(&mut &*elst.body).map_err(|e| Error::malformed(format!("elst: {e}")))?;
    let to_media = |ticks: u64| {
        let ticks = i128::from(ticks) * i128::from(timescale);
        let movie = i128::from(movie_timescale);
        ticks_in_range((ticks + movie / 2) / movie)
    };

    let mut edit = Edit::default();
    let mut started = false;
    for entry in &elst.entries {
        let Some(media_time) = entry.media_time else {
            if !started {
                edit.delay =
                    ticks_in_range(i128::from(edit.delay) + i128::from(to_media(entry.segment_duration)?))?;
            }
            continue;
        };
        if entry.media_rate.integer() != 1 || entry.media_rate.decimal() != 0 {
            return Err(Error::unsupported("an edit list that changes speed"));
        }
        let media_time = ticks_in_range(media_time.into())?;
        if started {
            return Err(Error::unsupported("an edit list with several edits"));
        }
        started = true;
        edit.media_start = media_time;
        if entry.segment_duration > 0 {
            let tolerated = entry.segment_duration.saturating_add(1);
            edit.media_end = Some(ticks_in_range(i128::from(media_time) + i128::from(to_media(tolerated)?))?);
        }
    }
    Ok(edit)
}

fn ticks_in_range(ticks: i128) -> Result<i64, Error> {
    match i64::try_from(ticks) {
        Ok(narrow) if ticks < MAX_TICKS => Ok(narrow),
        _ => Err(Error::malformed("an edit beyond the end of time")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::boxes::Writer;
    use super::*;

    /// Entries are (duration in thousandths, media time, rate in 1/65536).
    fn edit(entries: &[(u64, i64, u32)]) -> Result<Edit, Error> {
        let mut w = Writer::default();
        w.nest(*b"edts", |w| {
            w.nest_full(*b"elst", 1, 0, |w| {
                w.u32(entries.len() as u32);
                for &(duration, media_time, rate) in entries {
                    w.u64(duration);
                    w.u64(media_time as u64);
                    w.u32(rate);
                }
            });
        });
        read(&w.finish(), 1000, 12800)
    }

    const ONE: u32 = 0x1_0000;

    #[test]
    fn what_is_understood() {
        assert_eq!(read(&[], 1000, 12800).unwrap(), Edit::default());
        let plain = Edit { delay: 0, media_start: 1024, media_end: None };
        assert_eq!(edit(&[(0, 1024, ONE)]).unwrap(), plain);
        // One thousandth more than it says, in media ticks.
        let ended = Edit { media_end: Some(1024 + 12813), ..plain };
        assert_eq!(edit(&[(1000, 1024, ONE)]).unwrap(), ended);
        let late = Edit { delay: 19200, ..ended };
        assert_eq!(edit(&[(1000, -1, ONE), (500, -1, ONE), (1000, 1024, ONE)]).unwrap(), late);
        assert_eq!(edit(&[(1000, 1024, ONE), (500, -1, ONE)]).unwrap(), ended, "silence at the end");
    }

    #[test]
    fn what_is_refused() {
        let unsupported: [&[(u64, i64, u32)]; 3] =
            [&[(1000, 0, ONE), (1000, 25600, ONE)], &[(1000, 0, 2 * ONE)], &[(1000, 0, 0)]];
        for entries in unsupported {
            assert!(matches!(edit(entries), Err(Error::Unsupported { .. })), "{entries:?}");
        }
        let malformed: [&[(u64, i64, u32)]; 4] = [
            &[(1000, -2, ONE)],
            &[(u64::MAX, -1, ONE), (1000, 0, ONE)],
            &[(u64::MAX, 0, ONE)],
            &[(1000, i64::MAX, ONE)],
        ];
        for entries in malformed {
            assert!(matches!(edit(entries), Err(Error::Malformed { .. })), "{entries:?}");
        }
    }
}
