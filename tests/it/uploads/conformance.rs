//! What every store of blobs must do.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::TryStreamExt;
use millrace::{
    origin::s3::connect,
    store::{
        BlobId, Blobs, Content, Error,
        blobs::{Bucket, BucketPlace, Directory, HEAD},
    },
};

use crate::origin::s3_server::S3Server;

async fn all_of(content: Arc<dyn Content>) -> Vec<u8> {
    let length = content.length();
    let pieces: Vec<Bytes> = content.stream(0..length).try_collect().await.unwrap();
    pieces.concat()
}

/// The behaviours, of an empty store.
async fn conforms(blobs: &dyn Blobs) {
    // More than is written at a time, in pieces of all sizes.
    let whole: Vec<u8> = (0..3_000_001u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let id = BlobId::random();
    let mut draft = blobs.draft(&id, false).await.unwrap();
    let (mut at, mut step) = (0, 1);
    while at < whole.len() {
        let end = (at + step).min(whole.len());
        draft.append(Bytes::copy_from_slice(&whole[at..end])).await.unwrap();
        (at, step) = (end, step * 3);
    }
    assert_eq!(draft.length(), whole.len() as u64);
    assert_eq!(draft.head().await.unwrap(), whole[..HEAD]);
    assert!(blobs.open(&id).await.unwrap().is_none(), "a draft is no blob");
    let published = draft.publish().await.unwrap();
    assert_eq!(published.length, whole.len() as u64);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &whole);
    assert_eq!(published.sha256, digest.as_ref());
    let content = blobs.open(&id).await.unwrap().unwrap();
    assert_eq!(content.length(), whole.len() as u64);
    let middle = content.read(1_000_000..1_000_010).await.unwrap();
    assert!(!middle.is_empty() && whole[1_000_000..1_000_010].starts_with(&middle));
    let parts: Vec<Bytes> = content.clone().stream(7..2_000_000).try_collect().await.unwrap();
    assert!(parts.concat() == whole[7..2_000_000]);
    if blobs.is_shared() {
        assert!(all_of(content).await == whole);
        blobs.remove(&id).await.unwrap();
    } else {
        blobs.remove(&id).await.unwrap();
        assert!(all_of(content).await == whole, "what is open stays readable");
    }
    blobs.remove(&id).await.unwrap();
    assert!(blobs.open(&id).await.unwrap().is_none());

    // One without bytes is one, too.
    let id = BlobId::random();
    assert_eq!(blobs.draft(&id, false).await.unwrap().publish().await.unwrap().length, 0);
    assert_eq!(blobs.open(&id).await.unwrap().unwrap().length(), 0);
    blobs.remove(&id).await.unwrap();

    // A draft that is dropped is gone; one that lasts is gone on with, from what is durable.
    let (dropped, lasting) = (BlobId::random(), BlobId::random());
    let mut draft = blobs.draft(&dropped, false).await.unwrap();
    draft.append(Bytes::from_static(b"x")).await.unwrap();
    drop(draft);
    assert!(blobs.reopen(&dropped).await.unwrap().is_none());
    let mut draft = blobs.draft(&lasting, true).await.unwrap();
    draft.append(Bytes::from_static(b"abcdef")).await.unwrap();
    draft.sync().await.unwrap();
    drop(draft);
    let mut draft = blobs.reopen(&lasting).await.unwrap().unwrap();
    assert_eq!((draft.length(), draft.head().await.unwrap()), (6, Bytes::from_static(b"abcdef")));
    draft.truncate(3).await.unwrap();
    draft.append(Bytes::from_static(b"xyz!")).await.unwrap();
    assert_eq!(draft.head().await.unwrap(), Bytes::from_static(b"abcxyz!"));
    let published = draft.publish().await.unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"abcxyz!");
    assert_eq!((published.length, &published.sha256[..]), (7, digest.as_ref()));

    // Published, but no catalogue knew of it: it is a draft again, and can be published once more.
    blobs.take_back(&lasting).await.unwrap();
    let again = blobs.reopen(&lasting).await.unwrap().unwrap().publish().await.unwrap();
    assert_eq!((again.length, &again.sha256[..]), (7, digest.as_ref()));
    let content = blobs.open(&lasting).await.unwrap().unwrap();
    assert_eq!(all_of(content).await, b"abcxyz!");
    blobs.discard(&lasting).await.unwrap();
    assert!(blobs.open(&lasting).await.unwrap().is_some(), "a draft that is discarded takes no blob with it");

    // Gone on with again and again, each time from what is durable: the bytes and their digest are those of one writing.
    let (id, mut at) = (BlobId::random(), 0_usize);
    drop(blobs.draft(&id, true).await.unwrap());
    let long: Vec<u8> = whole.iter().cycle().take(20_000_003).copied().collect();
    for step in [5, 9_000_000, 1, 8_400_000, 0, usize::MAX] {
        let mut draft = blobs.reopen(&id).await.unwrap().unwrap();
        assert_eq!(draft.length(), at as u64);
        let end = at.saturating_add(step).min(long.len());
        for piece in long[at..end].chunks(100_000) {
            draft.append(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        // What breaks off here is not durable.
        draft.sync().await.unwrap();
        draft.append(Bytes::from_static(b"lost")).await.unwrap();
        draft.truncate(end as u64).await.unwrap();
        at = end;
    }
    let mut draft = blobs.reopen(&id).await.unwrap().unwrap();
    assert_eq!(
        (draft.length(), draft.head().await.unwrap()),
        (20_000_003, Bytes::copy_from_slice(&long[..HEAD]))
    );
    let read = draft.read(8_999_990..20_000_003).await.unwrap();
    assert!(!read.is_empty() && long[8_999_990..].starts_with(&read));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &long);
    assert_eq!(draft.publish().await.unwrap().sha256, digest.as_ref());
    assert!(all_of(blobs.open(&id).await.unwrap().unwrap()).await == long);
    blobs.discard(&id).await.unwrap();
    blobs.remove(&id).await.unwrap();

    // Of a long one that is still coming, a crash costs a part of it only, where nothing is kept but what is synced.
    let id = BlobId::random();
    let mut draft = blobs.draft(&id, true).await.unwrap();
    let mut kept = 0;
    for _ in 0..4 {
        draft.append(Bytes::from(vec![b'c'; 9_000_000])).await.unwrap();
        kept = draft.checkpoint().await.unwrap().unwrap_or(kept);
    }
    drop(draft);
    if blobs.is_shared() {
        assert!(kept > 30_000_000);
        assert_eq!(blobs.reopen(&id).await.unwrap().unwrap().length(), kept);
    }
    blobs.discard(&id).await.unwrap();

    // What nobody has touched is found.
    let left = BlobId::random();
    drop(blobs.draft(&left, true).await.unwrap());
    let idle =
        async |least| (blobs.idle_drafts(least).await.unwrap(), blobs.idle_blobs(least).await.unwrap());
    assert_eq!(idle(Duration::ZERO).await, (vec![left.clone()], vec![lasting.clone()]));
    assert_eq!(idle(Duration::from_secs(3600)).await, Default::default());
    blobs.discard(&left).await.unwrap();
    blobs.discard(&left).await.unwrap();
    blobs.remove(&lasting).await.unwrap();
    assert_eq!(idle(Duration::ZERO).await, Default::default());
}

