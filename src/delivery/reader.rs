//! Reads a range of an object: inline bytes, stored blocks, and transfers that bring what is missing.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream};

use super::fill::{Attachment, Cover, Error, Fills, NEAR, Object, Pace, Taken, Transfer};
use crate::cache::{Content, Incarnation, Pin};

/// Bytes of a streamed body handed on at once: each connection holds as much. A write of four times the 64 KiB that the network
/// takes as one costs an eighth less of a cold miss's time than four of one.
const FRAME: usize = 256 * 1024;
/// The first frame is shorter, and each next one twice as long: many clients may wait for their first bytes.
const FIRST_FRAME: usize = 16 * 1024;

/// A block that is said to be stored is looked for this often.
const MAX_LOOKS: u32 = 3;

/// A reader in the midst of a body waits as long, and so often, when there is no memory to fetch the rest.
const REFUSED: Duration = Duration::from_millis(500);
const MAX_REFUSALS: u32 = 60;

pub struct Reader {
    fills: Arc<Fills>,
    object: Object,
    offset: u64,
    /// None: to the end, wherever that will be.
    end: Option<u64>,
    pace: Pace,
    attachment: Option<Attachment>,
    /// Most bytes of the next frame.
    frame: usize,
    /// The stored block under the offset.
    block: Option<(u32, Bytes)>,
    /// The stored block that was asked for last.
    asked: Option<u32>,
    /// None before the first bytes, and of what is held inline.
    pin: Option<Pin>,
}

impl Reader {
    /// `following` is the transfer that is known to bring the body, if any.
    pub fn new(
        fills: Arc<Fills>,
        object: Object,
        range: Range<u64>,
        pace: Pace,
        following: Option<&Arc<Transfer>>,
    ) -> Self {
        let near = NEAR * u64::from(fills.store().block_size());
        let following = following.filter(|transfer| !transfer.is_far_from(range.start, near));
        let attachment = following.map(Transfer::attach);
        Self {
            fills,
            object,
            offset: range.start,
            end: Some(range.end),
            pace,
            attachment,
            frame: FIRST_FRAME,
            block: None,
            asked: None,
            pin: None,
        }
    }

    /// For an object whose length is not known before its transfer is done.
    pub fn to_the_end(fills: Arc<Fills>, object: Object, following: &Arc<Transfer>) -> Self {
        let attachment = Some(following.attach());
        Self {
            fills,
            object,
            offset: 0,
            end: None,
            pace: Pace::Whole,
            attachment,
            frame: FIRST_FRAME,
            block: None,
            asked: None,
            pin: None,
        }
    }

