//! tus 1.0 as its clients speak it, and what it answers to those that do not.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{files, send, server, token};
use crate::edge::{Edge, client::Reply, eventually};

pub(super) const VERSION: (&str, &str) = ("tus-resumable", "1.0.0");
pub(super) const PIECE: (&str, &str) = ("content-type", "application/offset+octet-stream");

pub(super) async fn tus(
    edge: &Edge,
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut all = vec![VERSION];
    all.extend_from_slice(fields);
    send(edge, method, target, &all, body).await
}

pub(super) async fn patch(edge: &Edge, target: &str, offset: &str, body: &[u8]) -> Reply {
    tus(edge, "PATCH", target, &[PIECE, ("upload-offset", offset)], body).await
}

pub(super) fn metadata(key: &str) -> String {
    format!("key {}", STANDARD.encode(key))
}

/// Begins an upload; its path.
pub(super) async fn begin(edge: &Edge, key: &str, length: &str) -> String {
    let reply =
        tus(edge, "POST", "/files/", &[("upload-length", length), ("upload-metadata", &metadata(key))], b"")
            .await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.field("location").to_owned()
}

#[tokio::test]
async fn an_upload_goes_on_where_it_stopped_after_a_restart_too() {
    let mut edge = server(|_| {}).await;
    let options = send(&edge, "OPTIONS", "/files/", &[], b"").await;
    assert_eq!((options.status, options.field("tus-version")), (204, "1.0.0"));
    assert!(options.field("tus-extension").contains("creation-with-upload"));
    let fields = [("upload-length", "10"), ("upload-metadata", &*metadata("a/t.txt")), PIECE];
    let begun = tus(&edge, "POST", "/files/", &fields, b"0123").await;
    assert_eq!((begun.status, begun.field("upload-offset")), (201, "4"));
    assert!(!begun.field("upload-expires").is_empty());
    let at = begun.field("location").to_owned();
    assert_eq!(patch(&edge, &at, "4", b"456").await.field("upload-offset"), "7");
    edge.restart().await;
    let head = tus(&edge, "HEAD", &at, &[], b"").await;
    assert_eq!((head.status, head.field("upload-offset"), head.field("upload-length")), (200, "7", "10"));
    assert_eq!(
        (head.field("upload-metadata"), head.field("cache-control")),
        (&*metadata("a/t.txt"), "no-store")
    );
    assert_eq!(edge.get("/assets/a/t.txt").await.status, 404, "not before it is whole");
    let done = patch(&edge, &at, "7", b"789").await;
    assert_eq!(
        (done.status, done.field("upload-offset"), done.field("content-location")),
        (204, "10", "/assets/a/t.txt")
    );
    assert_eq!(edge.get("/assets/a/t.txt").await.text(), "0123456789");
    let head = tus(&edge, "HEAD", &at, &[], b"").await;
    assert_eq!(
        (head.status, head.field("upload-offset")),
        (200, "10"),
        "its client may have missed the answer"
    );
    assert_eq!(files(&edge).len(), 1);
    begin(&edge, "empty", "0").await;
    assert_eq!(edge.get("/assets/empty").await.status, 200);
}

/// As if the catalogue had failed when all else was done.
#[tokio::test]
async fn a_blob_without_a_row_is_tried_again() {
    let edge = server(|_| {}).await;
    let at = begin(&edge, "t.txt", "5").await;
    let draft = files(&edge).remove(0);
    let id = draft.rsplit('/').next().unwrap();
    let shard = edge.directory().join("assets/blobs").join(&id[..2]);
    std::fs::create_dir_all(&shard).unwrap();
    std::fs::write(&draft, b"01234").unwrap();
    std::fs::rename(&draft, shard.join(id)).unwrap();
    let head = tus(&edge, "HEAD", &at, &[], b"").await;
    assert_eq!((head.status, head.field("upload-offset")), (200, "5"));
    assert_eq!(edge.get("/assets/t.txt").await.text(), "01234");
    assert_eq!(files(&edge).len(), 1);
}

