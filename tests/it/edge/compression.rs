//! Content codings: made once of what is stored, and told apart in everything that names bytes.

use std::io::Read;

use super::{BLOCK, Edge, Reply};
use crate::origin_double::{Answer, Gate, OriginDouble, pattern_bytes};

const BR: &[(&str, &str)] = &[("accept-encoding", "gzip, deflate, br;q=1.0")];
const GZIP: &[(&str, &str)] = &[("accept-encoding", "gzip, deflate")];

fn text(length: usize) -> String {
    "All the world's a stage, and all the men and women merely players. "
        .chars()
        .cycle()
        .take(length)
        .collect()
}

fn script(length: usize) -> Answer {
    version("\"one\"", length)
}

fn version(tag: &str, length: usize) -> Answer {
    Answer::ok(text(length)).content_type("text/javascript").etag(tag).cache_control("max-age=60")
}

/// The body without its coding.
fn plain(reply: &Reply) -> String {
    let mut text = String::new();
    let coded = &reply.body[..];
    match reply.headers.get("content-encoding").map(|coding| coding.to_str().unwrap()) {
        Some("br") => brotli::Decompressor::new(coded, 4096).read_to_string(&mut text),
        Some("gzip") => flate2::read::GzDecoder::new(coded).read_to_string(&mut text),
        Some("zstd") => zstd::Decoder::new(coded).unwrap().read_to_string(&mut text),
        Some(other) => panic!("{other}"),
        None => return reply.text(),
    }
    .unwrap();
    text
}

async fn made(edge: &Edge) -> u64 {
    edge.metric("millrace_media_duration_seconds_count", &["operation=\"coding\""]).await
}

fn coding(reply: &Reply) -> &str {
    reply.headers.get("content-encoding").map_or("", |coding| coding.to_str().unwrap())
}

#[tokio::test]
async fn each_form_is_made_once_of_one_fetch() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    // Inline, and in blocks.
    for (round, (path, length)) in
        [("/a.js", 20_000), ("/b.js", 3 * BLOCK as usize + 7)].into_iter().enumerate()
    {
        origin.on(path, script(length));
        let steps: [(&[(&str, &str)], &str, &str, &str); 7] = [
            (BR, "MISS", "br", "\"one-br\""),
            (BR, "HIT", "br", "\"one-br\""),
            (GZIP, "MISS", "gzip", "\"one-gzip\""),
            (GZIP, "HIT", "gzip", "\"one-gzip\""),
            (&[("accept-encoding", "zstd")], "MISS", "zstd", "\"one-zstd\""),
            (&[], "HIT", "", "\"one\""),
            (&[("accept-encoding", "br;q=0")], "HIT", "", "\"one\""),
        ];
        for (fields, cache, expected, tag) in steps {
            let reply = edge.ask("GET", path, fields).await;
            assert_eq!((reply.cache(), coding(&reply)), (cache, expected), "{path} {fields:?}");
            assert_eq!((reply.status, reply.field("etag")), (200, tag), "{path} {fields:?}");
            assert_eq!(reply.field("vary"), "Accept-Encoding", "{path} {fields:?}");
            assert_eq!(reply.field("content-length"), reply.body.len().to_string());
            assert!(plain(&reply) == text(length), "{path} {fields:?}");
            assert!(expected.is_empty() || reply.body.len() < length / 20, "{} bytes", reply.body.len());
        }
        let head = edge.ask("HEAD", path, BR).await;
        assert_eq!((head.cache(), coding(&head)), ("HIT", "br"));
        let whole = edge.ask("GET", path, BR).await;
        assert_eq!(head.field("content-length"), whole.body.len().to_string());
        assert_eq!(origin.hits(path), 1);
        assert_eq!(made(&edge).await, 3 * (round as u64 + 1));
    }
}

#[tokio::test]
async fn ranges_and_conditions_name_the_bytes_they_mean() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/a.css", script(20_000));
    edge.ask("GET", "/a.css", BR).await;
    let part = edge.ask("GET", "/a.css", &[BR[0], ("range", "bytes=100-199")]).await;
    assert_eq!((part.status, coding(&part), part.field("vary")), (206, "", "Accept-Encoding"));
    assert_eq!(part.text(), text(20_000)[100..200]);
    // A tag of the coded form is none of the bytes that ranges are of.
    let whole = edge.ask("GET", "/a.css", &[BR[0], ("range", "bytes=0-9"), ("if-range", "\"one-br\"")]).await;
    assert_eq!((whole.status, coding(&whole), whole.body.len()), (200, "", 20_000));
    for (known, accept, status) in [
        ("\"one-br\"", BR, 304),
        ("\"one\"", BR, 200),
        ("\"one-br\"", GZIP, 200),
        ("\"one-gzip\"", GZIP, 304),
        ("\"one\"", &[], 304),
        ("\"one-br\"", &[], 200),
    ] {
        let mut fields = accept.to_vec();
        fields.push(("if-none-match", known));
        let reply = edge.ask("GET", "/a.css", &fields).await;
        assert_eq!(reply.status, status, "{fields:?}");
        assert_eq!(reply.field("vary"), "Accept-Encoding");
    }
    assert_eq!(origin.hits("/a.css"), 1);
}

