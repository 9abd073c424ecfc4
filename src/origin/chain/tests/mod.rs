//! Retry, failover and the choice among answers, over origins that answer from a script.

mod balance;
mod hedges;
mod recovery;

use std::{collections::VecDeque, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::{HeaderName, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    super::{Attempt, Observer, Origin, breaker, budget, member},
    *,
};

/// Answers with one status or error after the other; the last one stays.
struct Scripted {
    name: Arc<str>,
    script: Mutex<VecDeque<Step>>,
    asked: Mutex<Vec<Instant>>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Status(u16),
    RetryAfter(u16, &'static str),
    /// 206 under this entity tag.
    Part(&'static str),
    /// The same after so many milliseconds.
    PartAfter(&'static str, u64),
    /// That status after so many milliseconds.
    StatusAfter(u16, u64),
    /// S3 asks to be left alone for so many seconds.
    SlowDown(u64),
    Error(ErrorKind),
    /// 200 after so many milliseconds.
    After(u64),
}
use Step::{After, Error as Fail, Part, PartAfter, RetryAfter, SlowDown, Status, StatusAfter};

impl Origin for Scripted {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn fetch(&self, _: Request) -> BoxFuture<'_, Result<Response, Error>> {
        self.asked.lock().push(Instant::now());
        let mut script = self.script.lock();
        let step = if script.len() > 1 { script.pop_front().unwrap() } else { script[0] };
        let mut headers = HeaderMap::new();
        let status = match step {
            Status(status) | StatusAfter(status, _) => status,
            RetryAfter(status, after) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(after));
                status
            }
            Part(tag) | PartAfter(tag, _) => {
                headers.insert(header::ETAG, HeaderValue::from_static(tag));
                206
            }
            After(_) => 200,
            SlowDown(secs) => {
                let error = Error::new(&self.name, ErrorKind::Unavailable, "scripted");
                let error = Error { retry_after: Some(Duration::from_secs(secs)), ..error };
                return futures_util::future::err(error).boxed();
            }
            Fail(kind) => return futures_util::future::err(Error::new(&self.name, kind, "scripted")).boxed(),
        };
        let answer = Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            content_length: Some(0),
            body: stream::empty().boxed(),
            origin: Arc::clone(&self.name),
        };
        async move {
            if let After(ms) | PartAfter(_, ms) | StatusAfter(_, ms) = step {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            Ok(answer)
        }
        .boxed()
    }
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Observer for Notes {
    fn attempt(&self, origin: &Arc<str>, result: Attempt) {
        self.0.lock().push(format!("{origin} {}", result.as_str()));
    }

    fn repetition(&self, origin: &Arc<str>, why: Repetition, allowed: bool) {
        self.0.lock().push(format!("{origin} {} {allowed}", why.as_str()));
    }
}

fn generous() -> member::Config {
    let budget = budget::Config { ratio: 1.0, floor_per_sec: 1000.0 };
    member::Config { budget, ..member::Config::default() }
}

fn policy() -> RetryPolicy {
    RetryPolicy { statuses: true, ..RetryPolicy::default() }
}

/// Origins `a`, `b`, … with one script each.
fn chain(scripts: &[&[Step]]) -> (Chain, Vec<Arc<Scripted>>, Arc<Notes>) {
    chain_with(scripts, &generous(), policy())
}

fn chain_with(
    scripts: &[&[Step]],
    config: &member::Config,
    policy: RetryPolicy,
) -> (Chain, Vec<Arc<Scripted>>, Arc<Notes>) {
    chain_of(scripts, policy, |origin| Member::new(origin, config.clone()))
}

fn chain_of(
    scripts: &[&[Step]],
    policy: RetryPolicy,
    member: impl Fn(Arc<Scripted>) -> Member,
) -> (Chain, Vec<Arc<Scripted>>, Arc<Notes>) {
    let origins: Vec<_> = scripts
        .iter()
        .zip('a'..)
        .map(|(script, name)| {
            Arc::new(Scripted {
                name: Arc::from(name.to_string()),
                script: Mutex::new(script.iter().copied().collect()),
                asked: Mutex::default(),
            })
        })
        .collect();
    let notes = Arc::new(Notes::default());
    let member = |origin: &Arc<Scripted>| Arc::new(member(origin.clone()).observed_by(notes.clone()));
    let chain = Chain::new(origins.iter().map(member).collect(), policy);
    (chain, origins, notes)
}

fn counts(origins: &[Arc<Scripted>]) -> Vec<usize> {
    origins.iter().map(|origin| origin.asked.lock().len()).collect()
}

/// `a 200`, or `b connect` for an error.
fn verdict(result: &Result<Response, Error>) -> String {
    match result {
        Ok(answer) => format!("{} {}", answer.origin, answer.status.as_u16()),
        Err(error) => format!("{} {}", error.origin, error.kind.as_str()),
    }
}

fn get() -> Request {
    Request::new(Method::GET, "/x")
}

const CONNECT: Step = Fail(ErrorKind::Connect);
const FORBIDDEN: Step = Fail(ErrorKind::Forbidden);
const TIMEOUT: Step = Fail(ErrorKind::FirstByteTimeout);

#[tokio::test(start_paused = true)]
async fn which_answer_counts() {
    for (scripts, expected, asked) in [
        (&[&[Status(200)][..], &[Status(200)]][..], "a 200", &[1, 0][..]),
        (&[&[Status(403)], &[Status(200)]], "a 403", &[1, 0]),
        (&[&[Status(304)], &[Status(200)]], "a 304", &[1, 0]),
        (&[&[Status(501)], &[Status(200)]], "a 501", &[1, 0]),
        // Failover before retry.
        (&[&[Status(503), Status(200)], &[Status(200)]], "b 200", &[1, 1]),
        (&[&[CONNECT], &[Status(200)]], "b 200", &[1, 1]),
        (&[&[TIMEOUT], &[Status(200)]], "b 200", &[1, 1]),
        (&[&[Status(500)], &[Status(502)], &[Status(200)]], "c 200", &[1, 1, 1]),
        (&[&[Status(408)], &[Status(429)], &[Status(504), Status(200)]], "c 200", &[2, 2, 2]),
        // Retry, where nobody else can answer; of what may pass only.
        (&[&[Status(503), Status(200)], &[CONNECT]], "a 200", &[2, 1]),
        (&[&[CONNECT, Status(206)], &[Status(404)]], "a 206", &[2, 1]),
        (&[&[Status(404)], &[CONNECT, Status(200)]], "b 200", &[1, 2]),
        (&[&[TIMEOUT, Status(200)]], "a first_byte_timeout", &[1]),
        (&[&[TIMEOUT, Status(200)], &[Status(503), Status(200)]], "b 200", &[1, 2]),
        // Missing falls through without retry.
        (&[&[Status(404)], &[Status(200)]], "b 200", &[1, 1]),
        (&[&[Status(410)], &[Status(404)]], "b 404", &[1, 1]),
        (&[&[FORBIDDEN], &[Status(200)]], "b 200", &[1, 1]),
        (&[&[FORBIDDEN], &[Status(404)]], "b 404", &[1, 1]),
        (&[&[Status(404)], &[FORBIDDEN]], "a 404", &[1, 1]),
        (&[&[FORBIDDEN], &[FORBIDDEN]], "b forbidden", &[1, 1]),
        // Nobody has it, but not everybody could say so.
        (&[&[CONNECT], &[Status(404)]], "a connect", &[2, 1]),
        (&[&[Status(404)], &[CONNECT]], "b connect", &[1, 2]),
        (&[&[Status(503)], &[Status(404)]], "a 503", &[2, 1]),
        (&[&[Status(404)], &[Status(503)]], "b 503", &[1, 2]),
        // A real answer before an error, the last of equals.
        (&[&[CONNECT], &[Status(503)]], "b 503", &[2, 2]),
        (&[&[Status(503)], &[CONNECT]], "a 503", &[2, 2]),
        (&[&[Status(503)], &[Status(500)]], "b 500", &[2, 2]),
        (&[&[Fail(ErrorKind::Io)], &[Fail(ErrorKind::BadResponse)]], "b bad_response", &[2, 2]),
        (&[&[Status(503)]], "a 503", &[2]),
        (&[&[Status(404)]], "a 404", &[1]),
    ] {
        let (chain, origins, _) = chain(scripts);
        let result = chain.fetch(get()).await;
        assert_eq!(verdict(&result), expected, "{scripts:?}");
        assert_eq!(counts(&origins), asked, "{scripts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_asked_for_again_unless_told() {
    for (scripts, expected, asked) in [
        (&[&[Status(503), Status(200)][..], &[Status(200)]][..], "b 200", &[1, 1][..]),
        (&[&[Status(503), Status(200)]], "a 503", &[1]),
        (&[&[CONNECT, Status(200)]], "a 200", &[2]),
    ] {
        let (chain, origins, _) = chain_with(scripts, &generous(), RetryPolicy::default());
        assert_eq!(verdict(&chain.fetch(get()).await), expected, "{scripts:?}");
        assert_eq!(counts(&origins), asked, "{scripts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn unsafe_methods_and_bodies_are_sent_once() {
    for (method, has_body) in
        [(Method::POST, false), (Method::PUT, true), (Method::DELETE, false), (Method::GET, true)]
    {
        let (chain, origins, _) = chain(&[&[Status(503)], &[Status(200)]]);
        let body = has_body.then(|| stream::empty().boxed());
        let result = chain.fetch(Request { body, ..Request::new(method.clone(), "/x") }).await;
        assert_eq!(verdict(&result), "a 503", "{method}");
        assert_eq!(counts(&origins), [1, 0], "{method}");
    }
}

fn rest() -> Request {
    let headers = [(header::RANGE, "bytes=5-9"), (header::IF_RANGE, "\"1\"")];
    let headers = headers.map(|(name, value): (HeaderName, _)| (name, HeaderValue::from_static(value)));
    Request { headers: headers.into_iter().collect(), ..get() }
}

#[tokio::test(start_paused = true)]
async fn a_body_is_gone_on_with_where_it_came_from_or_where_the_same_version_is() {
    for (scripts, expected, asked) in [
        (&[&[Part("\"1\"")][..], &[Part("\"1\"")], &[Part("\"1\"")]][..], "b 206", &[0, 1, 0][..]),
        (&[&[Part("\"1\"")], &[CONNECT], &[Status(200)]], "a 206", &[1, 1, 0]),
        (&[&[Part("\"2\"")], &[CONNECT], &[Part("\"1\"")]], "c 206", &[1, 1, 1]),
        (&[&[Status(200)], &[CONNECT, Part("\"1\"")], &[Status(404)]], "b 206", &[1, 2, 1]),
        // It has changed where it came from: what others still have does not matter.
        (&[&[Part("\"1\"")], &[Part("\"2\"")], &[Part("\"1\"")]], "b 206", &[0, 1, 0]),
        (&[&[Part("\"1\"")], &[Status(416)], &[Part("\"1\"")]], "b 416", &[0, 1, 0]),
        // Nobody has it any more.
        (&[&[Part("\"2\"")], &[CONNECT], &[CONNECT]], "a 206", &[1, 2, 2]),
    ] {
        let (chain, origins, _) = chain(scripts);
        let resume = Resume { at: "b".into(), progressed: true };
        assert_eq!(verdict(&chain.resume(rest(), &resume).await), expected, "{scripts:?}");
        assert_eq!(counts(&origins), asked, "{scripts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_pause_before_a_retry_is_short_and_a_long_retry_after_forgoes_it() {
    let (chain, origins, _) = chain(&[&[Status(503), Status(200)]]);
    chain.fetch(get()).await.unwrap();
    let asked = origins[0].asked.lock().clone();
    assert!(asked[1] - asked[0] <= Duration::from_millis(51), "{:?}", asked[1] - asked[0]);

    for (step, expected, pause) in [
        (RetryAfter(503, "0"), "a 200", 0),
        (RetryAfter(503, "1"), "a 200", 1),
        (RetryAfter(503, "30"), "a 503", 0),
        (RetryAfter(429, "1"), "a 200", 1),
        (RetryAfter(503, "Fri, 31 Dec 1999 23:59:59 GMT"), "a 200", 0),
        (RetryAfter(503, "Fri, 31 Dec 9999 23:59:59 GMT"), "a 503", 0),
        (Status(421), "a 200", 0),
        (Status(425), "a 200", 0),
        (SlowDown(1), "a 200", 1),
        (SlowDown(30), "a unavailable", 0),
    ] {
        let began = Instant::now();
        let (chain, _, _) = self::chain(&[&[step, Status(200)]]);
        assert_eq!(verdict(&chain.fetch(get()).await), expected, "{step:?}");
        assert!(began.elapsed() >= Duration::from_secs(pause), "{step:?}");
    }
}

/// An outage does not become a storm.
#[tokio::test(start_paused = true)]
async fn retries_stay_within_the_budget() {
    let budget = budget::Config { ratio: 0.1, floor_per_sec: 0.0 };
    let breaker = breaker::Config { least_answers: u32::MAX, ..breaker::Config::default() };
    let config = member::Config { budget, breaker, ..member::Config::default() };
    let (chain, origins, notes) = chain_with(&[&[Fail(ErrorKind::BadResponse)]], &config, policy());
    for _ in 0..1000 {
        let _ = chain.fetch(get()).await;
    }
    assert_eq!(counts(&origins), [1100]);
    let notes = notes.0.lock();
    let told = |text: &str| notes.iter().filter(|note| **note == text).count();
    assert_eq!((told("a retry true"), told("a retry false")), (100, 900));
}

#[tokio::test(start_paused = true)]
async fn a_resume_that_brought_nothing_is_paid_for() {
    let budget = budget::Config { ratio: 0.0, floor_per_sec: 0.1 };
    let config = member::Config { budget, ..member::Config::default() };
    let (chain, origins, _) = chain_with(&[&[Part("\"1\"")]], &config, policy());
    let ask = async |progressed| verdict(&chain.resume(rest(), &Resume { at: "a".into(), progressed }).await);
    assert_eq!(ask(false).await, "a 206");
    assert_eq!(ask(false).await, "a broken_body", "the budget of one is used up");
    assert_eq!(ask(true).await, "a 206");
    assert_eq!(counts(&origins), [2]);
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_cannot_be_reached_is_not_waited_for_twice() {
    let (chain, origins, _) = chain(&[&[CONNECT], &[Status(200)]]);
    for _ in 0..10 {
        assert_eq!(verdict(&chain.fetch(get()).await), "b 200");
    }
    assert_eq!(counts(&origins), [1, 10]);
    // When the others fail, too, it is better than nobody.
    let (chain, origins, _) = self::chain(&[&[CONNECT, Status(200)], &[Status(200), Status(503)]]);
    assert_eq!(verdict(&chain.fetch(get()).await), "b 200");
    assert_eq!(verdict(&chain.fetch(get()).await), "a 200");
    assert_eq!(counts(&origins), [2, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_answers_at_once_where_nobody_may_wait() {
    let config = member::Config { patience: Duration::ZERO, ..generous() };
    let (chain, origins, _) = chain_with(&[&[CONNECT]], &config, policy());
    for _ in 0..20 {
        let _ = chain.fetch(get()).await;
    }
    let began = Instant::now();
    let error = chain.fetch(get()).await.err().unwrap();
    assert_eq!((error.kind, began.elapsed()), (ErrorKind::BreakerOpen, Duration::ZERO));
    assert!(error.retry_after.is_some());
    let error = chain.fetch(Request::new(Method::POST, "/x")).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::BreakerOpen);
    assert_eq!(counts(&origins), [5]);
}

#[tokio::test(start_paused = true)]
async fn clients_and_single_objects_open_no_breaker() {
    for step in [Status(404), Status(429), Status(403), FORBIDDEN, Status(500), Fail(ErrorKind::BadResponse)]
    {
        let (chain, _, _) = chain(&[&[step]]);
        for _ in 0..100 {
            let _ = chain.fetch(get()).await;
        }
        assert_eq!(chain.members()[0].report().breaker, "closed", "{step:?}");
    }
    // Many objects are another matter.
    let (chain, _, _) = chain(&[&[Status(500)]]);
    for number in 0..100 {
        let _ = chain.fetch(Request::new(Method::GET, format!("/{number}"))).await;
    }
    assert_eq!(chain.members()[0].report().breaker, "open");
}

#[tokio::test(start_paused = true)]
async fn every_attempt_is_observed() {
    let (chain, _, notes) = chain(&[&[CONNECT, Status(503)], &[Status(404)], &[Status(500), Status(200)]]);
    chain.fetch(get()).await.unwrap();
    let seen = ["a connect", "b missing", "c transient", "c retry true", "c answered"];
    assert_eq!(*notes.0.lock(), seen);
}

#[tokio::test]
async fn a_chain_without_origins_is_an_error() {
    let (chain, _, _) = chain(&[]);
    assert_eq!(verdict(&chain.fetch(get()).await), "none connect");
}
