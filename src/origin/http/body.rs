//! Watches an answer's body on its way: it ends at its declared length, or in an error that says what went wrong.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::time::timeout;

use super::{
    super::{Body, Error, ErrorKind},
    failure,
};

struct Watch<S> {
    inner: S,
    origin: Arc<str>,
    declared: Option<u64>,
    received: u64,
    idle_timeout: Duration,
}

pub(super) fn watch(
    answer: reqwest::Response,
    origin: Arc<str>,
    declared: Option<u64>,
    idle_timeout: Duration,
) -> Body {
    let name = Arc::clone(&origin);
    let inner = answer.bytes_stream().map(move |item| item.map_err(|error| failure::of_body(&name, error)));
    watch_stream(inner.boxed(), origin, declared, idle_timeout)
}

fn watch_stream<S>(inner: S, origin: Arc<str>, declared: Option<u64>, idle_timeout: Duration) -> Body
where
    S: Stream<Item = Result<Bytes, Error>> + Send + Unpin + 'static,
{
    let watch = Watch { inner, origin, declared, received: 0, idle_timeout };
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
        let Ok(item) = timeout(self.idle_timeout, self.inner.next()).await else {
            let detail = format!("nothing for {:?} after {} bytes", self.idle_timeout, self.received);
            return Some(Err(Error::new(&self.origin, ErrorKind::IdleTimeout, detail)));
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

    async fn collect(chunks: &[&'static str], declared: Option<u64>) -> Result<String, ErrorKind> {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
        let mut body = watch_stream(stream::iter(chunks), Arc::from("o"), declared, Duration::from_secs(1));
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
        let mut body = watch_stream(inner, Arc::from("o"), Some(2), Duration::from_secs(7));
        assert_eq!(body.next().await.unwrap().unwrap(), "a");
        let before = tokio::time::Instant::now();
        assert_eq!(body.next().await.unwrap().unwrap_err().kind, ErrorKind::IdleTimeout);
        assert_eq!(before.elapsed().as_secs(), 7);
        assert!(body.next().await.is_none());
    }
}
