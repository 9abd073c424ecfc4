//! Two servers that share a bucket of a real S3 server and a real PostgreSQL.

use std::path::Path;

use millrace::config::{Raw, raw};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use super::{
    between::Between,
    database::Database,
    send, server, token,
    tus::{begin, patch, tus},
};
use crate::{
    edge::{Edge, client::Open, eventually},
    origin::s3_server::{KEY, S3Server},
};

pub(super) struct Fleet {
    pub(super) one: Edge,
    pub(super) two: Edge,
    database: Database,
    s3: S3Server,
    pub(super) root: TempDir,
}

impl Fleet {
    async fn start() -> Self {
        let (root, s3, database) = stores().await;
        let (endpoint, url) = (s3.endpoint(), database.url("postgres"));
        let (one, two) = (server(sharing(&endpoint, &url)).await, server(sharing(&endpoint, &url)).await);
        Self { one, two, database, s3, root }
    }

    /// With something between the first one and S3, and between it and the database.
    pub(super) async fn struck() -> (Self, Between, Between) {
        let (root, s3, database) = stores().await;
        let before_s3 = Between::port(s3.endpoint().rsplit(':').next().unwrap()).await;
        let before_database = Between::socket(database.dir()).await;
        let endpoint = format!("http://127.0.0.1:{}", before_s3.at);
        let url = format!("postgres://millrace@{}/postgres", before_database.at.replace('/', "%2F"));
        let one = server(sharing(&endpoint, &url)).await;
        let two = server(sharing(&s3.endpoint(), &database.url("postgres"))).await;
        (Self { one, two, database, s3, root }, before_s3, before_database)
    }

    /// Objects of the store, by what they are.
    pub(super) fn objects(&self, kind: &str) -> Vec<String> {
        let dir = self.root.path().join("media/store").join(kind);
        let names = std::fs::read_dir(dir).into_iter().flatten();
        names.map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned()).collect()
    }
}

async fn stores() -> (TempDir, S3Server, Database) {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("media")).unwrap();
    let s3 = S3Server::start(root.path()).await;
    (root, s3, Database::start().await)
}

fn sharing(endpoint: &str, url: &str) -> impl FnOnce(&mut Raw) {
    move |raw| {
        raw.uploads.store = "s3://media/store".to_owned();
        raw.uploads.s3 = access(endpoint);
        url.clone_into(&mut raw.uploads.database.0);
    }
}

fn access(endpoint: &str) -> raw::S3 {
    raw::S3 {
        endpoint: endpoint.to_owned(),
        access_key_id: KEY.0.to_owned(),
        secret_access_key: raw::Secret(KEY.1.to_owned()),
        ..Default::default()
    }
}

pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..length).map(|_| random.u8(1..)).collect()
}

