//! Waits for the first bytes of an answer's body, as long as another origin could still be asked instead.

use futures_util::{StreamExt, stream};
use http::Method;

use super::super::{Error, Response};

/// The answer with its body begun, or how it broke before. The origin's own time-outs bound the wait.
pub(super) async fn awaited(method: &Method, mut answer: Response) -> Result<Response, Error> {
    if method != Method::GET || answer.content_length == Some(0) {
        return Ok(answer);
    }
    match answer.body.next().await {
        Some(Ok(first)) => {
            answer.body = stream::iter([Ok(first)]).chain(answer.body).boxed();
            Ok(answer)
        }
        Some(Err(error)) => Err(error),
        None => {
            answer.body = stream::empty().boxed();
            Ok(answer)
        }
    }
}
