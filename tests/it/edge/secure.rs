//! TLS and HTTP/2 towards clients.

use std::{fs, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use millrace::config::{Raw, raw};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{BLOCK, Edge, eventually};
use crate::origin_double::{Answer, Gate, OriginDouble, pattern_bytes};

mod frames;

const PATIENCE: Duration = Duration::from_secs(15);

/// Writes a certificate for these names, and trusts it.
fn certificate(dir: &Path, file: &str, names: &[&str]) -> (raw::Certificate, CertificateDer<'static>) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let path = |extension: &str| dir.join(format!("{file}.{extension}")).display().to_string();
    let pair = raw::Certificate { certificate_file: path("pem"), key_file: path("key") };
    fs::write(&pair.key_file, made.signing_key.serialize_pem()).unwrap();
    fs::write(&pair.certificate_file, made.cert.pem()).unwrap();
    (pair, made.cert.der().clone())
}

struct Scene {
    origin: OriginDouble,
    edge: Edge,
    dir: tempfile::TempDir,
    trusted: Vec<CertificateDer<'static>>,
}

impl Scene {
    async fn new(settings: impl FnOnce(&mut Raw)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (a, trust_a) = certificate(dir.path(), "a", &["a.example"]);
        let (b, trust_b) = certificate(dir.path(), "b", &["*.b.example"]);
        let origin = OriginDouble::start().await;
        let edge = Edge::with(&origin, |raw| {
            raw.tls = raw::Tls {
                listen: "127.0.0.1:0".to_owned(),
                certificates: vec![a, b],
                watch_secs: 1,
                ..Default::default()
            };
            settings(raw);
        })
        .await;
        Self { origin, edge, dir, trusted: vec![trust_a, trust_b] }
    }

    async fn connect(&self, name: &str, protocols: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        for trusted in &self.trusted {
            roots.add(trusted.clone()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = TcpStream::connect(self.edge.secure()).await?;
        TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from(name.to_owned()).unwrap(), stream)
            .await
    }

    /// HTTP/1.1 over TLS, to the end of the connection.
    async fn exchange(&self, name: &str, request: &str) -> String {
        let mut stream = self.connect(name, &[b"http/1.1"]).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut received = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut received)).await.unwrap();
        String::from_utf8_lossy(&received).into_owned()
    }

    /// With its connection, which is to be kept.
    async fn h2(&self) -> (http2::SendRequest<Full<Bytes>>, JoinSet<()>) {
        let stream = self.connect("a.example", &[b"h2"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let mut kept = JoinSet::new();
        kept.spawn(async move {
            let _ = connection.await;
        });
        (sender, kept)
    }
}

fn request(method: &str, path: &str, fields: &[(&str, &str)], body: &'static [u8]) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(format!("https://a.example{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::from_static(body))).unwrap()
}

async fn whole(response: Response<Incoming>) -> (http::response::Parts, Bytes) {
    let (parts, body) = response.into_parts();
    (parts, timeout(PATIENCE, body.collect()).await.unwrap().unwrap().to_bytes())
}

#[tokio::test]
async fn both_versions_are_spoken_and_answers_are_the_same() {
    let scene = Scene::new(|raw| {
        raw.tls.hsts_secs = 3600;
        raw.tls.hsts_subdomains = true;
    })
    .await;
    let length = 5 * BLOCK + 7;
    scene.origin.on("/small", Answer::ok("hello").etag("\"s\"").cache_control("max-age=3600"));
    scene.origin.on("/large", Answer::pattern(length, 1).etag("\"1\"").cache_control("max-age=3600"));
    scene.origin.on("/open", Answer::ok("open ended").chunked());
    let (mut h2, _connection) = scene.h2().await;
    for _ in ["miss", "hit"] {
        let (head, body) = whole(h2.send_request(request("GET", "/small", &[], b"")).await.unwrap()).await;
        assert_eq!((head.status.as_u16(), &body[..]), (200, &b"hello"[..]));
        assert_eq!(head.headers["content-length"], "5");
        assert_eq!(head.headers["strict-transport-security"], "max-age=3600; includeSubDomains");
        assert!(!head.headers.contains_key("connection") && head.headers.contains_key("x-cache"));
        let (_, body) = whole(h2.send_request(request("GET", "/large", &[], b"")).await.unwrap()).await;
        assert!(body == pattern_bytes(1, 0..length));
    }
    let part = request("GET", "/large", &[("range", "bytes=5-70000")], b"");
    let (head, body) = whole(h2.send_request(part).await.unwrap()).await;
    assert_eq!((head.status.as_u16(), body == pattern_bytes(1, 5..70_001)), (206, true));
    let (head, body) = whole(h2.send_request(request("HEAD", "/large", &[], b"")).await.unwrap()).await;
    assert_eq!((head.headers["content-length"].to_str().unwrap(), body.len()), (&*length.to_string(), 0));
    let conditional = request("GET", "/small", &[("if-none-match", "\"s\"")], b"");
    let (head, body) = whole(h2.send_request(conditional).await.unwrap()).await;
    assert_eq!((head.status.as_u16(), body.len()), (304, 0));
    let (_, body) = whole(h2.send_request(request("GET", "/open", &[], b"")).await.unwrap()).await;
    assert_eq!(&body[..], b"open ended");
    let (_, _) = whole(h2.send_request(request("POST", "/form", &[], b"a body")).await.unwrap()).await;
    assert_eq!(scene.origin.requests("/form")[0].body, b"a body");
    for (path, status) in [("/short", 404), ("/a.jpg?w=0", 400), ("/_millrace/player", 200)] {
        let head = whole(h2.send_request(request("HEAD", path, &[], b"")).await.unwrap()).await;
        let (get, body) = whole(h2.send_request(request("GET", path, &[], b"")).await.unwrap()).await;
        assert_eq!(
            (head.0.status.as_u16(), get.status.as_u16(), head.1.len()),
            (status, status, 0),
            "{path}"
        );
        assert_eq!(head.0.headers["content-length"].to_str().unwrap(), body.len().to_string(), "{path}");
    }
    for (path, status) in [("/../x", 400), ("/%zz", 400)] {
        let refused = h2.send_request(request("GET", path, &[], b"")).await;
        assert_eq!(refused.map(|refused| refused.status().as_u16()).unwrap_or(status), status, "{path}");
    }
    let close = "GET /large HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    let mut stream = scene.connect("a.example", &[b"http/1.1"]).await.unwrap();
    stream.write_all(close.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut received)).await.unwrap().unwrap();
    assert!(received.starts_with(b"HTTP/1.1 200 OK\r\n") && received.ends_with(&pattern_bytes(1, 0..length)));
    // Without TLS nothing is said of it.
    assert_eq!(scene.edge.get("/small").await.field("strict-transport-security"), "");
}

/// What is in memory is answered by a way of its own.
#[tokio::test]
async fn hits_are_the_same_by_both_versions() {
    let scene = Scene::new(|_| {}).await;
    let stored =
        |body: &str| Answer::ok(body).etag("\"s\"").cache_control("max-age=3600").header("X-Own", "1");
    scene.origin.on("/plain", stored("hello"));
    scene.origin.on("/cookies", stored("crumbs").header("Vary", "Cookie"));
    let (mut h2, _connection) = scene.h2().await;
    let cookies = [("cookie", "a=1"), ("cookie", "b=2")];
    let cases: [(&str, &str, &[(&str, &str)], u16, &str); 8] = [
        ("GET", "/plain", &[], 200, "hello"),
        ("GET", "/plain?utm_source=x", &[], 200, "hello"),
        ("HEAD", "/plain", &[], 200, ""),
        ("GET", "/plain", &[("if-none-match", "\"s\"")], 304, ""),
        ("GET", "/plain", &[("range", "bytes=1-2")], 206, "el"),
        ("GET", "/plain", &[("range", "bytes=9-")], 416, ""),
        ("GET", "/cookies", &cookies, 200, "crumbs"),
        (
            "GET",
            "/plain",
            &[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")],
            200,
            "hello",
        ),
    ];
    for (method, path, fields, status, body) in cases {
        let joined = |name: &str| {
            let values = fields.iter().filter(|(known, _)| *known == name).map(|(_, value)| *value);
            values.collect::<Vec<_>>().join("; ")
        };
        let mut lines: Vec<_> =
            fields.iter().map(|(name, _)| format!("{name}: {}\r\n", joined(name))).collect();
        lines.dedup();
        let ask = format!("{method} {path} HTTP/1.1\r\nHost: a.example\r\n{}\r\n", lines.concat());
        // It is stored, and no first request of its connection.
        let both = format!("{ask}{}", ask.replacen("\r\n", "\r\nConnection: close\r\n", 1));
        let over_h1 = scene.exchange("a.example", &both).await;
        let last = &over_h1[over_h1.rfind("HTTP/1.1 ").unwrap()..];
        let (head, received) =
            whole(h2.send_request(request(method, path, fields, b"")).await.unwrap()).await;
        assert_eq!(head.status.as_u16(), status, "{method} {path} {fields:?}");
        assert!(last.starts_with(&format!("HTTP/1.1 {status} ")), "{last}");
        if status != 416 {
            assert_eq!(received, body, "{method} {path} {fields:?}");
            assert_eq!(head.headers["x-cache"], "HIT", "{method} {path} {fields:?}");
        }
        let mut names: Vec<_> = head.headers.keys().map(ToString::to_string).collect();
        let lines = last.split("\r\n\r\n").next().unwrap_or_default().lines().skip(1);
        let mut theirs: Vec<_> =
            lines.filter_map(|line| Some(line.split_once(':')?.0.to_ascii_lowercase())).collect();
        theirs.retain(|name| name != "connection");
        names.sort();
        theirs.sort();
        assert_eq!(names, theirs, "{method} {path} {fields:?}");
        for name in ["etag", "content-length", "content-range", "cache-status", "traceparent", "x-own"] {
            let value = head.headers.get(name).map(|value| value.to_str().unwrap());
            let line = last.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            assert_eq!(value, line, "{name} of {method} {path} {fields:?}");
        }
    }
    assert_eq!(scene.origin.requests("/plain").len() + scene.origin.requests("/cookies").len(), 2);
}

#[tokio::test]
async fn many_at_once_share_a_connection() {
    let scene = Scene::new(|_| {}).await;
    let gate = Gate::new();
    let (h2, _connection) = scene.h2().await;
    let mut asked = JoinSet::new();
    for number in 0..100_u64 {
        let path = format!("/{number}");
        scene.origin.on(&path, Answer::pattern(100_000, number).etag("\"1\"").gate(&gate));
        let mut h2 = h2.clone();
        asked.spawn(async move {
            let (head, body) = whole(h2.send_request(request("GET", &path, &[], b"")).await.unwrap()).await;
            head.status == 200 && body == pattern_bytes(number, 0..100_000)
        });
    }
    gate.arrived(100).await;
    gate.release();
    while let Some(answered) = timeout(PATIENCE, asked.join_next()).await.unwrap() {
        assert!(answered.unwrap());
    }
}

#[tokio::test]
async fn certificates_go_by_name_and_are_read_again() {
    let mut scene = Scene::new(|_| {}).await;
    scene.origin.on("/x", Answer::ok("x").cache_control("max-age=3600"));
    let get = "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n";
    for name in ["a.example", "x.b.example"] {
        assert!(scene.connect(name, &[b"h2"]).await.is_ok(), "{name}");
    }
    let wrong = scene.connect("c.example", &[b"h2"]).await.unwrap_err();
    assert!(wrong.to_string().contains("alert"), "{wrong}");
    let name = "name=\"a.example\"";
    let before = scene.edge.metric("millrace_tls_certificate_expiry_timestamp_seconds", &[name]).await;
    assert!(before > 0);
    // Who has a connection keeps it, while others get the new certificate.
    let mut old = scene.connect("a.example", &[b"http/1.1"]).await.unwrap();
    let answered = async |stream: &mut TlsStream<TcpStream>| {
        stream.write_all(get.as_bytes()).await.unwrap();
        let mut received = vec![0; 4096];
        let count = timeout(PATIENCE, stream.read(&mut received)).await.unwrap().unwrap();
        received[..count].starts_with(b"HTTP/1.1 200")
    };
    assert!(answered(&mut old).await);
    let (_, trusted) = certificate(scene.dir.path(), "a", &["a.example"]);
    scene.trusted = vec![trusted];
    eventually("the new certificate", async || scene.connect("a.example", &[b"h2"]).await.is_ok()).await;
    assert!(answered(&mut old).await);
    // A file that is none changes nothing.
    let good = fs::read(scene.dir.path().join("a.pem")).unwrap();
    fs::write(scene.dir.path().join("a.pem"), "nonsense").unwrap();
    let (_, other) = certificate(scene.dir.path(), "b", &["*.b.example"]);
    assert!(scene.connect("a.example", &[b"h2"]).await.is_ok());
    // Until all of them are good again.
    scene.trusted.push(other);
    fs::write(scene.dir.path().join("a.pem"), good).unwrap();
    eventually("both certificates", async || scene.connect("x.b.example", &[b"h2"]).await.is_ok()).await;
    assert!(scene.connect("a.example", &[b"h2"]).await.is_ok());
}

#[tokio::test]
async fn requests_in_the_open_are_sent_to_tls() {
    let scene = Scene::new(|raw| {
        raw.tls.redirect = true;
        raw.tls.redirect_port = 443;
        raw.proxies.trusted = vec!["127.0.0.1".to_owned()];
    })
    .await;
    scene.origin.on("/x", Answer::ok("x").cache_control("max-age=3600"));
    scene.origin.on("/.well-known/acme-challenge/token", Answer::ok("proof"));
    let close = "Connection: close\r\n\r\n";
    for _ in ["miss", "hit"] {
        let direct =
            scene.exchange("a.example", &format!("GET /x HTTP/1.1\r\nHost: a.example\r\n{close}")).await;
        assert!(direct.starts_with("HTTP/1.1 200"), "{direct}");
        let sent =
            scene.edge.send("GET", "/x?mr_signature=a&mr_expires=1", &[("host", "a.example:8080")]).await;
        assert_eq!(sent.status, 308);
        assert_eq!(sent.field("location"), "https://a.example/x?mr_signature=a&mr_expires=1");
        // A proxy of ours has taken TLS off.
        let forwarded = scene.edge.send("GET", "/x", &[("x-forwarded-proto", "https")]).await;
        assert_eq!(forwarded.status, 200);
    }
    assert_eq!(scene.edge.get("/.well-known/acme-challenge/token").await.text(), "proof");
    assert_eq!(scene.edge.send("GET", "/x", &[("host", "a/b")]).await.status, 400);
}

/// Rows A17 and A18: what is not a client's way to talk ends the connection, and nothing else.
#[tokio::test]
async fn floods_end_their_connection_alone() {
    let scene = Scene::new(|raw| raw.server.header_timeout_secs = 1).await;
    let gate = Gate::new();
    scene.origin.on("/held", Answer::ok("x").gate(&gate));
    scene.origin.on("/x", Answer::ok("x").cache_control("max-age=3600"));
    let (mut good, _connection) = scene.h2().await;
    // Garbage, and a hello that does not come.
    for begin in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = TcpStream::connect(scene.edge.secure()).await.unwrap();
        stream.write_all(begin).await.unwrap();
        let mut received = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut received)).await;
        assert!(ended.is_ok() && !received.starts_with(b"HTTP"));
    }
    for (name, flood) in
        [("reset", rapid_reset()), ("continuation", continuations()), ("settings", settings())]
    {
        let stream = scene.connect("a.example", &[b"h2"]).await.unwrap();
        let (mut reading, mut writing) = tokio::io::split(stream);
        // The server may end it before it has read all.
        let flooding = async {
            let _ = writing.write_all(&[PREFACE, &flood].concat()).await;
        };
        let mut received = Vec::new();
        let ended =
            timeout(PATIENCE, async { tokio::join!(flooding, reading.read_to_end(&mut received)) }).await;
        assert!(ended.is_ok(), "{name}: still open");
    }
    assert!(scene.origin.hits("/held") <= 1, "{} hits", scene.origin.hits("/held"));
    let (head, _) = whole(good.send_request(request("GET", "/x", &[], b"")).await.unwrap()).await;
    assert_eq!(head.status, 200);
    gate.release();
}

