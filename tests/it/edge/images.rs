//! Image variants through the cache: made once, kept as long as their source, refused with a reason.

use futures_util::future::join_all;

use super::{Edge, Reply};
use crate::origin_double::{Answer, OriginDouble};

/// A JPEG of a gradient, told apart by its tint.
pub(crate) fn jpeg(width: usize, height: usize, tint: u8) -> Vec<u8> {
    let pixels: Vec<u8> = (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| [(x * 255 / width) as u8, (y * 255 / height) as u8, tint]))
        .collect();
    let image = turbojpeg::Image {
        pixels: &pixels[..],
        width,
        pitch: width * 3,
        height,
        format: turbojpeg::PixelFormat::RGB,
    };
    turbojpeg::compress(image, 90, turbojpeg::Subsamp::None).unwrap().to_vec()
}

fn photo(tint: u8) -> Answer {
    Answer::ok(jpeg(800, 600, tint))
        .etag(&format!("\"{tint}\""))
        .cache_control("max-age=60")
        .content_type("image/jpeg")
}

/// Width and height of a lossy WebP (RFC 9649 §2.5).
pub(super) fn size(reply: &Reply) -> (u16, u16) {
    assert_eq!(reply.field("content-type"), "image/webp");
    let body = &reply.body;
    assert_eq!((&body[..4], &body[8..16]), (&b"RIFF"[..], &b"WEBPVP8 "[..]));
    let side = |at: usize| u16::from_le_bytes([body[at], body[at + 1]]) & 0x3fff;
    (side(26), side(28))
}

pub(super) async fn made(edge: &Edge) -> u64 {
    edge.metric("millrace_media_duration_seconds_count", &["operation=\"image\""]).await
}

#[tokio::test]
async fn a_variant_is_made_once_for_all_who_ask() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/a.jpg", photo(1));
    let replies = join_all((0..20).map(|_| edge.send("GET", "/a.jpg?w=320", &[]))).await;
    for reply in &replies {
        assert_eq!((reply.status, reply.cache(), size(reply)), (200, "MISS", (320, 240)));
        assert!(reply.body == replies[0].body);
        assert_eq!(reply.field("etag"), replies[0].field("etag"));
    }
    assert_eq!((origin.hits("/a.jpg"), made(&edge).await), (1, 1));
    edge.settled().await;
    let hit = edge.get("/a.jpg?w=320").await;
    assert!(hit.cache() == "HIT" && hit.body == replies[0].body);

    // Other variants read the source from store; other spellings are the same variant.
    assert_eq!(size(&edge.get("/a.jpg?w=100").await), (100, 75));
    let square = edge.get("/a.jpg?h=50&fit=crop&w=50").await;
    assert_eq!(size(&square), (50, 50));
    assert_eq!(edge.get("/a.jpg?w=50&fit=crop&h=50&fm=webp").await.cache(), "HIT");
    let png = edge.get("/a.jpg?w=100&fm=png").await;
    assert_eq!((png.field("content-type"), &png.body[1..4]), ("image/png", &b"PNG"[..]));
    assert_eq!((origin.hits("/a.jpg"), made(&edge).await), (1, 4));
    let plain = edge.get("/a.jpg").await;
    assert_eq!((plain.cache(), plain.field("content-type")), ("HIT", "image/jpeg"));
    assert!(plain.body == jpeg(800, 600, 1));
    // A query of other names is the origin's business.
    origin.on("/b.jpg?v=2", photo(2));
    assert_eq!(size(&edge.get("/b.jpg?w=80&v=2").await), (80, 60));
    assert_eq!(origin.hits("/b.jpg?v=2"), 1);
}

#[tokio::test]
async fn the_format_is_what_the_client_takes() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/a.jpg", photo(1));
    for cache in ["MISS", "HIT"] {
        for (accept, content_type) in [
            ("image/avif,image/webp,image/apng,*/*;q=0.8", "image/webp"),
            ("image/png,image/*;q=0.8,*/*;q=0.5", "image/jpeg"),
        ] {
            let reply = edge.ask("GET", "/a.jpg?w=320&auto=format", &[("accept", accept)]).await;
            assert_eq!((reply.cache(), reply.field("content-type")), (cache, content_type));
            assert_eq!(reply.field("vary"), "Accept");
        }
    }
    // Other ways to say that a client takes the one or the other.
    for (accept, cache) in [
        ("image/webp;q=0.1, image/avif", "HIT"),
        ("image/webp", "MISS"),
        ("text/html, image/webp;q=0.1", "HIT"),
        ("image/webp, image/avif;q=0", "HIT"),
    ] {
        let reply = edge.ask("GET", "/a.jpg?auto=format&w=320", &[("accept", accept)]).await;
        assert_eq!((reply.cache(), size(&reply)), (cache, (320, 240)), "{accept}");
    }
    assert_eq!(edge.get("/a.jpg?w=320&auto=format").await.field("content-type"), "image/jpeg");
    let fixed = edge.ask("GET", "/a.jpg?w=320", &[("accept", "image/png")]).await;
    assert_eq!((fixed.field("content-type"), fixed.headers.get("vary")), ("image/webp", None));
    assert_eq!((origin.hits("/a.jpg"), made(&edge).await), (1, 3));
}

