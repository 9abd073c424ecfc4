//! Ranges: what every form of them is answered, and what a range costs the origin.

use std::ops::Range;

use super::{BLOCK, Broken, Edge, Reply, client::is_pattern};
use crate::origin_double::{Answer, Gate, OriginDouble, pattern_bytes};

const SEED: u64 = 9;

fn object(length: u64) -> Answer {
    Answer::pattern(length, SEED).etag("\"1\"").cache_control("max-age=3600").content_type("video/mp4")
}

/// What a `Range` should bring.
#[derive(Clone, Debug)]
enum Expected {
    Whole,
    Part(Range<u64>),
    Parts(Vec<Range<u64>>),
    Unsatisfiable,
}

use Expected::{Part, Parts, Unsatisfiable, Whole};

fn forms(length: u64) -> Vec<(String, Expected)> {
    let last = length - 1;
    let many = (0..17).map(|n| format!("{}-{}", n * 20, n * 20 + 5)).collect::<Vec<_>>().join(",");
    let thousand = vec!["0-"; 1000].join(",");
    let mut forms = vec![
        ("bytes=0-0".to_owned(), Part(0..1)),
        ("bytes=0-".to_owned(), Part(0..length)),
        (format!("bytes=0-{last}"), Part(0..length)),
        ("bytes=5-9".to_owned(), Part(5..10)),
        ("Bytes=5-9".to_owned(), Part(5..10)),
        ("bytes=-1".to_owned(), Part(last..length)),
        ("bytes=-300".to_owned(), Part(length - 300..length)),
        (format!("bytes=-{}", length + 7), Part(0..length)),
        (format!("bytes={last}-"), Part(last..length)),
        (format!("bytes={last}-{last}"), Part(last..length)),
        ("bytes=10-9999999999999999999".to_owned(), Part(10..length)),
        ("bytes=10-99999999999999999999999".to_owned(), Part(10..length)),
        ("bytes=0-4,5-9".to_owned(), Part(0..10)),
        ("bytes=0-40,5-9, 30-49".to_owned(), Part(0..50)),
        ("bytes=0-9,-0".to_owned(), Part(0..10)),
        ("bytes=0-0,-1".to_owned(), Parts(vec![0..1, last..length])),
        ("bytes=20-29,0-9".to_owned(), Parts(vec![0..10, 20..30])),
        ("bytes= 0-9 ,, 20-29,".to_owned(), Parts(vec![0..10, 20..30])),
        (format!("bytes=0-9,{length}-"), Part(0..10)),
        (format!("bytes={length}-"), Unsatisfiable),
        (format!("bytes={length}-{}", length + 5), Unsatisfiable),
        ("bytes=9999999999999999999-".to_owned(), Unsatisfiable),
        ("bytes=-0".to_owned(), Unsatisfiable),
        ("bytes=5-2".to_owned(), Whole),
        ("bytes=".to_owned(), Whole),
        ("bytes=-".to_owned(), Whole),
        ("bytes=a-b".to_owned(), Whole),
        ("bytes=0-9,x".to_owned(), Whole),
        ("bytes=+0-9".to_owned(), Whole),
        ("bytes 0-9".to_owned(), Whole),
        ("items=0-9".to_owned(), Whole),
        (format!("bytes={many}"), Whole),
        (format!("bytes={thousand}"), Whole),
    ];
    if length > 2 * BLOCK {
        let middle = BLOCK - 3..2 * BLOCK + 3;
        forms.push((format!("bytes={}-{}", middle.start, middle.end - 1), Part(middle)));
        forms.push((format!("bytes={BLOCK}-{}", 2 * BLOCK - 1), Part(BLOCK..2 * BLOCK)));
        forms.push((format!("bytes={}-{BLOCK}", BLOCK - 1), Part(BLOCK - 1..BLOCK + 1)));
        let parts = vec![BLOCK - 1..BLOCK + 1, length - BLOCK..length];
        forms.push((format!("bytes={}-{BLOCK},-{BLOCK}", BLOCK - 1), Parts(parts)));
    }
    forms
}

