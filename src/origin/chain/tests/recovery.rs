//! What becomes of requests while origins come back, and when they take too long to.

use futures_util::future::join_all;
use millrace_kit::tasks::Tasks;

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

/// As in a server: somebody sees to the probes.
fn attended(scripts: &[&[Step]]) -> (Chain, Vec<Arc<Scripted>>) {
    let tasks = Tasks::new();
    let (chain, origins, _) = chain_of(scripts, RetryPolicy::default(), |origin| {
        Member::new(origin, generous()).with_tasks(tasks.clone())
    });
    (chain, origins)
}

const GONE: [Step; 5] = [CONNECT; 5];

async fn fail_firmly(chain: &Chain, origins: &[Arc<Scripted>]) {
    while counts(origins).iter().any(|count| *count < GONE.len()) {
        let _ = chain.fetch(Request { patient: false, ..get() }).await;
    }
    assert!(chain.members().iter().all(|member| member.report().breaker == "open"));
}

#[tokio::test(start_paused = true)]
async fn a_breaker_closes_though_nobody_asks() {
    let script: Vec<_> = GONE.into_iter().chain([CONNECT, Status(503), CONNECT, Status(200)]).collect();
    let (chain, origins) = attended(&[&script]);
    fail_firmly(&chain, &origins).await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(chain.members()[0].report().breaker, "closed");
    let asked = origins[0].asked.lock().clone();
    assert_eq!(asked.len(), GONE.len() + 4, "no probe after one that succeeded");
    for (pair, secs) in asked[GONE.len() - 1..].windows(2).zip([1.0, 2.0, 2.0, 2.0]) {
        let pause = (pair[1] - pair[0]).as_secs_f64();
        assert!((0.6..1.21).contains(&(pause / secs)), "a probe after {pause} s");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_nowhere_else_to_go_waits_for_the_probe() {
    let script: Vec<_> = GONE.into_iter().chain([Status(200)]).collect();
    // One origin, and two that are both gone.
    for scripts in [&[&script[..]][..], &[&script, &script]] {
        let (chain, origins) = attended(scripts);
        fail_firmly(&chain, &origins).await;
        let began = Instant::now();
        let answers = join_all((0..50).map(|_| chain.fetch(get()))).await;
        let failed: Vec<_> =
            answers.iter().map(verdict).filter(|verdict| !verdict.ends_with(" 200")).collect();
        assert!(failed.is_empty(), "{failed:?}");
        assert!((0.6..5.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_ends_the_wait_with_the_time_of_the_next() {
    for scripts in [&[&[CONNECT][..]][..], &[&[CONNECT], &[CONNECT]]] {
        let (chain, origins) = attended(scripts);
        fail_firmly(&chain, &origins).await;
        let began = Instant::now();
        let answers = join_all((0..50).map(|_| chain.fetch(get()))).await;
        assert!((0.6..1.21).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
        let waits = answers.iter().filter_map(|answer| answer.as_ref().err()?.retry_after);
        let waits: Vec<_> = waits.map(|wait| wait.as_secs_f64()).collect();
        // One of them may have been the probe.
        assert!(waits.len() >= 49 && waits.iter().all(|wait| (0.3..2.41).contains(wait)), "{waits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn recovery_ends_though_nobody_comes_any_more() {
    let (chain, origins) = attended(&[&GONE.into_iter().chain([Status(200)]).collect::<Vec<_>>()]);
    fail_firmly(&chain, &origins).await;
    join_all((0..20).map(|_| chain.fetch(get()))).await;
    assert_eq!(chain.members()[0].report().breaker, "half-open");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(chain.members()[0].report().breaker, "closed");
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
