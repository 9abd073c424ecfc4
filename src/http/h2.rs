//! HTTP/2, over TLS. hyper speaks it, within bounds: of streams, of fields, of streams that are opened to be given up, and of
//! how long answers wait for their readers.

use std::{
    cell::{Cell, RefCell},
    error::Error,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_http::body::MessageBody;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response};
use http_body_util::BodyStream;
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    rt::Executor,
    server::conn::http2::Builder,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::time::{Instant, interval, timeout};

use super::{
    body::Sending,
    connection::Connection,
    data::{self, Answering, Data},
    gather::Gather,
    link::Link,
    pace::Least,
};
use crate::delivery::{BodyError, RequestBody, broken_request_body, slow_request_body};

/// Requests at a time on one connection.
const MAX_STREAMS: u32 = 128;
/// Fields of a request, with what HTTP/2 counts on top.
const MAX_FIELDS: u32 = 64 << 10;
/// Body bytes of one request that nobody has read yet, and of all on a connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of one answer that wait to be written.
const SEND_BUFFER: usize = 64 << 10;
/// What a connection takes while nothing is asked on it: the write buffer of `h2`, its tables and TLS's.
const IDLE: usize = 32 << 10;
/// Streams that were given up before they were looked at, and those that broke the protocol.
const MAX_RESET: usize = 32;
/// A connection has given up so many requests at once, or for long more than those at each look: it is after something else.
const MAX_LEFT: u64 = 256;
const LEFT_PER_LOOK: u64 = 64;
/// A body that nobody wants is read for so long and so far when its request is answered: some clients that are told at once to stop
/// do not look at the answer that they have.
const GRACE: Duration = Duration::from_millis(500);
const MOST_UNWANTED: usize = 4 << 20;
/// How often a connection is looked after.
const LOOK: Duration = Duration::from_secs(1);

/// Bounds in time.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub keep_alive: Duration,
    pub least: Least,
}

/// Requests run on the worker that has their connection.
#[derive(Clone, Copy)]
struct Here;

impl<F: Future + 'static> Executor<F> for Here {
    fn execute(&self, future: F) {
        actix_web::rt::spawn(async move {
            future.await;
        });
    }
}

/// Serves a connection to its end. `stopping` resolves when no more requests are to be taken.
pub async fn serve(
    connection: Connection,
    data: Arc<Data>,
    times: Times,
    stopping: impl Future<Output = ()>,
) {
    let link = Link { behind: None, ..connection.link() };
    let watch = Rc::new(Watch::new());
    let service = service_fn(|request| handle(request, &data, &link, &watch));
    let mut builder = Builder::new(Here);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_FIELDS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_RESET)
        .max_local_error_reset_streams(MAX_RESET);
    let _loan = data.delivery.lend_connection(IDLE);
    let gather = Gather::new(connection);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(gather.clone()), service));
    let mut stopping = pin!(stopping);
    let mut ending = None;
    let mut looks = interval(LOOK);
    loop {
        tokio::select! {
            ended = poll_fn(|context| poll_both(serving.as_mut(), &gather, context)) => {
                if let Err(error) = ended {
                    tracing::debug!("a connection with HTTP/2 broke: {error}");
                }
                return;
            }
            () = &mut stopping, if ending.is_none() => {
                ending = Some(Instant::now());
                serving.as_mut().graceful_shutdown();
            }
            _ = looks.tick() => {
                let idle = watch.idle();
                let dead = watch.dead();
                if watch.is_flood() || watch.is_stuck(times.least) || dead > times.least.window * 3 {
                    return;
                }
                // Nobody is sent away before the first request.
                let sent_away = data.lifecycle.sends_away() && watch.asked.get();
                match ending {
                    // Else there would be ever more bodies that nobody takes, beside one that moves.
                    None if idle >= times.keep_alive || sent_away || dead > times.least.window * 2 => {
                        ending = Some(Instant::now());
                        serving.as_mut().graceful_shutdown();
                    }
                    // It has been told to end, and does nothing.
                    Some(since) if !idle.is_zero() && since.elapsed() > times.keep_alive => return,
                    _ => {}
                }
            }
        }
    }
}

