//! Bounds for clients: how fast they may ask, how many at a time, how slowly they may take and send.

use std::time::Duration;

use millrace::{admission::Secret, config::raw};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use super::{BLOCK, Edge, client, eventually};
use crate::origin_double::{Answer, Gate, OriginDouble};

/// More than any of these bounds.
const PATIENCE: Duration = Duration::from_secs(15);

const SECRET: &str = "a-secret-of-the-tests-0123456789-abcdef";

fn route(path: &str, requests: u32, by: &str) -> raw::Route {
    let rate = raw::Rate { requests, per_secs: 10, burst: 3, by: by.to_owned() };
    raw::Route { path: path.to_owned(), rate, ..Default::default() }
}

/// Statuses of so many requests in a row.
async fn statuses(edge: &Edge, times: usize, target: &str, fields: &[(&str, &str)]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..times {
        statuses.push(edge.send("GET", target, fields).await.status);
    }
    statuses
}

#[tokio::test]
async fn who_asks_too_fast_is_refused_and_others_are_not() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        raw.routes = vec![route("/key", 2, "header:X-Key"), route("/address", 1, "address")];
        raw.access.secret.0 = SECRET.to_owned();
    })
    .await;
    for path in ["/key/a", "/address/a", "/free"] {
        origin.on(path, Answer::ok("x").cache_control("max-age=3600"));
    }
    let [one, two] = [("x-key", "one"), ("x-key", "two")];
    assert_eq!(statuses(&edge, 5, "/key/a", &[one]).await, [200, 200, 200, 429, 429]);
    assert_eq!(statuses(&edge, 4, "/key/a", &[two]).await, [200, 200, 200, 429], "another's");
    // What is not stored, and what cannot be, counts alike.
    assert_eq!(statuses(&edge, 4, "/key/missing", &[("x-key", "3")]).await, [404, 404, 404, 429]);
    edge.advance(10);
    assert_eq!(statuses(&edge, 4, "/key/a", &[one]).await, [200, 200, 429, 429]);
    // Who has no key, and who asks for something else.
    assert_eq!(statuses(&edge, 4, "/key/a", &[]).await, [200, 200, 200, 429]);
    assert_eq!(statuses(&edge, 4, "/address/a?w=1", &[one]).await, [200, 200, 200, 429]);
    assert_eq!(statuses(&edge, 9, "/free", &[one]).await, [200; 9]);
    let refused = edge.send("GET", "/key/a", &[one]).await;
    assert_eq!((refused.status, refused.cache()), (429, "ERROR"));
    assert_eq!((refused.field("retry-after"), refused.field("cache-control")), ("5", "no-store"));
    assert_eq!(refused.field("ratelimit"), "\"/key\";r=0;t=5");
    assert_eq!(refused.field("ratelimit-policy"), "\"/key\";q=3;w=15");
    assert!(refused.text().contains("\"reason\":\"rate-limited\""), "{}", refused.text());
    assert_eq!(edge.metric("millrace_rate_limited_total", &["route=\"/key\""]).await, 8);
    assert_eq!(edge.metric("millrace_rate_limited_total", &["route=\"/address\""]).await, 1);
}

#[tokio::test]
async fn tokens_count_by_whose_they_are() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        raw.routes = vec![route("/", 1, "token")];
        raw.access.secret.0 = SECRET.to_owned();
    })
    .await;
    origin.on("/x", Answer::ok("x").cache_control("max-age=3600"));
    let token = |sub: &str, exp| {
        let claims = millrace::admission::Claims {
            exp,
            scope: "read".to_owned(),
            sub: Some(sub.to_owned()),
            ..Default::default()
        };
        format!("Bearer {}", Secret::new(SECRET).unwrap().sign(&claims).unwrap())
    };
    let far = i64::MAX / 2;
    let [one, again, two] = [token("one", far), token("one", far - 1), token("two", far)];
    assert_eq!(statuses(&edge, 2, "/x", &[("authorization", &one)]).await, [200, 200]);
    assert_eq!(statuses(&edge, 2, "/x", &[("authorization", &again)]).await, [200, 429]);
    assert_eq!(statuses(&edge, 4, "/x", &[("authorization", &two)]).await, [200, 200, 200, 429]);
    assert_eq!(statuses(&edge, 4, "/x", &[]).await, [200, 200, 200, 429]);
}

