//! The least rate at which clients have to take answers and send bodies. Who is slower holds memory and places for nothing.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// How little is too little. A window of zero: no bound.
#[derive(Debug, Clone, Copy, Default)]
pub struct Least {
    pub window: Duration,
    /// In a window; at least one byte is wanted.
    pub bytes: u64,
}

/// Judges who takes what is written. Costs nothing while they are not waited for.
#[derive(Debug)]
pub struct Pace {
    least: Least,
    moved: u64,
    waiting: bool,
    window: Option<Pin<Box<Sleep>>>,
}

/// A window that ended so long ago ended while nobody was waited for, and says nothing.
const STALE: Duration = Duration::from_secs(1);

impl Pace {
    pub fn new(least: Least) -> Self {
        Self { least, moved: 0, waiting: false, window: None }
    }

    /// So much was taken.
    pub fn moved(&mut self, bytes: usize) {
        self.moved += bytes as u64;
        self.waiting = false;
    }

    /// Nothing more is taken for now. Ready when it has been too little for too long.
    pub fn poll_slow(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let Least { window: length, bytes } = self.least;
        if length.is_zero() {
            return Poll::Pending;
        }
        let window = self.window.get_or_insert_with(|| Box::pin(sleep(length)));
        if !self.waiting && window.deadline() + STALE < Instant::now() {
            self.moved = 0;
            window.as_mut().reset(Instant::now() + length);
        }
        self.waiting = true;
        while window.as_mut().poll(context).is_ready() {
            if self.moved < bytes.max(1) {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the client takes too little"));
            }
            self.moved = 0;
            window.as_mut().reset(Instant::now() + length);
        }
        Poll::Pending
    }

    /// What became of writing, unless it has taken too long.
    pub fn judge(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.moved(bytes);
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => self.poll_slow(context).map(Err),
        }
    }
}

/// A body that comes too slowly ends with an error. Only the time counts in which the client is waited for.
pub fn at_least<E: Send + 'static>(
    least: Least,
    body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    slow: impl Fn() -> E,
) -> impl Stream<Item = Result<Bytes, E>> {
    let meter = (body, least.window, 0_u64, false);
    futures_util::stream::unfold(
        (meter, slow),
        move |((mut body, mut left, mut moved, ended), slow)| async move {
            if ended {
                return None;
            }
            let began = Instant::now();
            let next = match least.window.is_zero() {
                true => Ok(body.next().await),
                false => timeout(left, body.next()).await,
            };
            left = left.saturating_sub(began.elapsed());
            let (next, ended) = match next {
                Ok(next) => (next?, false),
                Err(_) if moved >= least.bytes.max(1) => {
                    // A new window, in which something has to come.
                    (left, moved) = (least.window, 0);
                    match timeout(left, body.next()).await {
                        Ok(next) => (next?, false),
                        Err(_) => (Err(slow()), true),
                    }
                }
                Err(_) => (Err(slow()), true),
            };
            if let Ok(bytes) = &next {
                moved += bytes.len() as u64;
            }
            Some((next, ((body, left, moved, ended), slow)))
        },
    )
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::stream;

    use super::*;

    const LEAST: Least = Least { window: Duration::from_secs(10), bytes: 100 };

    async fn body(pieces: Vec<(u64, usize)>) -> Result<usize, &'static str> {
        let pieces = stream::iter(pieces).then(|(pause, length)| async move {
            sleep(Duration::from_secs(pause)).await;
            Ok(Bytes::from(vec![0; length]))
        });
        let body = at_least(LEAST, Box::pin(pieces), || "slow");
        Box::pin(body).fold(Ok(0), async |sum, next| Ok(sum? + next?.len())).await
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_have_to_come_at_a_rate() {
        assert_eq!(body(vec![(1, 10); 5]).await, Ok(50), "over before it is judged");
        assert_eq!(body(vec![(1, 20); 100]).await, Ok(2000));
        assert_eq!(body(vec![(9, 500); 5]).await, Ok(2500));
        assert_eq!(body(vec![(1, 9); 100]).await, Err("slow"));
        assert_eq!(body(vec![(0, 500), (30, 500)]).await, Err("slow"));
        assert_eq!(body(vec![(11, 500)]).await, Err("slow"));
    }

    /// Whether a reader is shown out that takes `bytes` each second, for a minute.
    async fn is_slow(bytes: usize) -> bool {
        let mut pace = Pace::new(LEAST);
        let reading = async {
            loop {
                let wait = timeout(Duration::from_secs(1), poll_fn(|context| pace.poll_slow(context)));
                if wait.await.is_ok() {
                    return;
                }
                if bytes > 0 {
                    pace.moved(bytes);
                }
            }
        };
        timeout(Duration::from_secs(60), reading).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn readers_have_to_take_at_a_rate() {
        assert!(is_slow(0).await);
        assert!(is_slow(9).await);
        assert!(!is_slow(15).await);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waits_does_not_count() {
        let mut pace = Pace::new(LEAST);
        let mut wait =
            async || timeout(Duration::from_secs(3), poll_fn(|context| pace.poll_slow(context))).await;
        assert!(wait().await.is_err());
        pace.moved(1);
        sleep(Duration::from_secs(100)).await;
        let mut wait =
            async || timeout(Duration::from_secs(3), poll_fn(|context| pace.poll_slow(context))).await;
        assert!(wait().await.is_err());
    }
}
