//! Whatever is asked in whatever order, each byte is the object's: random requests against the pattern they must show.

use proptest::{prelude::*, test_runner::TestRunner};

use super::{BLOCK, Edge, client::is_pattern};
use crate::origin_double::{Answer, OriginDouble};

#[derive(Clone, Debug)]
enum Step {
    Whole,
    Range(u64, u64),
    Suffix(u64),
    From(u64),
    Two(u64, u64),
    Head,
    /// Leaves after so many bytes.
    Abandon(u64),
    /// Pushes other things through the memory tier.
    Evict,
    Expire,
    Invalidate,
    Change,
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..30 * BLOCK;
    prop_oneof![
        3 => Just(Step::Whole),
        6 => (at.clone(), 1..3 * BLOCK).prop_map(|(first, count)| Step::Range(first, first + count - 1)),
        2 => at.clone().prop_map(Step::Suffix),
        2 => at.clone().prop_map(Step::From),
        1 => (at.clone(), at.clone()).prop_map(|(a, b)| Step::Two(a.min(b), a.max(b))),
        1 => Just(Step::Head),
        1 => at.prop_map(Step::Abandon),
        2 => Just(Step::Evict),
        1 => Just(Step::Expire),
        1 => Just(Step::Invalidate),
        1 => Just(Step::Change),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Tagged,
    Weak,
    Untagged,
    Chunked,
    NoRanges,
}

#[derive(Clone, Debug)]
struct Case {
    length: u64,
    block: &'static str,
    shape: Shape,
    /// The origin cuts every body here, unless it is asked to go on with one.
    cut: Option<u64>,
    steps: Vec<Step>,
}

fn case() -> impl Strategy<Value = Case> {
    let length = prop_oneof![Just(0), Just(BLOCK), 1..BLOCK, BLOCK..30 * BLOCK];
    let shape = prop_oneof![
        4 => Just(Shape::Tagged),
        1 => Just(Shape::Weak),
        1 => Just(Shape::Untagged),
        1 => Just(Shape::Chunked),
        1 => Just(Shape::NoRanges),
    ];
    let block = prop_oneof![2 => Just("64KiB"), 1 => Just("128KiB"), 1 => Just("1MiB")];
    let cut = prop_oneof![3 => Just(None), 1 => (1..30 * BLOCK).prop_map(Some)];
    let steps = prop::collection::vec(step(), 1..12);
    (length, block, shape, cut, steps).prop_map(|(length, block, shape, cut, steps)| Case {
        length,
        block,
        shape,
        cut,
        steps,
    })
}

impl Case {
    fn answer(&self, seed: u64) -> Answer {
        let answer = Answer::pattern(self.length, seed).cache_control("max-age=60");
        let tag = format!("\"{seed}\"");
        match self.shape {
            Shape::Tagged => answer.etag(&tag),
            Shape::Weak => answer.etag(&format!("W/{tag}")),
            Shape::Untagged => answer,
            Shape::Chunked => answer.etag(&tag).chunked(),
            Shape::NoRanges => answer.etag(&tag).no_ranges(),
        }
    }

    fn publish(&self, origin: &OriginDouble, seed: u64) {
        let answer = self.answer(seed);
        let cut = self.cut.filter(|cut| *cut < self.length && matches!(self.shape, Shape::Tagged));
        origin.on_with("/x", move |request| match (request.method.as_str(), cut) {
            ("POST", _) => Answer::ok("done"),
            ("GET", Some(cut)) if request.header("if-range").is_empty() => answer.clone().cut_at(cut),
            _ => answer.clone(),
        });
    }

    async fn run(&self) {
        let origin = OriginDouble::start().await;
        let edge = Edge::with(&origin, |raw| {
            raw.cache.memory = "8MiB".to_owned();
            raw.cache.block_size = self.block.to_owned();
            raw.fill.read_ahead = "256KiB".to_owned();
        });
        let edge = edge.await;
        let mut seed = 1;
        self.publish(&origin, seed);
        origin.on("/other", Answer::pattern(12 << 20, 99).etag("\"o\"").cache_control("max-age=60"));
        for step in &self.steps {
            self.take(step, &edge, &origin, &mut seed).await;
        }
    }

    async fn take(&self, step: &Step, edge: &Edge, origin: &OriginDouble, seed: &mut u64) {
        match step {
            Step::Whole => self.ask(edge, *seed, None).await,
            Step::Range(first, last) => self.ask(edge, *seed, Some(format!("bytes={first}-{last}"))).await,
            Step::Suffix(count) => self.ask(edge, *seed, Some(format!("bytes=-{count}"))).await,
            Step::From(first) => self.ask(edge, *seed, Some(format!("bytes={first}-"))).await,
            Step::Two(a, b) => {
                let range = format!("bytes={a}-{},{b}-{}", a + 9, b + 9);
                // Only that it is answered; what multipart bodies hold is tested elsewhere.
                let fields = [("range", range.as_str())];
                let status = edge.ask("GET", "/x", &fields).await.status;
                assert!(matches!(status, 200 | 206 | 416), "{step:?}: {status}");
            }
            Step::Head => {
                let head = edge.ask("HEAD", "/x", &[]).await;
                let told = head.field("content-length");
                assert!(told.is_empty() || told == self.length.to_string(), "{told}");
            }
            Step::Abandon(after) => {
                let mut client = edge.open("GET", "/x", &[]).await;
                let count = (*after).min(self.length);
                assert!(is_pattern(&client.next(count as usize).await, *seed, 0..count));
            }
            Step::Evict => assert!(edge.get("/other").await.is_pattern(99, 0..12 << 20)),
            Step::Expire => edge.advance(61),
            Step::Invalidate => assert_eq!(edge.ask("POST", "/x", &[]).await.status, 200),
            Step::Change => {
                // A new version is seen at once only where the old one is not fresh any more.
                edge.advance(61);
                *seed += 1;
                self.publish(origin, *seed);
            }
        }
    }

    async fn ask(&self, edge: &Edge, seed: u64, range: Option<String>) {
        let fields: Vec<_> = range.iter().map(|range| ("range", range.as_str())).collect();
        let reply = edge.ask("GET", "/x", &fields).await;
        match reply.status {
            200 => assert!(reply.is_pattern(seed, 0..self.length)),
            206 => {
                let told = reply.field("content-range").strip_prefix("bytes ").unwrap();
                let (part, length) = told.split_once('/').unwrap();
                assert_eq!(length, self.length.to_string());
                let (first, last) = part.split_once('-').unwrap();
                let part = first.parse().unwrap()..last.parse::<u64>().unwrap() + 1;
                assert!(reply.is_pattern(seed, part), "{told}");
                self.is_what_was_asked(range.as_deref().unwrap(), told);
            }
            416 => assert_eq!(reply.field("content-range"), format!("bytes */{}", self.length)),
            other => panic!("{other} to {range:?}"),
        }
    }

    fn is_what_was_asked(&self, asked: &str, told: &str) {
        let (first, last) = asked.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let end = self.length - 1;
        let expected = match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) => (first, last.min(end)),
            (Ok(first), Err(_)) => (first, end),
            (_, Ok(count)) => (self.length.saturating_sub(count), end),
            _ => unreachable!(),
        };
        assert_eq!(told, format!("{}-{}/{}", expected.0, expected.1, self.length), "{asked}");
    }
}

#[test]
fn every_byte_is_of_the_current_version() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&case(), |case| {
        runtime.block_on(case.run());
        Ok(())
    });
    if let Err(failed) = outcome {
        panic!("{failed}");
    }
}
