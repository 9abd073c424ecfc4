//! That the origin double does what its script says, seen through a plain socket.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::origin_double::{Answer, Gate, OriginDouble, pattern_bytes};

/// Sends one request on a connection of its own and reads until the origin closes it.
async fn raw(origin: &OriginDouble, method: &str, target: &str, fields: &str) -> String {
    let mut stream = TcpStream::connect(origin.addr()).await.unwrap();
    let request = format!("{method} {target} HTTP/1.1\r\nhost: x\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn ten() -> Answer {
    Answer::ok("0123456789").etag("\"v1\"").no_date().close()
}

#[tokio::test]
async fn ranges_and_conditions_are_heeded() {
    let origin = OriginDouble::start().await;
    origin.on("/x", ten());
    for (method, fields, status, body) in [
        ("GET", "", "200", "0123456789"),
        ("HEAD", "", "200", ""),
        ("GET", "range: bytes=2-4\r\n", "206", "234"),
        ("GET", "range: bytes=8-\r\n", "206", "89"),
        ("GET", "range: bytes=-2\r\n", "206", "89"),
        ("GET", "range: bytes=10-\r\n", "416", ""),
        ("GET", "range: bytes=2-4\r\nif-range: \"v1\"\r\n", "206", "234"),
        ("GET", "range: bytes=2-4\r\nif-range: \"v2\"\r\n", "200", "0123456789"),
        ("GET", "if-none-match: \"v2\", W/\"v1\"\r\n", "304", ""),
        ("GET", "if-none-match: \"v2\"\r\n", "200", "0123456789"),
    ] {
        let answer = raw(&origin, method, "/x?q=1", fields).await;
        let (head, got) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {fields}: {head}");
        assert_eq!(got, body, "{method} {fields}");
    }
    assert_eq!(origin.hits("/x"), 10);
    assert_eq!(origin.hits("/x?q=1"), 10);
    assert_eq!(origin.hits("/x?q=2"), 0);
    assert_eq!(origin.bytes_sent("/x"), 10 + 3 + 2 + 2 + 3 + 10 + 10);

    origin.on("/x", ten().no_ranges());
    assert!(raw(&origin, "GET", "/x", "range: bytes=2-4\r\n").await.ends_with("0123456789"));
}

#[tokio::test]
async fn framing_and_faults_look_as_scripted() {
    let origin = OriginDouble::start().await;
    origin.on("/chunked", ten().chunked().chunk_bytes(4));
    origin.on("/cut-chunked", ten().chunked().cut_at(10));
    origin.on("/close", ten().until_close());
    origin.on("/wrong", ten().wrong_content_length(12));
    origin.on("/cut", ten().cut_at(3));
    origin.on("/raw", Answer::raw("nonsense"));
    origin.on("/interim", ten().interim(103, &[("link", "</a>")]));
    for (target, part) in [
        ("/chunked", "\r\n\r\n4\r\n0123\r\n4\r\n4567\r\n2\r\n89\r\n0\r\n\r\n"),
        ("/cut-chunked", "\r\n\r\na\r\n0123456789\r\n"),
        ("/close", "\r\n\r\n0123456789"),
        ("/wrong", "content-length: 12\r\nconnection: close\r\n\r\n0123456789"),
        ("/cut", "content-length: 10\r\nconnection: close\r\n\r\n012"),
        ("/raw", "nonsense"),
        ("/nowhere", "HTTP/1.1 404 Not Found"),
    ] {
        let fields = if target == "/nowhere" { "range: bytes=0-0\r\n" } else { "" };
        if target == "/nowhere" {
            origin.on_any(Answer::empty(404).close().no_date());
        }
        let answer = raw(&origin, "GET", target, fields).await;
        assert!(answer.ends_with(part) || answer.starts_with(part), "{target}: {answer}");
    }
    let answer = raw(&origin, "GET", "/interim", "").await;
    assert!(
        answer.starts_with("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn answers_are_used_up_in_order() {
    let origin = OriginDouble::start().await;
    origin.on("/x", ten().status(503).times(2));
    origin.on("/x", ten());
    origin.on("/x", ten().status(201));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(raw(&origin, "GET", "/x", "").await[9..12].to_owned());
    }
    assert_eq!(statuses, ["503", "503", "201", "201"]);

    origin.on_with("/y", |request| ten().header("x-method", &request.method));
    assert!(raw(&origin, "PURGE", "/y", "").await.contains("x-method: PURGE"));
}

#[tokio::test]
async fn a_gate_holds_the_answer_until_it_is_released() {
    let origin = OriginDouble::start().await;
    let (head, body) = (Gate::new(), Gate::new());
    origin.on("/x", Answer::pattern(100, 3).gate(&head).gate_at(40, &body).close());
    let mut stream = TcpStream::connect(origin.addr()).await.unwrap();
    stream.write_all(b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    head.arrived(1).await;
    assert_eq!((origin.hits("/x"), origin.bytes_sent("/x")), (1, 0));
    head.release_one();
    body.arrived(1).await;
    assert_eq!(origin.bytes_sent("/x"), 40);
    body.release();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.ends_with(&pattern_bytes(3, 0..100)));
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed() {
    let origin = OriginDouble::start().await;
    let gate = Gate::new();
    origin.on("/gated", ten().gate(&gate));
    origin.on("/stalled", ten().stall_at(5));
    for (target, aborted) in [("/gated", 1), ("/stalled", 1)] {
        let mut stream = TcpStream::connect(origin.addr()).await.unwrap();
        stream.write_all(format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        origin.reach_hits(target, 1).await;
        drop(stream);
        origin.reach_aborted(target, aborted).await;
    }
}

#[tokio::test]
async fn down_means_refused_and_up_again_means_the_same_origin() {
    let origin = OriginDouble::start().await;
    origin.on("/x", ten());
    origin.go_down().await;
    assert!(TcpStream::connect(origin.addr()).await.is_err());
    origin.come_back().await;
    assert!(raw(&origin, "GET", "/x", "").await.ends_with("0123456789"));
}
