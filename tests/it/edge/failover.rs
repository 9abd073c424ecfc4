//! What befalls the first origin of two, in all the ways there are, before it has answered: the other one's answer is
//! the client's, and operators see what it was.

use millrace::config::{Raw, raw};
use tokio::{io::AsyncWriteExt, net::TcpListener, net::TcpStream, task::JoinSet};

use super::{BLOCK, Edge, eventually, http_origin};
use crate::{
    origin::nginx::Nginx,
    origin_double::{Answer, Gate, OriginDouble},
};

const MAIN: &str = "origin=\"main\"";

/// Before `main`, as it is given, and `second`.
async fn before(main: raw::Origin, second: &OriginDouble, settings: impl FnOnce(&mut Raw)) -> Edge {
    let url = second.url();
    let edge = Edge::with(second, |raw| {
        let main = raw::Origin { name: "main".to_owned(), ..main };
        raw.origins = vec![main, raw::Origin { name: "second".to_owned(), ..http_origin(&url) }];
        settings(raw);
    });
    edge.await
}

fn secure(at: std::net::SocketAddr, nginx: &Nginx, name: &str) -> raw::Origin {
    let tls = raw::OriginTls {
        server_name: name.to_owned(),
        ca_file: nginx.path("ca.pem").to_str().unwrap().to_owned(),
        ..Default::default()
    };
    raw::Origin { tls, ..http_origin(&format!("https://{at}")) }
}

/// Takes connections, and does with them what it is told.
async fn rude(answer: &'static [u8], keeps: bool) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(answer).await;
            if keeps {
                kept.push(stream);
            }
        }
    });
    (url, task)
}

