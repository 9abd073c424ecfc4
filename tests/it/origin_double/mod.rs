//! A programmable HTTP/1.1 origin on a loopback port. A test scripts per path what is answered, how slowly and where it
//! breaks, then asks what was requested and how much was sent. Runs in real time: do not use it with a paused clock.
//!
//! ```ignore
//! let origin = OriginDouble::start().await;
//! origin.on("/big", Answer::pattern(1 << 30, 7).etag("\"1\"").cut_at(3_141_592).times(1));
//! origin.on("/big", Answer::pattern(1 << 30, 7).etag("\"1\""));
//! // … GET origin.url() + "/big" …
//! assert_eq!(origin.hits("/big"), 2);
//! ```
#![allow(dead_code, reason = "a tool box: not every test binary needs every tool")]

use std::{net::SocketAddr, sync::Arc};

use millrace_kit::clock::Clock;
use parking_lot::Mutex;
use tokio::{net::TcpListener, task::JoinHandle};

mod answer;
mod connection;
mod gate;
mod journal;
mod pattern;
mod reply;
mod script;

pub(crate) use answer::Answer;
pub(crate) use gate::Gate;
pub(crate) use journal::RecordedRequest;
#[allow(unused_imports, reason = "a tool box")]
pub(crate) use pattern::{first_mismatch, pattern_byte, pattern_bytes};

use journal::Journal;
use script::Script;

/// Stops, connections included, when dropped.
pub(crate) struct OriginDouble {
    addr: SocketAddr,
    shared: Arc<Shared>,
    /// `None` while down.
    listening: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    script: Script,
    journal: Journal,
    /// What `Date` says.
    clock: Mutex<Clock>,
}

impl OriginDouble {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let listening = Mutex::new(Some(serve(listener, Arc::clone(&shared))));
        Self { addr, shared, listening }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:port`, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Dates answers by this clock from now on.
    pub(crate) fn keep_time(&self, clock: Clock) {
        *self.shared.clock.lock() = clock;
    }

    /// Answers for `path` (any query), or for one target if `path` has a query. Answers with `times` are used up in the
    /// order given; the one without stays until another call replaces it. What is not scripted is 404.
    pub(crate) fn on(&self, path: &str, answer: Answer) {
        self.shared.script.push(path, answer);
    }

    /// Answers computed from the request.
    pub(crate) fn on_with<F>(&self, path: &str, answer: F)
    where
        F: Fn(&RecordedRequest) -> Answer + Send + Sync + 'static,
    {
        self.shared.script.compute(path, Arc::new(answer));
    }

    /// The answer for each path that has none of its own.
    pub(crate) fn on_any(&self, answer: Answer) {
        self.shared.script.push(script::ANY, answer);
    }

    /// Requests whose head has arrived, answered or not.
    pub(crate) fn hits(&self, path: &str) -> usize {
        self.shared.journal.hits(path)
    }

    pub(crate) fn total_hits(&self) -> usize {
        self.shared.journal.total_hits()
    }

    /// Body bytes handed to the kernel, chunk framing not counted.
    pub(crate) fn bytes_sent(&self, path: &str) -> u64 {
        self.shared.journal.bytes_sent(path)
    }

    pub(crate) fn requests(&self, path: &str) -> Vec<RecordedRequest> {
        self.shared.journal.requests(path)
    }

    /// Answers whose client went away before the end.
    pub(crate) fn aborted(&self, path: &str) -> usize {
        self.shared.journal.aborted(path)
    }

    /// Connections accepted since the start.
    pub(crate) fn connections(&self) -> usize {
        self.shared.journal.connections()
    }

    /// Waits until `path` has been asked for `count` times; panics after half a minute.
    pub(crate) async fn reach_hits(&self, path: &str, count: usize) {
        self.shared.journal.until(&format!("{count} hits on {path}"), |j| j.hits(path) >= count).await;
    }

    /// Waits until `count` body bytes of `path` have been sent; panics after half a minute.
    pub(crate) async fn reach_bytes(&self, path: &str, count: u64) {
        self.shared.journal.until(&format!("{count} bytes of {path}"), |j| j.bytes_sent(path) >= count).await;
    }

    /// Waits until `count` clients of `path` went away early; panics after half a minute.
    pub(crate) async fn reach_aborted(&self, path: &str, count: usize) {
        self.shared.journal.until(&format!("{count} aborts on {path}"), |j| j.aborted(path) >= count).await;
    }

    /// Breaks all connections and refuses new ones until `come_back`.
    pub(crate) async fn go_down(&self) {
        let listening = self.listening.lock().take();
        if let Some(task) = listening {
            task.abort();
            let _ = task.await;
        }
    }

    /// Listens on the same port again, with the same script and journal.
    pub(crate) async fn come_back(&self) {
        self.go_down().await;
        let listener = TcpListener::bind(self.addr).await.unwrap();
        *self.listening.lock() = Some(serve(listener, Arc::clone(&self.shared)));
    }
}

impl Drop for OriginDouble {
    fn drop(&mut self) {
        if let Some(task) = self.listening.lock().take() {
            task.abort();
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "test support: the double ends the task itself")]
fn serve(listener: TcpListener, shared: Arc<Shared>) -> JoinHandle<()> {
    tokio::spawn(connection::accept(listener, shared))
}