#[tokio::test]
async fn many_widths_make_few_variants() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/a.jpg", photo(1));
    for width in 301..=360 {
        let (made, _) = size(&edge.send("GET", &format!("/a.jpg?w={width}"), &[]).await);
        assert!((width..=width + 20).contains(&made), "{width} became {made}");
    }
    assert_eq!(made(&edge).await, 4, "320, 340, 350 and 360");
    let edge = Edge::with(&origin, |raw| raw.media.widths = Vec::new()).await;
    assert_eq!(size(&edge.get("/a.jpg?w=333").await).0, 333);
}

#[tokio::test]
async fn a_variant_answers_like_any_object() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/a.jpg", photo(1));
    let head = edge.ask("HEAD", "/a.jpg?w=200", &[]).await;
    let whole = edge.get("/a.jpg?w=200").await;
    assert_eq!((head.status, head.field("content-length")), (200, &*whole.body.len().to_string()));
    assert_eq!(head.field("etag"), whole.field("etag"));
    assert_eq!(made(&edge).await, 1);
    let tag = whole.field("etag");
    assert_eq!(edge.ask("GET", "/a.jpg?w=200", &[("if-none-match", tag)]).await.status, 304);
    let part = edge.get_range("/a.jpg?w=200", "bytes=0-11").await;
    assert_eq!((part.status, &part.body[..4]), (206, &b"RIFF"[..]));
    assert_eq!(whole.field("cache-control"), "max-age=60");
    assert_eq!(whole.field("accept-ranges"), "bytes");
}

#[tokio::test]
async fn a_stale_variant_is_confirmed_by_its_source() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/a.jpg", photo(1));
    let first = edge.get("/a.jpg?w=100").await;
    edge.advance(40);
    assert_eq!(edge.get("/a.jpg?w=100").await.field("age"), "40");
    edge.advance(21);
    let confirmed = edge.get("/a.jpg?w=100").await;
    assert_eq!((confirmed.cache(), confirmed.field("age")), ("REVALIDATED", "0"));
    assert!(confirmed.body == first.body);
    assert_eq!(origin.requests("/a.jpg")[1].header("if-none-match"), "\"1\"");
    assert_eq!((origin.hits("/a.jpg"), made(&edge).await), (2, 1));
    assert_eq!(edge.get("/a.jpg?w=100").await.cache(), "HIT");

    // A variant is never fresher than the source it is made of.
    edge.advance(30);
    let later = edge.get("/a.jpg?w=101").await;
    assert_eq!((later.cache(), later.field("age")), ("MISS", "30"));
    edge.advance(31);
    assert_eq!(edge.get("/a.jpg?w=101").await.cache(), "REVALIDATED");

    origin.on("/a.jpg", photo(200));
    edge.advance(61);
    let changed = edge.get("/a.jpg?w=100").await;
    assert_eq!(changed.cache(), "MISS");
    assert!(changed.body != first.body && changed.field("etag") != first.field("etag"));
    assert_eq!(edge.get("/a.jpg?w=100").await.cache(), "HIT");
    assert_eq!(made(&edge).await, 3);

    // In trouble the old variant stands in, as its source would.
    edge.advance(61);
    origin.on("/a.jpg", Answer::hang_up());
    let stale = edge.get("/a.jpg?w=100").await;
    assert!(matches!(stale.cache(), "STALE" | "REVALIDATED"), "{}", stale.cache());
    assert!(stale.body == changed.body);
}

