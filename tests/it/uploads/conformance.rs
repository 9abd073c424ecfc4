//! What every store of blobs must do; and that the catalogue keeps what it is told.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use millrace::store::{
    AssetKey, BlobId, Blobs, Catalogue, Error,
    blobs::{Directory, HEAD},
    catalogue::{Condition, Kind, Listing, NewAsset, Refused, Replaced, Tags, Upload},
};

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
    blobs.remove(&id).await.unwrap();
    blobs.remove(&id).await.unwrap();
    assert!(blobs.open(&id).await.unwrap().is_none());
    let mut read = Vec::new();
    while read.len() < whole.len() {
        let bytes = content.read(read.len() as u64..whole.len() as u64).await.unwrap();
        assert!(!bytes.is_empty());
        read.extend_from_slice(&bytes);
    }
    assert!(read == whole, "what is open stays readable");

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

    // What nobody has touched is found.
    let left = BlobId::random();
    drop(blobs.draft(&left, true).await.unwrap());
    let idle = blobs.idle(Duration::ZERO).await.unwrap();
    assert_eq!((idle.drafts, idle.blobs), (vec![left.clone()], vec![lasting.clone()]));
    assert_eq!(blobs.idle(Duration::from_secs(60)).await.unwrap(), Default::default());
    blobs.discard(&left).await.unwrap();
    blobs.discard(&left).await.unwrap();
    blobs.remove(&lasting).await.unwrap();
    assert_eq!(blobs.idle(Duration::ZERO).await.unwrap(), Default::default());
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

fn new(key: &str, length: u64, tags: &[&str]) -> NewAsset {
    NewAsset {
        key: AssetKey::parse(key).unwrap(),
        blob: BlobId::random(),
        length,
        sha256: [length as u8; 32],
        media_type: "text/plain".to_owned(),
        attachment: false,
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        owner: "me".to_owned(),
        now: 1000 + length as i64,
    }
}

/// Of a request that has just come.
async fn commit(
    catalogue: &Catalogue,
    new: NewAsset,
    condition: Condition,
    quota: Option<u64>,
) -> Result<Result<Replaced, Refused>, Error> {
    let turn = catalogue.turn(&new.key);
    catalogue.commit(new, condition, quota, turn).await
}

