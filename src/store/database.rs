//! Connections to PostgreSQL, as many as are wanted at a time and no more than are allowed.

use std::{
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

use deadpool_postgres::{Manager, ManagerConfig, PoolError, RecyclingMethod, Runtime, Timeouts};
use millrace_kit::metrics::{self, Histogram, IntGauge, Registry, catalogue};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::time::Duration;
pub use tokio_postgres::Config as Server;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Error;

type Result<T> = std::result::Result<T, Error>;

/// Where the database is, and how much of it is used.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its `Debug` does not show the password.
    pub server: Server,
    /// At the same time.
    pub connections: usize,
    /// PEM; trusted beside the system's authorities.
    pub ca_file: Option<PathBuf>,
}

/// Whoever waits longer for a connection is told that there is none.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Pool {
    pool: deadpool_postgres::Pool,
    used: Share,
    idle: Share,
    wait: Histogram,
}

/// What one pool adds to a gauge that all have in common.
struct Share {
    gauge: IntGauge,
    told: AtomicI64,
}

/// Goes back to the pool when it is dropped, and then is counted: in the order of the fields.
pub(crate) struct Connection<'a> {
    client: deadpool_postgres::Client,
    _counted: Counted<'a>,
}

struct Counted<'a>(&'a Pool);

impl Pool {
    /// Opens no connection.
    pub fn new(
        config: &Config,
        tls: MakeRustlsConnect,
        registry: &Registry,
    ) -> std::result::Result<Self, metrics::Error> {
        let mut server = config.server.clone();
        // What the network swallows must not be waited for as long as the system would.
        server.connect_timeout(Duration::from_secs(5)).keepalives_idle(Duration::from_secs(30));
        server.tcp_user_timeout(Duration::from_secs(20));
        if server.get_application_name().is_none() {
            server.application_name("millrace");
        }
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(server, tls, recycling);
        let timeouts =
            Timeouts { wait: Some(PATIENCE), create: Some(PATIENCE), recycle: Some(Duration::from_secs(5)) };
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(config.connections)
            .runtime(Runtime::Tokio1)
            .timeouts(timeouts)
            .build();
        let connections = registry.gauge(&catalogue::DB_POOL_CONNECTIONS)?;
        let pool =
            pool.map_err(|error| metrics::Error { name: "millrace_db_pool", reason: error.to_string() })?;
        Ok(Self {
            pool,
            used: Share::of(connections.with_label_values(&["used"])),
            idle: Share::of(connections.with_label_values(&["idle"])),
            wait: registry.histogram(&catalogue::DB_POOL_WAIT)?.with_label_values(&[] as &[&str]),
        })
    }

    /// For who needs nothing else of the database.
    pub fn open(config: &Config, registry: &Registry) -> Result<Self> {
        let tls = tls(config.ca_file.as_deref())?;
        Self::new(config, tls, registry).map_err(|error| Error::Catalogue(error.to_string()))
    }

    pub async fn get(&self) -> Result<Connection<'_>> {
        let started = Instant::now();
        let client = self.pool.get().await;
        self.wait.observe(started.elapsed().as_secs_f64());
        let connection = Connection {
            client: client.map_err(|error| match error {
                PoolError::Backend(error) => Error::from(error),
                other => Error::Unavailable(other.to_string()),
            })?,
            _counted: Counted(self),
        };
        self.tell();
        Ok(connection)
    }

    fn tell(&self) {
        let status = self.pool.status();
        self.idle.tell(status.available);
        self.used.tell(status.size.saturating_sub(status.available));
    }
}

impl Share {
    fn of(gauge: IntGauge) -> Self {
        Self { gauge, told: AtomicI64::new(0) }
    }

    fn tell(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.gauge.add(count - self.told.swap(count, Ordering::Relaxed));
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.tell();
    }
}

impl Deref for Connection<'_> {
    type Target = deadpool_postgres::Client;

    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

impl DerefMut for Connection<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.client
    }
}

/// Used where the address's `sslmode` wants it.
pub(super) fn tls(ca_file: Option<&Path>) -> Result<MakeRustlsConnect> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let wrong = |detail: String| Error::Io { what: "reading the database's ca_file", detail };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Catalogue(error.to_string()))?;
    Ok(MakeRustlsConnect::new(config.with_root_certificates(roots).with_no_client_auth()))
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        use tokio_postgres::error::SqlState;
        match error.as_db_error() {
            Some(said) if *said.code() == SqlState::DISK_FULL => Self::Full,
            // Class 57: the server is being shut down, starting, or was told to end us.
            Some(said) if said.code().code().starts_with("57") => {
                Self::Unavailable(said.message().to_owned())
            }
            Some(said) => Self::Catalogue(said.to_string()),
            None => Self::Unavailable(with_cause(&error)),
        }
    }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
