//! Uploads that are refused: clients hear of it before they send, while they send, and whatever they do then.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use super::{
    files, send, server, token,
    tus::{PIECE, VERSION, begin, metadata},
};
use crate::edge::{Edge, client::Open};

const PATIENCE: Duration = Duration::from_secs(20);

fn head(method: &str, target: &str, fields: &[(&str, &str)]) -> String {
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: edge.example\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + "\r\n"
}

/// The first line that comes when nothing but the head of a request is sent, and the connection.
async fn first_line(edge: &Edge, head: &str) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(edge.data()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let byte = timeout(PATIENCE, stream.read_u8()).await.expect("an answer").expect("a line");
        line.push(byte);
    }
    (String::from_utf8(line).unwrap(), stream)
}

const EXPECT: (&str, &str) = ("expect", "100-continue");

#[tokio::test]
async fn who_waits_to_be_told_is_refused_instead() {
    let edge = server(|raw| {
        raw.uploads.max_size = "1MB".to_owned();
        raw.uploads.quota = "600KB".to_owned();
        raw.uploads.max_unfinished_per_owner = 2;
    })
    .await;
    assert_eq!(send(&edge, "PUT", "/assets/there", &[], b"x").await.status, 201);
    let (mine, below) = (token("upload", None), token("upload", Some("/assets/mine/")));
    let at = begin(&edge, "begun", "100").await;
    let _ = begin(&edge, "another", "100").await;
    let auth = ("authorization", &*mine);
    let short = ("content-length", "10");
    let meta = metadata("x");
    let wrong_type = format!("key {},filetype aW1hZ2UvcG5n", "eC5odG1s");
    let other = ("authorization", "Bearer nonsense");
    let put =
        |fields: &[(&'static str, &str)]| head("PUT", "/assets/there", &[&[auth, EXPECT], fields].concat());
    let tus = |method: &str, target: &str, fields: &[(&str, &str)]| {
        head(method, target, &[&[auth, EXPECT, VERSION, PIECE], fields].concat())
    };
    let rows = [
        ("no token", head("PUT", "/assets/x", &[EXPECT, short]), 401),
        ("a bad token", head("PUT", "/assets/x", &[EXPECT, other, short]), 401),
        (
            "chunks and a bad token",
            head("PUT", "/assets/x", &[EXPECT, other, ("transfer-encoding", "chunked")]),
            401,
        ),
        ("elsewhere", head("PUT", "/assets/x", &[EXPECT, ("authorization", &*below), short]), 403),
        ("a bad key", head("PUT", "/assets/a%2Fb", &[EXPECT, auth, short]), 400),
        ("it is there", put(&[short, ("if-none-match", "*")]), 412),
        ("it is another", put(&[short, ("if-match", "\"other\"")]), 412),
        ("too long", put(&[("content-length", "1000001")]), 413),
        ("over the quota", put(&[("content-length", "600001")]), 413),
        ("a coding", put(&[short, ("content-encoding", "gzip")]), 415),
        (
            "another name",
            head("PUT", "/assets/x.html", &[auth, EXPECT, short, ("content-type", "image/png")]),
            415,
        ),
        ("a script", head("PUT", "/assets/x.js", &[auth, EXPECT, short]), 415),
        ("a bad digest field", put(&[short, ("content-digest", "sha-256=nonsense")]), 400),
        (
            "too many begun",
            tus("POST", "/files/", &[short, ("upload-length", "10"), ("upload-metadata", &meta)]),
            429,
        ),
        (
            "begun as what it is not",
            tus("POST", "/files/", &[short, ("upload-length", "10"), ("upload-metadata", &wrong_type)]),
            415,
        ),
        ("a wrong offset", tus("PATCH", &at, &[short, ("upload-offset", "7")]), 409),
        ("a piece too long", tus("PATCH", &at, &[("content-length", "101"), ("upload-offset", "0")]), 413),
        (
            "no such upload",
            tus("PATCH", "/files/0123456789abcdef0123456789abcdef", &[short, ("upload-offset", "0")]),
            404,
        ),
        ("no form", head("POST", "/assets/", &[auth, EXPECT, short, ("content-type", "text/plain")]), 415),
        (
            "a form without a token",
            head("POST", "/assets/", &[EXPECT, short, ("content-type", "multipart/form-data; boundary=x")]),
            401,
        ),
    ];
    let mut faults = Vec::new();
    for (what, head, status) in rows {
        let (line, mut stream) = first_line(&edge, &head).await;
        let mut rest = String::new();
        // What the client does then nobody knows, so the connection is over.
        let ended = timeout(PATIENCE, stream.read_to_string(&mut rest)).await;
        let closes = rest.to_ascii_lowercase().contains("connection: close");
        if !line.starts_with(&format!("HTTP/1.1 {status} ")) || !closes || ended.is_err() {
            faults.push(format!("{what}: {line}{rest}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(files(&edge).len(), 3, "one asset, two drafts");
    assert_eq!(edge.get("/assets/there").await.text(), "x");
}

#[tokio::test]
async fn who_may_send_is_told_to() {
    let edge = server(|_| {}).await;
    let auth = token("upload", None);
    let auth = ("authorization", &*auth);
    let at = begin(&edge, "begun", "5").await;
    let form =
        "--x\r\ncontent-disposition: form-data; name=\"f\"; filename=\"form.txt\"\r\n\r\n01234\r\n--x--\r\n";
    let (long, kind) = (form.len().to_string(), ("content-type", "multipart/form-data; boundary=x"));
    let five = ("content-length", "5");
    for (head, body, status) in [
        (head("PUT", "/assets/put", &[auth, EXPECT, five]), "01234", 201),
        (
            head("PUT", "/assets/chunks", &[auth, EXPECT, ("transfer-encoding", "chunked")]),
            "5\r\n01234\r\n0\r\n\r\n",
            201,
        ),
        (head("PATCH", &at, &[auth, EXPECT, VERSION, PIECE, five, ("upload-offset", "0")]), "01234", 204),
        (head("POST", "/assets/", &[auth, EXPECT, ("content-length", &long), kind]), form, 201),
    ] {
        let (line, mut stream) = first_line(&edge, &head).await;
        assert_eq!(line, "HTTP/1.1 100 Continue\r\n", "{head}");
        stream.write_all(body.as_bytes()).await.unwrap();
        // And whoever comes next on the connection.
        stream.write_all(b"GET /assets/put HTTP/1.1\r\nhost: edge.example\r\n\r\n").await.unwrap();
        let (mut both, until) = (Vec::new(), Instant::now() + PATIENCE);
        while !both.ends_with(b"01234") && Instant::now() < until {
            let read = timeout(PATIENCE, stream.read_buf(&mut both)).await.expect("an answer").unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&both));
        }
        let both = String::from_utf8(both).unwrap();
        assert!(
            both.starts_with(&format!("\r\nHTTP/1.1 {status} ")) && both.contains("HTTP/1.1 200 "),
            "{both}"
        );
    }
    for key in ["put", "chunks", "begun", "form.txt"] {
        assert_eq!(edge.get(&format!("/assets/{key}")).await.text(), "01234", "{key}");
    }
}

/// As one that looks at the answer when it has sent all, which takes it longer than a moment.
#[tokio::test]
async fn who_is_still_sending_hears_the_refusal() {
    let edge = server(|_| {}).await;
    let mut stream = TcpStream::connect(edge.data()).await.unwrap();
    let length = (24_u64 << 20).to_string();
    let head = head("PUT", "/assets/x", &[("content-length", &length)]);
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..6 {
        // Its own pace.
        tokio::time::sleep(Duration::from_millis(300)).await;
        timeout(PATIENCE, stream.write_all(&[b'x'; 4 << 20]))
            .await
            .expect("it is taken")
            .expect("nothing breaks");
    }
    assert_eq!(Open::read(stream, false).await.whole().await.status, 401);
}

#[tokio::test]
async fn who_never_stops_sending_is_cut_off() {
    let edge = server(|_| {}).await;
    for framing in [("transfer-encoding", "chunked"), ("content-length", "99999999999")] {
        let mut stream = TcpStream::connect(edge.data()).await.unwrap();
        stream.write_all(head("PUT", "/assets/x", &[framing]).as_bytes()).await.unwrap();
        let chunk = [&b"10000\r\n"[..], &[b'x'; 1 << 16], b"\r\n"].concat();
        let sending = async { while stream.write_all(&chunk).await.is_ok() {} };
        assert!(timeout(PATIENCE, sending).await.is_ok(), "{framing:?}");
    }
}
