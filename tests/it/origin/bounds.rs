//! What bounds an origin: how much is asked of it at a time, for how long, and where it may send us.

use std::time::Duration;

use ::http::Method;
use millrace::origin::{ErrorKind, Origin, Request, http as http_origin};

use super::{IMPATIENT, collect, config, failure, get, text};
use crate::origin_double::{Answer, Gate, OriginDouble};

fn open(config: http_origin::Config) -> http_origin::Http {
    http_origin::Http::new(config).unwrap()
}

#[tokio::test]
async fn more_than_the_queue_holds_is_refused_at_once() {
    let double = OriginDouble::start().await;
    let gate = Gate::new();
    double.on("/slow", Answer::pattern(100_000, 1).gate_at(50_000, &gate));
    double.on("/x", Answer::ok("x"));
    let origin = open(http_origin::Config { max_requests: 1, max_waiting: 1, ..config(&double) });
    // Its place is taken until its body is over.
    let slow = origin.fetch(get("/slow", &[])).await.unwrap();
    let waiting = origin.fetch(get("/x", &[]));
    let third = async {
        double.reach_hits("/slow", 1).await;
        let refused = failure(origin.fetch(get("/x", &[])).await);
        gate.release();
        (refused, collect(slow.body).await.unwrap().len())
    };
    let (waited, (refused, length)) = tokio::join!(waiting, third);
    assert_eq!((refused, length), (ErrorKind::Saturated, 100_000));
    assert!(ErrorKind::Saturated.is_retryable());
    assert_eq!(text(waited.unwrap()).await, "x");
}

#[tokio::test]
async fn waiting_for_a_place_ends() {
    let double = OriginDouble::start().await;
    double.on("/slow", Answer::pattern(100_000, 1).stall_at(50_000));
    let origin =
        open(http_origin::Config { max_requests: 1, first_byte_timeout: IMPATIENT, ..config(&double) });
    let _slow = origin.fetch(get("/slow", &[])).await.unwrap();
    assert_eq!(failure(origin.fetch(get("/slow", &[])).await), ErrorKind::Saturated);
    drop(_slow);
    assert_eq!(origin.fetch(get("/slow", &[])).await.unwrap().status, 200);
}

#[tokio::test]
async fn an_exchange_that_takes_too_long_ends() {
    let double = OriginDouble::start().await;
    let pause = Duration::from_millis(10);
    double.on("/drips", Answer::pattern(1 << 20, 1).chunk_bytes(10).chunk_delay(pause));
    double.on("/silent", Answer::silence());
    let origin = open(http_origin::Config { total_timeout: Some(IMPATIENT), ..config(&double) });
    let (bytes, error) = collect(origin.fetch(get("/drips", &[])).await.unwrap().body).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::TotalTimeout);
    assert!(!bytes.is_empty());
    assert_eq!(failure(origin.fetch(get("/silent", &[])).await), ErrorKind::TotalTimeout);
}

#[tokio::test]
async fn redirects_are_followed_to_allowed_hosts_only() {
    let (double, other) = (OriginDouble::start().await, OriginDouble::start().await);
    let to = |url: String| Answer::empty(302).header("location", &url);
    double.on("/there", to(format!("{}/here", other.url())));
    double.on("/local", to("/there".to_owned()));
    double.on("/round", to("/round".to_owned()));
    double.on("/away", to("http://169.254.169.254/latest/meta-data".to_owned()));
    other.on("/here", Answer::pattern(1000, 3).etag("\"1\""));
    let allowed = [double.addr(), other.addr()].map(|address| address.to_string());
    let mut config = http_origin::Config { follow_redirects_to: allowed.into(), ..config(&double) };
    config.fields.insert("x-key", "secret".parse().unwrap());
    let origin = open(config);
    for path in ["/there", "/local"] {
        let fields = [("range", "bytes=0-9"), ("authorization", "Basic x"), ("accept", "image/*")];
        let answer = origin.fetch(get(path, &fields)).await.unwrap();
        assert_eq!((answer.status.as_u16(), collect(answer.body).await.unwrap().len()), (206, 10));
    }
    let seen = &other.requests("/here")[0];
    assert_eq!((seen.header("accept"), seen.header("host")), ("image/*", &*other.addr().to_string()));
    // What only the origin itself may know.
    assert!(!seen.headers.contains_key("authorization") && !seen.headers.contains_key("x-key"));
    assert_eq!(double.requests("/there")[1].header("x-key"), "secret");
    assert_eq!(failure(origin.fetch(get("/round", &[])).await), ErrorKind::BadResponse);
    assert_eq!(double.hits("/round"), 6);
    assert_eq!(origin.fetch(get("/away", &[])).await.unwrap().status, 302);
    let post = Request::new(Method::POST, "/there");
    assert_eq!(origin.fetch(post).await.unwrap().status, 302);
}

#[tokio::test]
async fn a_prefix_is_exchanged_for_another() {
    let double = OriginDouble::start().await;
    double.on("/bucket/a", Answer::ok("a"));
    let base = format!("{}/bucket", double.url()).parse().unwrap();
    let origin = open(http_origin::Config { base, strip_prefix: "/media".to_owned(), ..config(&double) });
    assert_eq!(text(origin.fetch(get("/media/a", &[])).await.unwrap()).await, "a");
    for target in ["/a", "/mediax/a", "/media/../a"] {
        assert_eq!(failure(origin.fetch(get(target, &[])).await), ErrorKind::Forbidden, "{target}");
    }
    assert_eq!(double.total_hits(), 1);
}
