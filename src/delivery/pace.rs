//! How fast files go out: the first bytes as fast as they can, so that a player can start, the rest at the pace of a route, so that
//! nobody fetches a whole film of which he sees a minute.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep_until};

use super::response::{Body, BodyError};

/// Bytes a second, after that many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub rate: u64,
    pub burst: u64,
}

impl Pace {
    /// A body that keeps to it. Short ones are left as they are.
    pub fn of(self, body: Body) -> Body {
        let (length, bytes) = match body {
            Body::Stream { length, bytes } if length.is_none_or(|length| length > self.burst) => {
                (length, bytes)
            }
            Body::Full(bytes) if bytes.len() as u64 > self.burst => {
                let length = Some(bytes.len() as u64);
                (length, stream::iter(pieces(bytes)).boxed())
            }
            body => return body,
        };
        let begun = Instant::now();
        let paced = stream::unfold((bytes, 0u64), move |(mut bytes, sent)| async move {
            let item = bytes.next().await?;
            sleep_until(begun + self.due(sent)).await;
            let sent = sent + item.as_ref().map_or(0, |item: &Bytes| item.len() as u64);
            Some((item, (bytes, sent)))
        });
        Body::Stream { length, bytes: paced.boxed() }
    }

    /// When, from the start, the next byte after so many may leave.
    fn due(self, sent: u64) -> Duration {
        let beyond = sent.saturating_sub(self.burst);
        // The rate is at least 1, and lengths are below 2^63.
        Duration::from_secs_f64(beyond as f64 / self.rate.max(1) as f64)
    }
}

/// As much as leaves at once.
const PIECE: usize = 64 * 1024;

fn pieces(bytes: Bytes) -> impl Iterator<Item = Result<Bytes, BodyError>> + Send {
    (0..bytes.len()).step_by(PIECE).map(move |at| Ok(bytes.slice(at..bytes.len().min(at + PIECE))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_burst_is_free_and_the_rest_keeps_to_the_rate() {
        let pace = Pace { rate: 100_000, burst: 200_000 };
        let frames = (0..50).map(|_| Ok(Bytes::from(vec![1; 10_000])));
        let body = pace.of(Body::Stream { length: Some(500_000), bytes: stream::iter(frames).boxed() });
        let Body::Stream { length, mut bytes } = body else { panic!() };
        assert_eq!(length, Some(500_000));
        let begun = Instant::now();
        let mut sent = 0;
        while let Some(item) = bytes.next().await {
            let allowed = 200_000 + begun.elapsed().as_millis() * 100;
            assert!(sent <= allowed, "{sent} of {allowed}");
            sent += item.unwrap().len() as u128;
            if sent == 200_000 {
                assert_eq!(begun.elapsed(), Duration::ZERO);
            }
        }
        assert_eq!(sent, 500_000);
        let took = begun.elapsed().as_secs_f64();
        assert!((2.8..3.1).contains(&took), "{took} s");
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_in_one_piece() {
        let pace = Pace { rate: 1 << 20, burst: 1 << 20 };
        assert!(matches!(pace.of(Body::Full(Bytes::from(vec![0; 1 << 20]))), Body::Full(_)));
        let Body::Stream { bytes, length } = pace.of(Body::Full(Bytes::from(vec![7; 3 << 20]))) else {
            panic!()
        };
        let begun = Instant::now();
        let all: Vec<u8> = bytes.map(|item| item.unwrap().to_vec()).concat().await;
        assert!(all == vec![7; 3 << 20] && length == Some(3 << 20));
        assert!((1.8..2.1).contains(&begun.elapsed().as_secs_f64()));
    }
}
