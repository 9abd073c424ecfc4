//! What becomes of requests while origins come back, and when they take too long to.

use futures_util::future::join_all;

use super::*;

/// Unreachable until its breaker is firmly open.
async fn recovering(then: &[Step], config: &member::Config) -> (Chain, Vec<Arc<Scripted>>) {
    let mut script = vec![CONNECT; 5];
    script.extend(then);
    let (chain, origins, _) = chain_with(&[&script], config, policy());
    while counts(&origins) < vec![5] {
        let _ = chain.fetch(get()).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    (chain, origins)
}

#[tokio::test(start_paused = true)]
async fn who_has_nowhere_else_to_go_waits_for_its_turn() {
    let (chain, origins) = recovering(&[Status(200)], &generous()).await;
    chain.fetch(get()).await.unwrap();
    assert_eq!(chain.members()[0].report().breaker, "half-open");
    let began = Instant::now();
    let ask = async |method: Method| {
        let answer = chain.fetch(Request::new(method, "/x")).await;
        (verdict(&answer), began.elapsed())
    };
    let asked = (0..60).map(|n| ask(if n % 10 == 0 { Method::POST } else { Method::GET }));
    let answers = join_all(asked).await;
    assert!(answers.iter().all(|(verdict, _)| verdict == "a 200"), "{answers:?}");
    // First come, first served, and no more at a time than the origin is trusted with.
    assert!(answers.is_sorted_by_key(|(_, when)| *when));
    let times = origins[0].asked.lock().clone();
    for (step, most) in [(0, 4), (1, 8), (2, 16), (3, 32)] {
        let (from, to) = (began + step * Duration::from_millis(500), Duration::from_millis(500));
        let asked = times.iter().filter(|when| (from..from + to).contains(when)).count();
        assert!(asked <= most + 1, "{asked} in step {step}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_has_something_stored_is_turned_away_at_once() {
    let (chain, _) = recovering(&[Status(200)], &generous()).await;
    chain.fetch(get()).await.unwrap();
    let began = Instant::now();
    let asked = (0..20).map(|_| chain.fetch(Request { patient: false, ..get() }));
    let refused = join_all(asked).await.iter().filter(|answer| answer.is_err()).count();
    assert_eq!((refused, began.elapsed()), (16, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever() {
    let config = member::Config { patience: Duration::from_millis(700), ..generous() };
    let (chain, _) = recovering(&[Status(200)], &config).await;
    chain.fetch(get()).await.unwrap();
    let began = Instant::now();
    let answers = join_all((0..60).map(|_| chain.fetch(get()))).await;
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(began.elapsed() <= Duration::from_millis(700), "{:?}", began.elapsed());
    assert!((40..=56).contains(&refused.len()), "{}", refused.len());
    assert!(refused.iter().all(|error| error.kind == ErrorKind::BreakerOpen && error.retry_after.is_some()));
}

/// Those who leave while they wait keep nobody else from their turn.
#[tokio::test(start_paused = true)]
async fn whoever_leaves_the_line_does_not_block_it() {
    let (chain, _) = recovering(&[Status(200)], &generous()).await;
    chain.fetch(get()).await.unwrap();
    for _ in 0..4 {
        chain.fetch(get()).await.unwrap();
    }
    {
        let mut leaving: Vec<_> = (0..3).map(|_| Box::pin(chain.fetch(get()))).collect();
        for request in &mut leaving {
            assert!(request.now_or_never().is_none());
        }
    }
    assert_eq!(verdict(&chain.fetch(get()).await), "a 200");
}

#[tokio::test(start_paused = true)]
async fn of_two_that_recover_the_second_is_not_waited_for_before_the_first_was_asked() {
    let (chain, origins, _) =
        chain(&[&[CONNECT, CONNECT, CONNECT, CONNECT, CONNECT, Status(200)], &[Status(200)]]);
    for _ in 0..20 {
        let began = Instant::now();
        assert!(chain.fetch(get()).await.is_ok());
        assert_eq!(began.elapsed(), Duration::ZERO, "nobody waits who has a choice");
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    assert!(counts(&origins)[1] > 5);
}

#[tokio::test(start_paused = true)]
async fn a_resume_without_budget_goes_elsewhere() {
    let budget = budget::Config { ratio: 0.0, floor_per_sec: 0.0 };
    let config = member::Config { budget, ..member::Config::default() };
    let scripts: &[&[Step]] = &[&[Part("\"1\"")], &[Part("\"1\"")]];
    let (chain, origins, _) = chain_with(scripts, &config, policy());
    let resume = Resume { at: "a".into(), progressed: false };
    assert_eq!(verdict(&chain.resume(rest(), &resume).await), "b 206");
    assert_eq!(counts(&origins), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn after_long_enough_the_best_so_far_is_the_answer() {
    let late = RetryPolicy { give_up: Some(Duration::from_secs(3)), ..policy() };
    for (policy, expected) in [(policy(), "b 200"), (late, "a 500")] {
        let (chain, _, _) = chain_with(&[&[StatusAfter(500, 4000)], &[Status(200)]], &generous(), policy);
        assert_eq!(verdict(&chain.fetch(get()).await), expected);
    }
}
