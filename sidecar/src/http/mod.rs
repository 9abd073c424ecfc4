//! The HTTP face: dashboard, Prometheus API, health, metrics. The only module that knows actix. Reads what the modules
//! below hold; changes silences, and asks for a reload.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use actix_web::{App, HttpServer, dev::ServerHandle, web};
use millrace_kit::{
    clock::{Clock, UnixMillis},
    secret::Secret,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::{
    events::Hub,
    notify::{Mutes, Silences},
    rules::Engine,
    scaling::Controller,
    scrape::{self, Roster},
    series::Store,
};

mod api;
mod authority;
mod health;
mod instruments;
mod status;
mod ui;

pub use instruments::Instruments;

/// Bytes of a form; queries are shorter.
const MAX_FORM_BYTES: usize = 64 * 1024;

/// Queries that are evaluated at once, and that wait for it; more are refused.
const RUNNING_QUERIES: usize = 4;
const WAITING_QUERIES: usize = 64;

/// Streams of events at once; more are refused, and pages ask now and then instead.
const LISTENERS: usize = 128;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Address and port of dashboard, API and metrics. Port 0: any free one.
    pub listen: String,
    /// As receivers of notifications shall link to it; empty: `http://` and the listening address.
    pub external_url: String,
    /// Names beside `localhost`, addresses and that of `external_url`, by which browsers and programs on this machine ask for
    /// the sidecar. Under others they get nothing: pages of other sites could have made such a name lead here.
    pub hosts: Vec<String>,
    /// Seconds a query may take.
    pub query_timeout_secs: u64,
    /// Samples a query may load and produce.
    pub max_query_samples: usize,
    /// Series that a selector of a query may find.
    pub max_query_series: usize,
    /// Secret that changes (silences, reloading) want as `Authorization: Bearer`, when they come from another machine.
    /// Empty: only this machine may.
    #[schemars(with = "String")]
    pub token: Secret,
    /// Requests in flight get this long to finish when the sidecar stops.
    pub drain_timeout_secs: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8090".to_owned(),
            external_url: String::new(),
            hosts: Vec::new(),
            query_timeout_secs: 30,
            max_query_samples: 20_000_000,
            max_query_series: 100_000,
            token: Secret::default(),
            drain_timeout_secs: 10,
        }
    }
}

/// Bounds of every query.
#[derive(Debug, Clone, Copy)]
pub struct QueryBounds {
    pub timeout: Duration,
    pub max_samples: usize,
    pub max_series: usize,
}

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Ready,
    Draining,
}

/// How deliveries to one receiver stand.
#[derive(Debug, Clone, Serialize)]
pub struct ReceiverStatus {
    pub receiver: String,
    pub pending: usize,
    pub last_error: Option<String>,
}

/// What the handlers look at.
pub struct State {
    pub store: Arc<Store>,
    pub engine: Arc<Engine>,
    pub roster: Arc<Roster>,
    pub silences: Arc<Silences>,
    pub scaling: Arc<Controller>,
    pub mutes: Arc<Mutes>,
    pub events: Arc<Hub>,
    pub scrape: scrape::Settings,
    pub clock: Clock,
    pub bounds: QueryBounds,
    pub subquery_step: Duration,
    pub token: Secret,
    /// Names that lead here, in lower case.
    pub hosts: Vec<String>,
    /// Base URLs.
    pub alertmanagers: Vec<String>,
    /// The settings, in Prometheus' form.
    pub settings_yaml: String,
    /// Reads rule files and policy anew, or says what is bad.
    pub reload: Reload,
    pub instruments: Instruments,
    /// The exposition of the process.
    pub exposition: Box<dyn Fn() -> String + Send + Sync>,
    pub receivers: Box<dyn Fn() -> Vec<ReceiverStatus> + Send + Sync>,
    pub started_at: UnixMillis,
    queries: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
    phase: AtomicU8,
}

pub type Reload = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Everything of [`State`] that is given from outside.
pub struct Parts {
    pub store: Arc<Store>,
    pub engine: Arc<Engine>,
    pub roster: Arc<Roster>,
    pub silences: Arc<Silences>,
    pub scaling: Arc<Controller>,
    pub mutes: Arc<Mutes>,
    pub events: Arc<Hub>,
    pub scrape: scrape::Settings,
    pub clock: Clock,
    pub bounds: QueryBounds,
    pub subquery_step: Duration,
    pub token: Secret,
    /// Names that lead here, in lower case.
    pub hosts: Vec<String>,
    /// Base URLs.
    pub alertmanagers: Vec<String>,
    /// The settings, in Prometheus' form.
    pub settings_yaml: String,
    /// Reads rule files and policy anew, or says what is bad.
    pub reload: Reload,
    pub instruments: Instruments,
    pub exposition: Box<dyn Fn() -> String + Send + Sync>,
    pub receivers: Box<dyn Fn() -> Vec<ReceiverStatus> + Send + Sync>,
}

impl State {
    pub fn new(parts: Parts) -> Self {
        Self {
            store: parts.store,
            engine: parts.engine,
            roster: parts.roster,
            silences: parts.silences,
            scaling: parts.scaling,
            mutes: parts.mutes,
            events: parts.events,
            scrape: parts.scrape,
            started_at: parts.clock.unix_millis(),
            clock: parts.clock,
            bounds: parts.bounds,
            subquery_step: parts.subquery_step,
            token: parts.token,
            hosts: parts.hosts,
            alertmanagers: parts.alertmanagers,
            settings_yaml: parts.settings_yaml,
            reload: parts.reload,
            instruments: parts.instruments,
            exposition: parts.exposition,
            receivers: parts.receivers,
            queries: Arc::new(Semaphore::new(RUNNING_QUERIES)),
            admitted: Arc::new(Semaphore::new(RUNNING_QUERIES + WAITING_QUERIES)),
            listeners: Arc::new(Semaphore::new(LISTENERS)),
            phase: AtomicU8::new(Phase::Starting as u8),
        }
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// A listening server, not yet awaited.
pub struct Listening {
    pub address: SocketAddr,
    pub handle: ServerHandle,
    server: actix_web::dev::Server,
}

impl Listening {
    /// Serves until stopped through the handle.
    pub async fn serve(self) -> std::io::Result<()> {
        self.server.await
    }
}

pub fn listen(
    listener: TcpListener,
    state: Arc<State>,
    drain_timeout: Duration,
) -> std::io::Result<Listening> {
    let address = listener.local_addr()?;
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::from(state.clone()))
            .app_data(web::PayloadConfig::new(MAX_FORM_BYTES))
            .wrap(actix_web::middleware::from_fn(authority::guard))
            .wrap(actix_web::middleware::from_fn(instruments::measure))
            .configure(health::routes)
            .configure(status::routes)
            .configure(api::routes)
            .configure(ui::routes)
    })
    .workers(1)
    .client_request_timeout(Duration::from_secs(10))
    .shutdown_timeout(drain_timeout.as_secs())
    .disable_signals()
    .listen(listener)?
    .run();
    Ok(Listening { address, handle: server.handle(), server })
}
