//! What every catalogue must do: the same of SQLite, and of a real PostgreSQL with several servers.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use millrace::store::{
    AssetKey, BlobId, Catalogue, Error,
    catalogue::{
        Bounds, Commit, Condition, Kind, Listing, NewAsset, Postgres, Probed, Refused, Replaced, Sqlite,
        Tags, Upload,
    },
    database,
};
use millrace_kit::{metrics::Registry, tasks::Tasks};
use tokio_util::sync::CancellationToken;

use super::database::Database;

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str| Arc::new(Sqlite::open(&dir.path().join(name)).unwrap()) as Arc<dyn Catalogue>;
    keeps_what_it_is_told(async || open("a")).await;
    let catalogue = open("b");
    who_came_first_does_not_undo_what_came_later(&*catalogue, &*catalogue).await;
    an_upload_ends_once(&*catalogue, &*catalogue).await;
    commits_of_one_key_are_one_after_the_other(&[catalogue]).await;
}

async fn server(database: &Database, name: &str) -> Arc<dyn Catalogue> {
    let server = database.url(name).parse().unwrap();
    let config = database::Config { server, connections: 4, ca_file: None };
    Arc::new(Postgres::open(config, &Registry::new(), &Tasks::new()).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_conforms_with_several_servers() {
    let database = Database::start().await;
    database.create("a").await;
    database.create("b").await;
    keeps_what_it_is_told(async || server(&database, "a").await).await;
    // Both bring the tables up.
    let (one, two) = tokio::join!(server(&database, "b"), server(&database, "b"));
    who_came_first_does_not_undo_what_came_later(&*one, &*two).await;
    an_upload_ends_once(&*one, &*two).await;
    let (mut at_one, mut at_two) = (one.elsewhere().unwrap(), two.elsewhere().unwrap());
    commits_of_one_key_are_one_after_the_other(&[one.clone(), two.clone()]).await;

    // Each hears of what the other changes, and not of its own, but for what it looks through when it begins to listen.
    let second = Duration::from_secs(10);
    let mut rounds = 0..20;
    while {
        let round = rounds.next().expect("a server that never hears of its own changes");
        let (mine, yours) = (format!("{round}/one"), format!("{round}/two"));
        commit(&*one, new(&mine, 1, &[]), Condition::default(), None).await.unwrap().unwrap();
        commit(&*two, new(&yours, 1, &[]), Condition::default(), None).await.unwrap().unwrap();
        let mut own = false;
        for (heard, of, not) in [(&mut at_two, &mine, &yours), (&mut at_one, &yours, &mine)] {
            loop {
                let key = tokio::time::timeout(second, heard.recv()).await.unwrap().unwrap();
                own |= key.as_str() == not;
                if key.as_str() == of {
                    break;
                }
            }
        }
        own
    } {}

    // An upload is one server's at a time; who wants it is heard, and gets it when it is given back.
    let upload = BlobId::random();
    let wanted = CancellationToken::new();
    let held = one.lease(&upload, wanted.clone(), second).await.unwrap().unwrap();
    let mine = CancellationToken::new();
    assert!(two.lease(&upload, mine.clone(), Duration::ZERO).await.unwrap().is_none());
    assert!(!wanted.is_cancelled(), "nobody was told");
    let taking = async {
        let taken = two.lease(&upload, mine.clone(), second).await.unwrap();
        assert!(taken.is_some() && !mine.is_cancelled());
    };
    let giving = async {
        wanted.cancelled().await;
        assert!(!held.is_lost());
        drop(held);
    };
    tokio::join!(taking, giving);

    // With its connection, a server loses what it holds, and says so. It is back by itself.
    let wanted = CancellationToken::new();
    let lease = one.lease(&upload, wanted.clone(), second).await.unwrap().unwrap();
    database.end_connections("b").await;
    tokio::time::timeout(second, wanted.cancelled()).await.unwrap();
    assert!(lease.is_lost());
    drop(lease);
    let again = one.lease(&upload, CancellationToken::new(), second).await.unwrap();
    assert!(again.is_some());
    assert!(one.find(&AssetKey::parse("0/one").unwrap()).await.unwrap().is_some());

    // What has changed while nobody listened is heard of later, all of it, though the telling breaks off once.
    let changed = "INSERT INTO millrace_versions (key, version, turn) SELECT 'away/' || n, 1, 0 FROM generate_series(1, 3000) n";
    database.execute_in("b", changed).await;
    database.end_connections("b").await;
    // More than wait to be taken, so it is under way at the tenth.
    let mut left: BTreeSet<_> = (1..=3000).map(|n| format!("away/{n}")).collect();
    let mut heard = 0;
    while !left.is_empty() {
        let key = tokio::time::timeout(second * 3, at_one.recv()).await.unwrap().unwrap();
        left.remove(key.as_str());
        heard += 1;
        if heard == 10 {
            database.end_connections("b").await;
        }
    }
}

/// A server that is frozen, or is gone without a word, says nothing more over its connection, which stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_heard_of_loses_its_uploads() {
    let database = Database::start().await;
    let server = server(&database, "postgres").await;
    let upload = BlobId::random();
    let lock = format!("SELECT pg_advisory_lock(hashtextextended('millrace upload {upload}', 0))");
    let (silent, _kept) = database.connect("postgres").await;
    silent.batch_execute(&lock).await.unwrap();
    let lease =
        async || server.lease(&upload, CancellationToken::new(), Duration::from_secs(1)).await.unwrap();
    assert!(lease().await.is_none(), "it is only for so long that nothing was said");
    crate::edge::eventually("the lock is free", async || lease().await.is_some()).await;
    assert!(silent.batch_execute("SELECT 1").await.is_err());
}

fn new(key: &str, length: u64, tags: &[&str]) -> NewAsset {
    NewAsset {
        plain: false,
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
    catalogue: &dyn Catalogue,
    new: NewAsset,
    condition: Condition,
    quota: Option<u64>,
) -> Result<Result<Replaced, Refused>, Error> {
    let turn = catalogue.turn(&new.key).await?;
    catalogue.commit(Commit { new, condition, quota, turn, ends: None }).await
}

/// `open`: the same catalogue again.
async fn keeps_what_it_is_told(open: impl AsyncFn() -> Arc<dyn Catalogue>) {
    let catalogue = open().await;
    let identity = catalogue.identity().await.unwrap();
    let catalogue = &*catalogue;
    let none = Condition::default;
    let absent = || Condition { if_none_match: Some(Tags::Any), ..none() };
    let first = commit(catalogue, new("a", 1, &["x", "y"]), absent(), None).await.unwrap().unwrap();
    assert!((first.old.is_none(), first.asset.version) == (true, 1));
    let again = commit(catalogue, new("a", 2, &[]), absent(), None).await.unwrap();
    assert_eq!(again.unwrap_err(), Refused::Condition);
    let is = |etag: String| Condition { if_match: Some(Tags::Of(vec![etag])), ..none() };
    let wrong = commit(catalogue, new("a", 2, &[]), is("\"x\"".to_owned()), None).await.unwrap();
    assert_eq!(wrong.unwrap_err(), Refused::Condition);
    let second = commit(catalogue, new("a", 2, &["y"]), is(first.asset.etag()), None).await.unwrap().unwrap();
    assert_eq!((second.old.as_ref(), second.asset.version), (Some(&first.asset), 2));
    assert_eq!((second.asset.created, second.asset.modified), (1001, 1002));
    // A quota is of what is stored then; the asset's own former self does not count.
    let full = commit(catalogue, new("b", 3, &[]), none(), Some(4)).await.unwrap();
    assert_eq!(full.unwrap_err(), Refused::Quota);
    commit(catalogue, new("a", 4, &["y"]), none(), Some(4)).await.unwrap().unwrap();
    assert!(!catalogue.has_blob(&second.asset.blob).await.unwrap());

    for key in ["a/1", "a/2", "b/1", "ab"] {
        commit(catalogue, new(key, 1, &["z"]), none(), None).await.unwrap().unwrap();
    }
    let catalogue = open().await;
    let catalogue = &*catalogue;
    assert_eq!(catalogue.identity().await.unwrap(), identity);
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
    let removed = catalogue
        .remove(a.clone(), none(), catalogue.turn(&a).await.unwrap())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(removed.version, 4);
    assert!(
        catalogue
            .remove(a.clone(), none(), catalogue.turn(&a).await.unwrap())
            .await
            .unwrap()
            .unwrap()
            .is_none()
    );
    assert_eq!(catalogue.changed().await.unwrap().len(), 5);
    catalogue.forgotten(a.clone(), 3).await.unwrap();
    assert_eq!(catalogue.changed().await.unwrap().len(), 5);
    catalogue.forgotten(a.clone(), 4).await.unwrap();
    assert_eq!(catalogue.changed().await.unwrap().len(), 4);
    let reborn = commit(catalogue, new("a", 9, &[]), none(), None).await.unwrap().unwrap();
    assert_eq!(reborn.asset.version, 5, "versions never repeat");

    let upload = Upload {
        id: BlobId::random(),
        key: "u".to_owned(),
        length: Some(7),
        received: 5,
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
    let turn = catalogue.turn(&AssetKey::parse("u").unwrap()).await.unwrap();
    let ends = Some(upload.id.clone());
    let finish = Commit { new: new("u", 7, &[]), condition: none(), quota: None, turn, ends };
    catalogue.commit(finish).await.unwrap().unwrap();
    let done = catalogue.upload(&upload.id).await.unwrap().unwrap();
    assert_eq!((done.kind, done.length), (Kind::Done, Some(7)));
    assert_eq!(catalogue.used_by("me").await.unwrap(), 9 + 4 + 7, "it counts once");
    catalogue.end_upload(&upload.id).await.unwrap();
    assert_eq!(catalogue.upload(&upload.id).await.unwrap(), None);

    // One that is complete is for the next start, unless its key has changed since.
    let whole = Upload { kind: Kind::Whole, parts: Vec::new(), checked: None, ..upload };
    catalogue.put_upload(whole.clone()).await.unwrap();
    assert_eq!(catalogue.unfinished_uploads("").await.unwrap(), std::slice::from_ref(&whole));
    commit(catalogue, new("u", 8, &[]), none(), None).await.unwrap().unwrap();
    assert_eq!(catalogue.unfinished_uploads("").await.unwrap(), []);
    catalogue.end_upload(&whole.id).await.unwrap();

    // What was found in an asset is of one version of it.
    let probed = Probed {
        duration_ms: Some(1500),
        size: Some((640, 360)),
        codecs: vec!["avc1.64001f".to_owned(), "mp4a.40.2".to_owned()],
    };
    let key = AssetKey::parse("ab").unwrap();
    let asset = catalogue.find(&key).await.unwrap().unwrap();
    assert!(asset.probed.is_none());
    catalogue.note_probed(key.clone(), asset.version + 1, probed.clone()).await.unwrap();
    assert!(catalogue.find(&key).await.unwrap().unwrap().probed.is_none());
    catalogue.note_probed(key.clone(), asset.version, probed.clone()).await.unwrap();
    assert_eq!(catalogue.find(&key).await.unwrap().unwrap().probed, Some(probed));
    let plain = NewAsset { plain: true, ..new("plain", 1, &[]) };
    let stored = commit(catalogue, plain.clone(), none(), None).await.unwrap().unwrap().asset;
    assert_eq!(stored.probed, Some(Probed::default()));
    assert_eq!(catalogue.find(&plain.key).await.unwrap(), Some(stored));
    let unprobed = catalogue.unprobed().await.unwrap();
    assert!(unprobed.iter().all(|asset| asset.key != plain.key));
    assert!(!unprobed.is_empty() && unprobed.iter().all(|asset| asset.key != key));

    // Only so many may be unfinished, and what they will have counts, or what they have if they do not say.
    let bounds = Bounds { overall: 3, per_owner: 2, quota: Some(20) };
    let begin = async |owner: &str, length, received| {
        let id = BlobId::random();
        let upload = Upload { id: id.clone(), owner: owner.to_owned(), length, received, ..whole.clone() };
        catalogue.begin_upload(upload, bounds).await.unwrap().map(|()| id)
    };
    let first = begin("one", Some(10), 0).await.unwrap();
    assert_eq!(begin("one", Some(11), 0).await, Err(Refused::Quota));
    begin("one", None, 9).await.unwrap();
    assert_eq!(catalogue.used_by("one").await.unwrap(), 19);
    assert_eq!(begin("one", None, 0).await, Err(Refused::TooMany));
    begin("two", Some(1), 0).await.unwrap();
    assert_eq!(begin("three", Some(1), 0).await, Err(Refused::Crowded));
    catalogue.end_upload(&first).await.unwrap();
    begin("three", Some(1), 0).await.unwrap();
}

/// Many at once at several servers, each alone as one of them would be.
async fn commits_of_one_key_are_one_after_the_other(servers: &[Arc<dyn Catalogue>]) {
    let commits = (0..200)
        .zip(servers.iter().cycle())
        .map(|(length, server)| commit(&**server, new("k", length, &[]), Condition::default(), None));
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

/// Whoever tries to finish an upload that is finished, or is at it elsewhere, changes nothing.
async fn an_upload_ends_once(catalogue: &dyn Catalogue, other: &dyn Catalogue) {
    let key = AssetKey::parse("ends").unwrap();
    let ends = |id: &BlobId, turn| {
        let new = NewAsset { blob: id.clone(), ..new("ends", 3, &[]) };
        Commit { new, condition: Condition::default(), quota: None, turn, ends: Some(id.clone()) }
    };
    let id = begun(catalogue, "ends").await;
    let (early, late) = (catalogue.turn(&key).await.unwrap(), other.turn(&key).await.unwrap());
    let first = other.commit(ends(&id, late)).await.unwrap().unwrap();
    let again = catalogue.commit(ends(&id, early)).await.unwrap().unwrap();
    assert_eq!((&again.asset, &again.old), (&first.asset, &None));
    let later = catalogue.turn(&key).await.unwrap();
    assert_eq!(catalogue.commit(ends(&id, later)).await.unwrap().unwrap().asset, first.asset);
    // Not in the place of what came behind it.
    commit(other, new("ends", 4, &[]), Condition::default(), None).await.unwrap().unwrap();
    let later = catalogue.turn(&key).await.unwrap();
    assert_eq!(catalogue.commit(ends(&id, later)).await.unwrap().unwrap_err(), Refused::Finished);
    // One that is refused is over, for everybody.
    let id = begun(catalogue, "ends").await;
    let early = catalogue.turn(&key).await.unwrap();
    commit(other, new("ends", 5, &[]), Condition::default(), None).await.unwrap().unwrap();
    assert_eq!(catalogue.commit(ends(&id, early)).await.unwrap().unwrap_err(), Refused::Overtaken);
    assert!(other.upload(&id).await.unwrap().is_none());
    let later = other.turn(&key).await.unwrap();
    assert_eq!(other.commit(ends(&id, later)).await.unwrap().unwrap_err(), Refused::Ended);
    assert_eq!(catalogue.find(&key).await.unwrap().unwrap().length, 5);
}

async fn begun(catalogue: &dyn Catalogue, key: &str) -> BlobId {
    let id = BlobId::random();
    let upload = Upload {
        id: id.clone(),
        key: key.to_owned(),
        length: Some(3),
        received: 3,
        metadata: String::new(),
        owner: "me".to_owned(),
        kind: Kind::Whole,
        parts: Vec::new(),
        checked: None,
        created: 0,
        expires: i64::MAX,
    };
    catalogue.put_upload(upload).await.unwrap();
    id
}

/// Each request comes to the one server or to the other.
async fn who_came_first_does_not_undo_what_came_later(catalogue: &dyn Catalogue, other: &dyn Catalogue) {
    let (key, any) = (AssetKey::parse("o").unwrap(), Condition::default);
    let put = catalogue.turn(&key).await.unwrap();
    let delete = other.turn(&key).await.unwrap();
    let (finish, nothing) = (catalogue.turn(&key).await.unwrap(), other.turn(&key).await.unwrap());
    let latest = other.turn(&key).await.unwrap();
    commit(other, new("o", 1, &[]), any(), None).await.unwrap().unwrap();
    assert_eq!(other.remove(key.clone(), any(), delete).await.unwrap(), Err(Refused::Overtaken));
    let late =
        |turn, length| Commit { new: new("o", length, &[]), condition: any(), quota: None, turn, ends: None };
    let refused = catalogue.commit(late(put, 2)).await.unwrap();
    assert_eq!(refused.unwrap_err(), Refused::Overtaken);
    assert_eq!(catalogue.find(&key).await.unwrap().unwrap().length, 1);
    // Nor what was removed, nor that there was nothing.
    catalogue.remove(key.clone(), any(), catalogue.turn(&key).await.unwrap()).await.unwrap().unwrap();
    let refused = catalogue.commit(late(finish, 3)).await.unwrap();
    assert_eq!(refused.unwrap_err(), Refused::Overtaken);
    let again = other.turn(&key).await.unwrap();
    assert_eq!(other.remove(key.clone(), any(), again).await.unwrap(), Ok(None));
    assert_eq!(catalogue.commit(late(nothing, 4)).await.unwrap().unwrap_err(), Refused::Overtaken);
    assert_eq!(catalogue.find(&key).await.unwrap(), None);
    drop(latest);
    commit(catalogue, new("o", 5, &[]), any(), None).await.unwrap().unwrap();
}
