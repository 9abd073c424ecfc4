//! A client's connection, and what is said on it before the answer that is due.
//!
//! actix has one answer for a request. Interim answers, such as 103 Early Hints, are written below it, whenever it flushes: it
//! does so when it has nothing left to write, so that all it has begun is on the wire whole, and the answer that is due has not
//! begun, since the interim answers that are left are dropped when the handler has it.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_web::rt::net::TcpStream;
use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{Notify, mpsc},
    task::yield_now,
};

use super::translate;
use crate::delivery::Interim;

/// Interim answers to one request.
const MOST: usize = 16;

/// Bytes of interim answers that a client has not taken; with more, no further ones are taken for it.
const MOST_BYTES: usize = 64 << 10;

/// A handler that is not done is looked at up to twice before actix flushes.
const TURNS: usize = 3;

pub struct Connection {
    stream: TcpStream,
    before: Before,
}

/// The interim answers of a connection.
#[derive(Clone, Default)]
pub struct Before(Rc<RefCell<Bytes>>, Rc<Left>);

/// Whether the client has ended its side.
#[derive(Default)]
struct Left {
    ended: Cell<bool>,
    told: Notify,
}

#[derive(Default)]
struct Bytes {
    /// To the request that is being handled.
    waiting: BytesMut,
    /// The rest of what is partly on the wire.
    begun: BytesMut,
}

impl Connection {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, before: Before::default() }
    }

    pub fn before(&self) -> Before {
        self.before.clone()
    }

    fn poll_begun(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let begun = &mut self.before.0.borrow_mut().begun;
        while !begun.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, begun))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => begun.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Before {
    /// Waits for an answer and says meanwhile what comes before it.
    pub async fn wait<T>(&self, mut interims: mpsc::Receiver<Interim>, answer: impl Future<Output = T>) -> T {
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

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let room = buffer.remaining() > 0;
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if read.is_err() || (room && buffer.filled().len() == before) {
            self.before.1.ended.set(true);
            self.before.1.told.notify_waiters();
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_begun(context))?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        {
            let bytes = &mut *self.before.0.borrow_mut();
            bytes.begun.unsplit(bytes.waiting.split());
        }
        ready!(self.poll_begun(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};

    use http::{HeaderMap, StatusCode};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::delivery::Interims;

    async fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Connection::new(listener.accept().await.unwrap().0), client)
    }

    /// As much as the socket takes.
    async fn stuff(connection: &mut Connection) -> usize {
        let mut written = 0;
        while let Poll::Ready(count) =
            poll_fn(|context| Poll::Ready(Pin::new(&mut *connection).poll_write(context, &[b'.'; 65536])))
                .await
        {
            written += count.unwrap();
        }
        written
    }

    #[tokio::test]
    async fn what_is_begun_comes_first() {
        let (mut connection, mut client) = pair().await;
        let before = connection.before();
        let (interims, coming) = Interims::channel();
        interims.offer(StatusCode::PROCESSING, &HeaderMap::new());
        let mut waiting = Box::pin(before.wait(coming, pending::<()>()));
        let mut written = stuff(&mut connection).await;
        assert!(futures_util::poll!(&mut waiting).is_pending());
        // The rest of the answer before, then room for what waits, then the answer that is due.
        let mut received = vec![0; written];
        client.read_exact(&mut received).await.unwrap();
        connection.write_all(b"rest|").await.unwrap();
        connection.flush().await.unwrap();
        connection.write_all(b"|due").await.unwrap();
        drop(waiting);
        drop(connection);
        written = received.len();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received[written..], *b"rest|HTTP/1.1 102 Processing\r\n\r\n|due");
    }

    #[tokio::test]
    async fn what_comes_late_is_dropped() {
        let (mut connection, mut client) = pair().await;
        let before = connection.before();
        let (interims, coming) = Interims::channel();
        interims.offer(StatusCode::PROCESSING, &HeaderMap::new());
        let mut waiting = Box::pin(before.wait(coming, pending::<()>()));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(waiting);
        connection.write_all(b"due").await.unwrap();
        connection.flush().await.unwrap();
        drop(connection);
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"due");
    }
}