#[tokio::test]
async fn a_directory_conforms_and_is_for_one_server() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Directory::open(dir.path()).unwrap();
    conforms(&blobs).await;
    assert!(matches!(Directory::open(dir.path()), Err(Error::InUse(_))));
    drop(blobs);
    Directory::open(dir.path()).unwrap();
}

/// Of the parts of uploads that are neither completed nor given up, s3s-fs keeps a file each.
fn parts_left(root: &Path) -> usize {
    let names = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().contains(".part-")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_conforms_and_is_for_one_catalogue() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("media")).unwrap();
    let server = S3Server::start(root.path()).await;
    let client = connect(&server.bucket("media")).await;
    let place = |prefix: &str| BucketPlace {
        bucket: "media".to_owned(),
        prefix: prefix.to_owned(),
        longest: 1 << 30,
    };
    let open = |prefix, catalogue| Bucket::open(&client, place(prefix), catalogue);
    let blobs = open("store/", "mine").await.unwrap();
    conforms(&blobs).await;
    // Another server with the same catalogue may use it too.
    open("store/", "mine").await.unwrap();
    assert!(matches!(open("store/", "another").await, Err(Error::InUse(_))));
    open("elsewhere/", "another").await.unwrap();

    // A draft of several parts that is dropped leaves none, nor does one that is given up.
    let piece = Bytes::from(vec![7; 9 << 20]);
    let (dropped, lasting) = (BlobId::random(), BlobId::random());
    for (id, lasts) in [(&dropped, false), (&lasting, true)] {
        let mut draft = blobs.draft(id, lasts).await.unwrap();
        draft.append(piece.clone()).await.unwrap();
        draft.append(piece.clone()).await.unwrap();
        if lasts {
            draft.sync().await.unwrap();
        }
    }
    blobs.discard(&lasting).await.unwrap();
    crate::edge::eventually("no parts left", async || {
        parts_left(root.path()) == 0 && blobs.idle_drafts(Duration::ZERO).await.unwrap().is_empty()
    })
    .await;
}
