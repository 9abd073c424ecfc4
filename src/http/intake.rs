//! Bodies of requests over HTTP/1.1. A client that waits to be told to go on (`Expect: 100-continue`, RFC 9110 §10.1.1) is told when
//! somebody wants its body, and gets the answer instead when nobody does. What nobody has read when a request is answered ends the
//! connection: it is not read for as long as a client likes to send, see [`super::connection`].

use std::{
    cell::RefCell,
    future::Future,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
};

use actix_http::{
    ConnectionType, HttpMessage, Payload, Request as Message, Response as Reply, body::BoxBody,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, poll, stream};
use tokio::{
    sync::{mpsc, oneshot},
    task::yield_now,
};

use super::{
    body::Sending,
    pace::{self, Least},
};
use crate::delivery::{RequestBody, RequestBodyError, broken_request_body, slow_request_body};

/// Pieces of a body on their way from a worker's thread to whoever takes them.
const WAITING: usize = 8;

/// A client that has sent all of a short body keeps its connection, if all of it is there within these turns.
const TURNS: usize = 3;

/// The body of a request. As long as the answer has it, actix does not take a body that nobody reads for one to be read to its end.
#[derive(Clone)]
pub struct Intake(Rc<RefCell<State>>);

struct State {
    payload: Payload,
    ended: bool,
    /// Who waits to be told that the client may go on.
    expectant: Option<oneshot::Sender<()>>,
    /// To whoever takes it.
    taker: Option<mpsc::WeakSender<Piece>>,
}

type Piece = Result<Bytes, RequestBodyError>;

/// What there is of a body when its request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing, or somebody is still reading it.
    Read,
    /// It may still come, and nobody wants it.
    Unread,
}

impl Intake {
    /// `expectant`: is told when the body is wanted. None: the client sends it without being told.
    pub fn new(payload: Payload, expectant: Option<oneshot::Sender<()>>) -> Self {
        Self(Rc::new(RefCell::new(State { payload, ended: false, expectant, taker: None })))
    }

    /// actix's payload stays on its worker's thread; an origin may be asked from any. A bounded channel carries the body
    /// over, and with it the back-pressure.
    pub fn body(&self, least: Least) -> RequestBody {
        let (sender, receiver) = mpsc::channel(WAITING);
        let (want, wanted) = oneshot::channel();
        let expectant = {
            let mut state = self.0.borrow_mut();
            state.taker = Some(sender.downgrade());
            state.expectant.take()
        };
        let payload = self.clone();
        actix_web::rt::spawn(async move {
            if let Some(expectant) = expectant {
                // Nobody ever wants it when the other end is gone.
                if wanted.await.is_err() || expectant.send(()).is_err() {
                    return;
                }
            }
            let broken = |broken| broken_request_body(format!("the client's body broke: {broken}"));
            let chunks = payload.map(move |chunk| chunk.map_err(broken));
            let mut chunks = pin!(pace::at_least(least, chunks, slow_request_body));
            loop {
                let chunk = tokio::select! {
                    biased;
                    () = sender.closed() => return,
                    chunk = chunks.next() => chunk,
                };
                let Some(chunk) = chunk else { return };
                if sender.send(chunk).await.is_err() {
                    return;
                }
            }
        });
        stream::unfold((receiver, Some(want)), |(mut receiver, want)| async move {
            if let Some(want) = want {
                let _ = want.send(());
            }
            Some((receiver.recv().await?, (receiver, None)))
        })
        .boxed()
    }

    /// Drops what has come and nobody wants, and says whether there may be more.
    pub async fn rest(&self) -> Rest {
        let is_being_read = self.0.borrow().taker.as_ref().and_then(mpsc::WeakSender::upgrade);
        if is_being_read.is_some_and(|sender| !sender.is_closed()) {
            return Rest::Read;
        }
        let mut this = self.clone();
        for _ in 0..TURNS {
            while let Poll::Ready(Some(Ok(_))) = poll!(this.next()) {}
            if self.0.borrow().ended {
                return Rest::Read;
            }
            yield_now().await;
        }
        Rest::Unread
    }
}

impl Stream for Intake {
    type Item = Result<Bytes, actix_http::error::PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.borrow_mut();
        if state.ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut state.payload).poll_next(context);
        state.ended |= matches!(polled, Poll::Ready(None));
        polled
    }
}

/// A request whose client waits to be told to go on: answered, or gone on with when its body is wanted.
pub struct Expecting {
    answering: Option<Answering>,
    /// None: nobody will want it any more.
    wanted: Option<oneshot::Receiver<()>>,
}

type Answering = Pin<Box<dyn Future<Output = Reply<Sending>>>>;

/// What is left of such a request, when the client has been told.
struct GoneOn(Answering);

impl Expecting {
    pub fn new(answering: Answering, wanted: oneshot::Receiver<()>) -> Self {
        Self { answering: Some(answering), wanted: Some(wanted) }
    }
}

impl Future for Expecting {
    type Output = Result<Message, Reply<BoxBody>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(mut answering) = self.answering.take() else { return Poll::Pending };
        if let Poll::Ready(mut reply) = answering.as_mut().poll(context) {
            // Whether its client sends the body now nobody can tell.
            reply.head_mut().set_connection_type(ConnectionType::Close);
            return Poll::Ready(Err(reply.map_into_boxed_body()));
        }
        if let Some(wanted) = &mut self.wanted {
            match Pin::new(wanted).poll(context) {
                Poll::Ready(Ok(())) => {
                    let rest = Message::new();
                    rest.extensions_mut().insert(GoneOn(answering));
                    return Poll::Ready(Ok(rest));
                }
                Poll::Ready(Err(_)) => self.wanted = None,
                Poll::Pending => {}
            }
        }
        self.answering = Some(answering);
        Poll::Pending
    }
}

/// The rest of a request whose client has been told to go on, if this is one.
pub fn gone_on(message: &Message) -> Option<Answering> {
    message.extensions_mut().remove::<GoneOn>().map(|GoneOn(answering)| answering)
}