/// Looks at a connection, and sends what this made it write.
fn poll_both(
    serving: Pin<&mut impl Future<Output = hyper::Result<()>>>,
    gather: &Gather<Connection>,
    context: &mut Context<'_>,
) -> Poll<Result<(), Box<dyn Error>>> {
    let ended = serving.poll(context);
    match gather.poll_out(context) {
        Poll::Ready(Err(error)) if ended.is_pending() => Poll::Ready(Err(error.into())),
        // Of a connection that has ended, what can go out has.
        _ => ended.map_err(Into::into),
    }
}

fn handle(
    request: Request<Incoming>,
    data: &Arc<Data>,
    link: &Link,
    watch: &Rc<Watch>,
) -> Answering<Response<Watched>> {
    // Counted until its body is over, or it is given up.
    let asked = watch.begin();
    let (head, incoming) = request.into_parts();
    let intake = (!incoming.is_end_stream()).then(|| Intake::new(incoming));
    if intake.is_none()
        && let Some((reply, sending)) = data::at_once_h2(&head, data, link)
    {
        return Answering::AtOnce(Some(reply.map(|()| watch.body(sending, asked, None))));
    }
    let (all, link, watch) = (data.clone(), link.clone(), watch.clone());
    Answering::wait(data, async move {
        let least = all.door.least;
        let body = || intake.as_ref().map(|intake| upload(intake.taker(), least));
        let (reply, sending) = data::handle_h2(head, body, &all, &link).await;
        reply.map(|()| watch.body(sending, asked, intake))
    })
}

/// The body of a request. Who takes it may leave it; it is kept until the answer is over. Then the client is told that the rest is not
/// wanted, which is no error (RFC 9113 §8.1).
struct Intake(Arc<Mutex<Incoming>>);

struct Taker(Arc<Mutex<Incoming>>);

impl Intake {
    fn new(incoming: Incoming) -> Self {
        Self(Arc::new(Mutex::new(incoming)))
    }

    fn taker(&self) -> Taker {
        Taker(self.0.clone())
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        // Else somebody is still reading it.
        if Arc::strong_count(&self.0) > 1 || self.0.lock().is_end_stream() {
            return;
        }
        let mut rest = Taker(self.0.clone());
        actix_web::rt::spawn(timeout(GRACE, async move {
            let mut read = 0;
            while read < MOST_UNWANTED
                && let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut rest).poll_frame(context)).await
            {
                read += frame.data_ref().map_or(0, Bytes::len);
            }
        }));
    }
}

impl Body for Taker {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut *self.0.lock()).poll_frame(context)
    }
}

fn upload(incoming: Taker, least: Least) -> RequestBody {
    let broken = |detail: String| broken_request_body(format!("the client's body broke: {detail}"));
    let frames = BodyStream::new(incoming).filter_map(move |frame| {
        let bytes = match frame {
            // Trailers are not passed on.
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(error) => Some(Err(broken(error.to_string()))),
        };
        std::future::ready(bytes)
    });
    super::pace::at_least(least, frames, slow_request_body).boxed()
}

/// What goes on on a connection.
struct Watch {
    bodies: RefCell<Vec<Weak<Answer>>>,
    active: Cell<usize>,
    /// There has been a request.
    asked: Cell<bool>,
    /// Requests that were given up, less those that are forgiven at each look.
    left: Cell<u64>,
    /// Since when there is nothing to do.
    idle: Cell<Instant>,
    /// When a body moved last.
    moved: Cell<Instant>,
}

/// A request that is not over.
struct Asked {
    watch: Rc<Watch>,
    done: Cell<bool>,
}