    /// The next bytes, at most [`FRAME`] of them; None at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        if self.end.is_some_and(|end| self.offset >= end) {
            return None;
        }
        let bytes = match self.fetch().await {
            Ok(Some(bytes)) => bytes,
            Ok(None) if self.end.is_none() => return None,
            Ok(None) => return Some(Err(Error::Truncated)),
            Err(error) => return Some(Err(error)),
        };
        let left =
            self.end.map_or(usize::MAX, |end| usize::try_from(end - self.offset).unwrap_or(usize::MAX));
        let frame = self.framed(bytes, left);
        self.frame = FRAME.min(2 * self.frame);
        self.offset += frame.len() as u64;
        Some(Ok(frame))
    }

    /// At most a frame of `bytes` and no more than `left`, of which nothing else is kept alive where too many read at a time.
    fn framed(&mut self, bytes: Bytes, left: usize) -> Bytes {
        let length = bytes.len().min(left).min(self.frame);
        let copies = match self.object.head.content {
            Content::Inline(_) => None,
            Content::Blocks { .. } => self.pin.get_or_insert_with(|| self.fills.store().pin()).copies(),
        };
        match copies {
            None => bytes.slice(..length),
            Some(most) => {
                self.block = None;
                Bytes::copy_from_slice(&bytes[..length.min(most)])
            }
        }
    }

    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send {
        stream::unfold(Some(self), |reader| async move {
            let mut reader = reader?;
            match reader.next().await? {
                Ok(bytes) => Some((Ok(bytes), Some(reader))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// Some bytes at the offset; None when the object ends there.
    async fn fetch(&mut self) -> Result<Option<Bytes>, Error> {
        let (incarnation, block_size) = match &self.object.head.content {
            Content::Inline(bytes) => {
                let skip = usize::try_from(self.offset).unwrap_or(usize::MAX).min(bytes.len());
                return Ok((skip < bytes.len()).then(|| bytes.slice(skip..)));
            }
            Content::Blocks { incarnation, block_size } => (*incarnation, u64::from(*block_size)),
        };
        let (mut found_none, mut refused) = (0, 0);
        loop {
            if let Some(attachment) = &mut self.attachment {
                attachment.look();
                attachment.wants(self.offset);
                match attachment.transfer.take(self.offset) {
                    Taken::Bytes(bytes) => {
                        self.block = None;
                        return Ok(Some(bytes));
                    }
                    Taken::Pending => {
                        attachment.changed().await;
                        continue;
                    }
                    Taken::End => return Ok(None),
                    Taken::Failed(Error::Full) => {
                        self.attachment = None;
                        self.wait_for_memory(&mut refused).await?;
                    }
                    Taken::Failed(error) => return Err(error),
                    Taken::NotCovered => self.attachment = None,
                    Taken::Stored => {}
                }
            }
            if let Some(bytes) = self.stored(incarnation, block_size).await {
                return Ok(Some(bytes));
            }
            // Evicted since, or never there.
            if self.end.is_none() && self.learns_the_end().await {
                continue;
            }
            let cover = self.end.and_then(|end| self.fills.cover(&self.object, self.offset..end, self.pace));
            match cover {
                Some(Cover::Transfer(attachment)) => self.attachment = Some(attachment),
                Some(Cover::Refused) => self.wait_for_memory(&mut refused).await?,
                Some(Cover::Stored) if found_none < MAX_LOOKS => {
                    found_none += 1;
                    if found_none > 1 {
                        // In the index, and not to be read: it is fetched again.
                        self.fills.store().forget_block(incarnation, (self.offset / block_size) as u32);
                    }
                }
                Some(Cover::Stored) | None => {
                    self.fills.store().replace_head(&self.object.key, incarnation, None).await;
                    return Err(Error::NotResumable);
                }
            }
        }
    }

    /// A client that has had some of it is not told: there may be memory in a while.
    async fn wait_for_memory(&self, refused: &mut u32) -> Result<(), Error> {
        if self.pin.is_none() || *refused >= MAX_REFUSALS {
            return Err(Error::Full);
        }
        *refused += 1;
        tokio::time::sleep(REFUSED).await;
        Ok(())
    }

    /// Parts of a body that came without a length can be asked for once its transfer has told the length.
    async fn learns_the_end(&mut self) -> bool {
        let Some(attachment) = self.attachment.as_mut().filter(|_| self.object.head.has_strong_validator())
        else {
            return false;
        };
        attachment.transfer.ended().await;
        self.end = attachment.transfer.object_length();
        let Some(end) = self.end else { return false };
        self.object.head = self.object.head.with_content(end, self.object.head.content.clone()).into();
        true
    }

    async fn stored(&mut self, incarnation: Incarnation, block_size: u64) -> Option<Bytes> {
        let index = u32::try_from(self.offset / block_size).ok()?;
        let bytes = match &self.block {
            Some((held, bytes)) if *held == index => bytes.clone(),
            _ => {
                let bytes = self.stored_block(incarnation, index).await?;
                self.block = Some((index, bytes.clone()));
                bytes
            }
        };
        let skip = usize::try_from(self.offset % block_size).unwrap_or(usize::MAX);
        let rest = (skip < bytes.len()).then(|| bytes.slice(skip..))?;
        if rest.len() <= FRAME {
            // The last frame of this block: waiting for the next one must not keep this one in memory.
            self.block = None;
        }
        Some(rest)
    }

    /// Counted once for each block, in however many pieces it is copied.
    async fn stored_block(&mut self, incarnation: Incarnation, index: u32) -> Option<Bytes> {
        let store = self.fills.store();
        if self.asked != Some(index) {
            let bytes = store.block(incarnation, index).await?;
            self.asked = Some(index);
            return Some(bytes);
        }
        if let Some(bytes) = store.block_again(incarnation, index) {
            return Some(bytes);
        }
        if let Some(pin) = &mut self.pin {
            pin.keep();
        }
        store.reload_block(incarnation, index).await
    }
}
