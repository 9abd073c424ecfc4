//! Listens in on an HTTP/1 connection for bytes beyond an answer's declared end. The library cuts the body there and drops the
//! connection, without a word; an origin that does not know how long its answers are is worth one.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use hyper_util::client::legacy::connect::{Connected, Connection};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that is listened to.
pub(super) struct Tap<S> {
    inner: S,
    heard: Heard,
    /// It speaks HTTP/2, which frames bodies beyond doubt.
    deaf: bool,
}

/// What has come of the answer under way. Goes along with the answer.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Mutex<Message>>);

#[derive(Default)]
struct Message {
    /// Bytes of the head so far.
    head: usize,
    /// The class of the status: 1 for answers before the answer.
    class: u8,
    /// In the head, at the beginning of a line.
    at_line_start: bool,
    /// The head is over, and so many bytes have followed.
    body: Option<u64>,
    /// To be told when more than this follows.
    expected: Option<(u64, Arc<AtomicU64>)>,
}

/// Where the status begins in `HTTP/1.1 200 OK`.
const STATUS_AT: usize = 9;

impl<S> Tap<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, heard: Heard::default(), deaf: false }
    }
}

impl<S> Tap<S> {
    fn written(&mut self, bytes: &[u8]) {
        // RFC 9113 §3.4: the connection preface.
        self.deaf |= bytes.starts_with(b"PRI * HTTP/2.0");
        if !self.deaf {
            self.heard.asked();
        }
    }
}

impl Heard {
    /// More than `length` bytes of body are counted, as soon as they have come.
    pub(super) fn expect(&self, length: u64, counter: &Arc<AtomicU64>) {
        let mut message = self.0.lock();
        message.expected = Some((length, counter.clone()));
        message.judge();
    }

    fn read(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.0.lock().read(bytes);
        }
    }

    /// What comes now is about another request.
    fn asked(&self) {
        *self.0.lock() = Message::default();
    }
}

impl Message {
    fn read(&mut self, mut bytes: &[u8]) {
        while self.body.is_none() {
            let Some((byte, rest)) = bytes.split_first() else { return };
            bytes = rest;
            if self.head == STATUS_AT {
                self.class = byte.wrapping_sub(b'0');
            }
            self.head += 1;
            match byte {
                // An empty line ends the head.
                b'\n' if self.at_line_start && self.class == 1 => *self = Self::default(),
                b'\n' if self.at_line_start => self.body = Some(0),
                b'\n' => self.at_line_start = true,
                b'\r' => {}
                _ => self.at_line_start = false,
            }
        }
        self.body = self.body.map(|body| body + bytes.len() as u64);
        self.judge();
    }

    fn judge(&mut self) {
        if let (Some(body), Some((expected, counter))) = (self.body, &self.expected)
            && body > *expected
        {
            counter.fetch_add(1, Ordering::Relaxed);
            self.expected = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(context, buffer);
        if !self.deaf {
            self.heard.read(&buffer.filled()[before..]);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written(bytes);
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.written(slices.iter().find(|slice| !slice.is_empty()).map_or(&[], |slice| slice));
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<S: Connection> Connection for Tap<S> {
    fn connected(&self) -> Connected {
        self.inner.connected().extra(self.heard.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excesses(pieces: &[&str], expected: u64, early: bool) -> u64 {
        let (heard, counter) = (Heard::default(), Arc::new(AtomicU64::new(0)));
        for (index, piece) in pieces.iter().enumerate() {
            if early && index + 1 == pieces.len() {
                heard.expect(expected, &counter);
            }
            heard.read(piece.as_bytes());
        }
        if !early {
            heard.expect(expected, &counter);
        }
        counter.load(Ordering::Relaxed)
    }

    #[test]
    fn more_than_declared_is_counted_once_whenever_it_comes() {
        for (pieces, expected, count) in [
            (&["HTTP/1.1 200 OK\r\na: b\r\n\r\nabc"][..], 3, 0),
            (&["HTTP/1.1 200 OK\r\na: b\r\n\r\nabcd"], 3, 1),
            (&["HTTP/1.1 200 OK\r\na: b\r", "\n\r\nab", "c", "de"], 3, 1),
            (&["HTTP/1.1 200 OK\na: b\n\nabcd"], 3, 1),
            (&["HTTP/1.1 103 Early\r\na: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\nabc"], 3, 0),
            (&["HTTP/1.1 204 No Content\r\n\r\n", "x"], 0, 1),
        ] {
            assert_eq!(excesses(pieces, expected, false), count, "{pieces:?}");
            assert_eq!(excesses(pieces, expected, true), count, "{pieces:?}");
        }
        let heard = Heard::default();
        let counter = Arc::new(AtomicU64::new(0));
        for _ in 0..2 {
            heard.asked();
            heard.read(b"HTTP/1.1 200 OK\r\n\r\nabc");
            heard.expect(3, &counter);
        }
        assert_eq!(counter.load(Ordering::Relaxed), 0, "each answer for itself");
    }
}
