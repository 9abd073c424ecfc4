//! What is known of assets and unfinished uploads, in an embedded SQLite database. A write is told of when it is durable; writes
//! that come together share one transaction.

use std::{fs, path::Path, sync::Arc};

use rusqlite::{Connection, OptionalExtension, params};

use super::{AssetKey, BlobId, Error};

mod asset;
mod engine;
mod list;
mod order;
mod schema;
mod uploads;

pub use asset::{Asset, Condition, NewAsset, Refused, Replaced, Tags};
pub use list::{Listing, Page};
pub use order::Turn;
pub use uploads::{Kind, Upload};

use engine::Engine;
use order::Order;

pub struct Catalogue {
    engine: Engine,
    order: Arc<Order>,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Catalogue {
    /// Blocks. Must be called within a runtime.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::io("making the catalogue's directory"))?;
        }
        Ok(Self { engine: Engine::open(path)?, order: Arc::default() })
    }

    /// The place of a request that will change this key, taken when it comes.
    pub fn turn(&self, key: &AssetKey) -> Turn {
        self.order.turn(key)
    }

    pub async fn find(&self, key: &AssetKey) -> Result<Option<Asset>> {
        let key = key.clone();
        self.engine.read(move |connection| asset::find(connection, &key)).await
    }

    /// Puts an asset in its place, if that is as the condition says. Its blob must be durable.
    pub async fn commit(
        &self,
        new: NewAsset,
        condition: Condition,
        quota: Option<u64>,
        turn: Turn,
    ) -> Result<std::result::Result<Replaced, Refused>> {
        self.engine
            .write(move |connection| in_turn(&turn, || asset::commit(connection, &new, &condition, quota)))
            .await
    }

    /// The same of an upload that ends with it.
    pub async fn finish(
        &self,
        upload: BlobId,
        new: NewAsset,
        condition: Condition,
        quota: Option<u64>,
        turn: Turn,
    ) -> Result<std::result::Result<Replaced, Refused>> {
        let work = move |connection: &Connection| {
            let committed = in_turn(&turn, || asset::commit(connection, &new, &condition, quota))?;
            if committed.is_ok() {
                uploads::mark_done(connection, &upload, new.length)?;
            }
            Ok(committed)
        };
        self.engine.write(work).await
    }

    /// What was removed. None: there was nothing.
    pub async fn remove(
        &self,
        key: AssetKey,
        condition: Condition,
        turn: Turn,
    ) -> Result<std::result::Result<Option<Asset>, Refused>> {
        self.engine
            .write(move |connection| in_turn(&turn, || asset::remove(connection, &key, &condition)))
            .await
    }

    pub async fn list(&self, listing: Listing) -> Result<Page> {
        self.engine.read(move |connection| list::list(connection, &listing)).await
    }

    /// Bytes that an owner has stored, and those of uploads that have begun.
    pub async fn used_by(&self, owner: &str) -> Result<u64> {
        let owner = owner.to_owned();
        self.engine.read(move |connection| asset::used_by(connection, &owner)).await
    }

    /// Assets that have changed, and whose old selves may still be in caches.
    pub async fn changed(&self) -> Result<Vec<AssetKey>> {
        let work = |connection: &Connection| {
            let mut statement = connection.prepare("SELECT key FROM changed LIMIT 10000")?;
            let keys = statement.query_map([], |row| row.get::<_, String>(0))?;
            keys.map(|key| Ok(asset::key_of(&key?))).collect::<rusqlite::Result<Vec<_>>>()
        };
        Ok(self.engine.read(work).await?.into_iter().flatten().collect())
    }

    /// No cache has an asset any more as it was before the change of that number.
    pub async fn forgotten(&self, key: AssetKey, version: u64) -> Result<()> {
        let work = move |connection: &Connection| {
            let statement = "DELETE FROM changed WHERE key = ?1 AND version <= ?2";
            connection.execute(statement, params![key.as_str(), engine::number(version)])?;
            Ok(())
        };
        self.engine.write(work).await
    }

    /// Whether an asset has this blob.
    pub async fn has_blob(&self, blob: &BlobId) -> Result<bool> {
        let blob = blob.clone();
        let work = move |connection: &Connection| {
            let statement = "SELECT 1 FROM assets WHERE blob = ?1";
            Ok(connection.query_row(statement, [blob.as_str()], |_| Ok(())).optional()?.is_some())
        };
        self.engine.read(work).await
    }
}

/// Changes a key, unless somebody has who came later.
fn in_turn<T>(
    turn: &Turn,
    change: impl FnOnce() -> rusqlite::Result<std::result::Result<T, Refused>>,
) -> rusqlite::Result<std::result::Result<T, Refused>> {
    if turn.is_over() {
        return Ok(Err(Refused::Overtaken));
    }
    let changed = change()?;
    if changed.is_ok() {
        turn.done();
    }
    Ok(changed)
}