#[tokio::test]
async fn whatever_is_wrong_with_a_connection_the_next_origin_answers() {
    let nginx = Nginx::start().await;
    let (closing, _closing) = rude(b"", false).await;
    let (silent, _silent) = rude(b"", true).await;
    let (plain, _plain) = rude(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", true).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let unverified = |url: &str| raw::Origin {
        connect_timeout_ms: 300,
        tls: raw::OriginTls { insecure_skip_verify: true, ..Default::default() },
        ..http_origin(url)
    };
    for (name, main, kind) in [
        ("expired", secure(nginx.expired, &nginx, "media.example"), "tls"),
        ("self-signed", secure(nginx.self_signed, &nginx, "media.example"), "tls"),
        ("other name", secure(nginx.secure, &nginx, "other.example"), "tls"),
        ("no TLS", unverified(&plain), "tls"),
        ("closes in the handshake", unverified(&closing), "connect"),
        ("hangs in the handshake", unverified(&silent), "connect"),
        ("refuses", http_origin(&format!("http://{nobody}")), "connect"),
        ("unknown name", http_origin("http://no-such-host.invalid"), "dns"),
    ] {
        let second = OriginDouble::start().await;
        second.on_any(Answer::ok("second").cache_control("max-age=60"));
        let edge = before(main, &second, |_| {}).await;
        assert_eq!(edge.get("/x").await.told(), (200, "MISS", "second".to_owned()), "{name}");
        let result = format!("result=\"{kind}\"");
        assert_eq!(edge.metric("millrace_origin_requests_total", &[MAIN, &result]).await, 1, "{name}");
        assert_eq!(edge.get("/x").await.cache(), "HIT", "{name}");
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_an_answer_the_next_origin_answers() {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let slow = std::time::Duration::from_millis(20);
    for (name, answer, counted, kind) in [
        ("hints and nothing", Answer::raw(hints), "requests", "broken_body"),
        (
            "hints and silence",
            Answer::silence().interim(103, &[("link", "</a>")]),
            "requests",
            "first_byte_timeout",
        ),
        ("proxy", Answer::empty(407), "requests", "bad_response"),
        ("misdirected", Answer::empty(421), "requests", "transient"),
        ("too early", Answer::empty(425), "requests", "transient"),
        ("no chunk", Answer::raw(format!("{chunks}xx\r\n")), "broken_bodies", "bad_framing"),
        (
            "endless chunk",
            Answer::raw(format!("{chunks}fffffffffffffffff\r\n")),
            "broken_bodies",
            "bad_framing",
        ),
        ("cut chunk", Answer::raw(format!("{chunks}5")), "broken_bodies", "short_body"),
        ("short", Answer::ok("").wrong_content_length(5), "broken_bodies", "short_body"),
        ("silent", Answer::ok("12345").stall_at(0), "broken_bodies", "idle_timeout"),
        ("hesitant", Answer::ok("12345").first_byte_delay(slow * 100), "broken_bodies", "idle_timeout"),
    ] {
        let (main, second) = (OriginDouble::start().await, OriginDouble::start().await);
        main.on_any(answer);
        second.on_any(Answer::ok("second").cache_control("max-age=60"));
        let edge = before(http_origin(&main.url()), &second, |raw| {
            (raw.origins[0].idle_timeout_ms, raw.origins[0].first_byte_timeout_ms) = (300, 300);
        });
        let edge = edge.await;
        assert_eq!(edge.get("/x").await.told(), (200, "MISS", "second".to_owned()), "{name}");
        let (metric, label) = match counted {
            "requests" => ("millrace_origin_requests_total", "result"),
            _ => ("millrace_origin_broken_bodies_total", "reason"),
        };
        assert_eq!(edge.metric(metric, &[MAIN, &format!("{label}=\"{kind}\"")]).await, 1, "{name}");
        assert_eq!(edge.get("/x").await.cache(), "HIT", "{name}");
    }
}

/// Nobody's leaving ends what others may wait for, and nothing stays occupied.
#[tokio::test]
async fn a_client_that_leaves_while_the_first_origin_is_silent_changes_nothing() {
    let (main, second) = (OriginDouble::start().await, OriginDouble::start().await);
    main.on_any(Answer::silence());
    second.on_any(Answer::ok("second").cache_control("max-age=60"));
    let edge = before(http_origin(&main.url()), &second, |raw| {
        raw.origins[0].first_byte_timeout_ms = 300;
    });
    let edge = edge.await;
    let mut client = TcpStream::connect(edge.data()).await.unwrap();
    client.write_all(b"GET /x HTTP/1.1\r\nhost: edge.example\r\n\r\n").await.unwrap();
    main.reach_hits("/x", 1).await;
    drop(client);
    second.reach_hits("/x", 1).await;
    edge.settled().await;
    assert_eq!(edge.get("/x").await.told(), (200, "HIT", "second".to_owned()));
    eventually("free places", async || {
        let told = edge.admin_get("/api/v1/origins").await.text();
        !told.contains("\"requests_running\":1")
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_takes_unusually_long_is_asked_for_elsewhere() {
    let (main, second) = (OriginDouble::start().await, OriginDouble::start().await);
    let edge = before(http_origin(&main.url()), &second, |raw| raw.retry.hedge = true).await;
    main.on_any(Answer::ok("main").cache_control("max-age=60"));
    second.on_any(Answer::ok("second").cache_control("max-age=60"));
    for number in 0..30 {
        // On a busy machine some of these take unusually long, too.
        assert_eq!(edge.get(&format!("/{number}")).await.status, 200);
    }
    let hedges = ["origin=\"second\"", "kind=\"hedge\""];
    let before = edge.metric("millrace_origin_retries_total", &hedges).await;
    let gate = Gate::new();
    main.on("/slow", Answer::ok("main").gate(&gate));
    assert_eq!(edge.get("/slow").await.told(), (200, "MISS", "second".to_owned()));
    assert_eq!((main.hits("/slow"), second.hits("/slow")), (1, 1));
    assert_eq!(edge.metric("millrace_origin_retries_total", &hedges).await, before + 1);
    main.reach_aborted("/slow", 1).await;
    // What does harm when sent twice is not.
    main.on("/order", Answer::ok("done").gate(&gate));
    let order = edge.ask("POST", "/order", &[]);
    let released = async {
        gate.arrived(2).await;
        gate.release();
    };
    assert_eq!(tokio::join!(order, released).0.text(), "done");
    assert_eq!(second.hits("/order"), 0);
}

#[tokio::test]
async fn an_answer_beyond_its_length_is_cut_and_counted() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", Answer::ok("0123456789").wrong_content_length(4).cache_control("max-age=60"));
    assert_eq!(edge.get("/x").await.told(), (200, "MISS", "0123".to_owned()));
    let long = [MAIN, "reason=\"long_body\""];
    eventually("a count", async || edge.metric("millrace_origin_broken_bodies_total", &long).await == 1)
        .await;
    origin.on("/y", Answer::ok("0123").cache_control("max-age=60"));
    edge.get("/y").await;
    assert_eq!(edge.metric("millrace_origin_broken_bodies_total", &long).await, 1);
}

/// Viewers that have read far less than has come do without their places while others want them.
#[tokio::test]
async fn slow_viewers_do_not_fill_an_origins_places() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        let main = &mut raw.origins[0];
        (main.max_requests, main.max_waiting, main.first_byte_timeout_ms) = (2, 1, 5_000);
        raw.fill.read_ahead = "256KiB".to_owned();
    });
    let edge = edge.await;
    const LENGTH: u64 = 512 * BLOCK;
    let film = || Answer::pattern(LENGTH, 3).etag("\"1\"").cache_control("max-age=60");
    (0..2).for_each(|number| origin.on(&format!("/film/{number}"), film()));
    origin.on("/small", Answer::ok("small").cache_control("max-age=60"));
    let range = [("range", "bytes=0-")];
    let mut viewers = Vec::new();
    for number in 0..2 {
        let mut viewer = edge.open("GET", &format!("/film/{number}"), &range).await;
        viewer.next(1000).await;
        viewers.push(viewer);
    }
    let small = edge.send("GET", "/small", &[]).await;
    assert_eq!(small.told(), (200, "MISS", "small".to_owned()));
    for viewer in viewers {
        let reply = viewer.finish().await.unwrap();
        assert!(reply.status == 206 && crate::origin_double::first_mismatch(3, 1000, &reply.body).is_none());
        assert_eq!(reply.body.len() as u64, LENGTH - 1000);
    }
    assert_eq!(edge.metric("millrace_origin_broken_bodies_total", &[MAIN]).await, 0);
}

#[tokio::test]
async fn the_queue_before_an_origin_is_seen() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| raw.origins[0].max_requests = 1).await;
    let gate = Gate::new();
    origin.on_any(Answer::ok("x").gate(&gate));
    let asked = async {
        let asked = (0..3).map(|number| {
            let (edge, path) = (&edge, format!("/{number}"));
            async move { edge.send("GET", &path, &[]).await.status }
        });
        futures_util::future::join_all(asked).await
    };
    let seen = async {
        let queue = ["queue=\"origin:main\""];
        eventually("two waiting", async || edge.metric("millrace_queue_depth", &queue).await == 2).await;
        let told: serde_json::Value =
            serde_json::from_slice(&edge.admin_get("/api/v1/origins").await.body).unwrap();
        let origin = &told["origins"][0];
        assert_eq!((&origin["requests_running"], &origin["requests_waiting"]), (&1.into(), &2.into()));
        gate.release();
    };
    assert_eq!(tokio::join!(asked, seen).0, [200, 200, 200]);
    assert_eq!(edge.metric("millrace_queue_depth", &["queue=\"origin:main\""]).await, 0);
}
