//! `PUT`, `DELETE` and then `GET /assets/{key}`: what is stored is what was sent, all of it or nothing.

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::{SECRET, files, send, server, token};
use crate::edge::{client, eventually, images::jpeg};

fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    format!("sha-256=:{}:", STANDARD.encode(digest))
}

#[tokio::test]
async fn what_is_put_is_served_until_it_is_replaced_or_deleted() {
    let mut edge = server(|_| {}).await;
    assert_eq!(edge.get("/assets/a/b.txt").await.status, 404);
    let created = send(&edge, "PUT", "/assets/a/b.txt", &[("cache-tag", "one, two")], b"first").await;
    assert_eq!((created.status, created.field("location")), (201, "/assets/a/b.txt"));
    let told: Value = serde_json::from_slice(&created.body).unwrap();
    assert_eq!((&told["length"], &told["owner"], &told["version"]), (&5.into(), &"tests".into(), &1.into()));
    let got = edge.get("/assets/a/b.txt").await;
    assert_eq!(
        (got.status, got.text().as_str(), got.cache()),
        (200, "first", "MISS"),
        "a 404 is not remembered"
    );
    assert_eq!(got.field("content-type"), "text/plain; charset=utf-8");
    assert_eq!((got.field("etag"), got.field("x-content-type-options")), (created.field("etag"), "nosniff"));
    assert_eq!((got.field("cache-tag"), got.field("surrogate-key")), ("", ""));
    let hit = edge.get("/assets/a/b.txt").await;
    assert_eq!((hit.text().as_str(), hit.cache()), ("first", "HIT"));
    assert_eq!(edge.get_range("/assets/a/b.txt", "bytes=1-2").await.text(), "ir");
    // Another spelling is another key of the cache, but the same asset.
    edge.get("/assets/a/b.txt?v=1").await;

    let replaced = send(&edge, "PUT", "/assets/a/b.txt", &[], b"second").await;
    assert_eq!((replaced.status, replaced.body.len()), (204, 0));
    for target in ["/assets/a/b.txt", "/assets/a/b.txt?v=1"] {
        let got = edge.get(target).await;
        assert_eq!((got.text().as_str(), got.cache()), ("second", "MISS"), "{target}");
    }
    edge.restart().await;
    assert_eq!(edge.get("/assets/a/b.txt").await.text(), "second");
    assert_eq!(files(&edge).len(), 1, "the old bytes are gone");

    assert_eq!(send(&edge, "DELETE", "/assets/a/b.txt", &[], b"").await.status, 204);
    assert_eq!(send(&edge, "DELETE", "/assets/a/b.txt", &[], b"").await.status, 404);
    assert_eq!(edge.get("/assets/a/b.txt").await.status, 404);
    assert_eq!(files(&edge), [""; 0]);
}

#[tokio::test]
async fn what_is_made_of_an_asset_goes_with_it() {
    let edge = server(|_| {}).await;
    for tint in [1, 200] {
        send(&edge, "PUT", "/assets/p.jpg", &[("content-type", "image/jpeg")], &jpeg(80, 60, tint)).await;
        let variant = edge.get("/assets/p.jpg?w=40").await;
        assert_eq!((variant.status, variant.cache()), (200, "MISS"), "{}", variant.text());
        assert_eq!(edge.get("/assets/p.jpg?w=40").await.cache(), "HIT");
    }
    assert_eq!(send(&edge, "DELETE", "/assets/p.jpg", &[], b"").await.status, 204);
    assert_eq!(edge.get("/assets/p.jpg?w=40").await.status, 404);
}

