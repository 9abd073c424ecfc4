//! Reads what is wanted of a stretch of an object, and drops what lies between.

use bytes::{Bytes, BytesMut};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};

use super::{fill::Error, reader::Reader};
use crate::media::video::Stretch;

/// Pieces that are shorter than this on average are copied together: that costs less than sending each by itself.
const SHORT: usize = 32 * 1024;

/// `reader` reads all that the stretch covers.
pub fn sieve(reader: Reader, stretch: Stretch) -> BoxStream<'static, Result<Bytes, Error>> {
    let bytes = reader.into_stream();
    if !stretch.has_gaps() {
        return bytes.boxed();
    }
    let mut position = stretch.start();
    bytes
        .flat_map(move |item| {
            let pieces = item.map(|bytes| {
                let start = position;
                position += bytes.len() as u64;
                joined(stretch.cut(start, &bytes))
            });
            stream::iter(match pieces {
                Ok(pieces) => pieces.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        })
        .boxed()
}

fn joined(pieces: Vec<Bytes>) -> Vec<Bytes> {
    let length: usize = pieces.iter().map(Bytes::len).sum();
    if pieces.len() < 2 || length / pieces.len() >= SHORT {
        return pieces;
    }
    let mut all = BytesMut::with_capacity(length);
    pieces.iter().for_each(|piece| all.extend_from_slice(piece));
    vec![all.freeze()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_pieces_are_sent_together_and_long_ones_as_they_are() {
        let piece = |length: usize| Bytes::from(vec![1; length]);
        let lengths = |pieces: Vec<Bytes>| joined(pieces).iter().map(Bytes::len).collect::<Vec<_>>();
        assert!(joined(vec![]).is_empty());
        assert_eq!(lengths(vec![piece(10)]), [10]);
        assert_eq!(lengths(vec![piece(10), piece(20), piece(30)]), [60]);
        assert_eq!(lengths(vec![piece(SHORT), piece(2 * SHORT)]), [SHORT, 2 * SHORT]);
    }
}
