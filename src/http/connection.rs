//! A client's connection, and what is said on it before the answer that is due.
//!
//! actix has one answer for a request. Interim answers, such as 103 Early Hints, are written below it, whenever it flushes: it
//! does so when it has nothing left to write, so that all it has begun is on the wire whole, and the answer that is due has not
//! begun, since the interim answers that are left are dropped when the handler has it.
//!
//! Long bodies do not pass through actix either, which would copy them into its write buffer: they are written behind what it
//! holds there, straight from where they are.
//!
//! And when actix has nothing to do, what need not reach it does not: see [`super::below`].

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io::{self, IoSlice},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{Notify, mpsc},
    task::yield_now,
    time::{Duration, Instant, Sleep, sleep},
};

use super::{
    below::{Below, Taken},
    data::Data,
    link::{Client, Link},
    order::{Order, Piece},
    pace::{Least, Pace},
    stream::Stream,
    translate,
};
use crate::{
    admission::load::Held,
    delivery::{Interim, Loan},
};

/// Interim answers to one request.
const MOST: usize = 16;

/// Bytes of interim answers that a client has not taken; with more, no further ones are taken for it.
const MOST_BYTES: usize = 64 << 10;

/// What a connection takes while nothing is asked on it: actix's buffers, and their bookkeeping.
const IDLE: usize = 19 << 10;

/// A handler that is not done is looked at up to twice before actix flushes.
const TURNS: usize = 3;

pub struct Connection {
    stream: Stream,
    before: Before,
    behind: Behind,
    client: Client,
    pace: Pace,
    below: Option<Below>,
    lingering: Option<Lingering>,
    _loan: Option<Loan>,
    /// It counts as long as it is there.
    _held: Held,
}

/// The interim answers of a connection.
#[derive(Clone, Default)]
pub struct Before(Rc<RefCell<Said>>, Rc<Left>);

/// Whether the client has ended its side.
#[derive(Default)]
struct Left {
    ended: Cell<bool>,
    told: Notify,
}

#[derive(Default)]
struct Said {
    /// To the request that is being handled.
    waiting: BytesMut,
    /// The rest of what is partly on the wire.
    begun: BytesMut,
}

/// The part of a body that is written behind all that actix has to write. Whoever puts it there gives actix nothing more to
/// write until it is gone, and is woken then.
#[derive(Clone, Default)]
pub struct Behind(Rc<Lane>);

#[derive(Default)]
struct Lane {
    bytes: RefCell<Bytes>,
    order: Order,
    /// See [`Behind::linger`].
    lingers: Cell<bool>,
}

impl Behind {
    pub fn order(&self) -> &Order {
        &self.0.order
    }

    /// When nothing is left.
    pub fn put(&self, bytes: Bytes) {
        *self.0.bytes.borrow_mut() = bytes;
    }

    pub fn left(&self) -> usize {
        self.0.bytes.borrow().len()
    }

    /// All that is read from now on is for nobody: it is read for a while, so that a client which still sends hears the answer, and
    /// then no more. To close at once would reset the connection, and the answer might go with it (RFC 9112 §9.6).
    pub fn linger(&self) {
        self.0.lingers.set(true);
    }

    /// What is left is not to be written any more; how much that was.
    pub fn take_back(&self) -> u64 {
        std::mem::take(&mut *self.0.bytes.borrow_mut()).len() as u64
    }
}

impl Connection {
    pub fn new(stream: Stream, client: Client, least: Least, held: Held) -> Self {
        let (before, behind) = (Before::default(), Behind::default());
        let (below, lingering) = (None, None);
        let pace = Pace::new(least);
        Self { stream, before, behind, client, pace, below, lingering, _loan: None, _held: held }
    }

    /// The same, which answers what actix need not see.
    pub fn answering(self, data: Arc<Data>) -> Self {
        let loan = Some(data.delivery.lend_connection(IDLE));
        let below = Some(Below::new(data, self.client));
        Self { below, _loan: loan, ..self }
    }

    pub fn link(&self) -> Link {
        Link { client: self.client, before: self.before.clone(), behind: Some(self.behind.clone()) }
    }

    /// What was read, before actix gets it.
    fn take(&mut self, read: &[u8]) -> Taken {
        let order = self.behind.order();
        match &self.below {
            Some(below) if order.can_be_told() => {
                below.take(read, order.is_idle(), &mut self.before.0.borrow_mut().begun)
            }
            _ => Taken::Left(Piece::Other),
        }
    }

    fn poll_begun(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, before, pace, .. } = self;
        let begun = &mut before.0.borrow_mut().begun;
        while !begun.is_empty() {
            let written = Pin::new(&mut *stream).poll_write(context, begun);
            match ready!(pace.judge(written, context))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => begun.advance(written),
            }
        }
        if begun.capacity() > 0 {
            // Connections that wait hold nothing.
            *begun = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_behind(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, behind, pace, .. } = self;
        let behind = &mut *behind.0.bytes.borrow_mut();
        if behind.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !behind.is_empty() {
            let written = Pin::new(&mut *stream).poll_write(context, behind);
            match ready!(pace.judge(written, context))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => behind.advance(written),
            }
        }
        // The body may go on.
        context.waker().wake_by_ref();
        Poll::Ready(Ok(()))
    }
}