#[tokio::test]
async fn only_tokens_for_uploads_here_let_in() {
    let edge = server(|raw| raw.admin.token.0 = "operator".to_owned()).await;
    let put = async |token: &str, target: &str| {
        let fields = [("authorization", token)];
        let fields = if token.is_empty() { &[][..] } else { &fields };
        client::open(edge.data(), "PUT", target, fields, b"x").await.whole().await.status
    };
    for (token, target, status) in [
        (String::new(), "/assets/x", 401),
        ("Bearer nonsense".to_owned(), "/assets/x", 401),
        (token("read purge", None), "/assets/x", 403),
        (token("upload", Some("/assets/a")), "/assets/x", 403),
        (token("upload", Some("/assets/a")), "/assets/ab", 403),
        (token("upload", Some("/assets/a")), "/assets/a/x", 201),
        (token("upload", None), "/assets/y", 201),
        (token("admin", None), "/assets/z", 201),
        ("Bearer operator".to_owned(), "/assets/o", 201),
    ] {
        assert_eq!(put(&token, target).await, status, "{target} {token}");
    }
    let query = format!("/assets/q?access_token={}", token("upload", None).split(' ').next_back().unwrap());
    assert_eq!(put("", &query).await, 401);
}

#[tokio::test]
async fn bodies_that_are_not_as_said_leave_what_was_there() {
    let edge = server(|raw| {
        raw.uploads.max_size = "1000B".to_owned();
        raw.uploads.quota = "1500B".to_owned();
        raw.uploads.idle_timeout_secs = 1;
    })
    .await;
    send(&edge, "PUT", "/assets/a", &[], b"before").await;
    let etag = edge.get("/assets/a").await.field("etag").to_owned();
    let (right, wrong) = (sha256(b"after"), sha256(b"other"));
    let large = vec![b'x'; 1001];
    let weak = format!("W/{etag}");
    for (fields, body, status) in [
        (&[("content-digest", &*wrong)][..], &b"after"[..], 400),
        (&[("repr-digest", &*wrong)], b"after", 400),
        (&[("digest", "SHA-256=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=")], b"after", 400),
        (&[("content-digest", "nonsense")], b"after", 400),
        (&[("content-digest", &*right), ("repr-digest", &*wrong)], b"after", 400),
        (&[("if-none-match", "*")], b"after", 412),
        (&[("if-none-match", &*weak)], b"after", 412),
        (&[("if-match", "\"other\"")], b"after", 412),
        (&[("if-match", &*weak)], b"after", 412),
        (&[("if-match", "nonsense")], b"after", 400),
        (&[("content-range", "bytes 0-4/9")], b"after", 400),
        (&[("content-encoding", "gzip")], b"after", 415),
        (&[("content-type", "image/png")], b"after", 415),
        (&[], b"<html><script>", 415),
        (&[], b"\x7fELF\x02\x01\x01", 415),
        (&[("cache-tag", "a b")], b"after", 400),
        (&[], &large, 413),
    ] {
        let reply = send(&edge, "PUT", "/assets/a", fields, body).await;
        assert_eq!(reply.status, status, "{fields:?} {}", reply.text());
        assert_eq!(reply.field("content-type"), "application/problem+json");
        assert_eq!(edge.get("/assets/a").await.text(), "before", "{fields:?}");
    }
    // What goes over the quota of its owner; the asset that it would replace does not count.
    send(&edge, "PUT", "/assets/b", &[], &large[..1000]).await;
    assert_eq!(send(&edge, "PUT", "/assets/c", &[], &large[..500]).await.status, 413);
    assert_eq!(edge.get("/assets/c").await.status, 404);
    // Broken off, and gone silent.
    let token = token("upload", None);
    let head = format!(
        "PUT /assets/a HTTP/1.1\r\nhost: x\r\nauthorization: {token}\r\ncontent-length: 400\r\n\r\nafter"
    );
    for leaves in [true, false] {
        let mut stream = tokio::net::TcpStream::connect(edge.data()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        if !leaves {
            let reply = client::Open::read(stream, false).await.whole().await;
            assert_eq!(reply.status, 408, "{}", reply.text());
        }
    }
    eventually("nothing left of it", async || files(&edge).len() == 2).await;
    assert_eq!(edge.get("/assets/a").await.text(), "before");
    // And now as it should be.
    let fields = [("content-digest", &*right), ("if-match", &*etag), ("content-type", "text/plain")];
    assert_eq!(send(&edge, "PUT", "/assets/a", &fields, b"after").await.status, 204);
    assert_eq!(edge.get("/assets/a").await.text(), "after");
    let counted = edge.metric("millrace_uploads_total", &["kind=\"put\"", "result=\"digest\""]).await;
    assert_eq!(counted, 4);
}

#[tokio::test]
async fn keys_are_names_that_mean_one_thing() {
    let edge = server(|_| {}).await;
    let (long, longer) = (format!("/assets/{}", "x".repeat(300)), format!("/assets/{}", "x/".repeat(1100)));
    for target in [
        "/assets/",
        "/assets//a",
        "/assets/a/",
        "/assets/a//b",
        "/assets/a%2Fb",
        "/assets/..%2Fx",
        "/assets/%2e%2e/x",
        "/assets/a%00",
        "/assets/a%0d%0ax",
        "/assets/a%5Cb",
        "/assets/nul",
        "/assets/a.",
        "/assets/a%20",
        "/assets/%EF%BC%8E%EF%BC%8E",
        "/assets/%E2%80%AEgpj",
        "/assets/%ff",
        "/assets/C%3A",
        &long,
        &longer,
    ] {
        let reply = send(&edge, "PUT", target, &[], b"x").await;
        assert_eq!(reply.status, 400, "{target}");
    }
    assert_eq!(files(&edge), [""; 0]);
    // One asset, however its path is written; and a change reaches all of them.
    for (text, put) in [("one", "/assets/a@b%C3%A9"), ("two", "/assets/a%40b%c3%a9")] {
        send(&edge, "PUT", put, &[], text.as_bytes()).await;
        for get in ["/assets/a@b%C3%A9", "/assets/a%40b%c3%a9"] {
            assert_eq!(edge.get(get).await.text(), text, "{get}");
        }
    }
}

#[tokio::test]
async fn assets_are_listed_on_the_admin_port() {
    let edge = server(|raw| raw.server.admin = "0.0.0.0:0".to_owned()).await;
    for (key, tag) in [("a/1", "x"), ("a/2", "y"), ("b", "x")] {
        send(&edge, "PUT", &format!("/assets/{key}"), &[("cache-tag", tag)], b"1").await;
    }
    let reader = token("read", None);
    let list = async |query: &str, token: &str| {
        let target = format!("/api/v1/assets{query}");
        let reply =
            client::open(edge.admin(), "GET", &target, &[("authorization", token)], b"").await.whole().await;
        let listed: Value = serde_json::from_slice(&reply.body).unwrap();
        let keys = listed["assets"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|asset| asset["key"].as_str().unwrap().to_owned());
        (reply.status, keys.collect::<Vec<_>>().join(" "), listed["next"].as_str().unwrap_or("").to_owned())
    };
    let page = |keys: &str, next: &str| (200, keys.to_owned(), next.to_owned());
    assert_eq!(list("", &reader).await, page("a/1 a/2 b", ""));
    assert_eq!(list("?prefix=a/&tag=y", &reader).await, page("a/2", ""));
    assert_eq!(list("?limit=2", &reader).await, page("a/1 a/2", "a/2"));
    assert_eq!(list("?limit=2&after=a/2", &reader).await, page("b", ""));
    assert_eq!(list("?limit=0", &reader).await.0, 400);
    assert_eq!(list("", "Bearer no").await.0, 401);
    assert_eq!(list("", &token("upload", None)).await.0, 403);
    assert!(!SECRET.is_empty());
}

/// One that came earlier does not undo what came later, and whoever reads gets one of them.
#[tokio::test(flavor = "multi_thread")]
async fn puts_of_one_key_at_once_leave_one_of_them_whole() {
    let edge = server(|_| {}).await;
    let puts = (0..8u8).map(async |number| {
        let body = vec![b'a' + number; 200_000];
        send(&edge, "PUT", "/assets/k", &[], &body).await.status
    });
    let mut created = 0;
    for status in join_all(puts).await {
        match status {
            201 => created += 1,
            204 => {}
            // One that came later was there before it.
            409 => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(created, 1);
    let body = edge.get("/assets/k").await.body;
    assert!(body.len() == 200_000 && body.iter().all(|byte| *byte == body[0]));
    assert_eq!(files(&edge).len(), 1);
}