fn check(reply: &Reply, expected: &Expected, length: u64, case: &str) {
    let status = match expected {
        Whole => 200,
        Part(_) | Parts(_) => 206,
        Unsatisfiable => 416,
    };
    assert_eq!(reply.status, status, "{case}");
    match expected {
        Whole => assert!(reply.is_pattern(SEED, 0..length), "{case}"),
        Part(part) => {
            let range = format!("bytes {}-{}/{length}", part.start, part.end - 1);
            assert_eq!(reply.field("content-range"), range, "{case}");
            assert_eq!(reply.field("content-type"), "video/mp4", "{case}");
            assert!(reply.is_pattern(SEED, part.clone()), "{case}");
        }
        Parts(parts) => {
            let found = multipart(reply, length);
            assert_eq!(&found.iter().map(|(range, _)| range.clone()).collect::<Vec<_>>(), parts, "{case}");
            assert!(found.iter().all(|(range, bytes)| is_pattern(bytes, SEED, range.clone())), "{case}");
        }
        Unsatisfiable => {
            assert_eq!(reply.field("content-range"), format!("bytes */{length}"), "{case}");
            return;
        }
    }
    assert_eq!(reply.field("accept-ranges"), "bytes", "{case}");
    assert_eq!(reply.field("etag"), "\"1\"", "{case}");
}

/// The parts of a `multipart/byteranges` body (RFC 9110 §14.6).
fn multipart(reply: &Reply, length: u64) -> Vec<(Range<u64>, Vec<u8>)> {
    assert_eq!(reply.field("content-range"), "", "only parts have one");
    let boundary = reply.field("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap();
    let mut rest = &reply.body[..];
    let mut parts = Vec::new();
    loop {
        rest = rest.strip_prefix(format!("\r\n--{boundary}").as_bytes()).expect("a delimiter");
        if rest == b"--\r\n" {
            return parts;
        }
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&rest[..end]).unwrap();
        assert!(head.contains("\r\nContent-Type: video/mp4"), "{head}");
        let range = head.split("Content-Range: bytes ").nth(1).unwrap();
        let (range, total) = range.split_once('/').unwrap();
        assert_eq!(total, length.to_string());
        let (first, last) = range.split_once('-').unwrap();
        let range = first.parse().unwrap()..last.parse::<u64>().unwrap() + 1;
        let size = (range.end - range.start) as usize;
        parts.push((range, rest[end + 4..end + 4 + size].to_vec()));
        rest = &rest[end + 4 + size..];
    }
}

#[tokio::test]
async fn every_form_is_answered_alike_from_origin_and_store() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for length in [1000, BLOCK, BLOCK + 1, 7 * BLOCK - 5] {
        origin.on(&format!("/{length}"), object(length));
        edge.get(&format!("/{length}")).await;
        for (number, (range, expected)) in forms(length).iter().enumerate() {
            let cold = format!("/{length}/{number}");
            origin.on(&cold, object(length));
            let shown = range.get(..40).unwrap_or(range);
            check(
                &edge.get_range(&cold, range).await,
                expected,
                length,
                &format!("{shown} of cold {length}"),
            );
            let warm = edge.get_range(&format!("/{length}"), range).await;
            check(&warm, expected, length, &format!("{shown} of stored {length}"));
            assert_eq!(warm.cache(), "HIT", "{shown} of {length}");
            // What a range has left behind never spoils the whole.
            let whole = edge.get(&cold).await;
            check(&whole, &Whole, length, &format!("after {shown} of {length}"));
        }
        assert_eq!(origin.requests(&format!("/{length}")).len(), 1);
    }
}