#[tokio::test]
async fn what_cannot_be_made_is_refused_with_a_reason() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let whole = jpeg(200, 150, 1);
    let image = |bytes: Vec<u8>| {
        Answer::ok(bytes).etag("\"1\"").cache_control("max-age=60").content_type("image/jpeg")
    };
    origin.on("/good.jpg", image(whole.clone()));
    origin.on("/truncated.jpg", image(whole[..whole.len() / 2].to_vec()));
    origin.on("/empty.jpg", image(Vec::new()));
    origin.on("/text.jpg", image(b"<html><script>alert(1)</script></html>".to_vec()));
    origin.on("/svg.png", image(b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec()));
    origin.on("/private.jpg", Answer::ok(whole.clone()).etag("\"1\"").cache_control("private"));
    origin.on("/broken.jpg", Answer::hang_up());
    origin.on("/busy.jpg", Answer::empty(503).header("retry-after", "60"));
    origin.on("/forbidden.jpg", Answer::empty(403));
    origin.on("/moved.jpg", Answer::empty(302).header("location", "/good.jpg"));
    // (target, status, word in the answer)
    for (target, status, word) in [
        ("/good.jpg?w=0", 400, "`w`"),
        ("/good.jpg?w=-1", 400, "`w`"),
        ("/good.jpg?w=1e9", 400, "`w`"),
        ("/good.jpg?w=NaN", 400, "`w`"),
        ("/good.jpg?w=99999", 400, "`w`"),
        ("/good.jpg?w=1&w=2", 400, "`w`"),
        ("/good.jpg?h=x", 400, "`h`"),
        ("/good.jpg?q=101", 400, "`q`"),
        ("/good.jpg?fm=exe", 400, "`fm`"),
        ("/good.jpg?fit=squeeze", 400, "`fit`"),
        ("/good.jpg?w=100&dpr=99", 400, "`dpr`"),
        ("/empty.jpg?w=10", 422, ""),
        ("/text.jpg?w=10", 415, ""),
        ("/svg.png?w=10", 415, ""),
        ("/private.jpg?w=10", 422, "may not be stored"),
        ("/missing.jpg?w=10", 404, ""),
        ("/broken.jpg?w=10", 502, ""),
        ("/busy.jpg?w=10", 503, ""),
        ("/forbidden.jpg?w=10", 403, ""),
        ("/moved.jpg?w=10", 502, ""),
    ] {
        for method in ["GET", "HEAD"] {
            let reply = edge.ask(method, target, &[]).await;
            assert_eq!(reply.status, status, "{method} {target}");
            assert_eq!(reply.field("content-type"), "application/problem+json", "{method} {target}");
            if method == "GET" {
                let problem: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
                assert_eq!(problem["status"], status, "{target}");
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains(word), "{target}: {detail}");
            }
        }
    }
    // Half an image is half an image, or refused; never an empty one.
    let truncated = edge.get("/truncated.jpg?w=10").await;
    assert!(truncated.status == 422 || size(&truncated).0 == 10, "{}", truncated.status);
    // What lies at the source is remembered for a moment, what may pass is not.
    for (target, hits) in [("/text.jpg?w=10", 1), ("/missing.jpg?w=10", 1), ("/busy.jpg?w=10", 2)] {
        let before = origin.hits(target.split('?').next().unwrap());
        edge.get(target).await;
        let after = origin.hits(target.split('?').next().unwrap());
        assert_eq!(after > before, hits > 1, "{target}: {before} {after}");
    }
}

/// A source without any validator: there is nothing to tell versions apart by, so the variant lives as long as told.
#[tokio::test]
async fn a_source_without_validator_is_made_anew_when_stale() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/a.jpg", Answer::ok(jpeg(100, 100, 1)).cache_control("max-age=60"));
    for cache in ["MISS", "HIT"] {
        assert_eq!(edge.get("/a.jpg?w=50").await.cache(), cache);
    }
    edge.advance(61);
    assert_eq!(edge.get("/a.jpg?w=50").await.cache(), "MISS");
    assert_eq!((origin.hits("/a.jpg"), made(&edge).await), (2, 2));
}

/// What was made of an address goes with it when a write there succeeds, also what a write's answer names.
#[tokio::test]
async fn variants_go_when_their_source_is_written() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (method, written) in [("PUT", "/a.jpg"), ("POST", "/a.jpg"), ("DELETE", "/a.jpg"), ("POST", "/form")]
    {
        for tint in [1, 2] {
            origin.on("/a.jpg", photo(tint));
            let reply = edge.get("/a.jpg?w=320").await;
            assert_eq!(reply.cache(), "MISS", "{method} {written}");
            edge.settled().await;
            assert_eq!(edge.get("/a.jpg?w=320").await.cache(), "HIT", "{method} {written}");
            // It is said to be new, which GET would not be told before it is stale.
            origin.on(written, Answer::ok("written").header("content-location", "/a.jpg"));
            assert_eq!(edge.send(method, written, &[]).await.status, 200, "{method} {written}");
        }
    }
    // A refused one changes nothing.
    origin.on("/a.jpg", photo(3));
    edge.get("/a.jpg?w=320").await;
    edge.settled().await;
    origin.on("/a.jpg", Answer::ok("no").status(403));
    assert_eq!(edge.send("PUT", "/a.jpg", &[]).await.status, 403);
    assert_eq!(edge.get("/a.jpg?w=320").await.cache(), "HIT");
}