#[tokio::test]
async fn what_makes_no_sense_corrupts_nothing() {
    let edge = server(|raw| raw.uploads.max_size = "1000B".to_owned()).await;
    let at = begin(&edge, "x", "10").await;
    assert_eq!(patch(&edge, &at, "0", b"01234").await.status, 204);
    let offset = |offset| [PIECE, ("upload-offset", offset)];
    let sum = |text: &str| format!("sha1 {}", STANDARD.encode(text));
    let wrong_sum = sum("01234567890123456789");
    for (fields, body, status) in [
        (&offset("4")[..], &b"x"[..], 409),
        (&offset("6"), b"x", 409),
        (&offset("99999"), b"x", 409),
        (&offset("-1"), b"x", 400),
        (&offset("+5"), b"x", 400),
        (&offset("5 5"), b"x", 400),
        (&offset("99999999999999999999"), b"x", 400),
        (&[PIECE], b"x", 400),
        (&[("content-type", "text/plain"), ("upload-offset", "5")], b"x", 415),
        (&offset("5"), b"567890", 413),
        (&[PIECE, ("upload-offset", "5"), ("upload-length", "11")], b"x", 400),
        (&[PIECE, ("upload-offset", "5"), ("upload-checksum", &*wrong_sum)], b"x", 460),
        (&[PIECE, ("upload-offset", "5"), ("upload-checksum", "md5 AAAA")], b"x", 400),
        (&[PIECE, ("upload-offset", "5"), ("upload-checksum", "sha1 %")], b"x", 400),
    ] {
        let reply = tus(&edge, "PATCH", &at, fields, body).await;
        assert_eq!(reply.status, status, "{fields:?} {}", reply.text());
        assert_eq!(tus(&edge, "HEAD", &at, &[], b"").await.field("upload-offset"), "5", "{fields:?}");
    }
    let long = format!("key {}", STANDARD.encode(vec![b'x'; 5000]));
    for (fields, status) in [
        (&[("upload-length", "-1"), ("upload-metadata", &*metadata("y"))][..], 400),
        (&[("upload-length", "1e3"), ("upload-metadata", &metadata("y"))], 400),
        (&[("upload-length", "99999999999999999999"), ("upload-metadata", &metadata("y"))], 400),
        (&[("upload-length", "1001"), ("upload-metadata", &metadata("y"))], 413),
        (&[("upload-metadata", &metadata("y"))], 400),
        (&[("upload-length", "1"), ("upload-defer-length", "1"), ("upload-metadata", &metadata("y"))], 400),
        (&[("upload-length", "1")], 400),
        (&[("upload-length", "1"), ("upload-metadata", "key not-base64!")], 400),
        (&[("upload-length", "1"), ("upload-metadata", &metadata("../y"))], 400),
        (&[("upload-length", "1"), ("upload-metadata", &metadata("a\r\nb"))], 400),
        (&[("upload-length", "1"), ("upload-metadata", &long)], 400),
        (&[("upload-concat", "final;/files/nobody"), ("upload-metadata", &metadata("y"))], 400),
        (&[("upload-concat", "something"), ("upload-length", "1"), ("upload-metadata", &metadata("y"))], 400),
    ] {
        let reply = tus(&edge, "POST", "/files/", fields, b"").await;
        assert_eq!(reply.status, status, "{fields:?} {}", reply.text());
    }
    let unversioned = send(&edge, "HEAD", &at, &[], b"").await;
    assert_eq!((unversioned.status, unversioned.field("tus-version")), (412, "1.0.0"));
    assert_eq!(tus(&edge, "HEAD", "/files/0123456789abcdef0123456789abcdef", &[], b"").await.status, 404);
    assert_eq!(tus(&edge, "HEAD", "/files/../x", &[], b"").await.status, 400);
    assert_eq!(tus(&edge, "GET", &at, &[], b"").await.status, 405);
    // And it goes on all the same.
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, b"56789");
    let right = format!("sha1 {}", STANDARD.encode(digest));
    let fields = [PIECE, ("upload-offset", "5"), ("upload-checksum", &*right)];
    assert_eq!(tus(&edge, "PATCH", &at, &fields, b"56789").await.status, 204);
    assert_eq!(edge.get("/assets/x").await.text(), "0123456789");
    assert_eq!(patch(&edge, &at, "10", b"more").await.status, 204, "nothing of it is taken");
    assert_eq!(patch(&edge, &at, "5", b"56789").await.status, 409);
    assert_eq!(edge.get("/assets/x").await.text(), "0123456789");
    // What it turns out to be may be forbidden.
    let at = begin(&edge, "y", "6").await;
    assert_eq!(patch(&edge, &at, "0", b"<html>").await.status, 415);
    assert_eq!(tus(&edge, "HEAD", &at, &[], b"").await.status, 404);
    assert_eq!(files(&edge).len(), 1);
}

