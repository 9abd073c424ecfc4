//! Answers that are not for everybody: nobody waits in line for them.

use futures_util::future::join_all;

use super::{Edge, eventually};
use crate::origin_double::{Answer, Gate, OriginDouble};

const CROWD: usize = 50;

async fn crowd(edge: &Edge, target: &str) -> Vec<super::Reply> {
    join_all((0..CROWD).map(|_| edge.send("GET", target, &[]))).await
}

fn private() -> Answer {
    Answer::ok("mine").cache_control("private")
}

/// How many have joined the flight of another.
async fn collapsed(edge: &Edge) -> u64 {
    edge.metric("millrace_collapsed_requests_total", &[]).await
}

#[tokio::test]
async fn a_crowd_is_at_the_origin_all_at_once() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, answer) in [
        ("/private", private()),
        ("/no-store", Answer::ok("x").cache_control("no-store")),
        ("/cookie", Answer::ok("x").cache_control("max-age=60").header("set-cookie", "a=1")),
        ("/nothing", Answer::ok("x")),
        ("/varies", Answer::ok("x").cache_control("max-age=60").header("vary", "*")),
    ] {
        origin.on(path, answer.clone());
        assert_eq!(edge.get(path).await.cache(), "BYPASS", "{path}");
        let gate = Gate::new();
        origin.on(path, answer.gate(&gate));
        // None of them is answered before all of them have asked.
        let all_there = async {
            gate.arrived(CROWD).await;
            gate.release();
        };
        let (replies, ()) = tokio::join!(crowd(&edge, path), all_there);
        assert!(replies.iter().all(|reply| (reply.status, reply.cache()) == (200, "BYPASS")), "{path}");
        assert_eq!(origin.hits(path), 1 + CROWD, "{path}");
    }
    assert_eq!(collapsed(&edge).await, 0);
}

#[tokio::test]
async fn the_first_crowd_waits_for_one_answer_and_no_more() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let gate = Gate::new();
    origin.on("/x", private().gate(&gate));
    let rounds = async {
        gate.arrived(1).await;
        eventually("a crowd that waits", async || collapsed(&edge).await == CROWD as u64 - 1).await;
        gate.release_one();
        gate.arrived(CROWD).await;
        gate.release();
    };
    let (replies, ()) = tokio::join!(crowd(&edge, "/x"), rounds);
    assert!(replies.iter().all(|reply| reply.told() == (200, "BYPASS", "mine".to_owned())));
    assert_eq!(origin.hits("/x"), CROWD);
}

#[tokio::test]
async fn an_answer_that_may_be_stored_is_shared_again() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", private());
    edge.get("/x").await;
    origin.on("/x", Answer::ok("ours").cache_control("max-age=60"));
    assert_eq!(edge.get("/x").await.told(), (200, "MISS", "ours".to_owned()));
    assert_eq!(edge.get("/x").await.told(), (200, "HIT", "ours".to_owned()));
    edge.purge(r#"{"urls":["/x"]}"#).await;
    let gate = Gate::new();
    origin.on("/x", Answer::ok("ours").cache_control("max-age=60").gate(&gate));
    let joined = async {
        eventually("a crowd that waits", async || collapsed(&edge).await == CROWD as u64 - 1).await;
        gate.release();
    };
    let (replies, ()) = tokio::join!(crowd(&edge, "/x"), joined);
    assert!(replies.iter().all(|reply| reply.told() == (200, "MISS", "ours".to_owned())));
    assert_eq!(origin.hits("/x"), 3);
}

#[tokio::test]
async fn it_is_forgotten_after_a_while_and_never_remembered_of_trouble() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, answer, later) in [("/private", private(), 61), ("/trouble", Answer::empty(503), 0)] {
        origin.on(path, answer.clone());
        edge.get(path).await;
        edge.advance(later);
        let before = collapsed(&edge).await;
        let gate = Gate::new();
        origin.on(path, answer.gate(&gate));
        let joined = async {
            let all = before + CROWD as u64 - 1;
            eventually("a crowd that waits", async || collapsed(&edge).await == all).await;
            gate.release();
        };
        tokio::join!(crowd(&edge, path), joined);
    }
}
