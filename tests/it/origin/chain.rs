//! Several origins behind one chain: retry, failover, fallback for missing assets, and going on at the same origin.

use std::{fs, sync::Arc, time::Duration};

use ::http::Method;
use millrace::origin::{Chain, ErrorKind, Member, Origin, Request, Resume, RetryPolicy, directory, member};

use super::{IMPATIENT, PATIENT, collect, failure, get, named, text};
use crate::origin_double::{Answer, OriginDouble, first_mismatch};

fn chain_of(origins: Vec<Arc<dyn Origin>>) -> Chain {
    let member = |origin| Arc::new(Member::new(origin, member::Config::default()));
    let policy = RetryPolicy { statuses: true, ..RetryPolicy::default() };
    Chain::new(origins.into_iter().map(member).collect(), policy)
}

fn chain(first: &OriginDouble, patience: Duration, second: &OriginDouble) -> Chain {
    chain_of(vec![named(first, "first", patience), named(second, "second", PATIENT)])
}

async fn two() -> (OriginDouble, OriginDouble, Chain) {
    let (first, second) = (OriginDouble::start().await, OriginDouble::start().await);
    let chain = chain(&first, PATIENT, &second);
    (first, second, chain)
}

#[tokio::test]
async fn a_server_error_is_failed_over_and_then_retried() {
    let (first, second, chain) = two().await;
    first.on("/first", Answer::empty(500));
    second.on("/first", Answer::ok("second"));
    let answer = chain.fetch(get("/first", &[])).await.unwrap();
    assert_eq!(&*answer.origin, "second");
    assert_eq!(text(answer).await, "second");
    assert_eq!((first.hits("/first"), second.hits("/first")), (1, 1));

    first.on("/both", Answer::empty(503).times(1));
    first.on("/both", Answer::ok("first"));
    second.on("/both", Answer::empty(502));
    assert_eq!(text(chain.fetch(get("/both", &[])).await.unwrap()).await, "first");
    assert_eq!((first.hits("/both"), second.hits("/both")), (2, 1));
}

#[tokio::test]
async fn every_failure_before_the_head_is_failed_over() {
    for (name, answer, patience) in [
        ("hangs up", Answer::hang_up(), PATIENT),
        ("is silent", Answer::silence(), IMPATIENT),
        ("talks nonsense", Answer::raw("nonsense\r\n\r\n"), PATIENT),
    ] {
        let (first, second) = (OriginDouble::start().await, OriginDouble::start().await);
        let chain = chain(&first, patience, &second);
        first.on("/x", answer);
        second.on("/x", Answer::ok("second"));
        assert_eq!(text(chain.fetch(get("/x", &[])).await.unwrap()).await, "second", "{name}");
        assert_eq!((first.hits("/x"), second.hits("/x")), (1, 1), "{name}");
    }
    let (first, second, chain) = two().await;
    first.go_down().await;
    second.on("/x", Answer::ok("second"));
    assert_eq!(text(chain.fetch(get("/x", &[])).await.unwrap()).await, "second");
    second.go_down().await;
    assert_eq!(failure(chain.fetch(get("/x", &[])).await), ErrorKind::Connect);
}

#[tokio::test]
async fn a_missing_asset_is_looked_for_further_down() {
    let (first, second, chain) = two().await;
    second.on("/x", Answer::ok("second"));
    assert_eq!(text(chain.fetch(get("/x", &[])).await.unwrap()).await, "second");
    assert_eq!((first.hits("/x"), second.hits("/x")), (1, 1));
    let missing = chain.fetch(get("/nowhere", &[])).await.unwrap();
    assert_eq!((missing.status.as_u16(), &*missing.origin), (404, "second"));
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    let (first, second, chain) = two().await;
    for answer in [Answer::empty(503), Answer::hang_up(), Answer::empty(404)] {
        first.on("/x", answer);
        let before = first.hits("/x");
        let _ = chain.fetch(Request::new(Method::POST, "/x")).await;
        assert_eq!(first.hits("/x") - before, 1);
    }
    assert_eq!(second.total_hits(), 0);
}

#[tokio::test]
async fn a_post_on_a_connection_that_the_origin_has_closed_is_not_sent_twice() {
    let (first, _second, chain) = two().await;
    first.on("/x", Answer::ok("x"));
    text(chain.fetch(get("/x", &[])).await.unwrap()).await;
    // The pooled connection breaks with the request already on it.
    first.on("/post", Answer::hang_up().times(1));
    first.on("/post", Answer::ok("again"));
    assert_eq!(failure(chain.fetch(Request::new(Method::POST, "/post")).await), ErrorKind::BrokenBody);
    assert_eq!(first.hits("/post"), 1);
}

#[tokio::test]
async fn a_body_cut_short_is_gone_on_with_at_the_same_origin() {
    let (first, second, chain) = two().await;
    first.on("/x", Answer::pattern(1_000_000, 6).etag("\"v1\"").cut_at(300_000).times(1));
    first.on("/x", Answer::empty(502).times(1));
    first.on("/x", Answer::pattern(1_000_000, 6).etag("\"v1\""));
    second.on("/x", Answer::pattern(1_000_000, 7).etag("\"v2\""));
    let answer = chain.fetch(get("/x", &[])).await.unwrap();
    let name = Arc::clone(&answer.origin);
    let (mut bytes, error) = collect(answer.body).await.err().unwrap();
    assert_eq!((bytes.len(), error.kind), (300_000, ErrorKind::ShortBody));

    let fields = [("range", "bytes=300000-"), ("if-range", "\"v1\"")];
    let resume = Resume { at: name, progressed: true };
    let rest = chain.resume(get("/x", &fields), &resume).await.unwrap();
    assert_eq!(rest.status, 206);
    bytes.extend(collect(rest.body).await.unwrap());
    assert_eq!((bytes.len(), first_mismatch(6, 0, &bytes)), (1_000_000, None));
    assert_eq!((first.hits("/x"), second.hits("/x")), (3, 1));
}

#[tokio::test]
async fn a_directory_and_a_server_make_a_chain() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("local.txt"), "local").unwrap();
    let directory = directory::Directory::new(directory::Config::new("disk", dir.path())).unwrap();
    let double = OriginDouble::start().await;
    double.on_any(Answer::ok("remote"));
    let origins: Vec<Arc<dyn Origin>> = vec![Arc::new(directory), named(&double, "net", PATIENT)];
    let chain = chain_of(origins);
    // An encoded slash names no file, and may well mean something to a server.
    for (target, origin, body) in
        [("/local.txt", "disk", "local"), ("/else.txt", "net", "remote"), ("/a%2Fb", "net", "remote")]
    {
        let answer = chain.fetch(get(target, &[])).await.unwrap();
        assert_eq!(&*answer.origin, origin, "{target}");
        assert_eq!(text(answer).await, body, "{target}");
    }
    // Both refuse it.
    assert_eq!(failure(chain.fetch(get("/%2e%2e/x", &[])).await), ErrorKind::Forbidden);
}