#[tokio::test]
async fn a_cold_range_costs_the_blocks_it_touches() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    const LENGTH: u64 = 20 * BLOCK - 100;
    // (range, range that the origin is asked for, bytes that it costs)
    for (number, (range, asked, cost)) in [
        (format!("bytes={}-{}", BLOCK + 5, BLOCK + 9), format!("bytes={BLOCK}-{}", 2 * BLOCK - 1), BLOCK),
        ("bytes=0-0".to_owned(), format!("bytes=0-{}", BLOCK - 1), BLOCK),
        (format!("bytes={}-{BLOCK}", BLOCK - 1), format!("bytes=0-{}", 2 * BLOCK - 1), 2 * BLOCK),
        (format!("bytes={}-", 18 * BLOCK + 1), format!("bytes={}-", 18 * BLOCK), 2 * BLOCK - 100),
        // A suffix is asked for before the length is known: at most one block too many.
        ("bytes=-10".to_owned(), format!("bytes=-{}", BLOCK + 9), BLOCK + 9),
        (format!("bytes={}-999999999", LENGTH - 1), format!("bytes={}-1000013823", 19 * BLOCK), BLOCK - 100),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/{number}");
        origin.on(&path, object(LENGTH));
        let reply = edge.get_range(&path, &range).await;
        assert_eq!((reply.status, reply.cache()), (206, "MISS"), "{range}");
        assert_eq!(origin.requests(&path)[0].header("range"), asked, "{range}");
        assert_eq!((origin.hits(&path), origin.bytes_sent(&path)), (1, cost), "{range}");
        let again = edge.get_range(&path, &range).await;
        assert_eq!((again.cache(), &again.body), ("HIT", &reply.body), "{range}");
        assert_eq!(origin.hits(&path), 1, "{range}");
    }
}

#[tokio::test]
async fn the_end_of_a_huge_object_costs_two_blocks() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    const LENGTH: u64 = 1 << 30;
    origin.on("/huge", object(LENGTH));
    let reply = edge.get_range("/huge", "bytes=-65536").await;
    check(&reply, &Part(LENGTH - 65536..LENGTH), LENGTH, "suffix of 1 GiB");
    assert!(origin.bytes_sent("/huge") <= 2 * BLOCK, "{} bytes", origin.bytes_sent("/huge"));
    let reply = edge.get_range("/huge", "bytes=536870912-536870921").await;
    check(&reply, &Part(536_870_912..536_870_922), LENGTH, "middle of 1 GiB");
    assert!(origin.bytes_sent("/huge") <= 3 * BLOCK, "{} bytes", origin.bytes_sent("/huge"));
}

#[tokio::test]
async fn later_ranges_fetch_what_is_missing() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    const LENGTH: u64 = 20 * BLOCK;
    origin.on("/x", object(LENGTH));
    let sent = || origin.bytes_sent("/x") / BLOCK;
    let ask = async |blocks: Range<u64>, cache: &str, told: &str| {
        let part = blocks.start * BLOCK + 1..blocks.end * BLOCK - 1;
        let reply = edge.get_range("/x", &format!("bytes={}-{}", part.start, part.end - 1)).await;
        check(&reply, &Part(part), LENGTH, &format!("{blocks:?}"));
        assert_eq!(reply.cache(), cache, "{blocks:?}");
        let status = reply.field("cache-status");
        assert!(status.starts_with(&format!("millrace; {told}")), "{blocks:?}: {status}");
    };
    ask(5..9, "MISS", "fwd=uri-miss; fwd-status=206; stored").await;
    assert_eq!(sent(), 4);
    ask(6..8, "HIT", "hit; ttl=").await;
    assert_eq!(sent(), 4);
    ask(7..11, "MISS", "fwd=partial").await;
    assert_eq!(sent(), 6, "9 and 10 were missing");
    ask(3..6, "MISS", "fwd=partial").await;
    assert_eq!(sent(), 8, "3 and 4 were missing");
    let asked = |number: usize| origin.requests("/x")[number].header("range").to_owned();
    assert_eq!(asked(1), format!("bytes={}-{}", 9 * BLOCK, 11 * BLOCK - 1));
    assert_eq!(asked(2), format!("bytes={}-{}", 3 * BLOCK, 5 * BLOCK - 1));
    assert!(origin.requests("/x")[1..].iter().all(|asked| asked.header("if-range") == "\"1\""));

    let whole = edge.get("/x").await;
    check(&whole, &Whole, LENGTH, "the rest");
    assert_eq!(whole.cache(), "MISS");
    assert_eq!(sent(), 20, "each block once");
    assert_eq!(edge.get("/x").await.cache(), "HIT");
}