/// With empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET https://a.example/held`, without Huffman and without names in the table.
fn get_held() -> Vec<u8> {
    let mut block = vec![0x82, 0x87];
    for (name, value) in [(1, "a.example"), (4, "/held")] {
        block.push(name);
        block.push(value.len() as u8);
        block.extend(value.as_bytes());
    }
    block
}

fn rapid_reset() -> Vec<u8> {
    let mut sent = Vec::new();
    for number in 0..20_000 {
        let stream = 2 * number + 1;
        sent.extend(frame(1, 5, stream, &get_held()));
        sent.extend(frame(3, 0, stream, &[0, 0, 0, 8]));
    }
    sent
}

fn continuations() -> Vec<u8> {
    let mut sent = frame(1, 1, 1, &get_held());
    for _ in 0..20_000 {
        sent.extend(frame(9, 0, 1, &[0x40, 1, b'a', 1, b'b']));
    }
    sent
}

/// A frame that must not come on a stream.
fn settings() -> Vec<u8> {
    frame(4, 0, 1, &[])
}

/// A window of nothing holds an answer up, but not for ever.
#[tokio::test]
async fn readers_of_http2_without_a_window_are_given_up() {
    let scene = Scene::new(|raw| {
        raw.limits.slow_secs = 1;
        raw.limits.min_progress = "1KiB".to_owned();
    })
    .await;
    scene.origin.on("/held", Answer::pattern(8 << 20, 1).etag("\"1\"").cache_control("max-age=3600"));
    let mut stream = scene.connect("a.example", &[b"h2"]).await.unwrap();
    // SETTINGS_INITIAL_WINDOW_SIZE of 1.
    let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 1]);
    let sent = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings, &frame(1, 5, 1, &get_held())].concat();
    stream.write_all(&sent).await.unwrap();
    let active = async || scene.edge.metric("http_server_active_requests", &[]).await;
    eventually("an answer under way", async || active().await == 1).await;
    eventually("an answer given up", async || active().await == 0).await;
    let mut received = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut received)).await;
    assert!(ended.is_ok() && received.len() < 100_000, "{} bytes", received.len());
}
