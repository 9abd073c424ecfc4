//! A stream made by a future that sends its items: polled together with it, and dropped with it, so that nothing goes on when
//! nobody listens any more.

use std::future::ready;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::mpsc;

/// Items that wait to be taken.
const AHEAD: usize = 4;

/// `work` ends the stream; its error is the last item.
pub(super) fn driven<'a, T, E, W, F>(work: W) -> BoxStream<'a, Result<T, E>>
where
    T: Send + 'a,
    E: Send + 'a,
    W: FnOnce(mpsc::Sender<T>) -> F,
    F: Future<Output = Result<(), E>> + Send + 'a,
{
    let (sender, receiver) = mpsc::channel(AHEAD);
    let items = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (Ok(item), receiver))
    });
    let end = stream::once(work(sender)).filter_map(|ended| ready(ended.err().map(Err)));
    stream::select(items, end).boxed()
}
