//! The states of a breaker, driven by a paused clock.

use tokio::time::advance;

use super::*;

fn breaker() -> Breaker {
    let open_max = Duration::from_secs(5);
    Breaker::new(Config { unreachable: 3, least_answers: 10, open_max, ..Config::default() })
}

/// A request that is let through, and what becomes of it.
fn ask(breaker: &Breaker, outcome: Outcome) {
    match breaker.admit(false).0 {
        Admission::Go(ticket) | Admission::Probe(ticket) => {
            breaker.record(ticket, outcome);
        }
        no => panic!("not let through: {no:?}"),
    }
}

fn is_let_through(breaker: &Breaker, alternative: bool) -> bool {
    matches!(breaker.admit(alternative).0, Admission::Go(_) | Admission::Probe(_))
}

fn state(breaker: &Breaker) -> State {
    breaker.state().0
}

async fn open_firmly(breaker: &Breaker) {
    (0..3).for_each(|_| ask(breaker, Outcome::Unreachable));
    assert!(!is_let_through(breaker, false));
}

#[tokio::test(start_paused = true)]
async fn one_failure_to_reach_it_sends_those_away_who_have_a_choice() {
    let breaker = breaker();
    ask(&breaker, Outcome::Unreachable);
    assert_eq!(state(&breaker), State::Open);
    assert!(!is_let_through(&breaker, true));
    assert!(is_let_through(&breaker, false));
    ask(&breaker, Outcome::Good);
    assert_eq!(state(&breaker), State::Closed);
    assert!(is_let_through(&breaker, true));
}

#[tokio::test(start_paused = true)]
async fn several_in_a_row_send_everybody_away() {
    let breaker = breaker();
    for _ in 0..2 {
        ask(&breaker, Outcome::Unreachable);
        ask(&breaker, Outcome::Unreachable);
        ask(&breaker, Outcome::Good);
    }
    assert!(is_let_through(&breaker, false));
    open_firmly(&breaker).await;
    let Admission::No { thin, retry_after } = breaker.admit(false).0 else { panic!("let through") };
    assert!(!thin && retry_after <= Duration::from_millis(1200));
}

