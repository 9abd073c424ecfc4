//! Balancers in front: who is believed when it speaks for somebody else.

use millrace::config::raw;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Edge, eventually};
use crate::origin_double::{Answer, OriginDouble};

async fn edge(origin: &OriginDouble, proxies: raw::Proxies) -> Edge {
    let edge = Edge::with(origin, |raw| {
        raw.proxies = proxies;
        let rate = raw::Rate { requests: 1, per_secs: 1000, burst: 2, ..Default::default() };
        raw.routes = vec![raw::Route { rate, ..Default::default() }];
    })
    .await;
    origin.on("/x", Answer::ok("x").cache_control("max-age=3600"));
    edge
}

fn loopback() -> Vec<String> {
    vec!["127.0.0.0/8".to_owned()]
}

/// What comes of a connection that begins like this: statuses, the last of them 0 when it was closed without an answer.
async fn status(edge: &Edge, begin: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(edge.data()).await.unwrap();
    let request = b"GET /x HTTP/1.1\r\nHost: e\r\nX-Forwarded-For: 203.0.113.99\r\nConnection: close\r\n\r\n";
    stream.write_all(&[begin, request].concat()).await.unwrap();
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    let text = String::from_utf8_lossy(&received);
    text.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
}

#[tokio::test]
async fn the_client_is_whom_a_trusted_balancer_names() {
    let origin = OriginDouble::start().await;
    let edge = edge(&origin, raw::Proxies { proxy_protocol: loopback(), ..Default::default() }).await;
    let one = b"PROXY TCP4 192.0.2.1 10.0.0.1 4000 80\r\n";
    let v2 = |last| {
        let addresses = [0, 12, 192, 0, 2, last, 10, 0, 0, 1, 0x10, 0, 0, 80];
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..], &addresses].concat()
    };
    assert_eq!((status(&edge, one).await, status(&edge, &v2(1)).await), (200, 200));
    assert_eq!((status(&edge, one).await, status(&edge, &v2(1)).await), (429, 429));
    assert_eq!((status(&edge, &v2(2)).await, status(&edge, &v2(2)).await), (200, 200), "another");
    // Without a header, or with a bad one, it is not a balancer of ours.
    for begin in [&b""[..], b"PROXY TCP4 192.0.2.3 10.0.0.1 4000\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0"] {
        assert_eq!(status(&edge, begin).await, 0, "{begin:?}");
    }
    // They are closed before they are counted.
    let refused =
        async || edge.metric("millrace_connections_refused_total", &["reason=\"proxy-header\""]).await;
    eventually("three refusals on the books", async || refused().await == 3).await;
}

#[tokio::test]
async fn nobody_else_can_pretend_to_be_somebody() {
    let origin = OriginDouble::start().await;
    let others = vec!["10.0.0.0/8".to_owned()];
    let proxies = raw::Proxies { proxy_protocol: others.clone(), trusted: others };
    let edge = edge(&origin, proxies).await;
    assert_eq!(status(&edge, b"PROXY TCP4 192.0.2.1 10.0.0.1 4000 80\r\n").await, 400);
    // All of them are one client, whatever they say.
    let mut statuses = Vec::new();
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        statuses.push(edge.send("GET", "/x", &[("x-forwarded-for", client)]).await.status);
    }
    assert_eq!(statuses, [200, 200, 429]);
}

#[tokio::test]
async fn what_trusted_proxies_forward_is_believed() {
    let origin = OriginDouble::start().await;
    let edge = edge(&origin, raw::Proxies { trusted: loopback(), ..Default::default() }).await;
    let mut statuses = Vec::new();
    for client in ["192.0.2.1", "192.0.2.1", "198.51.100.1, 192.0.2.1", "192.0.2.2"] {
        statuses.push(edge.send("GET", "/x", &[("x-forwarded-for", client)]).await.status);
    }
    assert_eq!(statuses, [200, 200, 429, 200]);
}
