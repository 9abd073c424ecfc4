//! Where scraped samples go. Implemented by the store above, so that scraping does not know it.

use crate::model::{Labels, Sample};

/// Names a series for as long as the sink keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeriesId(pub u64);

/// What became of a batch of samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Appended {
    pub accepted: usize,
    /// Same time and value as the newest sample.
    pub duplicate: usize,
    pub out_of_order: usize,
    /// The series is gone: intern its labels again.
    pub unknown: usize,
    /// No room.
    pub refused: usize,
}

pub trait Sink: Send + Sync {
    /// None when there is no room for another series.
    fn intern(&self, labels: &Labels) -> Option<SeriesId>;

    fn append(&self, samples: &[(SeriesId, Sample)]) -> Appended;
}