impl Before {
    /// Waits for an answer and says meanwhile what comes before it.
    pub async fn wait<T>(
        &self,
        mut interims: mpsc::Receiver<Box<Interim>>,
        answer: impl Future<Output = T>,
    ) -> T {
        // Also when nobody waits any more.
        let _due = Due(self);
        let mut answer = pin!(answer);
        let mut left = MOST;
        let answer = loop {
            tokio::select! {
                biased;
                Some(interim) = interims.recv(), if left > 0 => self.say(&interim, &mut left),
                answer = &mut answer => break answer,
            }
        };
        // Said before the answer was there, though seen at the same time.
        while left > 0
            && let Ok(interim) = interims.try_recv()
        {
            self.say(&interim, &mut left);
        }
        // Once more actix flushes before it gets the answer, unless the client does not read.
        for _ in 0..TURNS {
            if self.0.borrow().waiting.is_empty() {
                break;
            }
            yield_now().await;
        }
        answer
    }

    /// Resolves when the client has ended its side. It may still read, but hardly any does.
    pub async fn left(&self) {
        while !self.1.ended.get() {
            self.1.told.notified().await;
        }
    }

    fn say(&self, interim: &Interim, left: &mut usize) {
        *left -= 1;
        let waiting = &mut self.0.borrow_mut().waiting;
        if waiting.len() < MOST_BYTES {
            translate::interim(interim, waiting);
        }
    }
}

struct Due<'a>(&'a Before);

impl Drop for Due<'_> {
    fn drop(&mut self) {
        self.0.0.borrow_mut().waiting.clear();
    }
}

/// A connection that is about to be closed; for how long in all is actix's to see to.
struct Lingering {
    read: usize,
    silence: Pin<Box<Sleep>>,
}

impl Lingering {
    /// A client that has not stopped by now does not look at its answer.
    const MOST: usize = 64 << 20;
    /// One that has stopped may still have something on its way.
    const SILENCE: Duration = Duration::from_secs(2);

    fn new() -> Self {
        Self { read: 0, silence: Box::pin(sleep(Self::SILENCE)) }
    }

    /// Whether that was enough.
    fn is_over(&mut self, read: usize, context: &mut Context<'_>) -> bool {
        if read > 0 {
            self.read += read;
            self.silence.as_mut().reset(Instant::now() + Self::SILENCE);
        }
        self.read > Self::MOST || self.silence.as_mut().poll(context).is_ready()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.behind.0.lingers.get() {
            let before = buffer.filled().len();
            let Self { stream, lingering, .. } = &mut *self;
            let polled = Pin::new(stream).poll_read(context, buffer);
            let read = buffer.filled().len() - before;
            let is_over = lingering.get_or_insert_with(Lingering::new).is_over(read, context);
            if is_over {
                // The end, as far as actix knows.
                buffer.set_filled(before);
                return Poll::Ready(Ok(()));
            }
            return polled;
        }
        if self.behind.order().is_idle() {
            // Answers from below go out one by one.
            ready!(self.poll_begun(context))?;
        }
        loop {
            let before = buffer.filled().len();
            let room = buffer.remaining() > 0;
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
            if read.is_err() || (room && buffer.filled().len() == before) {
                self.before.1.ended.set(true);
                self.before.1.told.notify_waiters();
                return Poll::Ready(read);
            }
            match self.take(&buffer.filled()[before..]) {
                Taken::Left(piece) => {
                    self.behind.order().has_read(piece);
                    return Poll::Ready(read);
                }
                Taken::Answered => buffer.set_filled(before),
            }
            ready!(self.poll_begun(context))?;
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_begun(context))?;
        let Self { stream, behind, pace, .. } = &mut *self;
        let behind = &mut *behind.0.bytes.borrow_mut();
        if behind.is_empty() {
            let written = Pin::new(stream).poll_write(context, bytes);
            return pace.judge(written, context);
        }
        // actix gives all it holds, so this ends where the body begins.
        let both = [IoSlice::new(bytes), IoSlice::new(behind)];
        let written = Pin::new(stream).poll_write_vectored(context, &both);
        let written = ready!(pace.judge(written, context))?;
        let of_behind = written.saturating_sub(bytes.len());
        behind.advance(of_behind);
        if behind.is_empty() {
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(written - of_behind))
    }

    /// Of who has nothing behind it.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_begun(context))?;
        if self.behind.left() > 0 {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(context, first.map_or(&[], |slice| slice));
        }
        let Self { stream, pace, .. } = &mut *self;
        let written = Pin::new(stream).poll_write_vectored(context, slices);
        pace.judge(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        {
            let bytes = &mut *self.before.0.borrow_mut();
            bytes.begun.unsplit(bytes.waiting.split());
        }
        ready!(self.poll_begun(context))?;
        ready!(self.poll_behind(context))?;
        let Self { stream, pace, .. } = &mut *self;
        match Pin::new(stream).poll_flush(context) {
            // TLS holds some of what was written.
            Poll::Pending => pace.poll_slow(context).map(Err),
            flushed => {
                self.behind.order().has_written();
                flushed
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
