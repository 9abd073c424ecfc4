//! What servers that share a catalogue tell each other, over one connection of its own: which assets have changed, and who wants to
//! write to which upload. A right to write is an advisory lock of that connection's, so it ends with the server that has it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use futures_util::{StreamExt, stream};
use millrace_kit::tasks::Tasks;
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Duration, Instant, sleep, timeout},
};
use tokio_postgres::{AsyncMessage, Client, Config, Notification};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::sync::CancellationToken;

use super::super::{
    super::{AssetKey, BlobId, Error},
    Result,
};

/// Channels of `NOTIFY`.
pub(super) const CHANGED: &str = "millrace_changed";
const WANTED: &str = "millrace_wanted";

/// Whether it is ours now, and its name.
const LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('millrace upload ' || $1, 0)),
    hashtextextended('millrace upload ' || $1, 0)";

/// Ends the connection that has a lock, if nothing has been asked over it for several pulses: its server is frozen, or cut off, or gone
/// without a word, and the network may not tell of it for hours.
const END_DEAF: &str = "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND ((classid::bigint << 32) | objid::bigint) = $1
        AND datname = current_database() AND state = 'idle' AND state_change < clock_timestamp() - interval '20 s'";
/// Looks at a lock between looks at whoever has it.
const DEAF_LOOKS: u32 = 10;

/// Changes that wait to be heard of; the database waits for us beyond it.
pub(super) const WAITING: usize = 1024;
/// Between looks at whether a lock is free.
const LOOK: Duration = Duration::from_millis(100);
/// Between tries to connect.
const PAUSE: Duration = Duration::from_secs(1);
/// Between looks at whether the connection lives.
const PULSE: Duration = Duration::from_secs(5);
/// So long the answer to one may take.
const ANSWER: Duration = Duration::from_secs(10);
/// A transaction may become visible so much later than it noted its time.
const SLACK: Duration = Duration::from_secs(60);
/// Keys that changed while nobody listened, in order: those from a time on, of that time only those behind a key.
const MISSED: &str = "SELECT changed, key FROM millrace_versions
    WHERE changed >= $1 AND (changed > $1 OR key > $2) ORDER BY changed, key LIMIT 10000";

pub(super) struct Listener {
    name: BlobId,
    /// None: there is no connection at the moment.
    line: watch::Receiver<Option<Arc<Line>>>,
    held: Mutex<HashMap<u64, Held>>,
    next: AtomicU64,
    release: mpsc::UnboundedSender<(Arc<Line>, i64)>,
}

/// One connection, for as long as it lasts.
struct Line {
    client: Client,
    ended: CancellationToken,
}

struct Held {
    upload: BlobId,
    wanted: CancellationToken,
}

/// A task without an end of its own.
pub(super) struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The right to write to an upload, until it is dropped.
pub struct Lease {
    listener: Arc<Listener>,
    number: u64,
    line: Option<(Arc<Line>, i64)>,
}

impl Listener {
    /// `since`: when what is cached began to be of this catalogue, by the clock of the database.
    pub(super) fn start(
        config: Config,
        tls: MakeRustlsConnect,
        (told, mut since): (mpsc::Sender<AssetKey>, SystemTime),
        tasks: &Tasks,
    ) -> (Arc<Self>, [AbortOnDrop; 2]) {
        let (connected, line) = watch::channel(None);
        // As many as there are leases, of which there are as many as requests.
        let (release, mut released) = mpsc::unbounded_channel::<(Arc<Line>, i64)>();
        let (held, next) = (Mutex::default(), AtomicU64::new(0));
        let listener = Arc::new(Self { name: BlobId::random(), line, held, next, release });
        let hearing = listener.clone();
        // What is finished during a drain needs its leases, so these end with the catalogue.
        let hear = tasks.runtime().spawn(async move {
            loop {
                if let Err(error) = hearing.hear(&config, &tls, &told, &connected, &mut since).await {
                    tracing::warn!("what other servers change is not heard of at the moment: {error}");
                }
                connected.send_replace(None);
                hearing.all_lost();
                sleep(PAUSE).await;
            }
        });
        let give_back = tasks.runtime().spawn(async move {
            while let Some((line, lock)) = released.recv().await {
                // If it fails, the connection is gone, and its locks are.
                let _ = line.client.execute("SELECT pg_advisory_unlock($1)", &[&lock]).await;
            }
        });
        (listener, [AbortOnDrop(hear), AbortOnDrop(give_back)])
    }

