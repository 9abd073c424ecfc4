//! The admin port: health, the drain, metrics, figures.

use serde_json::Value;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{BLOCK, Edge, client, eventually};
use crate::{
    origin_double::{Answer, Gate, OriginDouble},
    uploads::{server, token},
};

#[tokio::test]
async fn health_answers_under_each_of_its_names() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, status) in [
        ("/health", "ready"),
        ("/healthz", "ready"),
        ("/health/ready", "ready"),
        ("/readyz", "ready"),
        ("/health/live", "alive"),
        ("/livez", "alive"),
    ] {
        let reply = edge.admin_get(path).await;
        assert_eq!((reply.status, reply.field("content-type")), (200, "application/json"), "{path}");
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(body["status"], status, "{path}");
    }
    let missing = edge.admin_get("/nothing/here").await;
    assert_eq!((missing.status, missing.field("content-type")), (404, "application/problem+json"));
    // The data port knows nothing of it: there it is an asset like any other.
    for path in ["/health", "/metrics", "/api/v1/cache/stats"] {
        assert_eq!(edge.get(path).await.status, 404, "{path}");
        assert_eq!(origin.hits(path), 1, "{path}");
    }
}

#[tokio::test]
async fn what_is_described_can_be_asked() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let described: Value = serde_json::from_slice(&edge.admin_get("/openapi.json").await.body).unwrap();
    assert_eq!(described["openapi"], "3.1.0");
    let paths = described["paths"].as_object().unwrap();
    assert!(paths.len() > 15);
    let unknown = edge.admin_get("/nothing/here").await.text();
    for (path, operations) in paths {
        assert!(unknown.contains(path), "{path} is not told to who is lost");
        for method in operations.as_object().unwrap().keys() {
            let (method, path) = (method.to_uppercase(), path.replace("{id}", "none"));
            let reply = client::open(edge.admin(), &method, &path, &[], b"").await.whole().await;
            assert!(
                reply.status != 405 && reply.body != unknown.as_bytes(),
                "{method} {path}: {}",
                reply.status
            );
        }
    }
}

#[tokio::test]
async fn a_drain_lets_requests_in_flight_finish() {
    let origin = OriginDouble::start().await;
    let mut edge = Edge::with_disk(&origin).await;
    const LENGTH: u64 = 30 * BLOCK;
    let gate = Gate::new();
    origin
        .on("/x", Answer::pattern(LENGTH, 1).etag("\"1\"").cache_control("max-age=60").gate_at(BLOCK, &gate));
    let mut client = edge.open("GET", "/x", &[]).await;
    client.next(10).await;
    let stopped = edge.ask_to_stop();
    eventually("a drain", async || edge.admin_get("/health/ready").await.status == 503).await;
    let ready = edge.admin_get("/health").await;
    assert_eq!((ready.status, ready.text()), (503, "{\"status\":\"draining\"}".to_owned()));
    assert_eq!(edge.admin_get("/health/live").await.status, 200);
    assert!(!stopped.is_finished());
    gate.release();
    let rest = client.whole().await;
    assert!(super::client::is_pattern(&rest.body, 1, 10..LENGTH));
    stopped.await.unwrap().unwrap();
    // What came during the drain is kept.
    let next = edge.second().await.unwrap_or_else(|error| panic!("{error}"));
    let hit = next.get("/x").await;
    assert!(hit.cache() == "HIT" && hit.is_pattern(1, 0..LENGTH));
}

