//! The catalogue in PostgreSQL, for all servers that share it. Each change is a transaction that locks the row of its key, and the
//! order of requests is a sequence of the database's.

use std::sync::Arc;

use deadpool_postgres::GenericClient;
use futures_util::FutureExt;
use millrace_kit::{
    metrics::{self, Registry},
    tasks::Tasks,
};
use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    time::{Duration, Instant, sleep, timeout_at},
};
use tokio_postgres::Row;
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        AssetKey, BlobId, Error,
        database::{self, Config, Pool},
    },
    Answer, Asset, Bounds, Catalogue, Commit, Condition, Listing, NewAsset, Outcome, Page, Place, Probed,
    Replaced, Result, Turn, Upload,
};

mod assets;
mod listen;
mod schema;
mod uploads;

pub(super) use listen::Lease;

use listen::Listener;

/// A commit whose answer got lost is asked after for so long, while the database is not there: it may just be starting again.
const SETTLING: Duration = Duration::from_secs(15);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(300);

pub struct Postgres {
    pool: Pool,
    listener: Arc<Listener>,
    elsewhere: Mutex<Option<mpsc::Receiver<AssetKey>>>,
    _listening: [listen::AbortOnDrop; 2],
}

impl Postgres {
    /// Connects, and brings the tables up to date. One more connection than is said hears what others say.
    pub async fn open(config: Config, registry: &Registry, tasks: &Tasks) -> Result<Self> {
        let tls = database::tls(config.ca_file.as_deref())?;
        let pool = Pool::new(&config, tls.clone(), registry).map_err(|error| failed_metrics(&error))?;
        let mut client = pool.get().await?;
        schema::bring_up(&mut client).await?;
        let since = client.query_one("SELECT clock_timestamp()", &[]).await?.try_get(0)?;
        drop(client);
        let (told, elsewhere) = mpsc::channel(listen::WAITING);
        let (listener, listening) = Listener::start(config.server, tls, (told, since), tasks);
        Ok(Self { pool, listener, elsewhere: Mutex::new(Some(elsewhere)), _listening: listening })
    }

    /// One statement, whose answer is rows.
    async fn query(&self, text: &str, values: Values<'_>) -> Result<Vec<Row>> {
        let client = self.pool.get().await?;
        let statement = client.prepare_cached(text).await?;
        Ok(client.query(&statement, values).await?)
    }

    /// What has become of a commit whose answer got lost. The error, if it was not done, or cannot be found out.
    async fn settle(&self, new: &NewAsset, lost: Error) -> Result<Outcome<Replaced>> {
        let deadline = Instant::now() + SETTLING;
        loop {
            let found = async {
                let mut client = self.pool.get().await?;
                assets::settle(&mut client, new).await
            };
            match timeout_at(deadline, found).await {
                Ok(Ok(Some(replaced))) => return Ok(Ok(replaced)),
                Ok(Err(Error::Unavailable(_))) if Instant::now() + PAUSE < deadline => sleep(PAUSE).await,
                _ => return Err(lost),
            }
        }
    }

    async fn execute(&self, text: &str, values: Values<'_>) -> Result<u64> {
        let client = self.pool.get().await?;
        let statement = client.prepare_cached(text).await?;
        Ok(client.execute(&statement, values).await?)
    }
}