#[tokio::test]
async fn several_ranges_of_a_cold_object_cost_their_blocks() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    const LENGTH: u64 = 20 * BLOCK;
    origin.on("/x", object(LENGTH));
    let range = format!("bytes=0-9,{}-{},-5", 10 * BLOCK, 10 * BLOCK + 9);
    let parts = Parts(vec![0..10, 10 * BLOCK..10 * BLOCK + 10, LENGTH - 5..LENGTH]);
    check(&edge.get_range("/x", &range).await, &parts, LENGTH, "cold");
    assert_eq!(origin.bytes_sent("/x"), 3 * BLOCK);
    let again = edge.get_range("/x", &range).await;
    check(&again, &parts, LENGTH, "stored");
    assert_eq!((again.cache(), origin.bytes_sent("/x")), ("HIT", 3 * BLOCK));
}

#[tokio::test]
async fn ranges_while_the_whole_is_on_its_way() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    const LENGTH: u64 = 100 * BLOCK;
    let gate = Gate::new();
    origin.on("/x", object(LENGTH).gate_at(3 * BLOCK + 10, &gate).times(1));
    origin.on("/x", object(LENGTH));
    let mut whole = edge.open("GET", "/x", &[]).await;
    assert!(is_pattern(&whole.next(3 * BLOCK as usize).await, SEED, 0..3 * BLOCK));
    gate.arrived(1).await;

    // What is there already needs nobody.
    let range = async |part: Range<u64>| {
        let range = format!("bytes={}-{}", part.start, part.end - 1);
        let reply = edge.send("GET", "/x", &[("range", &range)]).await;
        check(&reply, &Part(part), LENGTH, &range);
    };
    range(10..BLOCK + 10).await;
    range(3 * BLOCK..3 * BLOCK + 10).await;
    assert_eq!(origin.hits("/x"), 1);
    // What is far away does not wait for what lies before it.
    range(90 * BLOCK..90 * BLOCK + 10).await;
    assert_eq!(origin.hits("/x"), 2);
    assert_eq!(origin.requests("/x")[1].header("range"), format!("bytes={}-{}", 90 * BLOCK, 91 * BLOCK - 1));
    // What comes next waits for the fill that brings it.
    let near = range(3 * BLOCK + 5..4 * BLOCK);
    let released = async {
        gate.release();
    };
    tokio::join!(near, released);
    assert_eq!(origin.hits("/x"), 2);
    let rest = whole.next((LENGTH - 3 * BLOCK) as usize).await;
    assert!(is_pattern(&rest, SEED, 3 * BLOCK..LENGTH));
}

