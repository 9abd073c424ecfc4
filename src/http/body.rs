//! The body of an answer as actix polls it, counting what goes out and reporting when it is over.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use actix_http::body::{BodySize, MessageBody};
use bytes::Bytes;
use futures_util::{Stream, stream::BoxStream};
use http::{Method, StatusCode};

use super::{access::Access, connection::Behind, data::Data, intake::Intake};
use crate::{
    admission::load::Place,
    delivery::{Body, BodyError, Route, Served},
};

/// An answer gives way to the others on its thread: after its first frame, when it has sent twice as much, and so on, at last
/// each time it has sent so much more. actix would write until the socket is full, megabytes, while others wait for their
/// first byte.
const TURN: u64 = 512 * 1024;

/// Shorter bodies go out through actix's write buffer, in one piece with the head. A copy of so few bytes costs less than a
/// second look at the connection.
const SHORT: u64 = 16 * 1024;

/// What is recorded when the answer is over.
pub struct Record {
    pub data: Arc<Data>,
    pub method: Method,
    pub route: Route,
    pub status: StatusCode,
    pub served: Served,
    pub started: Instant,
    /// The client has sent a body, in its own time.
    pub took_body: bool,
    pub access: Option<Box<Access>>,
    /// The request's body: while there is an answer, its end is waited for.
    pub _intake: Option<Intake>,
    /// Some of it may still come, so the connection has to be closed gently.
    pub unread: bool,
    /// The request's place counts until its answer is over.
    pub _place: Option<Place>,
}

pub struct Sending {
    source: Source,
    size: BodySize,
    /// Where its bytes can go instead of to actix, and whose turn it is.
    behind: Option<Behind>,
    framing: Framing,
    sent: u64,
    /// It gives way when it has sent so much.
    turn: u64,
    record: Record,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// By actix, which writes the body.
    Actix,
    /// By us: its bytes go around actix.
    Around,
    /// By us: it is the length that a body would have.
    HeadOnly,
}

/// Whether actix can be trusted to know if this answer has a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Alone,
    /// Other requests may have been read ahead.
    InLine,
}

enum Source {
    Full(Bytes),
    Stream(BoxStream<'static, Result<Bytes, BodyError>>),
}

impl Sending {
    /// `head_length` stands for the body of an answer to HEAD.
    pub fn new(
        body: Body,
        head_length: Option<u64>,
        record: Record,
        behind: Option<Behind>,
        turn: Turn,
    ) -> Self {
        let head = record.method == Method::HEAD;
        let (source, size) = match body {
            Body::Empty if head => {
                (Source::Full(Bytes::new()), head_length.map_or(BodySize::None, BodySize::Sized))
            }
            Body::Empty if record.status == StatusCode::NOT_MODIFIED => {
                (Source::Full(Bytes::new()), BodySize::None)
            }
            Body::Empty => (Source::Full(Bytes::new()), BodySize::Sized(0)),
            Body::Full(bytes) => {
                let size = BodySize::Sized(bytes.len() as u64);
                (Source::Full(bytes), size)
            }
            Body::Stream { length, bytes } => {
                (Source::Stream(bytes), length.map_or(BodySize::Stream, BodySize::Sized))
            }
        };
        let least = if turn == Turn::InLine { 1 } else { SHORT };
        let framing = match size {
            BodySize::Sized(length) if behind.is_some() && length >= least => match head {
                false => Framing::Around,
                true if turn == Turn::InLine => Framing::HeadOnly,
                true => Framing::Actix,
            },
            _ => Framing::Actix,
        };
        record.data.instruments().active.inc();
        // How long a client takes to send its own bytes is no latency of ours.
        if !record.took_body {
            record.data.instruments().headed(record.route, record.started.elapsed());
        }
        Self { source, size, behind, framing, sent: 0, turn: 1, record }
    }

    /// Whether there is nothing to come.
    pub fn is_over(&self) -> bool {
        matches!(&self.source, Source::Full(bytes) if bytes.is_empty()) || self.left() == Some(0)
    }

    /// Bytes to come, if that is known.
    pub fn left(&self) -> Option<u64> {
        match self.size {
            BodySize::Sized(length) => Some(length - self.sent),
            BodySize::None | BodySize::Stream => None,
        }
    }

    /// The length that is for us to tell.
    pub fn own_length(&self) -> Option<u64> {
        match self.size {
            BodySize::Sized(length) if self.framing != Framing::Actix => Some(length),
            _ => None,
        }
    }

    fn around(&self) -> Option<&Behind> {
        self.behind.as_ref().filter(|_| self.framing == Framing::Around)
    }
}

impl MessageBody for Sending {
    type Error = BodyError;

    fn size(&self) -> BodySize {
        if self.framing == Framing::Actix { self.size } else { BodySize::Stream }
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.around().is_some_and(|behind| behind.left() > 0) {
            // The connection wakes us when they are gone.
            return Poll::Pending;
        }
        if self.sent >= self.turn && matches!(self.source, Source::Stream(_)) {
            self.turn = self.sent + self.sent.min(TURN);
            give_way(context);
            return Poll::Pending;
        }
        let next = match &mut self.source {
            Source::Full(bytes) if bytes.is_empty() => None,
            Source::Full(bytes) => Some(Ok(std::mem::take(bytes))),
            Source::Stream(stream) => loop {
                match Pin::new(&mut *stream).poll_next(context) {
                    // Nobody would be woken when nothing has gone out.
                    Poll::Ready(Some(Ok(bytes))) if bytes.is_empty() => {}
                    Poll::Ready(next) => break next,
                    Poll::Pending => return Poll::Pending,
                }
            },
        };
        let left = self.around().and(self.own_length()).map(|length| length - self.sent);
        match (next, self.around()) {
            (Some(Ok(mut bytes)), behind) => {
                // What actix sees to, where it writes the body itself.
                if let Some(left) = left {
                    bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    if bytes.is_empty() {
                        return Poll::Ready(None);
                    }
                }
                let length = bytes.len() as u64;
                let passed = match behind {
                    // actix flushes whenever there is no more to be had for now.
                    Some(behind) => {
                        behind.put(bytes);
                        Poll::Pending
                    }
                    None => Poll::Ready(Some(Ok(bytes))),
                };
                self.sent += length;
                passed
            }
            (Some(Err(error)), _) => {
                tracing::warn!("a transfer to a client broke: {error}");
                Poll::Ready(Some(Err(error)))
            }
            (None, _) => match left.filter(|left| *left > 0) {
                // The connection has to end, or the next answer would be read as the rest of this one.
                Some(missing) => Poll::Ready(Some(Err(BodyError::Short { missing }))),
                None => Poll::Ready(None),
            },
        }
    }
}

/// Polls again after all others that are ready, also those that another thread has woken: the worker looks at these only
/// when it has none of its own left, so a mere wake would let the first few connections keep the thread to themselves.
fn give_way(context: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(context);
}

impl Drop for Sending {
    fn drop(&mut self) {
        let Record { data, method, route, status, served, started, access, .. } = &self.record;
        let took = started.elapsed();
        let unsent = self.around().map_or(0, Behind::take_back);
        if let Some(behind) = &self.behind {
            behind.order().end();
            if self.record.unread {
                behind.linger();
            }
        }
        let sent = self.sent - unsent;
        if let Some(access) = access {
            access.log(method, *route, *status, served, sent, took);
        }
        data.instruments().active.dec();
        data.instruments().answered(method, *route, *status, served, sent, took);
    }
}
