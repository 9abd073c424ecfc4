//! A whole server under test: started on free ports with a clock that the test moves, stopped and started again on the
//! same directory. The origin's `Date` follows the same clock.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, LazyLock},
    time::{Duration, Instant, SystemTime},
};

use millrace::{
    app::{Error, Server},
    config::{Raw, raw, resolve},
};
use millrace_kit::clock::{Clock, to_unix_millis};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::oneshot, task::JoinHandle};

use super::client::{self, Open, Reply};
use crate::origin_double::OriginDouble;

/// Unit of storing in these tests.
pub(crate) const BLOCK: u64 = 64 << 10;

/// All servers live on one runtime, so that those whose test is over still stop in order.
static SERVERS: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

/// Stops when dropped.
pub(crate) struct Edge {
    clock: Clock,
    raw: Raw,
    /// Lives as long as the last server on it.
    dir: Arc<TempDir>,
    data: SocketAddr,
    admin: SocketAddr,
    secure: Option<SocketAddr>,
    running: Option<Running>,
}

struct Running {
    /// Dropping it asks the server to stop.
    stop: oneshot::Sender<()>,
    stopped: JoinHandle<Result<(), Error>>,
}

impl Edge {
    /// In front of `origin`, with a small memory tier and no disk tier.
    pub(crate) async fn over(origin: &OriginDouble) -> Self {
        Self::with(origin, |_| {}).await
    }

    /// With other settings.
    pub(crate) async fn with(origin: &OriginDouble, settings: impl FnOnce(&mut Raw)) -> Self {
        let edge = Self::start_with(|raw| {
            raw.origins = vec![http_origin(&origin.url())];
            settings(raw);
        });
        let edge = edge.await;
        origin.keep_time(edge.clock.clone());
        edge
    }

    /// With a disk tier, so that a restart can find something.
    pub(crate) async fn with_disk(origin: &OriginDouble) -> Self {
        Self::with(origin, |raw| raw.cache.disk = "64MiB".to_owned()).await
    }

    /// In front of the files of a directory.
    pub(crate) async fn over_directory(directory: &Path) -> Self {
        let url = directory.to_str().unwrap().to_owned();
        Self::start_with(|raw| raw.origins = vec![raw::Origin { url, ..Default::default() }]).await
    }

    /// In front of other origins than the programmable one.
    pub(crate) async fn before(origins: Vec<raw::Origin>) -> Self {
        Self::start_with(|raw| raw.origins = origins).await
    }

    /// In front of nothing: all it has is what is put there.
    pub(crate) async fn alone(settings: impl FnOnce(&mut Raw)) -> Self {
        Self::start_with(settings).await
    }

    /// A server that has this one for its origin, and the same clock.
    pub(crate) async fn child(&self) -> Self {
        let url = format!("http://{}", self.data);
        Self::start_at(self.clock.clone(), |raw| raw.origins = vec![http_origin(&url)]).await
    }

    /// A server with the same origins and the same clock, and a cache of its own.
    pub(crate) async fn sibling(&self, settings: impl FnOnce(&mut Raw)) -> Self {
        let origins = self.raw.origins.clone();
        let with = |raw: &mut Raw| {
            raw.origins = origins;
            settings(raw);
        };
        Self::start_at(self.clock.clone(), with).await
    }

    pub(crate) async fn start_with(settings: impl FnOnce(&mut Raw)) -> Self {
        // A whole second, as dates have no finer unit.
        let now = to_unix_millis(SystemTime::now()) / 1000 * 1000;
        Self::start_at(Clock::manual(now), settings).await
    }

