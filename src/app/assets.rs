//! What is stored, as an origin that delivery asks; and the caches, as those who put something in the store see them.

use std::{ops::Range, path::PathBuf, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use millrace_kit::{clock::Clock, metrics::Registry, tasks::Tasks};

use super::{Error, aftercare::Look};
use crate::{
    config::{BlobSettings, CatalogueSettings, UPLOADS, UploadSettings},
    delivery::{Delivery, PurgeRequest},
    origin::{
        Origin, s3,
        shelf::{Item, Pages, Shelf, Shelved},
    },
    store::{
        self, AssetKey, Blobs, Catalogue, Content,
        blobs::{Bucket, Directory},
        catalogue::{Postgres, Sqlite},
    },
    upload::{Caches, Uploads},
};

/// The path below which assets are.
pub const BELOW: &str = "/assets";

/// What is stored.
#[derive(Clone)]
pub struct Assets {
    blobs: Arc<dyn Blobs>,
    catalogue: Arc<dyn Catalogue>,
}

/// Of one blob.
struct BlobPages(Arc<dyn Content>);

struct PurgedCaches(Arc<Delivery>);

impl Assets {
    pub async fn open(settings: &UploadSettings, registry: &Registry, tasks: &Tasks) -> Result<Self, Error> {
        // A directory's lock comes before the catalogue in it, a bucket's mark after.
        let directory = match &settings.blobs {
            BlobSettings::Directory(dir) => Some(on_disk(dir.clone(), |dir| Directory::open(&dir)).await?),
            BlobSettings::Bucket(..) => None,
        };
        let catalogue: Arc<dyn Catalogue> = match &settings.catalogue {
            CatalogueSettings::Sqlite(path) => {
                Arc::new(on_disk(path.clone(), |path| Sqlite::open(&path)).await?)
            }
            CatalogueSettings::Postgres(config) => {
                Arc::new(Postgres::open((**config).clone(), registry, tasks).await?)
            }
        };
        let blobs: Arc<dyn Blobs> = match (&settings.blobs, directory) {
            (_, Some(directory)) => Arc::new(directory),
            (BlobSettings::Directory(dir), None) => {
                Arc::new(on_disk(dir.clone(), |dir| Directory::open(&dir)).await?)
            }
            (BlobSettings::Bucket(config, place), None) => {
                let client = s3::connect(config).await;
                Arc::new(Bucket::open(&client, place.clone(), &catalogue.identity().await?).await?)
            }
        };
        Ok(Self { blobs, catalogue })
    }

    pub fn origin(&self, settings: &UploadSettings) -> Arc<dyn Origin> {
        Arc::new(Shelved::new(UPLOADS, BELOW, settings.cache_control.clone(), Arc::new(self.clone())))
    }

    /// In order when this resolves; kept so from [`Uploads::keep_in_order`] on.
    pub async fn uploads(
        self,
        settings: UploadSettings,
        delivery: Arc<Delivery>,
        clock: Clock,
        tasks: Tasks,
        registry: &Registry,
    ) -> Result<Uploads, Error> {
        let told = (Arc::new(PurgedCaches(delivery)) as _, Arc::new(Look) as _);
        let uploads =
            Uploads::new((self.blobs, self.catalogue), told, settings.limits, clock, tasks, registry)?;
        uploads.hear_elsewhere();
        uploads.recover().await?;
        Ok(uploads)
    }
}

async fn on_disk<T: Send + 'static>(
    path: PathBuf,
    open: impl FnOnce(PathBuf) -> Result<T, store::Error> + Send + 'static,
) -> Result<T, Error> {
    let opened = tokio::task::spawn_blocking(move || open(path)).await.map_err(std::io::Error::other)?;
    Ok(opened?)
}

impl Shelf for Assets {
    fn find<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Item>, String>> {
        async move {
            let Ok(key) = AssetKey::parse(key) else { return Ok(None) };
            // A second time, if it is replaced between the look at its row and at its blob.
            for _ in 0..2 {
                let found = self.catalogue.find(&key).await.map_err(|error| error.to_string())?;
                let Some(asset) = found else { return Ok(None) };
                let opened = self.blobs.open(&asset.blob).await.map_err(|error| error.to_string())?;
                let Some(content) = opened else { continue };
                let tags = [tag(&key)].into_iter().chain(asset.tags.iter().cloned()).collect();
                return Ok(Some(Item {
                    etag: asset.etag(),
                    media_type: asset.media_type,
                    attachment: asset.attachment,
                    modified: asset.modified,
                    length: content.length(),
                    tags,
                    pages: Arc::new(BlobPages(content)),
                }));
            }
            Err(format!("the bytes of {key} are missing"))
        }
        .boxed()
    }
}

impl Pages for BlobPages {
    fn stream(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes, String>> {
        self.0.clone().stream(range).map(|read| read.map_err(|error| error.to_string())).boxed()
    }
}

impl Caches for PurgedCaches {
    /// By its tag, which what is made of it has too, however its path was written; and by its path, at which others may have
    /// been found before there was an asset.
    fn forget<'a>(&'a self, key: &'a AssetKey) -> BoxFuture<'a, bool> {
        let path = path(key);
        let purge = PurgeRequest { tags: vec![tag(key)], prefixes: vec![path], ..PurgeRequest::default() };
        async move {
            let purged = self.0.purge(&purge).await;
            if let Err(error) = &purged {
                tracing::warn!(%key, "the purge of a changed asset: {error}");
            }
            purged.is_ok()
        }
        .boxed()
    }
}

/// Where an asset is served.
pub fn path(key: &AssetKey) -> String {
    format!("{BELOW}/{}", percent_encoding::utf8_percent_encode(key.as_str(), ESCAPED))
}

/// What a path has encoded in the form that keys have.
const ESCAPED: &percent_encoding::AsciiSet =
    &percent_encoding::CONTROLS.add(b' ').add(b'#').add(b'%').add(b'?').add(b'\\');

/// The same for all spellings of a path, and of a length that tags may have.
fn tag(key: &AssetKey) -> String {
    let digest = digest(&SHA256, key.as_str().as_bytes());
    let hex: String = digest.as_ref()[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("millrace-asset-{hex}")
}
