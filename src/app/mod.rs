//! Builds the server from settings, runs it, and stops it in order.

use std::{io, net::TcpListener, pin::pin, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures_util::future::maybe_done;
use millrace_kit::{
    clock::Clock,
    config::Faults,
    metrics::{self, Registry, catalogue},
    service,
    signals::{Signal, Signals},
    tasks::Tasks,
};
use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

mod aftercare;
mod assets;
pub mod cli;
mod explain;
mod jobs;
mod purge;
mod reload;
mod remote;
mod sign;
mod token;

use crate::{
    acme,
    admission::{Admission, load::Connections},
    cache::{self, Store},
    config::{OriginSettings, Raw, Settings, shown},
    delivery::{self, Delivery},
    http::{self, Admin, AdminHosts, Data, Door, Gate, Listening, Phase, tls},
    jobs::Jobs,
    origin::{self, Origin, Share, directory::Directory, http::Http, member, s3::S3},
    upload::Uploads,
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: std::net::SocketAddr, source: io::Error },
    #[error(transparent)]
    Cache(#[from] cache::Error),
    #[error(transparent)]
    Origin(#[from] origin::SetupError),
    #[error(transparent)]
    Media(#[from] delivery::SetupError),
    #[error(transparent)]
    Metrics(#[from] metrics::Error),
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("tls.acme: {0}")]
    Acme(#[from] acme::Error),
    #[error("opening a port failed: {0}")]
    Open(#[from] io::Error),
    #[error("the store of assets: {0}")]
    Assets(#[from] crate::store::Error),
    #[error("the store of assets: {0}")]
    Uploads(#[from] crate::upload::Error),
    #[error(transparent)]
    Jobs(#[from] crate::jobs::QueueError),
    #[error("the {port} port failed: {source}")]
    Serve { port: &'static str, source: io::Error },
    #[error("told to stop once more, the drain was cut short")]
    CutShort,
}

use assets::Assets;
use reload::{Parts, Reload};

/// A server that listens.
pub struct Server {
    data: Listening,
    admin: Listening,
    secure_address: Option<std::net::SocketAddr>,
    certificates: Option<Arc<tls::Certificates>>,
    reload: Arc<Mutex<Reload>>,
    acme: Option<acme::Keeper>,
    state: Arc<Admin>,
    delivery: Arc<Delivery>,
    store: Arc<Store>,
    uploads: Option<Uploads>,
    jobs: Option<Jobs>,
    tasks: Tasks,
    drain_timeout: Duration,
}

impl Server {
    /// Opens the cache and binds both ports. Must be called within a multi-threaded runtime.
    pub async fn start(settings: Settings, clock: Clock) -> Result<Self, Error> {
        let registry = Registry::new();
        let tasks = Tasks::new();
        let (cdn_loop, written) = (settings.cdn_loop.clone(), reload::named(&settings));
        let certificates = match &settings.tls {
            Some((_, tls)) => Some(tls::Certificates::open(tls.pairs.clone(), &registry)?),
            None => None,
        };
        let data_listener = bind(settings.listen)?;
        let admin_listener = bind(settings.admin)?;
        let origins = settings.origins.into_iter().map(open_origin).collect::<Result<Vec<_>, _>>()?;
        let mut origins: Vec<_> = origins.into_iter().zip(settings.members).collect();
        let assets = match &settings.uploads {
            Some(settings) => Some(Assets::open(settings, &registry, &tasks).await?),
            None => None,
        };
        if let (Some(assets), Some(settings)) = (&assets, &settings.uploads) {
            // The first to be asked for what is put here.
            let config = member::Config { share: Share::Ahead, ..member::Config::default() };
            origins.insert(0, (assets.origin(settings), config));
        }
        let store = Store::open(&settings.cache, &registry, &tasks).await?;
        let admission = Arc::new(Admission::new(settings.access, clock.clone()));
        let delivery = Delivery::new(
            settings.delivery,
            store.clone(),
            origins,
            clock.clone(),
            tasks.clone(),
            &registry,
        )?;
        let delivery = Arc::new(delivery);
        let allow_origins =
            settings.uploads.as_ref().map(|uploads| uploads.allow_origins.clone()).unwrap_or_default();
        let uploads = match (assets, settings.uploads) {
            (Some(assets), Some(settings)) => {
                let clock = clock.clone();
                Some(assets.uploads(settings, delivery.clone(), clock, tasks.clone(), &registry).await?)
            }
            _ => None,
        };
        let jobs = match settings.jobs {
            Some(settings) => {
                let clock = clock.clone();
                let parts = settings.warm.clone();
                let running = (clock, tasks.clone());
                let jobs =
                    jobs::start(settings, delivery.clone(), uploads.clone(), running, &registry).await?;
                if let (Some(uploads), false) = (&uploads, parts.is_empty()) {
                    jobs::warm_after(uploads, &jobs, parts, &tasks);
                }
                Some(jobs)
            }
            None => None,
        };
        // When those who are told of what is found are known.
        if let Some(uploads) = &uploads {
            uploads.keep_in_order();
        }
        let challenges = acme::Challenges::default();
        let acme = match settings.acme {
            Some(settings) => Some(acme::Keeper::open(settings, challenges.clone(), clock.clone())?),
            None => None,
        };
        let gate = Gate {
            proxies: settings.door.proxies.clone(),
            connections: Connections::new(settings.door.max_connections_per_client),
            patience: settings.http.header_timeout,
            least: settings.door.least,
            refused: registry.counter(&catalogue::CONNECTIONS_REFUSED)?,
        };
        let door = Arc::new(Door::new(settings.door, &clock, &registry)?);
        let admin_hosts = AdminHosts {
            names: settings.admin.ip().is_loopback().then_some(settings.admin_hosts),
            failures: door.failures(),
        };
        let mut secure = None;
        if let (Some((address, config)), Some(certificates)) = (&settings.tls, &certificates) {
            let listener = bind(*address)?;
            secure = Some((listener, tls::server_config(config, certificates.clone())?));
            tasks.spawn_until_stop("watch certificates", certificates.clone().watch(config.watch));
        }
        let for_others = (!settings.admin.ip().is_loopback()).then(|| admission.clone());
        let told = Arc::new(ArcSwap::from_pointee(shown(&settings.raw)));
        let parts = Parts {
            delivery: delivery.clone(),
            admission: admission.clone(),
            door: door.clone(),
            cdn_loop: cdn_loop.clone(),
            uploads: uploads.is_some(),
            clock: clock.clone(),
            told: told.clone(),
        };
        let reload = Arc::new(Mutex::new(Reload::new(settings.raw, written, parts, &registry)?));
        let state = Admin::new(registry, told, delivery.clone(), for_others, uploads.clone(), jobs.clone())?;
        let state = Arc::new(state);
        let data = Arc::new(Data {
            delivery: delivery.clone(),
            pages: settings.pages,
            admission,
            uploads: uploads.clone(),
            allow_origins,
            cdn_loop,
            lifecycle: state.lifecycle().clone(),
            door,
            challenges: challenges.clone(),
        });
        let secure_address = secure.as_ref().map(|(listener, _)| listener.local_addr()).transpose()?;
        let data = http::listen_data(data_listener, secure, &settings.http, gate, data)?;
        let admin = http::listen_admin(admin_listener, &settings.http, admin_hosts, state.clone())?;
        let drain_timeout = settings.http.drain_timeout;
        Ok(Self {
            data,
            admin,
            secure_address,
            certificates,
            reload,
            acme,
            state,
            delivery,
            store,
            uploads,
            jobs,
            tasks,
            drain_timeout,
        })
    }

    /// Where TLS is spoken.
    pub fn secure_address(&self) -> Option<std::net::SocketAddr> {
        self.secure_address
    }

    pub fn data_address(&self) -> std::net::SocketAddr {
        self.data.address
    }

    pub fn admin_address(&self) -> std::net::SocketAddr {
        self.admin.address
    }

    /// Serves until a signal says stop, then drains. Another such signal ends the drain at once. When told to reload, it takes over
    /// what `read` reads.
    pub async fn run(
        self,
        mut signals: Signals,
        read: impl Fn() -> Result<Raw, Faults>,
    ) -> Result<(), Error> {
        let delivery = self.delivery.clone();
        self.tasks.spawn_until_stop("warm-up", async move { delivery.warm_up().await });
        let (certificates, reload) = (self.certificates.clone(), self.reload.clone());
        let mut stop = async || {
            while signals.next().await == Signal::Reload {
                if let Some(certificates) = &certificates {
                    reload_certificates(certificates);
                }
                reload.lock().take_over(read());
            }
        };
        let (begin, begun) = oneshot::channel::<()>();
        let running = self.run_until(async {
            let _ = begun.await;
        });
        let told_twice = async {
            stop().await;
            drop(begin);
            stop().await;
        };
        tokio::select! {
            ended = running => ended,
            () = told_twice => Err(Error::CutShort),
        }
    }

    /// Serves until `stop` resolves or a port fails, then drains: not ready at once, requests in flight finish, then
    /// fills, then the cache closes.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let Self { data, admin, state, delivery, store, uploads, jobs, tasks, drain_timeout, .. } = self;
        if let (Some(acme), Some(certificates)) = (self.acme, self.certificates) {
            tasks.spawn_until_stop("certificates", acme.run(move |_| reload_certificates(&certificates)));
        }
        let (data_handle, admin_handle) = (data.handle.clone(), admin.handle.clone());
        let drain = async {
            state.lifecycle().enter(Phase::Draining);
            service::stopping();
            tracing::info!("draining");
            let deadline = Instant::now() + drain_timeout;
            let left = || deadline.saturating_duration_since(Instant::now());
            // actix itself gives up at its shutdown time-out, unless a worker hangs.
            within(left() + AT_LEAST, "requests in flight", data_handle.stop(true)).await;
            if !tasks.drain(left()).await {
                tracing::warn!(running = tasks.running(), "some fills did not finish in time");
            }
            within(left().max(AT_LEAST), "the cache", store.close()).await;
            uploads.iter().for_each(Uploads::close);
            jobs.iter().for_each(Jobs::close);
            within(AT_LEAST, "the admin port", admin_handle.stop(true)).await;
        };
        // Its readiness waits for that.
        delivery.warmer().begin_at_start();
        state.lifecycle().enter(Phase::Ready);
        service::ready();
        tracing::info!("ready");
        serve([("data", data.serve()), ("admin", admin.serve())], stop, drain).await?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// What a step of the drain gets when the time for all of it is used up.
const AT_LEAST: Duration = Duration::from_secs(5);
/// Connections that may wait to be accepted; the kernel caps it with `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A step of the drain, left behind when it takes longer than this.
async fn within(patience: Duration, what: &str, step: impl Future<Output = ()>) {
    if timeout(patience, step).await.is_err() {
        tracing::warn!("{what} did not end within {patience:?}");
    }
}

/// Keeps the ports going until `stop` resolves or one of them ends, which none should untold, and then until `drain` is
/// over, which tells them to.
async fn serve(
    [data, admin]: [(&'static str, impl Future<Output = io::Result<()>>); 2],
    stop: impl Future<Output = ()>,
    drain: impl Future<Output = ()>,
) -> Result<(), Error> {
    let (mut data_ended, mut admin_ended) = (pin!(maybe_done(data.1)), pin!(maybe_done(admin.1)));
    let untold = tokio::select! {
        () = stop => None,
        () = &mut data_ended => Some(data.0),
        () = &mut admin_ended => Some(admin.0),
    };
    let serving = async {
        tokio::join!(data_ended.as_mut(), admin_ended.as_mut());
        std::future::pending().await
    };
    tokio::select! {
        () = drain => {}
        () = serving => {}
    }
    for (port, ended) in [(data.0, data_ended.take_output()), (admin.0, admin_ended.take_output())] {
        let source = match ended {
            Some(Err(source)) => source,
            Some(Ok(())) if untold == Some(port) => io::Error::other("it ended untold"),
            _ => continue,
        };
        return Err(Error::Serve { port, source });
    }
    Ok(())
}

fn reload_certificates(certificates: &tls::Certificates) {
    if let Err(error) = certificates.reload() {
        tracing::error!("new certificates cannot be used, the old ones stay: {error}");
    }
}

fn bind(address: std::net::SocketAddr) -> Result<TcpListener, Error> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        // The standard library's backlog is 128; what does not fit waits a second for its SYN to be sent again.
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(listener)
    };
    listen().map_err(|source| Error::Listen { address, source })
}

fn open_origin(settings: OriginSettings) -> Result<Arc<dyn Origin>, origin::SetupError> {
    Ok(match settings {
        OriginSettings::Http(config) => Arc::new(Http::new(*config)?),
        OriginSettings::Directory(config) => Arc::new(Directory::new(config)?),
        OriginSettings::S3(config) => Arc::new(S3::new(*config)?),
    })
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        net::TcpStream,
    };

    use futures_util::{FutureExt, future::BoxFuture};

    use super::*;
    use crate::config::{Raw, raw, resolve};

    type Port = (&'static str, BoxFuture<'static, io::Result<()>>);

    /// A port that ends when told to.
    fn port(name: &'static str) -> (Port, oneshot::Sender<()>) {
        let (told, stop) = oneshot::channel::<()>();
        ((name, stop.map(|_| Ok(())).boxed()), told)
    }

    #[tokio::test]
    async fn a_port_that_fails_stops_the_other() {
        let (healthy, told) = port("admin");
        let failing: Port = ("data", ready(Err(io::Error::other("no more threads"))).boxed());
        let error = serve([failing, healthy], pending(), async { drop(told) }).await.unwrap_err();
        assert_eq!(error.to_string(), "the data port failed: no more threads");
    }

    #[tokio::test]
    async fn ports_that_are_told_to_end_have_not_failed() {
        let ((data, data_told), (admin, admin_told)) = (port("data"), port("admin"));
        let drain = async { drop((data_told, admin_told)) };
        serve([data, admin], ready(()), drain).await.unwrap();
    }

    /// Ends a listener behind the server's back.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_whose_listener_is_gone_ends() {
        for (port, data_fails) in [("data", true), ("admin", false)] {
            let dir = tempfile::tempdir().unwrap();
            let mut raw = Raw::default();
            raw.server.listen = "127.0.0.1:0".to_owned();
            raw.server.admin = "127.0.0.1:0".to_owned();
            raw.cache.disk = "0".to_owned();
            raw.cache.data_dir = dir.path().to_str().unwrap().to_owned();
            raw.origins = vec![raw::Origin { url: "http://127.0.0.1:1".to_owned(), ..Default::default() }];
            let server = Server::start(resolve(&raw).unwrap(), Clock::System).await.unwrap();
            let addresses = [server.data_address(), server.admin_address()];
            let handle = if data_fails { &server.data.handle } else { &server.admin.handle }.clone();
            let (ended, ()) = tokio::join!(
                timeout(Duration::from_secs(20), server.run_until(pending())),
                handle.stop(false)
            );
            match ended {
                Ok(Err(Error::Serve { port: failed, .. })) => assert_eq!(failed, port),
                other => panic!("{port}: {other:?}"),
            }
            for address in addresses {
                assert!(TcpStream::connect(address).is_err(), "{port}: {address} is still open");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_that_hangs_is_left_behind() {
        let started = Instant::now();
        within(AT_LEAST, "the cache", pending()).await;
        assert_eq!(started.elapsed(), AT_LEAST);
    }
}