    /// By which a server knows what it said itself.
    pub(super) fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Until the connection ends.
    async fn hear(
        &self,
        config: &Config,
        tls: &MakeRustlsConnect,
        told: &mpsc::Sender<AssetKey>,
        connected: &watch::Sender<Option<Arc<Line>>>,
        since: &mut SystemTime,
    ) -> Result<()> {
        let mut config = config.clone();
        config.connect_timeout(Duration::from_secs(5)).tcp_user_timeout(Duration::from_secs(20));
        config.application_name("millrace listener");
        let (client, mut connection) = config.connect(tls.clone()).await?;
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context)).boxed();
        let line = Arc::new(Line { client, ended: CancellationToken::new() });
        let ended = line.ended.clone().drop_guard();
        let begin = async {
            let batch = format!("LISTEN {CHANGED}; LISTEN {WANTED}; SET lock_timeout = '5s'");
            line.client.batch_execute(&batch).await?;
            // Only when all of it has been told; else it is told again over the next connection. Nothing is locked over this one
            // before: others would take it for deaf.
            *since = missed(&line, *since, told).await?;
            connected.send_replace(Some(line.clone()));
            loop {
                sleep(PULSE).await;
                let now = timeout(ANSWER, line.client.query_one("SELECT clock_timestamp()", &[])).await;
                let now = now.map_err(|_| Error::Unavailable("no answer".to_owned()))??;
                *since = now.try_get(0)?;
            }
        };
        let hear = async {
            while let Some(message) = messages.next().await {
                if let AsyncMessage::Notification(said) = message? {
                    self.heard(&said, told).await;
                }
            }
            Err(Error::Unavailable("the connection ended".to_owned()))
        };
        let end: Result<()> = tokio::select! {
            end = begin => end,
            end = hear => end,
        };
        drop(ended);
        end
    }

    async fn heard(&self, said: &Notification, told: &mpsc::Sender<AssetKey>) {
        let Some((server, what)) = said.payload().split_once(' ') else { return };
        if server == self.name() {
            return;
        }
        match said.channel() {
            CHANGED => {
                if let Ok(key) = AssetKey::parse(what) {
                    let _ = told.send(key).await;
                }
            }
            _ => {
                let held = self.held.lock();
                held.values()
                    .filter(|held| held.upload.as_str() == what)
                    .for_each(|held| held.wanted.cancel());
            }
        }
    }

    fn all_lost(&self) {
        self.held.lock().values().for_each(|held| held.wanted.cancel());
    }

    pub(super) async fn lease(
        self: &Arc<Self>,
        upload: &BlobId,
        wanted: CancellationToken,
        patience: Duration,
    ) -> Result<Option<Lease>> {
        let deadline = Instant::now() + patience;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Before it is locked, so that nobody's wish is missed.
        self.held.lock().insert(number, Held { upload: upload.clone(), wanted });
        let mut lease = Lease { listener: self.clone(), number, line: None };
        for look in 0_u32.. {
            let line = self.line(deadline).await?;
            let id = upload.as_str();
            let row = line.client.query_one(LOCK, &[&id]).await?;
            let lock: i64 = row.try_get(1)?;
            if row.try_get(0)? {
                lease.line = Some((line, lock));
                return Ok(Some(lease));
            }
            if look % DEAF_LOOKS == 0 {
                match line.client.query(END_DEAF, &[&lock]).await {
                    Ok(ended) if ended.is_empty() => {}
                    Ok(_) => tracing::warn!(
                        "a server that is not heard of any more loses its rights to write to uploads"
                    ),
                    // That of another role; it ends some day.
                    Err(error) => tracing::warn!("a server that is not heard of cannot be ended: {error}"),
                }
            }
            if Instant::now() + LOOK > deadline {
                break;
            }
            let said = format!("{} {upload}", self.name());
            line.client.execute("SELECT pg_notify($1, $2)", &[&WANTED, &said]).await?;
            sleep(LOOK).await;
        }
        Ok(None)
    }

    /// The connection, when there is one.
    async fn line(&self, deadline: Instant) -> Result<Arc<Line>> {
        let mut line = self.line.clone();
        let there =
            tokio::time::timeout_at(deadline.max(Instant::now() + PAUSE), line.wait_for(Option::is_some));
        let there = there.await.ok().and_then(|there| there.ok()).and_then(|there| there.clone());
        there.ok_or_else(|| Error::Unavailable("there is no connection".to_owned()))
    }
}

/// Tells of what changed while nobody listened, and until when that is.
async fn missed(line: &Line, since: SystemTime, told: &mpsc::Sender<AssetKey>) -> Result<SystemTime> {
    let until = line.client.query_one("SELECT clock_timestamp()", &[]).await?.try_get(0)?;
    let (mut from, mut after) = (since - SLACK, String::new());
    loop {
        let rows = line.client.query(MISSED, &[&from, &after]).await?;
        let Some(last) = rows.last() else { return Ok(until) };
        (from, after) = (last.try_get(0)?, last.try_get(1)?);
        for row in &rows {
            if let Ok(key) = AssetKey::parse(row.try_get(1)?) {
                let _ = told.send(key).await;
            }
        }
    }
}

impl Lease {
    pub(in super::super) fn is_lost(&self) -> bool {
        self.line.as_ref().is_none_or(|(line, _)| line.ended.is_cancelled())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.listener.held.lock().remove(&self.number);
        if let Some(line) = self.line.take() {
            let _ = self.listener.release.send(line);
        }
    }
}
