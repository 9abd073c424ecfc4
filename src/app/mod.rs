//! Builds the server from settings, runs it, and stops it in order.

use std::{net::TcpListener, sync::Arc, time::Duration};

use millrace_kit::{
    clock::Clock,
    metrics::{self, Registry},
    signals::{Signal, Signals},
    tasks::Tasks,
};

pub mod cli;
mod purge;
mod remote;

use crate::{
    cache::{self, Store},
    config::{OriginSettings, Settings},
    delivery::{self, Delivery},
    http::{self, Admin, Data, Listening, Phase},
    origin::{self, Origin, directory::Directory, http::Http},
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Cache(#[from] cache::Error),
    #[error(transparent)]
    Origin(#[from] origin::SetupError),
    #[error(transparent)]
    Media(#[from] delivery::SetupError),
    #[error(transparent)]
    Metrics(#[from] metrics::Error),
    #[error("serving failed: {0}")]
    Serve(#[from] std::io::Error),
}

/// A server that listens.
pub struct Server {
    data: Listening,
    admin: Listening,
    state: Arc<Admin>,
    store: Arc<Store>,
    tasks: Tasks,
    drain_timeout: Duration,
}

impl Server {
    /// Opens the cache and binds both ports. Must be called within a multi-threaded runtime.
    pub async fn start(settings: Settings, clock: Clock) -> Result<Self, Error> {
        let registry = Registry::new();
        let tasks = Tasks::new();
        let data_listener = bind(settings.listen)?;
        let admin_listener = bind(settings.admin)?;
        let origins = settings.origins.into_iter().map(open_origin).collect::<Result<_, _>>()?;
        let store = Store::open(&settings.cache, &registry, &tasks).await?;
        let delivery =
            Delivery::new(settings.delivery, store.clone(), origins, clock, tasks.clone(), &registry)?;
        let delivery = Arc::new(delivery);
        let token = (!settings.admin.ip().is_loopback()).then(|| settings.token.clone());
        let state = Arc::new(Admin::new(registry, delivery.clone(), token)?);
        let data = Arc::new(Data { delivery, pages: settings.pages, token: settings.token });
        let data = http::listen_data(data_listener, &settings.http, data)?;
        let admin = http::listen_admin(admin_listener, &settings.http, state.clone())?;
        Ok(Self { data, admin, state, store, tasks, drain_timeout: settings.http.drain_timeout })
    }

    pub fn data_address(&self) -> std::net::SocketAddr {
        self.data.address
    }

    pub fn admin_address(&self) -> std::net::SocketAddr {
        self.admin.address
    }

    /// Serves until a signal says stop, then drains.
    pub async fn run(self, mut signals: Signals) -> Result<(), Error> {
        self.run_until(async move {
            while signals.next().await == Signal::Reload {
                tracing::warn!(
                    "reloading the configuration is not available in this version; restart to apply it"
                );
            }
        })
        .await
    }

    /// Serves until `stop` resolves, then drains: not ready at once, requests in flight finish, then fills, then the
    /// cache closes.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let Self { data, admin, state, store, tasks, drain_timeout } = self;
        let (data_handle, admin_handle) = (data.handle.clone(), admin.handle.clone());
        let orderly = async {
            state.enter(Phase::Ready);
            tracing::info!("ready");
            stop.await;
            state.enter(Phase::Draining);
            tracing::info!("draining");
            let deadline = tokio::time::Instant::now() + drain_timeout;
            // actix itself gives up at its shutdown time-out.
            data_handle.stop(true).await;
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            if !tasks.drain(left).await {
                tracing::warn!(running = tasks.running(), "some fills did not finish in time");
            }
            store.close().await;
            admin_handle.stop(true).await;
        };
        let (served, administered, ()) = tokio::join!(data.serve(), admin.serve(), orderly);
        served?;
        administered?;
        tracing::info!("stopped");
        Ok(())
    }
}

fn bind(address: std::net::SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).map_err(|source| Error::Listen { address, source })
}

fn open_origin(settings: OriginSettings) -> Result<Arc<dyn Origin>, Error> {
    Ok(match settings {
        OriginSettings::Http(config) => Arc::new(Http::new(config)?),
        OriginSettings::Directory(config) => Arc::new(Directory::new(config)?),
    })
}