#[tokio::test]
async fn requests_are_counted_by_what_became_of_them() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let control = "max-age=60, stale-while-revalidate=10";
    origin.on("/x", Answer::ok("hello").etag("\"1\"").cache_control(control));
    origin.on("/private", Answer::ok("mine").cache_control("private"));
    origin.on("/vary", Answer::ok("v").cache_control("max-age=60").header("vary", "accept"));
    origin.on("/parts", Answer::pattern(4 * BLOCK, 1).etag("\"1\"").cache_control("max-age=3600"));
    origin.on("/missing", Answer::empty(404).cache_control("no-store"));
    origin.on("/broken", Answer::hang_up());
    for path in ["/x", "/x", "/x", "/private", "/vary", "/missing", "/broken", "/..", "/a.jpg?w=0"] {
        edge.get(path).await;
    }
    edge.ask("GET", "/vary", &[("accept", "a")]).await;
    edge.get_range("/parts", "bytes=0-9").await;
    edge.get_range("/parts", "bytes=100000-100009").await;
    edge.ask("GET", "/x", &[("cache-control", "no-cache")]).await;
    edge.ask("GET", "/nowhere", &[("cache-control", "only-if-cached")]).await;
    edge.ask("POST", "/private", &[]).await;
    edge.ask("TRACE", "/x", &[]).await;
    edge.advance(65);
    edge.send("GET", "/x", &[]).await;
    origin.reach_hits("/x", 3).await;
    edge.settled().await;
    edge.advance(80);
    edge.get("/x").await;
    // Of a connection that breaks as the origin goes down it is chance how it is counted.
    for (result, count) in [("answered", 10), ("missing", 1), ("broken_body", 2)] {
        let labels = ["origin=\"main\"", &*format!("result=\"{result}\"")];
        assert_eq!(edge.metric("millrace_origin_requests_total", &labels).await, count, "{result}");
    }
    edge.advance(80);
    origin.go_down().await;
    edge.get("/x").await;

    let counted = [
        ("asset", "miss", "uri-miss", 3),
        ("asset", "miss", "vary-miss", 1),
        ("asset", "miss", "partial", 1),
        ("asset", "miss", "not-found", 1),
        ("asset", "hit", "fresh", 2),
        ("asset", "stale", "stale-while-revalidate", 1),
        ("asset", "stale", "stale-if-error", 1),
        ("asset", "revalidated", "not-modified", 1),
        ("asset", "revalidated", "request-no-cache", 1),
        ("asset", "bypass", "private", 1),
        ("asset", "bypass", "method", 1),
        ("asset", "error", "broken_body", 1),
        ("asset", "error", "only-if-cached", 1),
        ("asset", "error", "not-allowed", 1),
        ("asset", "error", "bad-request", 1),
        ("image", "error", "bad-request", 1),
    ];
    let name = "millrace_cache_requests_total";
    for (route, outcome, reason, count) in counted {
        let labels =
            [format!("route=\"{route}\""), format!("outcome=\"{outcome}\""), format!("reason=\"{reason}\"")];
        let labels = labels.each_ref().map(String::as_str);
        // Counted when the last byte has gone out, which may be after the client has it.
        eventually(&format!("{count} of {labels:?}"), async || edge.metric(name, &labels).await == count)
            .await;
    }
    let total: u64 = counted.iter().map(|(.., count)| count).sum();
    assert_eq!(edge.metric(name, &[]).await, total, "nothing else is counted");
    assert_eq!(edge.metric("http_server_request_duration_seconds_count", &[]).await, total);
    assert_eq!(edge.metric("millrace_response_head_seconds_count", &[]).await, total);
    assert_eq!(edge.metric("http_server_active_requests", &[]).await, 0);
    let bytes = ["route=\"asset\"", "outcome=\"hit\""];
    assert_eq!(edge.metric("millrace_cache_response_bytes_total", &bytes).await, 2 * 5);
    let methods = ["http_request_method=\"POST\"", "http_response_status_code=\"200\""];
    assert_eq!(edge.metric("http_server_request_duration_seconds_count", &methods).await, 1);
}

/// Who reads slowly, or waits for a slow origin's body, has had the head.
#[tokio::test]
async fn a_body_that_takes_long_is_no_latency() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let gate = Gate::new();
    let film = Answer::pattern(4 * BLOCK, 1).etag("\"1\"").cache_control("max-age=60");
    origin.on("/film", film.gate_at(BLOCK, &gate));
    let mut client = edge.open("GET", "/film", &[]).await;
    client.next(10).await;
    let route = ["http_route=\"/{path}\""];
    assert_eq!(edge.metric("millrace_response_head_seconds_count", &route).await, 1);
    assert_eq!(edge.metric("http_server_request_duration_seconds_count", &[]).await, 0);
    gate.release();
    drop(client);
    let ended = async || edge.metric("http_server_request_duration_seconds_count", &[]).await == 1;
    eventually("the end of the answer", ended).await;
    assert_eq!(edge.metric("millrace_response_head_seconds_count", &route).await, 1);
}