#[tokio::test]
async fn a_stale_form_is_confirmed_and_an_old_one_replaced() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/a.js", script(20_000));
    edge.ask("GET", "/a.js", BR).await;
    edge.advance(61);
    let confirmed = edge.ask("GET", "/a.js", BR).await;
    assert_eq!((confirmed.cache(), coding(&confirmed)), ("REVALIDATED", "br"));
    assert_eq!(origin.requests("/a.js")[1].header("if-none-match"), "\"one\"");
    assert_eq!(edge.ask("GET", "/a.js", BR).await.cache(), "HIT");
    assert_eq!((made(&edge).await, origin.hits("/a.js")), (1, 2));

    origin.on("/a.js", version("\"two\"", 30_000));
    edge.advance(61);
    let replaced = edge.ask("GET", "/a.js", BR).await;
    assert_eq!((replaced.cache(), coding(&replaced)), ("MISS", "br"));
    assert_eq!(plain(&replaced), text(30_000));

    edge.purge(r#"{"urls":["/a.js"]}"#).await;
    origin.on("/a.js", version("\"three\"", 10_000));
    let purged = edge.ask("GET", "/a.js", BR).await;
    assert_eq!((purged.cache(), plain(&purged)), ("MISS", text(10_000)));
}

#[tokio::test]
async fn what_gains_nothing_stays_as_it_is() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let kept = |answer: Answer| answer.etag("\"one\"").cache_control("max-age=60");
    let noise = pattern_bytes(7, 0..20_000);
    origin.on("/noise.txt", kept(Answer::ok(noise)).content_type("text/plain"));
    origin.on("/a.mp3", kept(Answer::ok(text(20_000))).content_type("audio/mpeg"));
    origin.on("/short.txt", kept(Answer::ok(text(100))).content_type("text/plain"));
    origin.on(
        "/done.txt",
        kept(Answer::ok(text(20_000))).content_type("text/plain").header("content-encoding", "x"),
    );
    origin.on(
        "/fixed.txt",
        kept(Answer::ok(text(20_000))).content_type("text/plain").cache_control("no-transform"),
    );
    for (path, vary) in [
        ("/noise.txt", true),
        ("/a.mp3", false),
        ("/short.txt", false),
        ("/done.txt", false),
        ("/fixed.txt", false),
    ] {
        for cache in ["MISS", "HIT"] {
            let reply = edge.ask("GET", path, BR).await;
            assert_eq!((reply.cache(), reply.field("etag")), (cache, "\"one\""), "{path}");
            assert_eq!(reply.headers.contains_key("vary"), vary, "{path}");
            assert!(reply.headers.get("content-encoding").is_none_or(|coding| coding == "x"), "{path}");
        }
        assert_eq!(origin.hits(path), 1, "{path}");
    }
    assert_eq!(made(&edge).await, 1, "only the noise was tried, and only once");
}

#[tokio::test]
async fn forms_of_variants_are_kept_apart() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on_with("/x", |request| {
        let language = request.header("accept-language").to_owned();
        Answer::ok(format!("{language}: {}", text(5_000)))
            .content_type("text/html")
            .etag(&format!("W/\"{language}\""))
            .cache_control("max-age=60")
            .header("vary", "Accept-Language")
    });
    for cache in ["MISS", "HIT"] {
        for language in ["de", "en"] {
            let reply = edge.ask("GET", "/x", &[BR[0], ("accept-language", language)]).await;
            assert_eq!((reply.cache(), coding(&reply)), (cache, "br"), "{language}");
            assert_eq!(reply.field("vary"), "Accept-Language, Accept-Encoding");
            assert_eq!(reply.field("etag"), format!("W/\"{language}-br\""));
            assert!(plain(&reply).starts_with(language));
        }
    }
    assert_eq!(origin.hits("/x"), 2);
}

#[tokio::test]
async fn a_body_without_its_length_is_coded_the_next_time() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let gate = Gate::new();
    origin.on("/feed.json", script(20_000).chunked().gate_at(10_000, &gate));
    let first = edge.open("GET", "/feed.json", BR).await;
    gate.release();
    let first = first.whole().await;
    assert_eq!((first.cache(), coding(&first)), ("MISS", ""));
    assert!(first.text() == text(20_000));
    edge.settled().await;
    for cache in ["MISS", "HIT"] {
        let reply = edge.ask("GET", "/feed.json", BR).await;
        assert_eq!((reply.cache(), coding(&reply)), (cache, "br"));
        assert!(plain(&reply) == text(20_000));
    }
    assert_eq!(origin.hits("/feed.json"), 1);
}

/// A write through us takes the object out, and all that was made of its old version.
#[tokio::test]
async fn an_old_version_is_not_served_in_its_coded_form() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let unnamed = |text: String| Answer::ok(text).content_type("text/javascript").cache_control("max-age=60");
    let named = |text: String| unnamed(text.clone()).etag(&format!("\"{}\"", &text[..3]));
    for (path, answer) in [("/named.js", &named as &dyn Fn(String) -> Answer), ("/unnamed.js", &unnamed)] {
        origin.on(path, answer("one".repeat(2000)));
        for cache in ["MISS", "HIT"] {
            let reply = edge.ask("GET", path, BR).await;
            assert_eq!(
                (reply.cache(), coding(&reply), plain(&reply)),
                (cache, "br", "one".repeat(2000)),
                "{path}"
            );
        }
        edge.advance(1);
        assert_eq!(edge.ask("PUT", path, &[]).await.status, 200);
        origin.on(path, answer("two".repeat(2000)));
        for cache in ["MISS", "HIT"] {
            let reply = edge.ask("GET", path, BR).await;
            assert_eq!(
                (reply.cache(), coding(&reply), plain(&reply)),
                (cache, "br", "two".repeat(2000)),
                "{path}"
            );
        }
    }
}
