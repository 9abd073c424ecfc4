//! The body of an answer as actix polls it, counting what goes out and reporting when it is over.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use futures_util::{Stream, stream::BoxStream};
use http::{Method, StatusCode};

use super::{access::Access, data::Data};
use crate::delivery::{Body, BodyError, Route, Served};

/// An answer gives way to the others on its thread: after its first frame, when it has sent twice as much, and so on, at last
/// each time it has sent so much more. actix would write until the socket is full, megabytes, while others wait for their
/// first byte.
const TURN: u64 = 512 * 1024;

/// Bytes of a body in memory handed to actix at once: few system calls, and a copy into the connection's write buffer that is
/// still in the CPU's cache when the kernel copies it on. Larger than the buffer that actix keeps (128 KiB), so that an idle
/// connection holds none.
const FRAME: usize = 256 * 1024;

/// What is recorded when the answer is over.
pub struct Record {
    pub data: Arc<Data>,
    pub method: Method,
    pub route: Route,
    pub status: StatusCode,
    pub served: Served,
    pub started: Instant,
    pub access: Option<Box<Access>>,
}

pub struct Sending {
    source: Source,
    size: BodySize,
    sent: u64,
    /// It gives way when it has sent so much.
    turn: u64,
    record: Record,
}

enum Source {
    Full(Bytes),
    Stream(BoxStream<'static, Result<Bytes, BodyError>>),
}

impl Sending {
    /// `head_length` stands for the body of an answer to HEAD.
    pub fn new(body: Body, head_length: Option<u64>, record: Record) -> Self {
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
        record.data.instruments().active.inc();
        Self { source, size, sent: 0, turn: 1, record }
    }
}

impl MessageBody for Sending {
    type Error = BodyError;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.sent >= self.turn && matches!(self.source, Source::Stream(_)) {
            self.turn = self.sent + self.sent.min(TURN);
            give_way(context);
            return Poll::Pending;
        }
        let next = match &mut self.source {
            Source::Full(bytes) if bytes.is_empty() => None,
            Source::Full(bytes) => Some(Ok(bytes.split_to(bytes.len().min(FRAME)))),
            Source::Stream(stream) => match Pin::new(stream).poll_next(context) {
                Poll::Ready(next) => next,
                Poll::Pending => return Poll::Pending,
            },
        };
        match &next {
            Some(Ok(bytes)) => self.sent += bytes.len() as u64,
            Some(Err(error)) => tracing::warn!("a transfer to a client broke: {error}"),
            None => {}
        }
        Poll::Ready(next)
    }
}

/// Polls again after all others that are ready, also those that another thread has woken: the worker looks at these only
/// when it has none of its own left, so a mere wake would let the first few connections keep the thread to themselves.
fn give_way(context: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(context);
}

impl Drop for Sending {
    fn drop(&mut self) {
        let Record { data, method, route, status, served, started, access } = &self.record;
        let took = started.elapsed();
        if let Some(access) = access {
            access.log(method, *route, *status, served, self.sent, took);
        }
        data.instruments().active.dec();
        data.instruments().answered(method, *route, *status, served, self.sent, took);
    }
}