#[tokio::test(start_paused = true)]
async fn failures_at_many_targets_open_it_and_one_bad_object_does_not() {
    for (targets, open) in [(1, false), (4, false), (50, true)] {
        let breaker = breaker();
        for number in 0..100 {
            ask(&breaker, Outcome::Bad(number % targets));
            if state(&breaker) == State::Open {
                break;
            }
        }
        assert_eq!(state(&breaker) == State::Open, open, "{targets} targets");
    }
    // As long as most answers are good, it stays closed.
    let breaker = breaker();
    for number in 0..100 {
        ask(&breaker, Outcome::Good);
        ask(&breaker, Outcome::Good);
        ask(&breaker, Outcome::Bad(number));
    }
    assert_eq!(state(&breaker), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn two_targets_without_an_answer_in_time_are_enough_for_those_who_have_a_choice() {
    let breaker = breaker();
    ask(&breaker, Outcome::Silent(1));
    ask(&breaker, Outcome::Silent(1));
    assert_eq!(state(&breaker), State::Closed);
    ask(&breaker, Outcome::Silent(2));
    assert!(!is_let_through(&breaker, true) && is_let_through(&breaker, false));
}

#[tokio::test(start_paused = true)]
async fn what_is_long_past_is_forgotten() {
    let breaker = breaker();
    for number in 0..8 {
        ask(&breaker, Outcome::Bad(number));
        ask(&breaker, Outcome::Bad(number));
        if number % 4 == 3 {
            ask(&breaker, Outcome::Good);
        }
    }
    assert_eq!(breaker.recent(), (2, 8));
    advance(Duration::from_secs(11)).await;
    assert_eq!(breaker.recent(), (0, 0));
    ask(&breaker, Outcome::Bad(77));
    assert_eq!(state(&breaker), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_broke_later_counts_as_a_failure() {
    let breaker = breaker();
    for target in 0..10 {
        let Admission::Go(ticket) = breaker.admit(false).0 else { panic!("not let through") };
        breaker.record(ticket, Outcome::Good);
        breaker.retract(ticket, target);
    }
    assert_eq!(state(&breaker), State::Open);
}

#[tokio::test(start_paused = true)]
async fn probes_go_one_at_a_time_and_wait_longer_each_time() {
    let breaker = breaker();
    open_firmly(&breaker).await;
    let mut last = Duration::ZERO;
    for round in 0..4 {
        let before = Instant::now();
        let ticket = loop {
            match breaker.admit(true).0 {
                Admission::Probe(ticket) => break ticket,
                Admission::Go(_) => panic!("let through while open"),
                Admission::No { .. } => advance(Duration::from_millis(10)).await,
                Admission::Later { .. } => panic!("recovering while open"),
            }
        };
        assert!(!is_let_through(&breaker, true) && !is_let_through(&breaker, false), "one at a time");
        let waited = before.elapsed();
        assert!(round == 0 || round == 3 || waited > last, "{round}: {waited:?} after {last:?}");
        assert!(waited <= Duration::from_millis(6_100), "{waited:?}");
        last = waited;
        breaker.record(ticket, Outcome::Unreachable);
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_never_comes_back_does_not_keep_it_open() {
    let breaker = breaker();
    open_firmly(&breaker).await;
    advance(Duration::from_secs(2)).await;
    assert!(matches!(breaker.admit(false).0, Admission::Probe(_)));
    advance(Duration::from_secs(2)).await;
    assert!(matches!(breaker.admit(false).0, Admission::Probe(_)));
}

/// Requests let through in each half second after the outage, when 100 come in each.
#[tokio::test(start_paused = true)]
async fn recovery_is_gradual() {
    let breaker = breaker();
    open_firmly(&breaker).await;
    advance(Duration::from_secs(2)).await;
    ask(&breaker, Outcome::Good);
    assert_eq!(state(&breaker), State::HalfOpen);
    let mut passed = Vec::new();
    while state(&breaker) != State::Closed {
        let mut tickets = Vec::new();
        for _ in 0..100 {
            if let Admission::Go(ticket) = breaker.admit(true).0 {
                tickets.push(ticket);
            }
        }
        passed.push(tickets.len());
        for ticket in tickets {
            breaker.record(ticket, Outcome::Good);
        }
        advance(STEP).await;
    }
    assert_eq!(passed, [4, 8, 16, 32, 64, 100]);
}

#[tokio::test(start_paused = true)]
async fn recovery_ends_when_nobody_comes_any_more() {
    let breaker = breaker();
    open_firmly(&breaker).await;
    advance(Duration::from_secs(2)).await;
    ask(&breaker, Outcome::Good);
    while is_let_through(&breaker, true) {}
    advance(STEP).await;
    assert_eq!(state(&breaker), State::HalfOpen, "somebody was turned away");
    advance(STEP).await;
    assert_eq!(state(&breaker), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn it_is_known_when_the_next_probe_is_due() {
    let breaker = breaker();
    assert_eq!((breaker.next_probe(), breaker.wakes_at()), (None, None));
    ask(&breaker, Outcome::Unreachable);
    assert!(breaker.next_probe().is_none() && breaker.wakes_at().is_some(), "nobody has to wait for it");
    (0..2).for_each(|_| ask(&breaker, Outcome::Unreachable));
    let Some(NextProbe::Due(at)) = breaker.next_probe() else { panic!("none is due") };
    assert_eq!((breaker.wakes_at(), breaker.take_probe()), (Some(at), None));
    tokio::time::sleep_until(at).await;
    let probe = breaker.take_probe().unwrap();
    assert_eq!((breaker.next_probe(), breaker.take_probe()), (Some(NextProbe::UnderWay), None));
    breaker.record(probe, Outcome::Unreachable);
    assert!(matches!(breaker.next_probe(), Some(NextProbe::Due(next)) if next > at));
}

#[tokio::test(start_paused = true)]
async fn a_relapse_opens_it_again() {
    for (outcomes, open) in [
        (&[Outcome::Unreachable][..], true),
        (&[Outcome::Bad(1)], false),
        (&[Outcome::Bad(1), Outcome::Bad(1), Outcome::Bad(1)], false),
        (&[Outcome::Bad(1), Outcome::Bad(2)], true),
    ] {
        let breaker = breaker();
        open_firmly(&breaker).await;
        advance(Duration::from_secs(2)).await;
        ask(&breaker, Outcome::Good);
        outcomes.iter().for_each(|outcome| ask(&breaker, *outcome));
        assert_eq!(state(&breaker) == State::Open, open, "{outcomes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_before_does_not_speak_for_after() {
    let breaker = breaker();
    let Admission::Go(old) = breaker.admit(false).0 else { panic!("not let through") };
    open_firmly(&breaker).await;
    breaker.record(old, Outcome::Good);
    assert_eq!(state(&breaker), State::Open);
}

#[tokio::test(start_paused = true)]
async fn health_checks_decide_alone() {
    let breaker = breaker();
    assert_eq!(breaker.health(false), Some(Change { to: State::Open, why: "unhealthy" }));
    advance(Duration::from_secs(60)).await;
    assert!(!is_let_through(&breaker, false), "no probes");
    assert_eq!(breaker.health(true).map(|change| change.to), Some(State::HalfOpen));
    advance(STEP).await;
    assert_eq!(state(&breaker), State::Closed);
    assert_eq!(breaker.health(true), None);
}