/// Whoever tries out tokens or signatures is not even told of the right one.
#[tokio::test]
async fn guesses_come_to_an_end() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        raw.access.secret.0 = SECRET.to_owned();
        raw.limits.failures_per_minute = 6;
        raw.routes = vec![raw::Route {
            path: "/films".to_owned(),
            access: raw::RouteAccess::Signed,
            ..Default::default()
        }];
    })
    .await;
    origin.on("/films/a", Answer::ok("x").cache_control("max-age=3600"));
    let right = Secret::new(SECRET).unwrap().sign_address("/films/a", 9_000_000_000).unwrap();
    let wrong = right.replace("mr_signature=", "mr_signature=A");
    assert_eq!(statuses(&edge, 3, &right, &[]).await, [200; 3]);
    assert_eq!(statuses(&edge, 3, &wrong, &[]).await, [403; 3]);
    let bad = [("authorization", "Bearer guessed")];
    assert_eq!(statuses(&edge, 3, "/films/a", &bad).await, [401; 3]);
    let purge = edge.send("PURGE", "/films/a", &bad).await;
    assert_eq!((purge.status, purge.field("retry-after")), (429, "10"));
    assert_eq!(statuses(&edge, 2, &right, &[]).await, [429; 2]);
    // Without credentials there is nothing to guess.
    assert_eq!(statuses(&edge, 2, "/films/a", &[]).await, [403; 2]);
    edge.advance(10);
    assert_eq!(statuses(&edge, 2, &right, &[]).await, [200; 2]);
}

#[tokio::test]
async fn when_all_places_are_taken_what_is_stored_is_served() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| raw.limits.max_requests = 1).await;
    let length = 5 * BLOCK;
    origin.on("/small", Answer::ok("x").cache_control("max-age=3600"));
    origin.on("/large", Answer::pattern(length, 1).etag("\"1\"").cache_control("max-age=3600"));
    for path in ["/small", "/large"] {
        edge.get(path).await;
    }
    let gate = Gate::new();
    origin.on("/held", Answer::ok("x").gate(&gate));
    let data = edge.data();
    let mut held = JoinSet::new();
    held.spawn(async move { client::open(data, "GET", "/held", &[], b"").await.whole().await });
    gate.arrived(1).await;
    for path in ["/small", "/large"] {
        let reply = edge.send("GET", path, &[]).await;
        assert_eq!((reply.status, reply.cache()), (200, "HIT"), "{path}");
    }
    for method in ["GET", "POST"] {
        let refused = edge.send(method, "/cold", &[("content-length", "0")]).await;
        assert_eq!((refused.status, refused.field("retry-after")), (503, "1"), "{method}");
        assert!(refused.text().contains("\"reason\":\"overloaded\""), "{}", refused.text());
    }
    assert_eq!(origin.hits("/cold"), 0);
    assert_eq!(edge.admin_get("/health").await.status, 200);
    gate.release();
    assert_eq!(held.join_next().await.unwrap().unwrap().status, 200);
    eventually("a free place", async || edge.send("GET", "/cold", &[]).await.status == 404).await;
}

#[tokio::test]
async fn a_client_has_so_many_connections() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| raw.limits.max_connections_per_client = 2).await;
    origin.on("/x", Answer::ok("x").cache_control("max-age=3600"));
    assert_eq!(edge.get("/x").await.status, 200);
    let asks = |connection: TcpStream| async move {
        let mut connection = connection;
        let sent = connection.write_all(b"GET /x HTTP/1.1\r\nHost: e\r\n\r\n").await;
        let mut received = [0; 16];
        let count = connection.read(&mut received).await.unwrap_or(0);
        (sent.is_ok() && received[..count].starts_with(b"HTTP/1.1 200")).then_some(connection)
    };
    let open = async || asks(TcpStream::connect(edge.data()).await.unwrap()).await;
    // The first one was let go of when its client was seen to leave.
    let mut held = Vec::new();
    eventually("two connections", async || edge.metric("millrace_connections_refused_total", &[]).await == 0)
        .await;
    while let Some(connection) = open().await {
        held.push(connection);
        assert!(held.len() <= 2);
    }
    // It is closed before it is counted.
    let refused = async || edge.metric("millrace_connections_refused_total", &["reason=\"too-many\""]).await;
    eventually("a refusal on the books", async || refused().await >= 1).await;
    drop(held);
    eventually("room again", async || open().await.is_some()).await;
}

