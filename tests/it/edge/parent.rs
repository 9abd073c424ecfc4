//! Two servers in a row: the child's only origin is another Millrace, which shields the real one.

use futures_util::future::join_all;

use super::{BLOCK, Edge};
use crate::origin_double::{Answer, OriginDouble};

const LENGTH: u64 = 10 * BLOCK + 77;
const SEED: u64 = 5;

async fn family(origin: &OriginDouble) -> (Edge, Edge) {
    let parent = Edge::over(origin).await;
    let child = parent.child().await;
    (parent, child)
}

fn object() -> Answer {
    Answer::pattern(LENGTH, SEED).etag("\"1\"").cache_control("max-age=60")
}

#[tokio::test]
async fn each_byte_leaves_the_origin_once() {
    let origin = OriginDouble::start().await;
    origin.on("/a", object());
    origin.on("/b", object());
    let (parent, child) = family(&origin).await;
    let all = join_all((0..20).map(|_| child.send("GET", "/a", &[]))).await;
    assert!(all.iter().all(|reply| reply.is_pattern(SEED, 0..LENGTH)));
    child.settled().await;
    parent.settled().await;
    assert_eq!((origin.hits("/a"), origin.bytes_sent("/a")), (1, LENGTH));

    // Parts of a cold object: the parent keeps the blocks they touch, and gives them again to a child that has lost them.
    for round in 1..=2 {
        for first in [3 * BLOCK + 5, 7 * BLOCK] {
            let part = child.get_range("/b", &format!("bytes={first}-{}", first + 9)).await;
            assert_eq!((part.status, part.cache()), (206, "MISS"), "round {round}");
            assert!(part.is_pattern(SEED, first..first + 10));
            parent.settled().await;
        }
        child.purge(r#"{"all":true}"#).await;
    }
    assert_eq!(origin.bytes_sent("/b"), 2 * BLOCK);
    assert!(child.get("/b").await.is_pattern(SEED, 0..LENGTH));
}

#[tokio::test]
async fn age_adds_up_and_both_sign_the_answer() {
    let origin = OriginDouble::start().await;
    origin.on("/a", object());
    let (parent, child) = family(&origin).await;
    assert!(parent.get("/a").await.is_pattern(SEED, 0..LENGTH));
    parent.advance(20);
    let reply = child.get("/a").await;
    assert_eq!((reply.cache(), reply.field("age")), ("MISS", "20"));
    // The nearest to the origin stands first (RFC 9211 §2, RFC 9110 §7.6.3).
    let status = reply.fields("cache-status").join(", ");
    let [first, second] = status.split(", ").collect::<Vec<_>>()[..] else { panic!("{status}") };
    assert!(first.starts_with("millrace; hit"), "{status}");
    assert!(second.starts_with("millrace; fwd=uri-miss"), "{status}");
    assert_eq!(reply.fields("via").join(", ").matches("millrace").count(), 2);
    parent.advance(15);
    let reply = child.get("/a").await;
    assert_eq!((reply.cache(), reply.field("age")), ("HIT", "35"));
    // Both let it grow old at the same moment; the parent's confirmation is the child's.
    parent.advance(50);
    let reply = child.get("/a").await;
    assert_eq!((reply.status, reply.cache()), (200, "REVALIDATED"));
    let asked = &origin.requests("/a")[1];
    assert_eq!(asked.header("if-none-match"), "\"1\"");
    assert_eq!(origin.bytes_sent("/a"), LENGTH);
}

#[tokio::test]
async fn a_purge_is_the_business_of_one_server() {
    let origin = OriginDouble::start().await;
    origin.on("/a", Answer::ok("old").cache_control("max-age=60").times(1));
    origin.on("/a", Answer::ok("new").cache_control("max-age=60"));
    let (parent, child) = family(&origin).await;
    assert_eq!(child.get("/a").await.text(), "old");
    child.purge(r#"{"urls":["/a"]}"#).await;
    // The child has forgotten, the parent has not.
    assert_eq!(child.get("/a").await.told(), (200, "MISS", "old".to_owned()));
    assert_eq!(origin.hits("/a"), 1);
    // From the origin outwards, then nothing old is left.
    parent.purge(r#"{"urls":["/a"]}"#).await;
    child.purge(r#"{"urls":["/a"]}"#).await;
    assert_eq!(child.get("/a").await.told(), (200, "MISS", "new".to_owned()));
}

#[tokio::test]
async fn what_the_parent_may_not_store_the_child_does_not_store() {
    let origin = OriginDouble::start().await;
    origin.on("/private", Answer::ok("mine").cache_control("private, max-age=60"));
    let (_parent, child) = family(&origin).await;
    for round in 1..=2 {
        assert_eq!(child.get("/private").await.text(), "mine");
        assert_eq!(origin.hits("/private"), round);
    }
}
