//! A body on its way from an upstream, cut where blocks end.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use millrace_kit::metrics::IntCounter;

use crate::{cache::Loan, origin};

/// An upstream body, and the offset of its next byte.
pub struct Opened {
    /// Where it comes from.
    pub origin: Arc<str>,
    pub body: origin::Body,
    pub offset: u64,
    start: u64,
    /// Where it ends short of the object's end, as it says itself.
    end: Option<u64>,
    /// What has come of it and was not taken yet; `offset` is where it begins.
    pub rest: Bytes,
    _loan: Loan,
}

impl Opened {
    /// `loan` is for what the network holds of it.
    pub fn new(origin: Arc<str>, body: origin::Body, offset: u64, end: Option<u64>, loan: Loan) -> Self {
        Self { origin, body, offset, start: offset, end, rest: Bytes::new(), _loan: loan }
    }

    /// Whether an end at `position` is no fault: it was announced, and a block was completed. An origin that brings less
    /// at a time is not asked again and again.
    pub(super) fn ends_well(&self, position: u64, block_size: u64) -> bool {
        let far_enough = position.is_multiple_of(block_size) || position >= self.start + block_size;
        self.end == Some(position) && far_enough
    }

    /// The next bytes at `position`, no further than to the end of its block, so that each block is an occasion to
    /// look up. Empty while the body is still before the position.
    pub(super) async fn piece(
        &mut self,
        position: u64,
        block_size: u64,
        end: Option<u64>,
        received: &IntCounter,
    ) -> Option<Result<Bytes, origin::Error>> {
        if self.rest.is_empty() {
            match self.body.next().await? {
                Ok(chunk) => {
                    received.inc_by(chunk.len() as u64);
                    self.rest = chunk;
                }
                Err(error) => return Some(Err(error)),
            }
        }
        let before = position.saturating_sub(self.offset).min(self.rest.len() as u64);
        self.rest.advance(before as usize);
        let block_end = (position / block_size + 1) * block_size;
        let room = end.map_or(block_end, |end| block_end.min(end)) - position;
        let piece = self.rest.split_to(self.rest.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
        self.offset += before + piece.len() as u64;
        Some(Ok(piece))
    }
}
