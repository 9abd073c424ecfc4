//! What is written at one look at a connection, put together. HTTP/2 flushes after each frame of data, which would be a TLS record and
//! a system call each time, and 16 KiB of data with the head of their frame would be two.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a TLS record holds.
const RECORD: usize = 16 << 10;

/// Parts of a write that are looked at: HTTP/2 has the head of a frame and its data.
const PARTS: usize = 3;

/// One handle is for whom writes, the other for whom looks at it, and sends what it has written.
pub struct Gather<C>(Rc<RefCell<Gathering<C>>>);

struct Gathering<C> {
    connection: C,
    /// Less than a record.
    waiting: BytesMut,
}

impl<C: AsyncWrite + Unpin> Gather<C> {
    pub fn new(connection: C) -> Self {
        Self(Rc::new(RefCell::new(Gathering { connection, waiting: BytesMut::new() })))
    }

    /// Sends what was gathered. To be polled after each look, by the same task.
    pub fn poll_out(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Gathering { connection, waiting } = &mut *self.0.borrow_mut();
        while !waiting.is_empty() {
            match ready!(Pin::new(&mut *connection).poll_write(context, waiting))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => waiting.advance(written),
            }
        }
        if waiting.capacity() > 0 {
            // Connections that wait hold nothing.
            *waiting = BytesMut::new();
        }
        Pin::new(connection).poll_flush(context)
    }
}

impl<C> Clone for Gather<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: AsyncWrite + Unpin> Gathering<C> {
    /// Takes all that makes less than a record; of more, whole records go out.
    fn poll_take(&mut self, context: &mut Context<'_>, parts: &[&[u8]]) -> Poll<io::Result<usize>> {
        let Self { connection, waiting } = self;
        let given: usize = parts.iter().map(|part| part.len()).sum();
        loop {
            let whole = (waiting.len() + given) / RECORD * RECORD;
            if whole == 0 {
                waiting.reserve(RECORD - waiting.len());
                for part in parts {
                    waiting.extend_from_slice(part);
                }
                return Poll::Ready(Ok(given));
            }
            let mut left = whole;
            let mut slices = [IoSlice::new(&[]); PARTS + 1];
            for (slice, part) in slices.iter_mut().zip([&waiting[..]].iter().chain(parts)) {
                let part = &part[..part.len().min(left)];
                left -= part.len();
                *slice = IoSlice::new(part);
            }
            let written = ready!(Pin::new(&mut *connection).poll_write_vectored(context, &slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_waiting = written.min(waiting.len());
            waiting.advance(of_waiting);
            // Who writes comes back with the rest.
            if written > of_waiting {
                return Poll::Ready(Ok(written - of_waiting));
            }
        }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Gather<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().connection).poll_read(context, buffer)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Gather<C> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_take(context, &[bytes])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut parts: [&[u8]; PARTS] = [&[]; PARTS];
        for (part, slice) in parts.iter_mut().zip(slices.iter().filter(|slice| !slice.is_empty())) {
            *part = slice;
        }
        self.0.borrow_mut().poll_take(context, &parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Not yet: see [`Gather::poll_out`].
    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(context))?;
        Pin::new(&mut self.0.borrow_mut().connection).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Takes so many bytes at a time, and after each time nothing at once.
    struct Socket {
        takes: usize,
        full: bool,
        writes: Vec<Vec<u8>>,
    }

    impl Socket {
        fn new(takes: usize) -> Self {
            Self { takes, full: false, writes: Vec::new() }
        }
    }

    impl AsyncWrite for Socket {
        fn poll_write(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(context, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.full = !self.full && self.takes < usize::MAX;
            if self.full {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut bytes: Vec<_> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            bytes.truncate(self.takes);
            let taken = bytes.len();
            self.writes.push(bytes);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Frames that HTTP/2 would write and flush one by one.
    async fn write(gather: &mut Gather<Socket>, frames: &[&[u8]]) {
        for frame in frames {
            gather.write_all(frame).await.unwrap();
            gather.flush().await.unwrap();
        }
    }

    fn lengths(gather: &Gather<Socket>) -> Vec<usize> {
        gather.0.borrow().connection.writes.iter().map(Vec::len).collect()
    }

    #[tokio::test]
    async fn frames_of_one_look_go_out_together() {
        let mut gather = Gather::new(Socket::new(usize::MAX));
        write(&mut gather, &[b"head", b"data", b"head", b"data"]).await;
        assert!(lengths(&gather).is_empty());
        let mut context = Context::from_waker(Waker::noop());
        assert!(gather.poll_out(&mut context).is_ready());
        assert_eq!(gather.0.borrow().connection.writes, [b"headdataheaddata"]);
    }

    #[tokio::test]
    async fn long_data_goes_out_in_whole_records() {
        let mut gather = Gather::new(Socket::new(usize::MAX));
        let data = vec![7; RECORD];
        for _ in 0..3 {
            let frame = [IoSlice::new(b"123456789"), IoSlice::new(&data)];
            let written = gather.write_vectored(&frame).await.unwrap();
            write(&mut gather, &[&[b"123456789", &data[..]].concat()[written..]]).await;
        }
        gather.shutdown().await.unwrap();
        assert_eq!(lengths(&gather), [RECORD, RECORD, RECORD, 27]);
    }

    #[tokio::test]
    async fn every_byte_goes_out_in_order() {
        let bytes: Vec<u8> = (0..400_000_u32).map(|at| (at / 7) as u8).collect();
        for takes in [1_000, RECORD - 1, RECORD + 5, usize::MAX] {
            let mut gather = Gather::new(Socket::new(takes));
            let (mut rest, mut length) = (&bytes[..], 1);
            while !rest.is_empty() {
                let (frame, others) = rest.split_at(length.min(rest.len()));
                write(&mut gather, &[frame]).await;
                if length % 5 == 0 {
                    std::future::poll_fn(|context| gather.poll_out(context)).await.unwrap();
                }
                (rest, length) = (others, (length * 3 + 1) % 40_000);
            }
            gather.shutdown().await.unwrap();
            assert!(gather.0.borrow().connection.writes.concat() == bytes, "{takes} at a time");
        }
    }
}
