//! Retry, failover and the choice among answers, over origins that answer from a script.

use std::{collections::VecDeque, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::{HeaderValue, header};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::*;

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
    Error(ErrorKind),
}
use Step::{Error as Fail, RetryAfter, Status};

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
            Status(status) => status,
            RetryAfter(status, after) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(after));
                status
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
        futures_util::future::ok(answer).boxed()
    }
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Observer for Notes {
    fn attempt(&self, origin: &Arc<str>, result: Attempt) {
        self.0.lock().push(format!("{origin} {}", result.as_str()));
    }
}

/// Origins `a`, `b`, … with one script each.
fn chain(scripts: &[&[Step]]) -> (Chain, Vec<Arc<Scripted>>, Arc<Notes>) {
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
    let dynamic = origins.iter().map(|origin| Arc::clone(origin) as Arc<dyn Origin>).collect();
    let policy = RetryPolicy { statuses: true, ..RetryPolicy::default() };
    let chain = Chain::new(dynamic, policy).with_observer(Arc::clone(&notes) as _);
    (chain, origins, notes)
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

#[tokio::test(start_paused = true)]
async fn which_answer_counts() {
    for (scripts, expected, asked) in [
        (&[&[Status(200)][..], &[Status(200)]][..], "a 200", &[1, 0][..]),
        (&[&[Status(403)], &[Status(200)]], "a 403", &[1, 0]),
        (&[&[Status(304)], &[Status(200)]], "a 304", &[1, 0]),
        (&[&[Status(501)], &[Status(200)]], "a 501", &[1, 0]),
        // Retry at the same origin.
        (&[&[Status(503), Status(200)], &[Status(200)]], "a 200", &[2, 0]),
        (&[&[CONNECT, Status(206)], &[Status(200)]], "a 206", &[2, 0]),
        (&[&[Status(503), Status(404)], &[Status(200)]], "b 200", &[2, 1]),
        // Failover.
        (&[&[CONNECT], &[Status(200)]], "b 200", &[2, 1]),
        (&[&[Fail(ErrorKind::FirstByteTimeout)], &[Status(200)]], "b 200", &[2, 1]),
        (&[&[Status(500)], &[Status(502)], &[Status(200)]], "c 200", &[2, 2, 1]),
        (&[&[Status(408)], &[Status(429)], &[Status(504), Status(200)]], "c 200", &[2, 2, 2]),
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
        (&[&[CONNECT], &[Fail(ErrorKind::Io)]], "b io", &[2, 2]),
        (&[&[Status(503)]], "a 503", &[2]),
        (&[&[Status(404)]], "a 404", &[1]),
    ] {
        let (chain, origins, _) = chain(scripts);
        let result = chain.fetch(get()).await;
        assert_eq!(verdict(&result), expected, "{scripts:?}");
        let counts: Vec<_> = origins.iter().map(|origin| origin.asked.lock().len()).collect();
        assert_eq!(counts, asked, "{scripts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_asked_for_again_unless_told() {
    for (scripts, expected, asked) in [
        (&[&[Status(503), Status(200)][..], &[Status(200)]][..], "b 200", &[1, 1][..]),
        (&[&[Status(503), Status(200)]], "a 503", &[1]),
        (&[&[CONNECT, Status(200)]], "a 200", &[2]),
    ] {
        let (mut chain, origins, _) = chain(scripts);
        chain.retry = RetryPolicy::default();
        assert_eq!(verdict(&chain.fetch(get()).await), expected, "{scripts:?}");
        let counts: Vec<_> = origins.iter().map(|origin| origin.asked.lock().len()).collect();
        assert_eq!(counts, asked, "{scripts:?}");
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
        assert_eq!(origins[0].asked.lock().len(), 1, "{method}");
        let result = chain.fetch_from("a", Request::new(Method::POST, "/x")).await;
        assert_eq!(verdict(&result), "a 503", "{method}");
        assert_eq!(origins[0].asked.lock().len(), 2, "{method}");
        assert_eq!(origins[1].asked.lock().len(), 0, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_named_origin_is_asked_alone() {
    let (chain, origins, _) = chain(&[&[Status(200)], &[Status(503), Status(206)], &[Status(200)]]);
    assert_eq!(verdict(&chain.fetch_from("b", get()).await), "b 206");
    let counts: Vec<_> = origins.iter().map(|origin| origin.asked.lock().len()).collect();
    assert_eq!(counts, [0, 2, 0]);
    assert_eq!(verdict(&chain.fetch_from("z", get()).await), "z connect");
}

#[tokio::test(start_paused = true)]
async fn the_pause_before_a_retry_is_short_and_retry_after_forgoes_it() {
    let (chain, origins, _) = chain(&[&[Status(503), Status(200)]]);
    chain.fetch(get()).await.unwrap();
    let asked = origins[0].asked.lock().clone();
    assert!(asked[1] - asked[0] <= Duration::from_millis(51), "{:?}", asked[1] - asked[0]);

    for (after, expected) in [("0", "a 200"), ("1", "a 200"), ("30", "b 200")] {
        let (chain, _, _) = self::chain(&[&[RetryAfter(503, after), Status(200)], &[Status(200)]]);
        assert_eq!(verdict(&chain.fetch(get()).await), expected, "Retry-After: {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_attempt_is_observed() {
    let (chain, _, notes) = chain(&[&[CONNECT, Status(503)], &[Status(404)], &[Status(200)]]);
    chain.fetch(get()).await.unwrap();
    assert_eq!(*notes.0.lock(), ["a connect", "a transient", "b missing", "c answered"]);
}

#[tokio::test]
async fn a_chain_without_origins_is_an_error() {
    let (chain, _, _) = chain(&[]);
    assert_eq!(verdict(&chain.fetch(get()).await), "none connect");
}
