//! The catalogue in an embedded SQLite database, for one server. Writes that come together share one transaction.

use std::{fs, path::Path, sync::Arc};

use futures_util::{FutureExt, future::ready};
use rusqlite::{Connection, OptionalExtension, params};
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;

use super::{
    super::{AssetKey, BlobId, Error},
    Answer, Asset, Bounds, Catalogue, Commit, Condition, Kind, Lease, Listing, Outcome, Page, Place, Probed,
    Refused, Replaced, Result, Upload,
};

mod assets;
mod engine;
mod listing;
mod order;
mod schema;
mod uploads;

pub(super) use order::Turn;

use engine::Engine;
use order::Order;

pub struct Sqlite {
    engine: Engine,
    order: Arc<Order>,
}

impl Sqlite {
    /// Blocks. Must be called within a runtime.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::io("making the catalogue's directory"))?;
        }
        Ok(Self { engine: Engine::open(path)?, order: Arc::default() })
    }

    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Answer<'_, T> {
        self.engine.read(work).boxed()
    }

    fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Answer<'_, T> {
        self.engine.write(work).boxed()
    }
}

impl Catalogue for Sqlite {
    fn identity(&self) -> Answer<'_, String> {
        self.read(|connection| connection.query_row("SELECT name FROM identity", [], |row| row.get(0)))
    }

    fn turn<'a>(&'a self, key: &'a AssetKey) -> Answer<'a, super::Turn> {
        ready(Ok(super::Turn(Place::Here(self.order.turn(key))))).boxed()
    }

    fn find<'a>(&'a self, key: &'a AssetKey) -> Answer<'a, Option<Asset>> {
        let key = key.clone();
        self.read(move |connection| assets::find(connection, &key))
    }

    fn commit(&self, commit: Commit) -> Answer<'_, Outcome<Replaced>> {
        let Commit { new, condition, quota, turn, ends } = commit;
        self.write(move |connection| {
            if let Some(upload) = &ends {
                match uploads::find(connection, upload)?.map(|upload| upload.kind) {
                    None => return Ok(Err(Refused::Ended)),
                    Some(Kind::Done) => return assets::committed(connection, &new),
                    Some(_) => {}
                }
            }
            let committed = in_turn(&turn, || assets::commit(connection, &new, &condition, quota))?;
            if let Some(upload) = &ends {
                match &committed {
                    Ok(_) => uploads::mark_done(connection, upload, new.length)?,
                    Err(_) => uploads::end(connection, upload)?,
                }
            }
            Ok(committed)
        })
    }

    fn remove(
        &self,
        key: AssetKey,
        condition: Condition,
        turn: super::Turn,
    ) -> Answer<'_, Outcome<Option<Asset>>> {
        self.write(move |connection| in_turn(&turn, || assets::remove(connection, &key, &condition)))
    }

    fn list(&self, listing: Listing) -> Answer<'_, Page> {
        self.read(move |connection| listing::list(connection, &listing))
    }

    fn used_by<'a>(&'a self, owner: &'a str) -> Answer<'a, u64> {
        let owner = owner.to_owned();
        self.read(move |connection| assets::used_by(connection, &owner))
    }

    fn changed(&self) -> Answer<'_, Vec<AssetKey>> {
        self.read(|connection| {
            let mut statement = connection.prepare("SELECT key FROM changed LIMIT 10000")?;
            let keys = statement.query_map([], |row| row.get::<_, String>(0))?;
            let keys = keys.map(|key| Ok(assets::key_of(&key?))).collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(keys.into_iter().flatten().collect())
        })
    }

    fn forgotten(&self, key: AssetKey, version: u64) -> Answer<'_, ()> {
        self.write(move |connection| {
            let statement = "DELETE FROM changed WHERE key = ?1 AND version <= ?2";
            connection.execute(statement, params![key.as_str(), engine::number(version)])?;
            Ok(())
        })
    }

    fn has_blob<'a>(&'a self, blob: &'a BlobId) -> Answer<'a, bool> {
        let blob = blob.clone();
        self.read(move |connection| {
            let statement = "SELECT 1 FROM assets WHERE blob = ?1";
            Ok(connection.query_row(statement, [blob.as_str()], |_| Ok(())).optional()?.is_some())
        })
    }

    fn note_probed(&self, key: AssetKey, version: u64, found: Probed) -> Answer<'_, ()> {
        self.write(move |connection| assets::note_probed(connection, &key, version, &found))
    }

    fn unprobed(&self) -> Answer<'_, Vec<Asset>> {
        self.read(assets::unprobed)
    }

    /// There is no other server.
    fn lease<'a>(&'a self, _: &'a BlobId, _: CancellationToken, _: Duration) -> Answer<'a, Option<Lease>> {
        ready(Ok(Some(Lease(None)))).boxed()
    }

    fn upload<'a>(&'a self, id: &'a BlobId) -> Answer<'a, Option<Upload>> {
        let id = id.clone();
        self.read(move |connection| uploads::find(connection, &id))
    }

    fn begin_upload(&self, upload: Upload, bounds: Bounds) -> Answer<'_, Outcome<()>> {
        self.write(move |connection| uploads::begin(connection, &upload, &bounds))
    }

    fn put_upload(&self, upload: Upload) -> Answer<'_, ()> {
        self.write(move |connection| uploads::put(connection, &upload))
    }

    fn end_upload<'a>(&'a self, id: &'a BlobId) -> Answer<'a, ()> {
        let id = id.clone();
        self.write(move |connection| uploads::end(connection, &id))
    }

    fn unfinished_uploads<'a>(&'a self, after: &'a str) -> Answer<'a, Vec<Upload>> {
        let after = after.to_owned();
        self.read(move |connection| uploads::unfinished(connection, &after))
    }

    fn expired_uploads(&self, now: i64) -> Answer<'_, Vec<BlobId>> {
        self.read(move |connection| uploads::expired(connection, now))
    }
}

/// Changes a key, unless somebody has who came later.
fn in_turn<T>(
    turn: &super::Turn,
    change: impl FnOnce() -> rusqlite::Result<Outcome<T>>,
) -> rusqlite::Result<Outcome<T>> {
    let Place::Here(turn) = &turn.0 else { return Ok(Err(Refused::Overtaken)) };
    if turn.is_over() {
        return Ok(Err(Refused::Overtaken));
    }
    let changed = change()?;
    if changed.is_ok() {
        turn.done();
    }
    Ok(changed)
}
