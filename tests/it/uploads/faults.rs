//! Servers that share stores, struck at each moment at which it is not certain what has been done.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{
    between::{Strike, contains},
    fleet::{Fleet, noise, parts_left},
    send,
    tus::{begin, patch, tus},
};
use crate::edge::{Edge, eventually};

/// Requests to S3 for an upload in parts.
fn is_part(message: &[u8]) -> bool {
    message.starts_with(b"PUT ") && contains(message, "partNumber=")
}

fn is_completion(message: &[u8]) -> bool {
    message.starts_with(b"POST ") && contains(message, "uploadId=")
}

fn is_beginning(message: &[u8]) -> bool {
    contains(message, "START TRANSACTION") || contains(message, "BEGIN")
}

async fn offset(edge: &Edge, at: &str) -> (u16, String) {
    let head = tus(edge, "HEAD", at, &[], b"").await;
    (head.status, head.field("upload-offset").to_owned())
}

/// A server that has lost the right to write to an upload, and is at its end already.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_two_servers_finish_is_one_asset() {
    let (fleet, _s3, database) = Fleet::struck().await;
    let fleet = Arc::new(fleet);
    let at = begin(&fleet.one, "x.txt", "5").await;
    database.strike_once(Strike::Hold, is_beginning);
    let mut late = JoinSet::new();
    late.spawn({
        let (fleet, at) = (fleet.clone(), at.clone());
        async move { patch(&fleet.one, &at, "0", b"01234").await }
    });
    eventually("a commit that waits", async || database.held() == 1).await;
    database.cut_those("millrace listener");
    assert_eq!(offset(&fleet.two, &at).await, (200, "5".to_owned()));
    database.release();
    let late = late.join_next().await.unwrap().unwrap();
    assert_eq!((late.status, late.field("upload-offset")), (204, "5"), "{}", late.text());
    for edge in [&fleet.one, &fleet.two] {
        assert_eq!(edge.get("/assets/x.txt").await.text(), "01234");
    }
    assert_eq!(fleet.objects("blobs").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_asked_after() {
    let (fleet, _s3, database) = Fleet::struck().await;
    let is_commit = |message: &[u8]| contains(message, "COMMIT");
    for (body, status) in [("first", 201), ("second", 204)] {
        assert_eq!(fleet.one.get("/assets/x.txt").await.status, if status == 201 { 404 } else { 200 });
        database.strike_once(Strike::Unanswered, is_commit);
        let put = send(&fleet.one, "PUT", "/assets/x.txt", &[], body.as_bytes()).await;
        assert_eq!(put.status / 100, 2, "{}", put.text());
        assert_eq!(fleet.one.get("/assets/x.txt").await.text(), body, "{status}");
    }
    // What did not arrive was not done, and is said not to have been.
    database.strike_once(Strike::Cut, is_commit);
    let put = send(&fleet.one, "PUT", "/assets/x.txt", &[], b"third").await;
    assert_eq!(put.status, 503, "{}", put.text());
    assert_eq!(fleet.one.get("/assets/x.txt").await.text(), "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_whose_answer_is_lost_is_looked_for() {
    let (fleet, s3, _database) = Fleet::struck().await;
    let bytes = noise(9_000_000);
    let at = begin(&fleet.one, "x.bin", "9000000").await;
    s3.strike_once(Strike::Unanswered, is_completion);
    let done = patch(&fleet.one, &at, "0", &bytes).await;
    assert_eq!(done.status, 204, "{}", done.text());
    // Nor does it matter where that is found out.
    let at = begin(&fleet.one, "y.bin", "9000000").await;
    s3.strike(|message| match message {
        message if is_completion(message) => Strike::Unanswered,
        message if message.starts_with(b"HEAD ") => Strike::Cut,
        _ => Strike::Pass,
    });
    assert_eq!(patch(&fleet.one, &at, "0", &bytes).await.status, 503);
    assert_eq!(fleet.two.get("/assets/y.bin").await.status, 404);
    assert_eq!(offset(&fleet.two, &at).await, (200, "9000000".to_owned()));
    for key in ["x", "y"] {
        assert!(fleet.two.get(&format!("/assets/{key}.bin")).await.body == bytes, "{key}");
    }
    assert_eq!(parts_left(fleet.root.path()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_parts_are_gone_is_told_to_be() {
    let (fleet, _s3, _database) = Fleet::struck().await;
    let bytes = noise(17_000_000);
    let forget = || {
        for entry in std::fs::read_dir(fleet.root.path()).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with(".upload") {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
    };
    // Before its end, and at it.
    for (length, first) in [("26000000", 9_000_000), ("17000000", 9_000_000)] {
        let at = begin(&fleet.one, "x.bin", length).await;
        assert_eq!(patch(&fleet.one, &at, "0", &bytes[..first]).await.status, 204);
        forget();
        let gone = patch(&fleet.one, &at, "9000000", &bytes[first..]).await;
        assert_eq!(gone.status, 410, "{length} {}", gone.text());
        assert_eq!(offset(&fleet.two, &at).await.0, 404);
    }
    assert_eq!(fleet.objects("drafts").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_the_bucket_gives_way() {
    let (fleet, s3, _database) = Fleet::struck().await;
    let fleet = Arc::new(fleet);
    let bytes = Arc::new(noise(17_000_000));
    let at = begin(&fleet.one, "x.bin", "17000000").await;
    assert_eq!(patch(&fleet.one, &at, "0", &bytes[..1000]).await.status, 204);
    s3.strike(|message| if is_part(message) { Strike::Hold } else { Strike::Pass });
    let mut stuck = JoinSet::new();
    stuck.spawn({
        let (fleet, at, bytes) = (fleet.clone(), at.clone(), bytes.clone());
        async move { patch(&fleet.one, &at, "1000", &bytes[1000..]).await.status }
    });
    eventually("a part that waits", async || s3.held() == 1).await;
    assert_eq!(offset(&fleet.two, &at).await, (200, "1000".to_owned()));
    assert_eq!(patch(&fleet.two, &at, "1000", &bytes[1000..]).await.status, 204);
    assert_eq!(stuck.join_next().await.unwrap().unwrap(), 423);
    assert!(fleet.one.get("/assets/x.bin").await.body == *bytes);
}

/// Nobody would know of its parts.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_parts_that_cannot_be_noted_is_given_up() {
    let (fleet, s3, _database) = Fleet::struck().await;
    let bytes = noise(9_000_000);
    let at = begin(&fleet.one, "x.bin", "9000000").await;
    let is_draft = |message: &[u8]| message.starts_with(b"PUT ") && contains(message, "/drafts/");
    s3.strike(move |message| if is_draft(message) { Strike::Cut } else { Strike::Pass });
    assert_eq!(patch(&fleet.one, &at, "0", &bytes).await.status, 503);
    let begun = || {
        let names = std::fs::read_dir(fleet.root.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with(".upload")).count()
    };
    eventually("nothing begun", async || begun() == 0).await;
    assert_eq!(offset(&fleet.two, &at).await, (200, "0".to_owned()));
    assert_eq!(patch(&fleet.two, &at, "0", &bytes).await.status, 204);
    assert!(fleet.two.get("/assets/x.bin").await.body == bytes);
    assert_eq!((begun(), fleet.objects("drafts").len()), (0, 0));
}
