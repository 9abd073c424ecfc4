//! Forms as browsers send them, and the bounds on what is begun and not finished.

use serde_json::Value;

use super::{files, send, server, token, tus};
use crate::edge::{
    Edge,
    client::{self, Reply},
    eventually,
};

const KIND: &str = "multipart/form-data; boundary=----x";

/// Name, name of the file, type, and content of each field.
fn form(fields: &[(&str, Option<&str>, &str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, kind, content) in fields {
        let file =
            file.map_or(String::new(), |file| format!("; filename=\"{file}\"\r\nContent-Type: {kind}"));
        body.extend_from_slice(
            format!("------x\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").as_bytes(),
        );
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"------x--\r\n");
    body
}

async fn post(edge: &Edge, token: &str, kind: &str, body: &[u8]) -> Reply {
    let fields = [("authorization", token), ("content-type", kind)];
    client::open(edge.data(), "POST", "/assets/", &fields, body).await.whole().await
}

#[tokio::test]
async fn files_of_a_form_are_stored_each() {
    let edge = server(|_| {}).await;
    let token = token("upload", None);
    let large = vec![b'l'; 3_000_000];
    let body = form(&[
        ("tags", None, "", b"one, two"),
        ("files", Some("C:\\fakepath\\a b.txt"), "text/plain", b"first\r\n------ not the end\r\n"),
        ("key", None, "", b"named/by.field"),
        ("files", Some("ignored.bin"), "application/octet-stream", &large),
        ("files", Some(""), "application/octet-stream", b""),
        ("prefix", None, "", b"below/"),
        ("files", Some("../../c.txt"), "text/plain", b""),
        ("unknown", None, "", b"passed over"),
    ]);
    let reply = post(&edge, &token, KIND, &body).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let told: Value = serde_json::from_slice(&reply.body).unwrap();
    let paths: Vec<_> =
        told["assets"].as_array().unwrap().iter().map(|asset| asset["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/assets/a%20b.txt", "/assets/named/by.field", "/assets/below/c.txt"]);
    assert_eq!(told["assets"][0]["tags"], serde_json::json!(["one", "two"]));
    assert_eq!(edge.get("/assets/a%20b.txt").await.text(), "first\r\n------ not the end\r\n");
    assert!(edge.get("/assets/named/by.field").await.body == large);
    assert_eq!(edge.get("/assets/below/c.txt").await.body, b"");
    // One, that is there already.
    let one = post(&edge, &token, KIND, &form(&[("f", Some("a b.txt"), "text/plain", b"second")])).await;
    assert_eq!((one.status, one.field("location")), (200, "/assets/a%20b.txt"));
    assert_eq!(edge.get("/assets/a%20b.txt").await.text(), "second");
}

#[tokio::test]
async fn forms_that_make_no_sense_leave_nothing() {
    let edge = server(|raw| raw.uploads.max_size = "1000B".to_owned()).await;
    let (all, team) = (token("upload", None), token("upload", Some("/assets/team")));
    let file = |name: &str, content: &[u8]| form(&[("f", Some(name), "text/plain", content)]);
    let good = file("a.txt", b"x");
    let many: Vec<_> = (0..101).map(|_| ("n", None, "", &b"v"[..])).collect();
    let long = vec![b'v'; 5000];
    for (what, token, kind, body, status) in [
        ("no token", "", KIND, good.clone(), 401),
        ("another scope", &*super::token("read", None), KIND, good.clone(), 403),
        ("another prefix", &team, KIND, good.clone(), 403),
        ("no form", &all, "text/plain", good.clone(), 415),
        ("no boundary", &all, "multipart/form-data", good.clone(), 415),
        ("another boundary", &all, "multipart/form-data; boundary=y", good.clone(), 400),
        ("no file", &all, KIND, form(&[("key", None, "", b"k")]), 400),
        ("cut off in a file", &all, KIND, good[..good.len() - 12].to_vec(), 400),
        ("cut off in a head", &all, KIND, good[..30].to_vec(), 400),
        ("nothing", &all, KIND, Vec::new(), 400),
        ("a name of dots", &all, KIND, file("..", b"x"), 400),
        ("a device", &all, KIND, file("nul.txt", b"x"), 400),
        (
            "a key that leaves",
            &all,
            KIND,
            form(&[("key", None, "", b"../x"), ("f", Some("a"), "text/plain", b"x")]),
            400,
        ),
        (
            "a prefix that leaves",
            &all,
            KIND,
            form(&[("prefix", None, "", b"a/.."), ("f", Some("a"), "text/plain", b"x")]),
            400,
        ),
        ("too long", &all, KIND, file("a.txt", &[b'x'; 1001]), 413),
        ("HTML", &all, KIND, file("a.html", b"<html><script>"), 415),
        ("a lie", &all, KIND, form(&[("f", Some("a.png"), "image/png", b"text")]), 415),
        ("many fields", &all, KIND, form(&many), 400),
        ("a long field", &all, KIND, form(&[("key", None, "", &long)]), 400),
        ("no text", &all, KIND, form(&[("key", None, "", b"\xff")]), 400),
    ] {
        let reply = post(&edge, token, kind, &body).await;
        assert_eq!(reply.status, status, "{what}: {}", reply.text());
        assert_eq!(reply.field("content-type"), "application/problem+json", "{what}");
        eventually("nothing left", async || files(&edge).is_empty()).await;
    }
    // What was stored before one that is refused stays, and is told of.
    let body =
        form(&[("f", Some("good.txt"), "text/plain", b"x"), ("f", Some("bad.html"), "text/html", b"<html>")]);
    let reply = post(&edge, &all, KIND, &body).await;
    assert_eq!(reply.status, 415);
    assert!(reply.text().contains("good.txt"), "{}", reply.text());
    assert_eq!(edge.get("/assets/good.txt").await.text(), "x");
}

#[tokio::test]
async fn only_so_much_is_begun() {
    let edge = server(|raw| {
        raw.uploads.max_unfinished_per_owner = 2;
        raw.uploads.quota = "100B".to_owned();
    })
    .await;
    // Of unknown length, which counts as what it has.
    let metadata = tus::metadata("later.txt");
    let fields = [("upload-defer-length", "1"), ("upload-metadata", &*metadata)];
    let begun = tus::tus(&edge, "POST", "/files/", &fields, b"").await;
    assert_eq!(begun.status, 201, "{}", begun.text());
    let at = begun.field("location").to_owned();
    assert_eq!(tus::patch(&edge, &at, "0", &[b'x'; 60]).await.status, 204);
    assert_eq!(send(&edge, "PUT", "/assets/other.txt", &[], &[b'x'; 50]).await.status, 413);
    assert_eq!(tus::patch(&edge, &at, "60", &[b'x'; 41]).await.status, 413);
    let head = tus::tus(&edge, "HEAD", &at, &[], b"").await;
    assert_eq!((head.field("upload-offset"), head.field("upload-defer-length")), ("60", "1"));
    tus::begin(&edge, "a", "30").await;
    let fields = [("upload-length", "1"), ("upload-metadata", &*metadata)];
    let third = tus::tus(&edge, "POST", "/files/", &fields, b"").await;
    assert_eq!((third.status, third.field("retry-after")), (429, "60"), "{}", third.text());
    assert_eq!(files(&edge).len(), 2);
    // An end makes room.
    let last = [
        ("content-type", "application/offset+octet-stream"),
        ("upload-offset", "60"),
        ("upload-length", "61"),
    ];
    assert_eq!(tus::tus(&edge, "PATCH", &at, &last, b"y").await.status, 204);
    assert_eq!(edge.get("/assets/later.txt").await.body.len(), 61);
    tus::begin(&edge, "b", "1").await;
    assert_eq!(tus::tus(&edge, "POST", "/files/", &fields, b"").await.status, 429);
}
