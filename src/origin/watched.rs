//! Watches over an answer's body: reports how it broke, and breaks it when it comes too slowly. The clock runs only while
//! somebody waits for bytes, so a slow reader is not the origin's fault.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::time::{Instant, Sleep, sleep};

use super::{Body, Error, ErrorKind};

/// The least rate of a body, judged after each `window` of waiting for it.
#[derive(Debug, Clone, Copy)]
pub struct LeastRate {
    pub bytes_per_sec: u64,
    pub window: Duration,
}

type Report = Box<dyn FnOnce(&Error, u64) + Send>;

struct Watched {
    inner: Option<Body>,
    origin: Arc<str>,
    least: Option<LeastRate>,
    /// Waited and received since the rate was judged last.
    waited: Duration,
    received: u64,
    /// Received in all.
    total: u64,
    waiting: Option<Waiting>,
    report: Option<Report>,
}

struct Waiting {
    since: Instant,
    enough: Pin<Box<Sleep>>,
}

/// `report` is told how the body broke, if it does, and after how many bytes.
pub fn watched(
    body: Body,
    origin: Arc<str>,
    least: Option<LeastRate>,
    report: impl FnOnce(&Error, u64) + Send + 'static,
) -> Body {
    let report: Report = Box::new(report);
    let waited = Duration::ZERO;
    let (inner, report) = (Some(body), Some(report));
    Watched { inner, origin, least, waited, received: 0, total: 0, waiting: None, report }.boxed()
}

impl Stream for Watched {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let item = match inner.poll_next_unpin(context) {
            Poll::Ready(item) => item,
            Poll::Pending => Some(Err(ready!(this.poll_too_slow(context)))),
        };
        if let Some(waiting) = this.waiting.take() {
            this.waited += waiting.since.elapsed();
        }
        match item {
            Some(Ok(bytes)) => {
                this.received += bytes.len() as u64;
                this.total += bytes.len() as u64;
                match this.too_slow() {
                    None => Poll::Ready(Some(Ok(bytes))),
                    Some(error) => Poll::Ready(Some(Err(this.fail(error)))),
                }
            }
            Some(Err(error)) => Poll::Ready(Some(Err(this.fail(error)))),
            None => {
                this.inner = None;
                Poll::Ready(None)
            }
        }
    }
}

impl Watched {
    /// Ready when the window has passed without enough bytes.
    fn poll_too_slow(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        let Some(least) = self.least else { return Poll::Pending };
        loop {
            let left = least.window.saturating_sub(self.waited);
            let waiting = self
                .waiting
                .get_or_insert_with(|| Waiting { since: Instant::now(), enough: Box::pin(sleep(left)) });
            ready!(waiting.enough.poll_unpin(context));
            self.waited += waiting.since.elapsed();
            self.waiting = None;
            if let Some(error) = self.too_slow() {
                return Poll::Ready(error);
            }
        }
    }

    /// The verdict at the end of a window, after which another one begins.
    fn too_slow(&mut self) -> Option<Error> {
        let least = self.least.filter(|least| self.waited >= least.window)?;
        let (received, waited) = (self.received, self.waited);
        (self.received, self.waited) = (0, Duration::ZERO);
        let wanted = least.bytes_per_sec as f64 * waited.as_secs_f64();
        let detail = || format!("{received} bytes in {waited:?}");
        ((received as f64) < wanted).then(|| Error::new(&self.origin, ErrorKind::TooSlow, detail()))
    }

    /// Nothing comes after an error; with the body goes its connection.
    fn fail(&mut self, error: Error) -> Error {
        self.inner = None;
        if let Some(report) = self.report.take() {
            report(&error, self.total);
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use parking_lot::Mutex;

    use super::*;

    const LEAST: Option<LeastRate> = Some(LeastRate { bytes_per_sec: 100, window: Duration::from_secs(10) });

    /// A body of `pieces` of `bytes`, one each second.
    fn dribble(pieces: usize, bytes: usize) -> Body {
        let piece = move |_| async move {
            sleep(Duration::from_secs(1)).await;
            Ok(Bytes::from(vec![0; bytes]))
        };
        stream::iter(0..pieces).then(piece).boxed()
    }

    /// Bytes that came, and the kind of error that was returned and reported.
    async fn read(body: Body, least: Option<LeastRate>, pause: Duration) -> (usize, Option<ErrorKind>) {
        let reported = Arc::new(Mutex::new(None));
        let report = reported.clone();
        let mut body = watched(body, Arc::from("o"), least, move |error, after| {
            *report.lock() = Some((error.kind, after))
        });
        let (mut bytes, mut failed) = (0, None);
        while let Some(item) = body.next().await {
            match item {
                Ok(piece) => bytes += piece.len(),
                Err(error) => failed = Some(error.kind),
            }
            sleep(pause).await;
        }
        assert_eq!(reported.lock().map(|(kind, _)| kind), failed);
        assert!(reported.lock().is_none_or(|(_, after)| after >= bytes as u64));
        (bytes, failed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_below_the_least_rate_is_broken_off() {
        let none = Duration::ZERO;
        assert_eq!(read(dribble(30, 100), LEAST, none).await, (3000, None));
        assert_eq!(read(dribble(30, 99), LEAST, none).await, (9 * 99, Some(ErrorKind::TooSlow)));
        assert_eq!(read(dribble(30, 1), None, none).await, (30, None));
        // The end comes before the verdict.
        assert_eq!(read(dribble(9, 1), LEAST, none).await, (9, None));
        let silent = stream::pending().boxed();
        assert_eq!(read(silent, LEAST, none).await, (0, Some(ErrorKind::TooSlow)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_not_the_origins_fault() {
        let quick: Body = stream::iter((0..50).map(|_| Ok(Bytes::from_static(b"x")))).boxed();
        assert_eq!(read(quick, LEAST, Duration::from_secs(60)).await, (50, None));
    }

    #[tokio::test]
    async fn an_error_is_reported_and_ends_the_body() {
        let broken = Error::new(&Arc::from("o"), ErrorKind::ShortBody, "scripted");
        let body: Body = stream::iter([Ok(Bytes::from_static(b"ab")), Err(broken)]).boxed();
        assert_eq!(read(body, LEAST, Duration::ZERO).await, (2, Some(ErrorKind::ShortBody)));
    }
}
