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