/// The body of an answer. hyper asks for more when its reader has room; meanwhile nobody could let go of it but for us.
struct Answer {
    sending: RefCell<Option<Sending>>,
    /// Since when it waits for its reader.
    handed: Cell<Option<Instant>>,
}

struct Watched {
    answer: Rc<Answer>,
    watch: Rc<Watch>,
    asked: Asked,
    _intake: Option<Intake>,
}

impl Watch {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            bodies: RefCell::default(),
            active: Cell::new(0),
            asked: Cell::new(false),
            left: Cell::new(0),
            idle: Cell::new(now),
            moved: Cell::new(now),
        }
    }

    fn begin(self: &Rc<Self>) -> Asked {
        self.active.set(self.active.get() + 1);
        self.asked.set(true);
        Asked { watch: self.clone(), done: Cell::new(false) }
    }

    fn body(self: &Rc<Self>, sending: Sending, asked: Asked, intake: Option<Intake>) -> Watched {
        let answer = Rc::new(Answer { sending: RefCell::new(Some(sending)), handed: Cell::new(None) });
        if !answer.is_end() {
            self.bodies.borrow_mut().push(Rc::downgrade(&answer));
        } else {
            asked.done.set(true);
        }
        Watched { answer, watch: self.clone(), asked, _intake: intake }
    }

    fn idle(&self) -> Duration {
        if self.active.get() > 0 { Duration::ZERO } else { self.idle.get().elapsed() }
    }

    /// At each look: what is answered beside is no excuse.
    fn is_flood(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(LEFT_PER_LOOK));
        left > MAX_LEFT
    }

    /// How long a body that was let go of has waited, hyper still holding what it had of it.
    fn dead(&self) -> Duration {
        let bodies = self.bodies.borrow();
        let dead = bodies.iter().filter_map(Weak::upgrade).filter(|body| body.sending.borrow().is_none());
        dead.filter_map(|body| body.handed.get()).map(|since| since.elapsed()).max().unwrap_or_default()
    }

    /// Lets go of what has waited for its reader for too long. True: so has everything.
    fn is_stuck(&self, least: Least) -> bool {
        let mut bodies = self.bodies.borrow_mut();
        bodies.retain(|body| body.strong_count() > 0);
        if least.window.is_zero() {
            return false;
        }
        let waits = |body: &Rc<Answer>| body.handed.get().is_some_and(|since| since.elapsed() > least.window);
        let stuck: Vec<_> = bodies.iter().filter_map(Weak::upgrade).filter(waits).collect();
        for body in &stuck {
            body.sending.take();
        }
        !stuck.is_empty() && self.moved.get().elapsed() > least.window
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let watch = &self.watch;
        watch.active.set(watch.active.get().saturating_sub(1));
        watch.idle.set(Instant::now());
        if !self.done.get() {
            watch.left.set(watch.left.get() + 1);
        }
    }
}

impl Answer {
    fn is_end(&self) -> bool {
        self.sending.borrow().as_ref().is_some_and(Sending::is_over)
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { answer, watch, asked, .. } = self.get_mut();
        answer.handed.set(None);
        let mut sending = answer.sending.borrow_mut();
        let Some(sending) = &mut *sending else { return Poll::Ready(Some(Err(BodyError::SlowClient))) };
        let polled = Pin::new(sending).poll_next(context);
        match &polled {
            Poll::Ready(Some(Ok(_))) => {
                watch.moved.set(Instant::now());
                answer.handed.set(Some(Instant::now()));
            }
            Poll::Ready(None) => asked.done.set(true),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled.map(|next| next.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        let over = self.answer.is_end();
        if over {
            self.asked.done.set(true);
        }
        over
    }

    fn size_hint(&self) -> SizeHint {
        match self.answer.sending.borrow().as_ref().map(Sending::left) {
            Some(Some(left)) => SizeHint::with_exact(left),
            _ => SizeHint::default(),
        }
    }
}