async fn impatient(origin: &OriginDouble) -> Edge {
    Edge::with(origin, |raw| {
        raw.limits.slow_secs = 1;
        raw.limits.min_progress = "1KiB".to_owned();
        raw.access.secret.0 = SECRET.to_owned();
    })
    .await
}

/// Reads to the end, or for too long.
async fn rest(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut received = Vec::new();
    let read = async { while stream.read_buf(&mut received).await.is_ok_and(|count| count > 0) {} };
    timeout(PATIENCE, read).await.ok().map(|()| received)
}

#[tokio::test]
async fn who_does_not_read_is_given_up() {
    let origin = OriginDouble::start().await;
    let edge = impatient(&origin).await;
    // More than sockets hold.
    let length = 32 << 20;
    origin.on("/large", Answer::pattern(length, 1).etag("\"1\"").cache_control("max-age=3600"));
    let mut stream = TcpStream::connect(edge.data()).await.unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: e\r\n\r\n").await.unwrap();
    eventually("an answer under way", async || edge.metric("http_server_active_requests", &[]).await == 1)
        .await;
    eventually("an answer given up", async || edge.metric("http_server_active_requests", &[]).await == 0)
        .await;
    let received = rest(&mut stream).await.unwrap();
    assert!((received.len() as u64) < length, "{} bytes", received.len());
    // Who reads gets all of it, also after a pause between two requests.
    assert!(edge.get("/large").await.is_pattern(1, 0..length));
}

#[tokio::test]
async fn who_does_not_send_is_given_up() {
    let origin = OriginDouble::start().await;
    let edge = impatient(&origin).await;
    let claims =
        millrace::admission::Claims { exp: i64::MAX / 2, scope: "upload".to_owned(), ..Default::default() };
    let token = Secret::new(SECRET).unwrap().sign(&claims).unwrap();
    for (target, status) in [("/assets/a.txt", Some("408")), ("/elsewhere", None)] {
        let mut stream = TcpStream::connect(edge.data()).await.unwrap();
        let head = format!(
            "PUT {target} HTTP/1.1\r\nHost: e\r\nAuthorization: Bearer {token}\r\nContent-Length: 5000\r\n\r\n"
        );
        stream.write_all(format!("{head}a few bytes").as_bytes()).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        // A byte now and then is no way round it.
        let dripping = async {
            while writing.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let mut received = Vec::new();
        let answered = async {
            while reading.read_buf(&mut received).await.is_ok_and(|count| count > 0) {
                if received.windows(4).any(|window| window == b"\r\n\r\n") {
                    break;
                }
            }
        };
        let answered = async {
            tokio::select! {
                () = answered => {}
                () = dripping => {}
            }
        };
        timeout(PATIENCE, answered).await.unwrap();
        let line = String::from_utf8_lossy(&received).lines().next().unwrap_or_default().to_owned();
        match status {
            Some(status) => assert!(line.contains(status), "{target}: {line}"),
            None => assert!(!line.contains(" 200 "), "{target}: {line}"),
        }
    }
    let reply = edge.send("GET", "/assets/a.txt", &[]).await;
    assert_eq!(reply.status, 404);
}

/// The admin port on a loopback address asks for no token: a page that reaches it through a name of its own is refused.
#[tokio::test]
async fn the_admin_port_is_called_by_names_that_it_knows() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| raw.admin.hosts = vec!["ops.example".to_owned()]).await;
    for (host, status) in [
        ("127.0.0.1:8081", 200),
        ("localhost", 200),
        ("OPS.example:8081", 200),
        ("evil.example", 421),
        ("localhost.evil.example:8081", 421),
    ] {
        for target in ["/api/v1/cache/stats", "/metrics"] {
            let fields = [("host", host), ("x-forwarded-host", "localhost")];
            let reply = client::open(edge.admin(), "GET", target, &fields, b"").await.whole().await;
            assert_eq!(reply.status, status, "{host} {target}");
        }
    }
}
