//! What an origin says before its answer (RFC 9110 §15.2), such as 103 Early Hints, on its way to the client.

use http::{HeaderMap, StatusCode, header};
use tokio::sync::mpsc;

use super::remove_hop_by_hop;

/// Interim answers that wait for the client's connection.
const WAITING: usize = 4;

/// Bytes of names and values; what says more is left out.
const MAX_FIELDS: usize = 8 << 10;

#[derive(Debug)]
pub struct Interim {
    pub status: StatusCode,
    /// End-to-end fields.
    pub headers: HeaderMap,
}

/// Where the interim answers to one request go. What finds no place is left out: nobody may rely on them. Boxed, since the channel
/// has memory for 32 of whatever goes through it, and hardly any request has one.
#[derive(Debug, Clone)]
pub struct Interims(mpsc::Sender<Box<Interim>>);

impl Interims {
    pub fn channel() -> (Self, mpsc::Receiver<Box<Interim>>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// 100 and 101 concern the connection they come on: we asked for neither.
    pub fn offer(&self, status: StatusCode, headers: &HeaderMap) {
        let length: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if !(102..200).contains(&status.as_u16()) || length > MAX_FIELDS {
            return;
        }
        let Ok(place) = self.0.try_reserve() else { return };
        let mut headers = headers.clone();
        remove_hop_by_hop(&mut headers);
        headers.remove(header::CONTENT_LENGTH);
        place.send(Box::new(Interim { status, headers }));
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_what_is_for_the_client_goes_on() {
        let (interims, mut receiver) = Interims::channel();
        let mut headers = HeaderMap::new();
        headers.insert(header::LINK, HeaderValue::from_static("</a.css>"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("x-hop"));
        headers.insert("x-hop", HeaderValue::from_static("1"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("5"));
        for status in [100, 101, 103, 200] {
            interims.offer(StatusCode::from_u16(status).unwrap(), &headers);
        }
        let Interim { status, headers } = *receiver.try_recv().unwrap();
        let names: Vec<_> = headers.keys().collect();
        assert_eq!((status.as_u16(), names), (103, vec![&header::LINK]));
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn there_are_bounds() {
        let (interims, mut receiver) = Interims::channel();
        let mut large = HeaderMap::new();
        large.insert(header::LINK, HeaderValue::from_bytes(&[b'x'; MAX_FIELDS]).unwrap());
        interims.offer(StatusCode::EARLY_HINTS, &large);
        assert!(receiver.try_recv().is_err());
        for _ in 0..1_000 {
            interims.offer(StatusCode::PROCESSING, &HeaderMap::new());
        }
        assert_eq!(std::iter::from_fn(|| receiver.try_recv().ok()).count(), WAITING);
    }
}
