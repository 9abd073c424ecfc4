//! Second requests for answers that take long.

use super::*;

fn hedging() -> RetryPolicy {
    RetryPolicy { hedge: true, ..policy() }
}

/// Answers until it is known how long they take.
fn quick(last: &[Step]) -> Vec<Step> {
    let mut script = vec![After(10); 50];
    script.extend(last);
    script
}

async fn warm(chain: &Chain) {
    for _ in 0..50 {
        chain.fetch(get()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_asked_for_twice_when_allowed() {
    let hedging = RetryPolicy { hedge: true, ..policy() };
    let mut script = vec![After(10); 50];
    script.extend([After(1000), After(10)]);
    for (policy, took, asked) in [(hedging, 20, 52), (policy(), 1000, 51)] {
        let (chain, origins, _) = chain_with(&[&script], &generous(), policy);
        for _ in 0..50 {
            chain.fetch(get()).await.unwrap();
        }
        let began = Instant::now();
        chain.fetch(get()).await.unwrap();
        assert_eq!(began.elapsed().as_millis(), took);
        assert_eq!(counts(&origins), [asked]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_harm_when_sent_twice_is_not_hedged() {
    let (chain, origins, _) = chain_with(&[&quick(&[After(1000)])], &generous(), hedging());
    warm(&chain).await;
    chain.fetch(Request::new(Method::POST, "/x")).await.unwrap();
    let body: crate::origin::Body = stream::empty().boxed();
    chain.fetch(Request { body: Some(body), ..get() }).await.unwrap();
    assert_eq!(counts(&origins), [52]);
}

/// Retries and hedges are paid from one purse.
#[tokio::test(start_paused = true)]
async fn without_budget_there_is_no_hedge() {
    let budget = budget::Config { ratio: 0.0, floor_per_sec: 0.1 };
    let config = member::Config { budget, ..member::Config::default() };
    let script = quick(&[Status(503), After(10), After(1000), After(10)]);
    let (chain, origins, notes) = chain_with(&[&script], &config, hedging());
    warm(&chain).await;
    chain.fetch(get()).await.unwrap();
    let began = Instant::now();
    chain.fetch(get()).await.unwrap();
    assert_eq!((began.elapsed().as_millis(), counts(&origins)), (1000, vec![53]));
    let told: Vec<_> = notes.0.lock().iter().filter(|note| note.ends_with("e")).cloned().collect();
    assert_eq!(told, ["a retry true", "a hedge false"]);
}

/// An origin whose every other answer is slow stays one whose every other answer is slow.
#[tokio::test(start_paused = true)]
async fn answers_that_nobody_waited_for_count_as_slow() {
    let script = quick(&[After(1000), After(10)].repeat(20));
    let (chain, origins, _) = chain_with(&[&script], &generous(), hedging());
    warm(&chain).await;
    for _ in 0..15 {
        chain.fetch(get()).await.unwrap();
    }
    let slow = chain.members()[0].quantile(0.95).unwrap();
    assert!(slow > Duration::from_millis(10), "{slow:?} after {:?} requests", counts(&origins));
}

/// What another origin has may be another version, and then the right one would not be waited for.
#[tokio::test(start_paused = true)]
async fn the_rest_of_a_body_is_hedged_where_it_comes_from() {
    let first = quick(&[PartAfter("\"1\"", 1000), Part("\"1\"")]);
    let (chain, origins, _) = chain_with(&[&first, &[Part("\"2\"")]], &generous(), hedging());
    warm(&chain).await;
    let resume = Resume { at: "a".into(), progressed: true };
    assert_eq!(verdict(&chain.resume(rest(), &resume).await), "a 206");
    assert_eq!(counts(&origins), [52, 0]);
}

/// A hedge must not take the place of the probe that finds out about an origin.
#[tokio::test(start_paused = true)]
async fn nobody_is_hedged_to_an_origin_in_trouble() {
    let first = quick(&[After(1000), Status(500), After(1000)]);
    let (chain, origins, _) = chain_with(&[&first, &[CONNECT, Status(200)]], &generous(), hedging());
    warm(&chain).await;
    // The hedge finds the second one unreachable.
    assert_eq!(verdict(&chain.fetch(get()).await), "a 200");
    assert_eq!(counts(&origins), [51, 1]);
    // It is time for a probe, and that is what a failover makes, not a hedge.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(verdict(&chain.fetch(get()).await), "b 200");
    assert_eq!(counts(&origins), [52, 2]);
}
