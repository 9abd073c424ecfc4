//! `/events`: news as server-sent events. A comment line every so often keeps proxies from taking a quiet stream for a dead one.

use std::time::Duration;

use actix_web::{HttpResponse, http::header, web};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::{Error, Kind};
use crate::{
    events::{News, Receiver},
    http::State,
};

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Browsers come back after a break after so long.
const OPENING: &str = "retry: 2000\n: news of millrace-sidecar\n\n";

/// What is left to be sent to one listener.
struct Stream {
    receiver: Receiver,
    greeted: bool,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn events(state: web::Data<State>) -> Result<HttpResponse, Error> {
    let place = state.listeners.clone().try_acquire_owned().map_err(|_| Error {
        kind: Kind::Unavailable,
        message: "as many listen to events as may; ask /api/v1/alerts and /api/v1/targets now and then"
            .to_owned(),
    })?;
    let stream = Stream { receiver: state.events.subscribe(), greeted: false, _place: place };
    let body = futures_util::stream::unfold(stream, |mut stream| async {
        let line = stream.next().await?;
        Some((Ok::<_, actix_web::Error>(Bytes::from(line)), stream))
    });
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // nginx would collect the stream before it passes it on.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(body))
}

impl Stream {
    /// None at the end.
    async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(OPENING.to_owned());
        }
        match tokio::time::timeout(KEEP_ALIVE, self.receiver.next()).await {
            Err(_) => Some(": still here\n\n".to_owned()),
            Ok(news) => Some(match news? {
                News::Event(event) => format!("event: {}\ndata: {}\n\n", event.kind, event.data),
                News::Missed(count) => format!("event: missed\ndata: {{\"events\":{count}}}\n\n"),
            }),
        }
    }
}