#[tokio::test]
async fn the_catalogue_keeps_what_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalogue.sqlite");
    let open = || Arc::new(Catalogue::open(&path).unwrap());
    let catalogue = open();
    let none = Condition::default;
    let absent = || Condition { if_none_match: Some(Tags::Any), ..none() };
    let first = commit(&catalogue, new("a", 1, &["x", "y"]), absent(), None).await.unwrap().unwrap();
    assert!((first.old.is_none(), first.asset.version) == (true, 1));
    let again = commit(&catalogue, new("a", 2, &[]), absent(), None).await.unwrap();
    assert_eq!(again.unwrap_err(), Refused::Condition);
    let is = |etag: String| Condition { if_match: Some(Tags::Of(vec![etag])), ..none() };
    let wrong = commit(&catalogue, new("a", 2, &[]), is("\"x\"".to_owned()), None).await.unwrap();
    assert_eq!(wrong.unwrap_err(), Refused::Condition);
    let second =
        commit(&catalogue, new("a", 2, &["y"]), is(first.asset.etag()), None).await.unwrap().unwrap();
    assert_eq!((second.old.as_ref(), second.asset.version), (Some(&first.asset), 2));
    assert_eq!((second.asset.created, second.asset.modified), (1001, 1002));
    // A quota is of what is stored then; the asset's own former self does not count.
    let full = commit(&catalogue, new("b", 3, &[]), none(), Some(4)).await.unwrap();
    assert_eq!(full.unwrap_err(), Refused::Quota);
    commit(&catalogue, new("a", 4, &["y"]), none(), Some(4)).await.unwrap().unwrap();
    assert!(!catalogue.has_blob(&second.asset.blob).await.unwrap());

    for key in ["a/1", "a/2", "b/1", "ab"] {
        commit(&catalogue, new(key, 1, &["z"]), none(), None).await.unwrap().unwrap();
    }
    drop(catalogue);
    let catalogue = open();
    let keys = async |prefix: &str, tag: Option<&str>, after: &str, limit| {
        let listing = Listing {
            prefix: prefix.to_owned(),
            tag: tag.map(str::to_owned),
            after: after.to_owned(),
            limit,
        };
        let page = catalogue.list(listing).await.unwrap();
        (page.assets.into_iter().map(|asset| asset.key.to_string()).collect::<Vec<_>>().join(" "), page.next)
    };
    let all = |keys: &str| (keys.to_owned(), None);
    assert_eq!(keys("", None, "", 10).await, all("a a/1 a/2 ab b/1"));
    assert_eq!(keys("a/", None, "", 10).await, all("a/1 a/2"));
    assert_eq!(keys("", Some("y"), "", 10).await, all("a"));
    assert_eq!(keys("", Some("x"), "", 10).await, all(""));
    assert_eq!(keys("a", Some("z"), "a/1", 10).await, all("a/2 ab"));
    assert_eq!(keys("", None, "", 2).await, ("a a/1".to_owned(), Some("a/1".to_owned())));
    assert_eq!(keys("", None, "ab", 1).await, all("b/1"));

    // Caches have to hear of changes until they have, but not of those since.
    let a = AssetKey::parse("a").unwrap();
    let removed = catalogue.remove(a.clone(), none(), catalogue.turn(&a)).await.unwrap().unwrap().unwrap();
    assert_eq!(removed.version, 4);
    assert!(catalogue.remove(a.clone(), none(), catalogue.turn(&a)).await.unwrap().unwrap().is_none());
    assert_eq!(catalogue.changed().await.unwrap().len(), 5);
    catalogue.forgotten(a.clone(), 3).await.unwrap();
    assert_eq!(catalogue.changed().await.unwrap().len(), 5);
    catalogue.forgotten(a.clone(), 4).await.unwrap();
    assert_eq!(catalogue.changed().await.unwrap().len(), 4);
    let reborn = commit(&catalogue, new("a", 9, &[]), none(), None).await.unwrap().unwrap();
    assert_eq!(reborn.asset.version, 5, "versions never repeat");

    let upload = Upload {
        id: BlobId::random(),
        key: "u".to_owned(),
        length: Some(7),
        metadata: "filename dQ==".to_owned(),
        owner: "me".to_owned(),
        kind: Kind::Final,
        parts: vec![BlobId::random(), BlobId::random()],
        checked: Some(3),
        created: 1,
        expires: 50,
    };
    catalogue.put_upload(upload.clone()).await.unwrap();
    assert_eq!(catalogue.upload(&upload.id).await.unwrap().as_ref(), Some(&upload));
    assert_eq!(catalogue.used_by("me").await.unwrap(), 9 + 4 + 7);
    assert_eq!(catalogue.expired_uploads(49).await.unwrap(), []);
    assert_eq!(catalogue.expired_uploads(50).await.unwrap(), std::slice::from_ref(&upload.id));
    let turn = catalogue.turn(&AssetKey::parse("u").unwrap());
    catalogue.finish(upload.id.clone(), new("u", 7, &[]), none(), None, turn).await.unwrap().unwrap();
    let done = catalogue.upload(&upload.id).await.unwrap().unwrap();
    assert_eq!((done.kind, done.length), (Kind::Done, Some(7)));
    assert_eq!(catalogue.used_by("me").await.unwrap(), 9 + 4 + 7, "it counts once");
    catalogue.end_upload(&upload.id).await.unwrap();
    assert_eq!(catalogue.upload(&upload.id).await.unwrap(), None);

    // One that is complete is for the next start, unless its key has changed since.
    let whole = Upload { kind: Kind::Whole, parts: Vec::new(), checked: None, ..upload };
    catalogue.put_upload(whole.clone()).await.unwrap();
    assert_eq!(catalogue.unfinished_uploads("").await.unwrap(), [whole]);
    commit(&catalogue, new("u", 8, &[]), none(), None).await.unwrap().unwrap();
    assert_eq!(catalogue.unfinished_uploads("").await.unwrap(), []);
}

/// Many at once, each alone as one of them would be.
#[tokio::test(flavor = "multi_thread")]
async fn commits_of_one_key_are_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(&dir.path().join("c")).unwrap();
    let commits =
        (0..200).map(|length| commit(&catalogue, new("k", length, &[]), Condition::default(), None));
    let mut versions = Vec::new();
    for commit in join_all(commits).await {
        match commit.unwrap() {
            Ok(replaced) => {
                assert_eq!(replaced.old.map_or(0, |old| old.version) + 1, replaced.asset.version);
                versions.push(replaced.asset.version);
            }
            Err(refused) => assert_eq!(refused, Refused::Overtaken),
        }
    }
    versions.sort_unstable();
    assert!(!versions.is_empty());
    assert_eq!(versions, (1..=versions.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_came_first_does_not_undo_what_came_later() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(&dir.path().join("c")).unwrap();
    let (key, any) = (AssetKey::parse("k").unwrap(), Condition::default);
    let turns = [(); 4].map(|()| catalogue.turn(&key));
    let [put, delete, finish, latest] = turns;
    commit(&catalogue, new("k", 1, &[]), any(), None).await.unwrap().unwrap();
    assert_eq!(catalogue.remove(key.clone(), any(), delete).await.unwrap(), Err(Refused::Overtaken));
    let late = catalogue.commit(new("k", 2, &[]), any(), None, put).await.unwrap();
    assert_eq!(late.unwrap_err(), Refused::Overtaken);
    assert_eq!(catalogue.find(&key).await.unwrap().unwrap().length, 1);
    // Nor what was removed.
    catalogue.remove(key.clone(), any(), catalogue.turn(&key)).await.unwrap().unwrap();
    let late = catalogue.finish(BlobId::random(), new("k", 3, &[]), any(), None, finish).await.unwrap();
    assert_eq!(late.unwrap_err(), Refused::Overtaken);
    assert_eq!(catalogue.find(&key).await.unwrap(), None);
    drop(latest);
    commit(&catalogue, new("k", 4, &[]), any(), None).await.unwrap().unwrap();
}
