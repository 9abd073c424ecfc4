//! Builds the sidecar from settings, runs it, and stops it in order. The only module that knows all others.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use millrace_kit::{
    clock::Clock,
    metrics::{self, Registry, catalogue},
    service,
    signals::{Signal, Signals},
    tasks::Tasks,
};

pub mod cli;
mod evaluation;
mod instruments;
mod news;
mod notification;
mod scaling;
mod scraping;
mod snapshots;
mod summary;

pub use evaluation::Evaluation;
use instruments::Instruments;
use news::Reporter;
pub use notification::Notification;
use scaling::Fleets;
pub use scaling::Scaling;
pub use scraping::Scraping;
use scraping::Subjects;
pub use snapshots::Snapshots;

use crate::{
    config::Settings,
    discovery::{self, Target},
    events::Hub,
    http::{self, Listening, Phase},
    notify::{self, Mutes, Silences},
    rules::{Context, Engine, StateFile},
    scaling::fleet,
    scrape::{self, Roster},
    series::Store,
};

/// Job of the sidecar's own metrics.
const OWN_JOB: &str = "millrace-sidecar";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("data directory {path}: {source}")]
    DataDir { path: PathBuf, source: std::io::Error },
    #[error("data directory {0} is in use by another sidecar")]
    DataDirInUse(PathBuf),
    #[error(transparent)]
    Metrics(#[from] metrics::Error),
    #[error("HTTP client: {0}")]
    Client(#[from] scrape::Error),
    #[error("HTTP client: {0}")]
    Webhook(#[from] notify::Error),
    #[error(transparent)]
    Target(#[from] discovery::Error),
    #[error(transparent)]
    Fleet(#[from] fleet::Error),
    #[error("serving failed: {0}")]
    Serve(#[from] std::io::Error),
    #[error("scaling: {0}")]
    Scaling(String),
}

/// A sidecar that listens. Nothing is scraped or evaluated until it runs; tests do these by hand.
pub struct Sidecar {
    listening: Listening,
    state: Arc<http::State>,
    pub scraping: Arc<Scraping>,
    pub evaluation: Arc<Evaluation>,
    pub notification: Arc<Notification>,
    pub scaling: Arc<Scaling>,
    pub snapshots: Arc<Snapshots>,
    pub store: Arc<Store>,
    tasks: Tasks,
    drain_timeout: Duration,
    /// Locked for as long as this process uses the directory.
    _lock: File,
}

impl Sidecar {
    /// Restores what the last run left and binds the port.
    pub fn start(settings: Settings, clock: Clock) -> Result<Self, Error> {
        let lock = lock(&settings.data_dir)?;
        let settings_yaml = summary::yaml(&settings);
        let alertmanagers = summary::alertmanagers(&settings.receivers);
        let registry = Registry::new();
        let tasks = Tasks::new();
        let listener = TcpListener::bind(settings.listen)
            .map_err(|source| Error::Listen { address: settings.listen, source })?;
        let address = listener.local_addr()?;
        let now = clock.unix_millis();
        let instruments = Arc::new(Instruments::new(&registry)?);
        registry
            .gauge(&catalogue::BUILD_INFO)?
            .with_label_values(&[env!("CARGO_PKG_VERSION"), "sidecar"])
            .set(1);

        let store = Arc::new(Store::new(settings.series));
        let snapshots = Arc::new(Snapshots::new(
            store.clone(),
            clock.clone(),
            settings.data_dir.join("series.snapshot"),
            settings.snapshot_interval,
        ));
        snapshots.restore(now);

        let external_url = external_url(&settings.external_url, settings.listen, address);
        let context = Context {
            external_labels: settings.external_labels.clone(),
            external_url: external_url.clone(),
            settled_at: now + 3 * i64::try_from(settings.scrape.interval.as_millis()).unwrap_or(0),
        };
        let state_file = StateFile::new(Some(settings.data_dir.join("alerts.json")));
        let (engine, problem) = Engine::new(context, state_file, now);
        if let Some(problem) = problem {
            tracing::warn!("alerts of the last run are lost: {problem}");
        }
        let engine = Arc::new(engine);

        let silences = Arc::new(Silences::new(Some(settings.data_dir.join("silences.json"))));
        let mutes = Arc::new(Mutes { silences: silences.clone(), inhibitions: settings.inhibitions });
        let events = Arc::new(Hub::default());
        let reporter = Arc::new(Reporter::new(events.clone()));
        let notification = Arc::new(Notification::new(
            &settings.receivers,
            &notification::Common {
                external_url,
                external_labels: settings.external_labels.clone(),
                valid_for: notify::valid_for(settings.rules.interval),
                mutes: mutes.clone(),
            },
            &settings.data_dir,
            clock.clone(),
            instruments.clone(),
        )?);
        let mut targets = settings.targets;
        if settings.scrape_itself {
            targets.push(own_target(address)?);
        }
        let roster = Arc::new(Roster::default());
        let mut fleets = Fleets::open(&settings.scaling)?;
        let mut sources = settings.sources;
        sources.append(&mut fleets.sources);
        let scraping = Arc::new(Scraping::new(
            Subjects { targets, collectors: settings.collectors, sources },
            settings.scrape,
            store.clone(),
            roster.clone(),
            clock.clone(),
            instruments.clone(),
            reporter.clone(),
        )?);
        let evaluation = Arc::new(Evaluation::new(
            engine.clone(),
            store.clone(),
            settings.rules.clone(),
            notification.clone(),
            clock.clone(),
            instruments.clone(),
            reporter,
        ));
        evaluation.install(settings.groups, now);

        let scaling = Arc::new(Scaling::new(
            &settings.scaling,
            &fleets,
            &settings.data_dir,
            store.clone(),
            clock.clone(),
            instruments.clone(),
            {
                let events = events.clone();
                Arc::new(move |kind, told| events.publish(kind, &told))
            },
        )?);

        let state = Arc::new(http::State::new(http::Parts {
            store: store.clone(),
            engine: engine.clone(),
            roster,
            silences,
            scaling: scaling.controller.clone(),
            mutes,
            events,
            scrape: settings.scrape,
            clock: clock.clone(),
            bounds: settings.query,
            subquery_step: settings.rules.interval,
            token: settings.token,
            hosts: settings.hosts,
            alertmanagers,
            settings_yaml,
            reload: {
                let (evaluation, scaling) = (evaluation.clone(), scaling.clone());
                let tasks = tasks.clone();
                Box::new(move || reload(&evaluation, &scaling, &tasks))
            },
            instruments: http::Instruments::new(&registry)?,
            exposition: exposition(
                registry,
                instruments,
                store.clone(),
                engine,
                notification.clone(),
                scaling.clone(),
            ),
            receivers: {
                let notification = notification.clone();
                Box::new(move || notification.status())
            },
        }));
        let listening = http::listen(listener, state.clone(), settings.drain_timeout)?;
        Ok(Self {
            listening,
            state,
            scraping,
            evaluation,
            notification,
            scaling,
            snapshots,
            store,
            tasks,
            drain_timeout: settings.drain_timeout,
            _lock: lock,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.listening.address
    }

    /// Works until a signal says stop; HUP reads the rule files and the scaling policy anew.
    pub async fn run(self, mut signals: Signals) -> Result<(), Error> {
        let (evaluation, scaling) = (self.evaluation.clone(), self.scaling.clone());
        let tasks = self.tasks.clone();
        self.run_until(async move {
            while signals.next().await == Signal::Reload {
                // What was wrong is in the log.
                let _ = reload(&evaluation, &scaling, &tasks);
            }
        })
        .await
    }

    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        self.scraping.spawn(&self.tasks);
        self.evaluation.spawn(&self.tasks);
        self.notification.spawn(&self.tasks);
        self.scaling.spawn(&self.tasks);
        self.snapshots.spawn(&self.tasks);
        self.serve_until(stop).await
    }

    /// Only answers requests, then stops: not ready at once, requests in flight finish, tasks end, samples are saved.
    pub async fn serve_until(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let Self { listening, state, tasks, snapshots, drain_timeout, _lock, .. } = self;
        let handle = listening.handle.clone();
        let orderly = async {
            state.enter(Phase::Ready);
            service::ready();
            tracing::info!("ready");
            stop.await;
            state.enter(Phase::Draining);
            service::stopping();
            tracing::info!("draining");
            // Streams have no end of their own to wait for.
            state.events.close();
            handle.stop(true).await;
            if !tasks.drain(drain_timeout).await {
                tracing::warn!(running = tasks.running(), "some tasks did not finish in time");
            }
            snapshots.save().await;
        };
        let (served, ()) = tokio::join!(listening.serve(), orderly);
        served?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Reads rules and policy anew; what is bad changes nothing, and the other one is taken all the same.
fn reload(evaluation: &Arc<Evaluation>, scaling: &Scaling, tasks: &Tasks) -> Result<(), String> {
    let mut wrong = String::new();
    if !evaluation.reload(tasks) {
        wrong.push_str("failed to reload: the rule files are bad, see the log\n");
    }
    if let Err(faults) = scaling.reload() {
        for fault in &faults.0 {
            tracing::error!("{fault}");
        }
        tracing::error!(faults = faults.0.len(), "the scaling policy is bad; the old one stays");
        wrong.push_str(&format!("failed to reload the scaling policy, the old one stays:\n{faults}\n"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Two sidecars on one directory would overwrite each other's state.
fn lock(data_dir: &Path) -> Result<File, Error> {
    let failed = |source| Error::DataDir { path: data_dir.to_owned(), source };
    std::fs::create_dir_all(data_dir).map_err(failed)?;
    let file = File::create(data_dir.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::DataDirInUse(data_dir.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// With port 0 the address is known only now.
fn external_url(configured: &str, listen: SocketAddr, bound: SocketAddr) -> String {
    if configured == format!("http://{listen}") { format!("http://{bound}") } else { configured.to_owned() }
}

/// A wildcard address is reached through the loopback.
fn own_target(bound: SocketAddr) -> Result<Target, discovery::Error> {
    let mut address = bound;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    Target::new(&discovery::Config {
        url: format!("http://{address}"),
        job: OWN_JOB.to_owned(),
        ..discovery::Config::default()
    })
}

fn exposition(
    registry: Registry,
    instruments: Arc<Instruments>,
    store: Arc<Store>,
    engine: Arc<Engine>,
    notification: Arc<Notification>,
    scaling: Arc<Scaling>,
) -> Box<dyn Fn() -> String + Send + Sync> {
    Box::new(move || {
        instruments.observe_held(&store.stats());
        instruments.observe_alerts(&engine.views());
        instruments.observe_receivers(&notification.status());
        scaling.observe();
        registry.encode()
    })
}
