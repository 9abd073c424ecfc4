//! What an origin says before its answer, on the client's wire.

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Edge, eventually};
use crate::origin_double::{Answer, Gate, OriginDouble, pattern_bytes};

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";

fn hinted() -> Answer {
    let fields = [("link", "</a.css>; rel=preload"), ("connection", "x-hop"), ("x-hop", "1")];
    Answer::ok("x").cache_control("max-age=60").interim(100, &[]).interim(103, &fields)
}

fn request(line: &str) -> String {
    format!("{line}\r\nHost: e\r\n\r\n")
}

async fn connect(edge: &Edge, sent: &str) -> TcpStream {
    let mut stream = TcpStream::connect(edge.data()).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    stream
}

/// All that comes until the server closes.
async fn exchange(edge: &Edge, sent: &str) -> String {
    let mut received = Vec::new();
    connect(edge, sent).await.read_to_end(&mut received).await.unwrap();
    String::from_utf8_lossy(&received).into_owned()
}

fn last(line: &str) -> String {
    format!("{line}\r\nHost: e\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn hints_come_before_the_answer_and_are_not_stored() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", hinted().interim(102, &[]).interim(103, &[("link", "</b>")]));
    let found = exchange(&edge, &last("GET /x HTTP/1.1")).await;
    let before =
        format!("{HINT}HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </b>\r\n\r\n");
    assert!(found.starts_with(&format!("{before}HTTP/1.1 200 OK\r\n")), "{found}");
    assert!(found.ends_with("\r\n\r\nx"), "{found}");
    edge.settled().await;
    let found = exchange(&edge, &last("GET /x HTTP/1.1")).await;
    assert!(found.starts_with("HTTP/1.1 200 OK\r\n") && found.contains("x-cache: HIT"), "{found}");
    for method in ["HEAD", "POST", "DELETE"] {
        origin.on("/y", hinted());
        let found = exchange(&edge, &last(&format!("{method} /y HTTP/1.1"))).await;
        assert!(found.starts_with(&format!("{HINT}HTTP/1.1 200 OK\r\n")), "{method}: {found}");
    }
}

#[tokio::test]
async fn hints_come_as_soon_as_the_origin_sends_them() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let gate = Gate::new();
    // Its head is in, its first byte is not.
    origin.on("/x", hinted().status(200).gate_at(0, &gate));
    let mut client = connect(&edge, &last("GET /x HTTP/1.1")).await;
    let mut hint = vec![0; HINT.len()];
    client.read_exact(&mut hint).await.unwrap();
    assert_eq!(hint, HINT.as_bytes());
    gate.release();
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{rest}");
}

#[tokio::test]
async fn http_1_0_gets_none() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", hinted());
    let found = exchange(&edge, "GET /x HTTP/1.0\r\n\r\n").await;
    assert!(found.starts_with("HTTP/1.0 200 OK\r\n") || found.starts_with("HTTP/1.1 200 OK\r\n"), "{found}");
    assert!(!found.contains("Early Hints"));
}

#[tokio::test]
async fn they_go_to_whom_the_origin_was_asked_for() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let gate = Gate::new();
    origin.on("/x", hinted().gate(&gate));
    let sent = last("GET /x HTTP/1.1");
    let clients = (0..5).map(|_| exchange(&edge, &sent));
    let all_wait = async {
        let collapsed = async || edge.metric("millrace_collapsed_requests_total", &[]).await == 4;
        eventually("four that wait", collapsed).await;
        gate.release();
    };
    let (found, ()) = tokio::join!(join_all(clients), all_wait);
    assert_eq!(found.iter().filter(|found| found.starts_with(HINT)).count(), 1);
    assert!(found.iter().all(|found| found.ends_with("\r\n\r\nx")));
    assert_eq!(origin.hits("/x"), 1);
}

/// However much of the answer before is still on its way to a client that reads when it likes.
#[tokio::test]
async fn never_in_the_middle_of_another_answer() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on_any(hinted());
    for length in (0..12).map(|step| 100_000 + step * 400_000) {
        let (large, small) = (format!("/large-{length}"), format!("/small-{length}"));
        origin.on(&large, Answer::pattern(length, 7).etag("\"1\"").cache_control("max-age=60"));
        edge.get(&large).await;
        let first = request(&format!("GET {large} HTTP/1.1"));
        let second = last(&format!("GET {small} HTTP/1.1"));
        let mut client = connect(&edge, &format!("{first}{second}")).await;
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        let head = received.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let body = &received[head..head + length as usize];
        assert!(body == &pattern_bytes(7, 0..length)[..], "{length}");
        let rest = String::from_utf8_lossy(&received[head + length as usize..]);
        assert!(rest.starts_with(&format!("{HINT}HTTP/1.1 200 OK\r\n")), "{length}: {rest}");
    }
}

#[tokio::test]
async fn a_flood_of_them_is_bounded() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let flood = (0..500).fold(Answer::ok("x"), |answer, _| answer.interim(103, &[("link", "</a>")]));
    origin.on("/x", flood);
    let found = exchange(&edge, &last("GET /x HTTP/1.1")).await;
    let count = found.matches("103 Early Hints").count();
    assert!((1..=16).contains(&count), "{count}");
    assert!(found.ends_with("\r\n\r\nx"));
}

/// A request that has been here already is not sent round again.
#[tokio::test]
async fn loops_are_cut() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on_any(Answer::ok("x").cache_control("no-store"));
    edge.get("/x").await;
    let seen = &origin.requests("/x")[0];
    let (mark, via) = (seen.header("cdn-loop").to_owned(), seen.header("via").to_owned());
    assert!(mark.starts_with("millrace") && via == "1.1 millrace", "{mark} {via}");
    let many = ["millrace; id=other"; 9].join(", ");
    for (value, status) in [("other", 200), ("millrace; id=other", 200), (&mark, 508), (&many, 508)] {
        for method in ["GET", "POST"] {
            let reply = edge.ask(method, "/y", &[("cdn-loop", value)]).await;
            assert_eq!(reply.status, status, "{method} {value}");
        }
    }
}