#[tokio::test]
async fn an_origin_without_ranges_sends_the_whole_once() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    const LENGTH: u64 = 5 * BLOCK + 3;
    let part = 3 * BLOCK + 5..4 * BLOCK + 5;
    let range = format!("bytes={}-{}", part.start, part.end - 1);
    for (path, answer) in [
        ("/tagged", object(LENGTH).no_ranges()),
        ("/small", Answer::pattern(1000, SEED).cache_control("max-age=60").no_ranges()),
        ("/untagged", Answer::pattern(LENGTH, SEED).cache_control("max-age=60").no_ranges()),
        ("/chunked", object(LENGTH).no_ranges().chunked()),
    ] {
        origin.on(path, answer);
        let (length, part, range) = match path {
            "/small" => (1000, 10..20, "bytes=10-19"),
            _ => (LENGTH, part.clone(), &*range),
        };
        let reply = edge.get_range(path, range).await;
        // While the length is not known, the whole is the answer.
        let whole = path == "/chunked" && reply.status == 200;
        assert!(whole || reply.status == 206, "{path}: {}", reply.status);
        assert!(reply.is_pattern(SEED, if whole { 0..length } else { part.clone() }), "{path}");
        let again = edge.get_range(path, range).await;
        assert_eq!((again.status, again.cache()), (206, "HIT"), "{path}");
        assert!(again.is_pattern(SEED, part), "{path}");
        let whole = edge.get(path).await;
        assert_eq!(whole.cache(), "HIT", "{path}");
        assert!(whole.is_pattern(SEED, 0..length), "{path}");
        assert_eq!((origin.hits(path), origin.bytes_sent(path)), (1, length), "{path}");
    }
}

/// Parts without a strong validator cannot be told to be of one version: each is for the client that asked.
#[tokio::test]
async fn parts_without_a_strong_validator_are_not_kept() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    const LENGTH: u64 = 5 * BLOCK;
    let weak = |seed| Answer::pattern(LENGTH, seed).etag("W/\"1\"").cache_control("max-age=60");
    origin.on("/x", weak(1).times(2));
    origin.on("/x", weak(2));
    for (range, seed, part) in [
        ("bytes=70000-70009", 1, 70_000..70_010),
        ("bytes=70000-140000", 1, 70_000..140_001),
        ("bytes=-10", 2, LENGTH - 10..LENGTH),
        ("bytes=70000-70009", 2, 70_000..70_010),
    ] {
        let reply = edge.get_range("/x", range).await;
        assert_eq!((reply.status, reply.cache()), (206, "BYPASS"), "{range}");
        let told = format!("bytes {}-{}/{LENGTH}", part.start, part.end - 1);
        assert_eq!(reply.field("content-range"), told, "{range}");
        assert!(reply.is_pattern(seed, part), "{range}");
    }
    assert_eq!(origin.hits("/x"), 4);
    let whole = edge.get("/x").await;
    assert!(whole.cache() == "MISS" && whole.is_pattern(2, 0..LENGTH));
    let part = edge.get_range("/x", "bytes=70000-70009").await;
    assert!(part.cache() == "HIT" && part.is_pattern(2, 70_000..70_010));
}

/// The first 100 of 300 bytes, without a validator.
fn beginning() -> Answer {
    Answer::ok(pattern_bytes(1, 0..100))
        .status(206)
        .header("content-range", "bytes 0-99/300")
        .cache_control("max-age=60")
}

