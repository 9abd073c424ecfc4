//! Which pictures make up a segment of a rung, from which samples they are decoded, and when they are shown and decoded in the
//! output: as in the source's own segment, so that players can change between them at any cut.

use super::super::Error;
use super::super::excerpt::Excerpt;
use super::super::samples::Sample;
use super::super::segments::Segment;
use super::super::track::Track;

/// Pictures that may come after a keyframe and be shown before it. Encoders put in a few.
const MAX_LEADING: u32 = 64;

#[derive(Debug)]
pub(super) struct Cut {
    pub(super) excerpt: Excerpt,
    /// When the pictures are shown, ascending, in ticks of the output.
    pub(super) times: Vec<i64>,
    /// Added to a time as ffmpeg sees it.
    pub(super) shift: i64,
    /// The sample of the source whose decode time the first picture gets.
    pub(super) first: u32,
}

impl Cut {
    /// Of segment `index` (from 0).
    ///
    /// A keyframe may be followed by pictures that are shown before it and refer to what is before it (open GOP). They belong
    /// to the end of the segment before, where what they refer to is at hand, together with the keyframe they refer to.
    pub(super) fn of(track: &Track, segments: &[Segment], index: usize) -> Result<Self, Error> {
        let segment = segments.get(index).ok_or(Error::NotFound)?;
        let next = segments.get(index + 1);
        let mut range = segment.samples.clone();
        let first = range.start + leading(track, range.start);
        if let Some(next) = next {
            let late = leading(track, next.samples.start);
            if late > 0 {
                range.end = next.samples.start + 1 + late;
            }
        }
        let until = next.map_or(i64::MAX, |next| next.start);
        let shown = |sample: &Sample| track.presentation_time(sample);
        let times = track.samples.iter(range.clone()).map(|sample| shown(&sample));
        let mut times: Vec<i64> = times.filter(|time| (segment.start..until).contains(time)).collect();
        times.sort_unstable();
        if times.is_empty() {
            return Err(Error::malformed("a segment without pictures"));
        }
        let excerpt = Excerpt::new(track, range.clone())?;
        let sample = track.samples.get(range.start).ok_or(Error::NotFound)?;
        let shift = track.presentation_time(&sample) - excerpt.time_of(&sample);
        Ok(Self { excerpt, times, shift, first })
    }

    /// The first picture alone.
    pub(super) fn beginning(track: &Track, segments: &[Segment]) -> Result<Self, Error> {
        let segment = segments.first().ok_or(Error::NotFound)?;
        let key = segment.samples.start;
        let sample = track.samples.get(key).ok_or(Error::NotFound)?;
        let excerpt = Excerpt::new(track, key..key + 1)?;
        let shift = track.presentation_time(&sample) - excerpt.time_of(&sample);
        Ok(Self { excerpt, times: vec![track.presentation_time(&sample)], shift, first: key })
    }

    /// Times of the first and the last picture, as ffmpeg sees them.
    pub(super) fn wanted(&self) -> (i64, i64) {
        let at = |time: Option<&i64>| time.copied().unwrap_or(0) - self.shift;
        (at(self.times.first()), at(self.times.last()))
    }
}

/// How many pictures after this keyframe are shown before it.
fn leading(track: &Track, keyframe: u32) -> u32 {
    let mut samples = track.samples.iter(keyframe..track.end.min(keyframe + 1 + MAX_LEADING));
    let Some(key) = samples.next() else { return 0 };
    let time = key.composition_time();
    // At most MAX_LEADING.
    samples.take_while(|sample| sample.composition_time() < time).count() as u32
}
