//! What is stored, as an origin that delivery asks; and the caches, as those who put something in the store see them.

use std::{ops::Range, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use millrace_kit::{clock::Clock, metrics::Registry, tasks::Tasks};

use super::Error;
use crate::{
    config::{UPLOADS, UploadSettings},
    delivery::{Delivery, PurgeRequest},
    origin::{
        Origin,
        shelf::{Item, Pages, Shelf, Shelved},
    },
    store::{AssetKey, Blobs, Catalogue, Content, blobs::Directory},
    upload::{Caches, Uploads},
};

/// The path below which assets are.
pub const BELOW: &str = "/assets";

/// What is stored.
#[derive(Clone)]
pub struct Assets {
    blobs: Arc<dyn Blobs>,
    catalogue: Arc<Catalogue>,
}

/// Of one blob.
struct BlobPages(Box<dyn Content>);

struct PurgedCaches(Arc<Delivery>);

impl Assets {
    pub async fn open(settings: &UploadSettings) -> Result<Self, Error> {
        let dir = settings.dir.clone();
        let open = move || {
            let blobs: Arc<dyn Blobs> = Arc::new(Directory::open(&dir)?);
            Ok(Self { blobs, catalogue: Arc::new(Catalogue::open(&dir.join("catalogue.sqlite"))?) })
        };
        tokio::task::spawn_blocking(open).await.map_err(std::io::Error::other)?
    }

    pub fn origin(&self, settings: &UploadSettings) -> Arc<dyn Origin> {
        Arc::new(Shelved::new(UPLOADS, BELOW, settings.cache_control.clone(), Arc::new(self.clone())))
    }

    /// In order when this resolves, and kept so.
    pub async fn uploads(
        self,
        settings: UploadSettings,
        delivery: Arc<Delivery>,
        clock: Clock,
        tasks: Tasks,
        registry: &Registry,
    ) -> Result<Uploads, Error> {
        let caches = Arc::new(PurgedCaches(delivery));
        let uploads =
            Uploads::new((self.blobs, self.catalogue), caches, settings.limits, clock, tasks, registry)?;
        uploads.recover().await?;
        uploads.keep_in_order();
        Ok(uploads)
    }
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
    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, String>> {
        self.0.read(range).map(|read| read.map_err(|error| error.to_string())).boxed()
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