/// Nor is the time that a client takes to send what it has.
#[tokio::test]
async fn an_upload_that_takes_long_is_no_latency() {
    let edge = server(|_| {}).await;
    let count = async |name: &str| edge.metric(name, &[]).await;
    let mut stream = TcpStream::connect(edge.data()).await.unwrap();
    let head = format!(
        "PUT /assets/slow.bin HTTP/1.1\r\nhost: edge.example\r\nauthorization: {}\r\n\
         content-length: 200000\r\n\r\n",
        token("upload", None)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[b'x'; 100_000]).await.unwrap();
    eventually("its first half", async || count("millrace_upload_bytes_total").await > 0).await;
    stream.write_all(&[b'x'; 100_000]).await.unwrap();
    assert_eq!(client::Open::read(stream, false).await.whole().await.status, 201);
    let ended = async || count("http_server_request_duration_seconds_count").await == 1;
    eventually("the end of the answer", ended).await;
    assert_eq!(count("millrace_response_head_seconds_count").await, 0);
    assert_eq!(edge.get("/assets/slow.bin").await.status, 200);
    assert_eq!(count("millrace_response_head_seconds_count").await, 1);
}

#[tokio::test]
async fn the_exposition_holds_the_families_of_the_catalogue() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", Answer::ok("hello").cache_control("max-age=60"));
    edge.get("/x").await;
    edge.get("/x").await;
    let reply = edge.admin_get("/metrics").await;
    assert_eq!(reply.field("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let exposition = reply.text();
    for family in [
        "millrace_build_info gauge",
        "http_server_request_duration_seconds histogram",
        "millrace_response_head_seconds histogram",
        "http_server_active_requests gauge",
        "millrace_cache_requests_total counter",
        "millrace_cache_response_bytes_total counter",
        "millrace_cache_tier_requests_total counter",
        "millrace_cache_tier_bytes gauge",
        "millrace_cache_tier_capacity_bytes gauge",
        "millrace_memory_lent_bytes gauge",
        "millrace_fills_in_flight gauge",
        "millrace_collapsed_requests_total counter",
        "millrace_origin_requests_total counter",
        "millrace_origin_response_bytes_total counter",
        "millrace_origin_resumes_total counter",
        "millrace_queue_depth gauge",
        "process_cpu_seconds_total counter",
        "process_resident_memory_bytes gauge",
    ] {
        assert!(exposition.contains(&format!("\n# TYPE {family}\n")), "{family}");
    }
    assert!(!exposition.contains("/x"), "no paths in labels");
    assert_eq!(edge.metric("millrace_origin_response_bytes_total", &[]).await, 5);
    assert_eq!(
        edge.metric("millrace_cache_tier_requests_total", &["tier=\"memory\"", "result=\"hit\""]).await,
        1
    );
}

#[tokio::test]
async fn stats_tell_how_full_the_tiers_are() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with_disk(&origin).await;
    origin.on("/x", Answer::pattern(10 * BLOCK, 1).etag("\"1\"").cache_control("max-age=60"));
    let stats = async || -> Value {
        let reply = edge.admin_get("/api/v1/cache/stats").await;
        assert_eq!((reply.status, reply.field("content-type")), (200, "application/json"));
        serde_json::from_slice(&reply.body).unwrap()
    };
    let empty = stats().await;
    assert_eq!((&empty["memory_bytes"], &empty["memory_entries"]), (&0.into(), &0.into()));
    assert_eq!(empty["memory_capacity_bytes"], 64 << 20);
    assert_eq!(empty["disk_capacity_bytes"], 64 << 20);
    assert_eq!(empty["disk_state"], "on");
    edge.get("/x").await;
    let full = stats().await;
    let bytes = full["memory_bytes"].as_u64().unwrap();
    assert!((10 * BLOCK..12 * BLOCK).contains(&bytes), "{bytes}");
    assert_eq!(full["memory_entries"], 11, "ten blocks and a head");
    eventually("a write", async || stats().await["disk_written_bytes"].as_u64().unwrap() >= 10 * BLOCK).await;
}
