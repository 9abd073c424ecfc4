//! Watches an answer's body on its way: it ends at its declared length, or in an error that says what went wrong.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::{
    super::{Body, Error, ErrorKind, Place},
    failure,
};

/// How long a body may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Between two chunks, while somebody waits for one.
    pub(super) idle: Duration,
    /// For all of it.
    pub(super) deadline: Option<Instant>,
}

struct Watch<S> {
    inner: S,
    origin: Arc<str>,
    declared: Option<u64>,
    received: u64,
    limits: Limits,
    /// Free for another request when this body is over.
    _place: Option<Place>,
}

pub(super) fn watch(
    incoming: Incoming,
    origin: Arc<str>,
    declared: Option<u64>,
    limits: Limits,
    place: Place,
) -> Body {
    let name = Arc::clone(&origin);
    let inner = incoming.into_data_stream();
    let inner = inner.map(move |item| item.map_err(|error| failure::of_body(&name, &error)));
    watch_stream(inner, origin, declared, limits, Some(place))
}

fn watch_stream<S>(
    inner: S,
    origin: Arc<str>,
    declared: Option<u64>,
    limits: Limits,
    place: Option<Place>,
) -> Body
where
    S: Stream<Item = Result<Bytes, Error>> + Send + Unpin + 'static,
{
    let watch = Watch { inner, origin, declared, received: 0, limits, _place: place };
    // After an error the state is gone, and with it the connection.
    stream::unfold(Some(watch), |state| async {
        let mut watch = state?;
        match watch.next().await? {
            Ok(chunk) => Some((Ok(chunk), Some(watch))),
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

impl<S: Stream<Item = Result<Bytes, Error>> + Unpin> Watch<S> {
    /// The clock runs only while the caller waits, so a slow reader is not the origin's fault.
    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        let Limits { idle, deadline } = self.limits;
        let silence = Instant::now() + idle;
        let until = deadline.map_or(silence, |deadline| deadline.min(silence));
        let Ok(item) = timeout_at(until, self.inner.next()).await else {
            let received = self.received;
            let (kind, detail) = match until < silence {
                true => (ErrorKind::TotalTimeout, format!("not over in time, after {received} bytes")),
                false => (ErrorKind::IdleTimeout, format!("nothing for {idle:?} after {received} bytes")),
            };
            return Some(Err(Error::new(&self.origin, kind, detail)));
        };
        match (item, self.declared) {
            (Some(Ok(chunk)), declared) => {
                self.received += chunk.len() as u64;
                match declared {
                    Some(declared) if self.received > declared => {
                        Some(Err(self
                            .broken(ErrorKind::LongBody, format!("more than the declared {declared} bytes"))))
                    }
                    _ => Some(Ok(chunk)),
                }
            }
            (None, Some(declared)) if self.received < declared => {
                Some(Err(self.broken(ErrorKind::ShortBody, format!("{} of {declared} bytes", self.received))))
            }
            (end, _) => end,
        }
    }

    fn broken(&self, kind: ErrorKind, detail: String) -> Error {
        Error::new(&self.origin, kind, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(idle_secs: u64, total_secs: Option<u64>) -> Limits {
        let deadline = total_secs.map(|secs| Instant::now() + Duration::from_secs(secs));
        Limits { idle: Duration::from_secs(idle_secs), deadline }
    }

    async fn collect(chunks: &[&'static str], declared: Option<u64>) -> Result<String, ErrorKind> {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
        let mut body = watch_stream(stream::iter(chunks), Arc::from("o"), declared, limits(1, None), None);
        let mut text = String::new();
        while let Some(item) = body.next().await {
            text.push_str(std::str::from_utf8(&item.map_err(|error| error.kind)?).unwrap());
        }
        Ok(text)
    }

    #[tokio::test]
    async fn a_body_is_as_long_as_declared_or_broken() {
        let (short, long) = (Err(ErrorKind::ShortBody), Err(ErrorKind::LongBody));
        for (chunks, declared, expected) in [
            (&["ab", "c"][..], Some(3), Ok("abc".to_owned())),
            (&["ab", "c"], None, Ok("abc".to_owned())),
            (&[], Some(0), Ok(String::new())),
            (&["ab"], Some(3), short.clone()),
            (&[], Some(1), short),
            (&["ab", "cd"], Some(3), long.clone()),
            (&["a"], Some(0), long),
        ] {
            assert_eq!(collect(chunks, declared).await, expected, "{chunks:?} of {declared:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_ends_the_body_after_the_idle_timeout() {
        let inner = stream::iter([Ok(Bytes::from_static(b"a"))]).chain(stream::pending());
        let mut body = watch_stream(inner, Arc::from("o"), Some(2), limits(7, None), None);
        assert_eq!(body.next().await.unwrap().unwrap(), "a");
        let before = Instant::now();
        assert_eq!(body.next().await.unwrap().unwrap_err().kind, ErrorKind::IdleTimeout);
        assert_eq!(before.elapsed().as_secs(), 7);
        assert!(body.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dribble_ends_at_the_total_timeout() {
        let inner = stream::iter(0..).then(|_| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(Bytes::from_static(b"a"))
        });
        let before = Instant::now();
        let body = watch_stream(inner.boxed(), Arc::from("o"), None, limits(7, Some(30)), None);
        let items: Vec<_> = body.collect().await;
        assert_eq!(items.last().unwrap().as_ref().unwrap_err().kind, ErrorKind::TotalTimeout);
        assert_eq!(before.elapsed().as_secs(), 30);
        assert!((30..=31).contains(&items.len()), "{}", items.len());
    }
}