#[tokio::test]
async fn uploads_are_for_those_who_began_them_and_not_for_ever() {
    let edge = server(|raw| raw.uploads.expiry_secs = 60).await;
    let at = begin(&edge, "team/x", "5").await;
    let ask = async |token: &str, method: &str, target: &str, fields: &[(&str, &str)]| {
        let mut all = vec![VERSION, ("authorization", token)];
        all.extend_from_slice(fields);
        edge.send(method, target, &all).await.status
    };
    assert_eq!(ask("", "HEAD", &at, &[]).await, 401);
    assert_eq!(ask(&token("read", None), "HEAD", &at, &[]).await, 403);
    let new = [("upload-length", "1"), ("upload-metadata", &*metadata("team/y")), ("content-length", "0")];
    assert_eq!(ask(&token("upload", Some("/assets/other")), "POST", "/files/", &new).await, 403);
    assert_eq!(ask(&token("upload", Some("/assets/team")), "POST", "/files/", &new).await, 201);
    assert_eq!(ask(&token("upload", None), "DELETE", &at, &[]).await, 204);
    assert_eq!(ask(&token("upload", None), "DELETE", &at, &[]).await, 404);
    let at = begin(&edge, "team/x", "5").await;
    edge.advance(59);
    assert_eq!(patch(&edge, &at, "0", b"01").await.status, 204, "which makes it last");
    edge.advance(59);
    assert_eq!(patch(&edge, &at, "2", b"2").await.status, 204);
    edge.advance(61);
    assert_eq!(patch(&edge, &at, "3", b"34").await.status, 410);
}

#[tokio::test]
async fn parts_are_put_together_in_their_order() {
    let edge = server(|_| {}).await;
    let mut parts = Vec::new();
    for text in ["one ", "two ", "three"] {
        let length = text.len().to_string();
        let fields = [("upload-concat", "partial"), ("upload-length", &*length), PIECE];
        let begun = tus(&edge, "POST", "/files/", &fields, text.as_bytes()).await;
        assert_eq!(begun.status, 201, "{}", begun.text());
        parts.push(begun.field("location").to_owned());
    }
    let metadata = metadata("whole.txt");
    let concat = async |parts: &[&String]| {
        let parts: Vec<_> = parts.iter().map(|part| part.as_str()).collect();
        let concat = format!("final;{}", parts.join(" "));
        tus(&edge, "POST", "/files/", &[("upload-concat", &*concat), ("upload-metadata", &metadata)], b"")
            .await
    };
    assert_eq!(concat(&[&parts[0], &parts[0]]).await.status, 400);
    let done = concat(&[&parts[2], &parts[0], &parts[1]]).await;
    assert_eq!((done.status, done.field("content-location")), (201, "/assets/whole.txt"), "{}", done.text());
    assert_eq!(edge.get("/assets/whole.txt").await.text(), "threeone two ");
    let head = tus(&edge, "HEAD", done.field("location"), &[], b"").await;
    assert!(head.field("upload-concat").starts_with("final;/files/"), "{:?}", head.headers);
    assert_eq!(tus(&edge, "HEAD", &parts[0], &[], b"").await.status, 404, "they are used up");
    eventually("only the asset left", async || files(&edge).len() == 1).await;
}

#[tokio::test]
async fn pages_of_allowed_sites_may_upload() {
    let edge = server(|raw| raw.uploads.allow_origins = vec!["https://studio.example".to_owned()]).await;
    for (origin, allowed) in
        [("https://studio.example", "https://studio.example"), ("https://evil.example", "")]
    {
        for target in ["/files/", "/assets/x"] {
            let asked = [("origin", origin), ("access-control-request-method", "POST")];
            let preflight = edge.send("OPTIONS", target, &asked).await;
            assert_eq!(preflight.status, 204);
            assert_eq!(preflight.field("access-control-allow-origin"), allowed);
            assert!(preflight.field("access-control-allow-headers").contains("Upload-Offset"));
        }
        let refused =
            edge.send("POST", "/files/", &[("origin", origin), VERSION, ("content-length", "0")]).await;
        assert_eq!((refused.status, refused.field("access-control-allow-origin")), (401, allowed));
    }
}