pub(super) fn parts_left(root: &Path) -> usize {
    let names = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().contains(".part-")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_begun_at_one_server_goes_on_at_the_other() {
    let fleet = Fleet::start().await;
    let (one, two) = (&fleet.one, &fleet.two);
    let bytes = noise(9_000_000);
    let at = begin(one, "films/long.bin", "9000000").await;
    let (mut offset, mut turn) = (0_usize, 0);
    // Small ones, and one with which a part is full.
    for step in [3, 5_000_000, 10, 3_500_000, usize::MAX] {
        let edge = if turn % 2 == 0 { one } else { two };
        let head = tus(edge, "HEAD", &at, &[], b"").await;
        assert_eq!(
            (head.status, head.field("upload-offset")),
            (200, &*offset.to_string()),
            "{}",
            head.text()
        );
        let end = offset.saturating_add(step).min(bytes.len());
        let reply = patch(edge, &at, &offset.to_string(), &bytes[offset..end]).await;
        assert_eq!(
            (reply.status, reply.field("upload-offset")),
            (204, &*end.to_string()),
            "{}",
            reply.text()
        );
        (offset, turn) = (end, turn + 1);
    }
    for edge in [two, one] {
        let got = edge.get("/assets/films/long.bin").await;
        assert_eq!(got.status, 200, "{}", got.text());
        assert!(got.body == bytes);
        assert_eq!(edge.get_range("/assets/films/long.bin", "bytes=8999990-").await.body, bytes[8_999_990..]);
    }
    assert_eq!((fleet.objects("blobs").len(), fleet.objects("drafts").len()), (1, 0));
    assert_eq!(parts_left(fleet.root.path()), 0);
    // What is in the bucket is an object like any other.
    let origin = raw::Origin {
        url: "s3://media/store".to_owned(),
        s3: access(&fleet.s3.endpoint()),
        ..Default::default()
    };
    let reader = Edge::before(vec![origin]).await;
    let blob = reader.get(&format!("/blobs/{}", fleet.objects("blobs")[0])).await;
    assert!(blob.status == 200 && blob.body == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_at_the_other_server_takes_over() {
    let fleet = Fleet::start().await;
    let at = begin(&fleet.one, "x.txt", "10").await;
    // Its client is gone, which the server does not know.
    let token = token("upload", None);
    let head = format!(
        "PATCH {at} HTTP/1.1\r\nhost: x\r\nauthorization: {token}\r\ntus-resumable: 1.0.0\r\nupload-offset: 0\r\n\
         content-type: application/offset+octet-stream\r\ncontent-length: 10\r\n\r\n0123"
    );
    let mut stream = tokio::net::TcpStream::connect(fleet.one.data()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    eventually("bytes at the first one", async || {
        fleet.one.metric("millrace_upload_bytes_total", &[]).await == 4
    })
    .await;
    let head = tus(&fleet.two, "HEAD", &at, &[], b"").await;
    assert_eq!((head.status, head.field("upload-offset")), (200, "4"), "{}", head.text());
    assert_eq!(Open::read(stream, false).await.whole().await.status, 423);
    assert_eq!(patch(&fleet.two, &at, "4", b"456789").await.status, 204);
    assert_eq!(fleet.one.get("/assets/x.txt").await.text(), "0123456789");
    // Parts are put together where they were not sent to.
    let mut parts = Vec::new();
    let texts = [noise(8_500_000), b"and the rest".to_vec()];
    for text in &texts {
        let length = text.len().to_string();
        let kind = ("content-type", "application/offset+octet-stream");
        let fields = [("upload-concat", "partial"), ("upload-length", &*length), kind];
        let begun = tus(&fleet.one, "POST", "/files/", &fields, text).await;
        assert_eq!(begun.status, 201, "{}", begun.text());
        parts.push(begun.field("location").to_owned());
    }
    let concat = format!("final;{}", parts.join(" "));
    let fields = [("upload-concat", &*concat), ("upload-metadata", "key d2hvbGUuYmlu")];
    let done = tus(&fleet.two, "POST", "/files/", &fields, b"").await;
    assert_eq!(done.status, 201, "{}", done.text());
    assert!(fleet.one.get("/assets/whole.bin").await.body == texts.concat());
    assert_eq!((fleet.objects("blobs").len(), fleet.objects("drafts").len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_at_one_server_is_heard_at_the_other() {
    let fleet = Fleet::start().await;
    let (one, two) = (&fleet.one, &fleet.two);
    assert_eq!(send(one, "PUT", "/assets/a", &[], b"first").await.status, 201);
    let etag = two.get("/assets/a").await.field("etag").to_owned();
    // What was said of the first version may come after the first answer.
    eventually("a hit", async || two.get("/assets/a").await.cache() == "HIT").await;
    assert_eq!(send(one, "PUT", "/assets/a", &[("if-match", &etag)], b"second").await.status, 204);
    assert_eq!(send(two, "PUT", "/assets/a", &[("if-match", &etag)], b"third").await.status, 412);
    eventually("the new one", async || two.get("/assets/a").await.text() == "second").await;
    assert_eq!(send(two, "DELETE", "/assets/a", &[], b"").await.status, 204);
    eventually("nothing", async || one.get("/assets/a").await.status == 404).await;
    let pool = one.metric("millrace_db_pool_connections", &[]).await;
    assert!((1..=8).contains(&pool), "{pool}");
    assert!(one.metric("millrace_db_pool_wait_seconds_count", &[]).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_what_is_cached_is_served_and_uploads_are_told_to_wait() {
    let mut fleet = Fleet::start().await;
    assert_eq!(send(&fleet.one, "PUT", "/assets/a", &[], b"kept").await.status, 201);
    assert_eq!(fleet.one.get("/assets/a").await.text(), "kept");
    fleet.database.kill();
    assert_eq!(fleet.one.get("/assets/a").await.cache(), "HIT");
    let refused = send(&fleet.one, "PUT", "/assets/b", &[], b"x").await;
    assert_eq!((refused.status, refused.field("retry-after")), (503, "5"), "{}", refused.text());
    fleet.database.run().await;
    eventually("uploads again", async || {
        send(&fleet.one, "PUT", "/assets/b", &[], b"after").await.status < 300
    })
    .await;
    let at = begin(&fleet.two, "c", "3").await;
    assert_eq!(patch(&fleet.two, &at, "0", b"abc").await.status, 204);
    assert_eq!(fleet.two.get("/assets/b").await.text(), "after");
}