    async fn start_at(clock: Clock, settings: impl FnOnce(&mut Raw)) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let mut raw = Raw::default();
        raw.server.listen = "127.0.0.1:0".to_owned();
        raw.server.admin = "127.0.0.1:0".to_owned();
        // As the test client calls it.
        raw.admin.hosts = vec!["edge.example".to_owned()];
        raw.server.workers = 1;
        raw.server.drain_timeout_secs = 10;
        raw.cache.memory = "64MiB".to_owned();
        raw.cache.disk = "0".to_owned();
        raw.cache.data_dir = dir.path().to_str().unwrap().to_owned();
        raw.cache.block_size = "64KiB".to_owned();
        raw.media.threads = 1;
        // Without trying out hardware first.
        raw.media.encoder = "libx264".to_owned();
        // Tests make origins fail one after the other, and count on being retried.
        raw.retry.budget_floor_per_sec = 1000;
        settings(&mut raw);
        Self::run(clock, raw, dir).await.unwrap()
    }

    async fn run(clock: Clock, raw: Raw, dir: Arc<TempDir>) -> Result<Self, Error> {
        let settings = resolve(&raw).unwrap();
        let server = SERVERS.spawn(Server::start(settings, clock.clone())).await.unwrap()?;
        let (data, admin, secure) = (server.data_address(), server.admin_address(), server.secure_address());
        let (stop, asked) = oneshot::channel::<()>();
        let stopped = SERVERS.spawn(server.run_until(async move {
            let _ = asked.await;
        }));
        Ok(Self { clock, raw, dir, data, admin, secure, running: Some(Running { stop, stopped }) })
    }

    /// Another server with the same settings, on the same directory.
    pub(crate) async fn second(&self) -> Result<Self, Error> {
        Self::run(self.clock.clone(), self.raw.clone(), self.dir.clone()).await
    }

    /// Asks the server to stop; it drains on its own.
    pub(crate) fn ask_to_stop(&mut self) -> JoinHandle<Result<(), Error>> {
        let Running { stop, stopped } = self.running.take().unwrap();
        drop(stop);
        stopped
    }

    pub(crate) async fn restart(&mut self) {
        self.ask_to_stop().await.unwrap().unwrap();
        *self = self.second().await.unwrap();
    }

    pub(crate) fn data(&self) -> SocketAddr {
        self.data
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Where TLS is spoken.
    pub(crate) fn secure(&self) -> SocketAddr {
        self.secure.unwrap()
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Since 1970.
    pub(crate) fn seconds(&self) -> u64 {
        self.clock.unix_millis().unsigned_abs() / 1000
    }

    /// `seconds` before or after now, as a date field says it.
    pub(crate) fn date(&self, seconds: i64) -> String {
        let millis = self.clock.unix_millis() + seconds * 1000;
        httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_millis(millis.unsigned_abs()))
    }

    /// The whole answer, and the server at rest.
    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, &[]).await
    }

    pub(crate) async fn get_range(&self, target: &str, range: &str) -> Reply {
        self.ask("GET", target, &[("range", range)]).await
    }

    /// The whole answer, and the server at rest: what it stores of it is stored.
    pub(crate) async fn ask(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Reply {
        let reply = self.send(method, target, fields).await;
        self.settled().await;
        reply
    }

    /// The whole answer, whatever the server does beside.
    pub(crate) async fn send(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Reply {
        self.open(method, target, fields).await.whole().await
    }

    /// An answer whose head has come.
    pub(crate) async fn open(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Open {
        client::open(self.data(), method, target, fields, b"").await
    }

    pub(crate) async fn admin_get(&self, target: &str) -> Reply {
        client::open(self.admin, "GET", target, &[], b"").await.whole().await
    }

    pub(crate) async fn admin_post(&self, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        client::open(self.admin, "POST", target, fields, body).await.whole().await
    }

    pub(crate) async fn admin_delete(&self, target: &str) -> Reply {
        client::open(self.admin, "DELETE", target, &[], b"").await.whole().await
    }

    /// The receipt's sequence number.
    pub(crate) async fn purge(&self, purge: &str) -> u64 {
        let reply = self.admin_post("/api/v1/purge", &[], purge.as_bytes()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let receipt: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        receipt["sequence"].as_u64().unwrap()
    }

    pub(crate) fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// Sum of the samples of `name` whose labels include all of `labels`, given as `key="value"`.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let exposition = self.admin_get("/metrics").await.text();
        let values = exposition.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, set) = series.split_once('{').unwrap_or((series, ""));
            (found == name && labels.iter().all(|label| set.contains(label)))
                .then(|| value.parse::<f64>().unwrap() as u64)
        });
        values.sum()
    }

    /// Waits until nothing is being filled any more.
    pub(crate) async fn settled(&self) {
        eventually("a server at rest", async || self.metric("millrace_fills_in_flight", &[]).await == 0)
            .await;
    }
}

pub(crate) fn http_origin(url: &str) -> raw::Origin {
    raw::Origin { name: "main".to_owned(), url: url.to_owned(), ..Default::default() }
}

/// Asks again and again until it is so; panics after half a minute.
pub(crate) async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so().await {
        assert!(Instant::now() < deadline, "never came to {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