/// Whoever wants the whole of what has begun has the origin asked for the rest; but only what comes whole is of use.
#[tokio::test]
async fn the_rest_of_a_part_without_a_validator_is_asked_for_and_never_joined() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| raw.retry.attempts = 1).await;
    let whole = |seed| Answer::ok(pattern_bytes(seed, 0..300)).no_ranges().cache_control("max-age=60");
    let rest = || {
        Answer::ok(pattern_bytes(2, 100..300))
            .status(206)
            .header("content-range", "bytes 100-299/300")
            .cache_control("max-age=60")
    };
    let none = Answer::hang_up;
    for (path, second, third, expected, asked) in [
        ("/whole", whole(3), none(), (200, "MISS"), 2),
        ("/rest", rest(), whole(3), (200, "MISS"), 3),
        ("/tagged-rest", rest().etag("\"1\""), whole(3), (200, "MISS"), 3),
        (
            "/nothing-more",
            Answer::empty(416).header("content-range", "bytes */50"),
            whole(3),
            (200, "MISS"),
            3,
        ),
        ("/refused", Answer::empty(400), whole(3), (200, "MISS"), 3),
        ("/gone", rest(), Answer::empty(410), (410, "MISS"), 3),
        ("/failing", rest(), Answer::empty(503), (503, "BYPASS"), 3),
        ("/broken", rest(), none(), (502, "ERROR"), 3),
    ] {
        origin.on(path, beginning().times(1));
        origin.on(path, second.times(1));
        origin.on(path, third.times(1));
        origin.on(path, whole(4));
        let part = edge.get_range(path, "bytes=0-99").await;
        assert!(part.status == 206 && part.is_pattern(1, 0..100), "{path}");
        let reply = edge.get(path).await;
        assert_eq!((reply.status, reply.cache()), expected, "{path}");
        let ranges: Vec<_> =
            origin.requests(path).iter().skip(1).map(|request| request.header("range").to_owned()).collect();
        assert_eq!(ranges, ["bytes=100-", ""][..asked - 1], "{path}");
        let stored = expected == (200, "MISS");
        assert!(!stored || reply.is_pattern(3, 0..300), "{path}");
        // Nothing is remembered of it.
        edge.advance(3);
        let after = edge.get(path).await;
        let (cache, seed, more) = if stored { ("HIT", 3, 0) } else { ("MISS", 4, 1) };
        assert!(after.cache() == cache && after.is_pattern(seed, 0..300), "{path}");
        assert_eq!(origin.hits(path), asked + more, "{path}");
    }
}

/// For other parts, and where something has come between, nothing else is asked for than what is wanted.
#[tokio::test]
async fn only_a_fresh_beginning_has_the_rest_asked_for() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let part = |range: &str, length: u64| {
        Answer::ok(pattern_bytes(1, 0..length))
            .status(206)
            .header("content-range", range)
            .cache_control("max-age=60")
    };
    for (path, first, fields) in [
        ("/weak", beginning().etag("W/\"1\""), &[][..]),
        ("/dated", beginning().header("last-modified", &edge.date(0)), &[]),
        ("/middle", part("bytes 50-149/300", 100), &[]),
        ("/end", part("bytes 200-299/300", 100), &[]),
        ("/all", part("bytes 0-299/300", 300), &[]),
        ("/unknown", part("bytes 0-99/*", 100), &[]),
        ("/stale", beginning().cache_control("max-age=0"), &[]),
        ("/private", beginning().cache_control("private"), &[]),
        ("/varies", beginning().header("vary", "x-any"), &[]),
        ("/reload", beginning(), &[("cache-control", "no-cache")]),
        ("/credentials", beginning(), &[("authorization", "Basic YTpi")]),
        ("/purged", beginning(), &[]),
        ("/changed", beginning(), &[]),
        ("/later", beginning(), &[]),
    ] {
        origin.on(path, first.times(1));
        edge.get_range(path, "bytes=0-99").await;
        match path {
            "/purged" => drop(edge.purge(r#"{"urls":["/purged"]}"#).await),
            "/changed" => {
                origin.on(path, Answer::empty(204).times(1));
                edge.send("POST", path, &[]).await;
            }
            "/later" => edge.advance(61),
            _ => {}
        }
        origin.on(path, Answer::ok(pattern_bytes(2, 0..300)).no_ranges().cache_control("max-age=60"));
        let whole = edge.ask("GET", path, fields).await;
        assert!(whole.status == 200 && whole.is_pattern(2, 0..300), "{path}");
        assert_eq!(origin.requests(path).last().unwrap().header("range"), "", "{path}");
    }
}

#[tokio::test]
async fn versions_never_mix_when_the_object_changes() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    const LENGTH: u64 = 8 * BLOCK;
    let version =
        |seed: u64| Answer::pattern(LENGTH, seed).etag(&format!("\"{seed}\"")).cache_control("max-age=3600");
    // Nothing has been sent to the client yet: it gets the new version, as if the old one had never been there.
    origin.on("/between", version(1));
    edge.get_range("/between", "bytes=0-9").await;
    origin.on("/between", version(2));
    let reply = edge.get_range("/between", "bytes=200000-200009").await;
    assert_eq!((reply.status, reply.field("etag")), (206, "\"2\""));
    assert!(reply.is_pattern(2, 200_000..200_010));
    assert_eq!(origin.hits("/between"), 3, "asked for the old part, then for the new");
    let first = edge.get_range("/between", "bytes=0-9").await;
    assert!(first.field("etag") == "\"2\"" && first.is_pattern(2, 0..10));
    let whole = edge.get("/between").await;
    assert!(whole.field("etag") == "\"2\"" && whole.is_pattern(2, 0..LENGTH));

    // The client has had a part of the old version: it must see that the rest is missing.
    origin.on("/within", version(1));
    edge.get_range("/within", "bytes=0-9").await;
    origin.on("/within", version(2));
    let broken: Broken = edge.open("GET", "/within", &[]).await.finish().await.unwrap_err();
    assert!(broken.begins(1, 0..LENGTH), "{} bytes", broken.body.len());
    edge.settled().await;
    let whole = edge.get("/within").await;
    assert!(whole.field("etag") == "\"2\"" && whole.is_pattern(2, 0..LENGTH));

    // Shorter than before: the old length is not believed.
    origin.on("/shorter", version(1));
    edge.get_range("/shorter", "bytes=0-9").await;
    origin.on("/shorter", Answer::pattern(BLOCK, 2).etag("\"2\"").cache_control("max-age=3600"));
    let reply = edge.get_range("/shorter", "bytes=200000-200009").await;
    assert_eq!((reply.status, reply.field("content-range")), (416, &*format!("bytes */{BLOCK}")));
    assert!(edge.get("/shorter").await.is_pattern(2, 0..BLOCK));

    // Gone.
    origin.on("/gone", version(1));
    edge.get_range("/gone", "bytes=0-9").await;
    origin.on("/gone", Answer::empty(404));
    assert_eq!(edge.get_range("/gone", "bytes=200000-200009").await.status, 404);
    assert_eq!(edge.get_range("/gone", "bytes=0-9").await.status, 404);
}