type Values<'a> = &'a [&'a (dyn tokio_postgres::types::ToSql + Sync)];

fn failed_metrics(error: &metrics::Error) -> Error {
    Error::Catalogue(error.to_string())
}

impl Catalogue for Postgres {
    fn identity(&self) -> Answer<'_, String> {
        async {
            let rows = self.query("SELECT name FROM millrace_identity", &[]).await?;
            let row = rows.first().ok_or_else(|| Error::Catalogue("it has no identity".to_owned()))?;
            Ok(row.try_get(0)?)
        }
        .boxed()
    }

    fn turn<'a>(&'a self, _: &'a AssetKey) -> Answer<'a, Turn> {
        async {
            let rows = self.query("SELECT nextval('millrace_turns')", &[]).await?;
            let row = rows.first().ok_or_else(|| Error::Catalogue("it gives no turns".to_owned()))?;
            Ok(Turn(Place::Numbered(row.try_get(0)?)))
        }
        .boxed()
    }

    fn find<'a>(&'a self, key: &'a AssetKey) -> Answer<'a, Option<Asset>> {
        async move {
            let rows = self.query(assets::FIND, &[&key.as_str()]).await?;
            rows.first().map_or(Ok(None), assets::of_row)
        }
        .boxed()
    }

    fn commit(&self, commit: Commit) -> Answer<'_, Outcome<Replaced>> {
        async move {
            let mut client = self.pool.get().await?;
            let committed = assets::commit(&mut client, &commit, self.listener.name()).await;
            drop(client);
            match committed {
                Err(error @ Error::Unavailable(_)) => self.settle(&commit.new, error).await,
                committed => committed,
            }
        }
        .boxed()
    }

    fn remove(&self, key: AssetKey, condition: Condition, turn: Turn) -> Answer<'_, Outcome<Option<Asset>>> {
        async move {
            let mut client = self.pool.get().await?;
            assets::remove(&mut client, &key, &condition, &turn, self.listener.name()).await
        }
        .boxed()
    }

    fn list(&self, listing: Listing) -> Answer<'_, Page> {
        async move { assets::list(self, &listing).await }.boxed()
    }

    fn used_by<'a>(&'a self, owner: &'a str) -> Answer<'a, u64> {
        async move {
            let client = self.pool.get().await?;
            assets::used_by(&*client, owner).await
        }
        .boxed()
    }

    fn changed(&self) -> Answer<'_, Vec<AssetKey>> {
        async {
            let rows = self.query("SELECT key FROM millrace_changed LIMIT 10000", &[]).await?;
            let keys = rows.iter().map(|row| Ok(AssetKey::parse(row.try_get(0)?).ok()));
            Ok(keys.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
        }
        .boxed()
    }

    fn forgotten(&self, key: AssetKey, version: u64) -> Answer<'_, ()> {
        async move {
            let delete = "DELETE FROM millrace_changed WHERE key = $1 AND version <= $2";
            self.execute(delete, &[&key.as_str(), &number(version)]).await?;
            Ok(())
        }
        .boxed()
    }

    fn elsewhere(&self) -> Option<mpsc::Receiver<AssetKey>> {
        self.elsewhere.lock().take()
    }

    fn has_blob<'a>(&'a self, blob: &'a BlobId) -> Answer<'a, bool> {
        async move {
            let query = "SELECT 1 FROM millrace_assets WHERE blob = $1";
            Ok(!self.query(query, &[&blob.as_str()]).await?.is_empty())
        }
        .boxed()
    }

    fn note_probed(&self, key: AssetKey, version: u64, found: Probed) -> Answer<'_, ()> {
        async move {
            let (width, height) = found.size.unzip();
            let values: Values<'_> = &[
                &key.as_str(),
                &number(version),
                &found.duration_ms.map(number),
                &width.map(i64::from),
                &height.map(i64::from),
                &found.codecs,
            ];
            self.execute(assets::NOTE_PROBED, values).await?;
            Ok(())
        }
        .boxed()
    }

    fn unprobed(&self) -> Answer<'_, Vec<Asset>> {
        async { assets::of_rows(&self.query(assets::UNPROBED, &[]).await?) }.boxed()
    }

    fn lease<'a>(
        &'a self,
        id: &'a BlobId,
        wanted: CancellationToken,
        patience: Duration,
    ) -> Answer<'a, Option<super::Lease>> {
        async move {
            let lease = self.listener.lease(id, wanted, patience).await?;
            Ok(lease.map(|lease| super::Lease(Some(lease))))
        }
        .boxed()
    }

    fn upload<'a>(&'a self, id: &'a BlobId) -> Answer<'a, Option<Upload>> {
        async move {
            let rows = self.query(uploads::FIND, &[&id.as_str()]).await?;
            rows.first().map_or(Ok(None), uploads::of_row)
        }
        .boxed()
    }

    fn begin_upload(&self, upload: Upload, bounds: Bounds) -> Answer<'_, Outcome<()>> {
        async move {
            let mut client = self.pool.get().await?;
            uploads::begin(&mut client, &upload, &bounds).await
        }
        .boxed()
    }

    fn put_upload(&self, upload: Upload) -> Answer<'_, ()> {
        async move {
            let client = self.pool.get().await?;
            uploads::put(&*client, &upload).await
        }
        .boxed()
    }

    fn end_upload<'a>(&'a self, id: &'a BlobId) -> Answer<'a, ()> {
        async move {
            let client = self.pool.get().await?;
            uploads::end(&*client, id).await
        }
        .boxed()
    }

    fn unfinished_uploads<'a>(&'a self, after: &'a str) -> Answer<'a, Vec<Upload>> {
        async move {
            let rows = self.query(uploads::UNFINISHED, &[&after]).await?;
            let uploads = rows.iter().map(uploads::of_row).collect::<Result<Vec<_>>>()?;
            Ok(uploads.into_iter().flatten().collect())
        }
        .boxed()
    }

    fn expired_uploads(&self, now: i64) -> Answer<'_, Vec<BlobId>> {
        async move {
            let query = "SELECT id FROM millrace_uploads WHERE expires <= $1 LIMIT 1000";
            let rows = self.query(query, &[&now]).await?;
            let ids = rows.iter().map(|row| Ok(BlobId::parse(row.try_get(0)?)));
            Ok(ids.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
        }
        .boxed()
    }
}

/// Numbers there are signed; nothing of ours is as large.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