/// An origin may bring less than it was asked for, and says so; what is stored is whole blocks all the same.
#[tokio::test]
async fn an_origin_that_caps_its_ranges_is_asked_for_the_rest() {
    const LENGTH: u64 = 7 * BLOCK + 11;
    const CAP: u64 = 2 * BLOCK + 1000;
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on_with("/x", |request| {
        let (first, last) = request.header("range").strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let (first, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) => (first, (last + 1).min(LENGTH)),
            (Ok(first), Err(_)) => (first, LENGTH),
            (_, Ok(suffix)) => (LENGTH - suffix, LENGTH),
            _ => unreachable!(),
        };
        let end = end.min(first + CAP);
        Answer::ok(pattern_bytes(SEED, first..end))
            .status(206)
            .header("content-range", &format!("bytes {first}-{}/{LENGTH}", end - 1))
            .etag("\"1\"")
            .cache_control("max-age=60")
    });
    for part in [70_000..400_000, 10..20, LENGTH - 100_000..LENGTH, 0..LENGTH] {
        let range = format!("bytes={}-{}", part.start, part.end - 1);
        for _ in 0..2 {
            let reply = edge.get_range("/x", &range).await;
            assert!(reply.status == 206 && reply.is_pattern(SEED, part.clone()), "{range}");
        }
    }
    let whole = edge.get("/x").await;
    assert!(whole.cache() == "HIT" && whole.is_pattern(SEED, 0..LENGTH));
}

#[tokio::test]
async fn without_read_ahead_ranges_are_served_all_the_same() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| raw.fill.read_ahead = "0".to_owned()).await;
    origin.on("/x", Answer::pattern(20 * BLOCK, SEED).etag("\"1\"").cache_control("max-age=60"));
    let part = 70_000..900_000;
    assert!(edge.get_range("/x", "bytes=70000-899999").await.is_pattern(SEED, part));
}
