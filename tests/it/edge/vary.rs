//! Variants of one resource, chosen by request fields (RFC 9111 §4.1).

use super::Edge;
use crate::origin_double::{Answer, OriginDouble};

/// Says which language it was asked in.
fn speak(origin: &OriginDouble, path: &str, vary: &'static str) {
    origin.on_with(path, move |request| {
        let asked = request.headers.get("accept-language").map_or("none", |value| value.to_str().unwrap());
        Answer::ok(asked).etag(&format!("\"{asked}\"")).cache_control("max-age=60").header("vary", vary)
    });
}

#[tokio::test]
async fn each_variant_is_stored_beside_the_others() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    speak(&origin, "/x", "Accept-Language");
    // (language, cache, how it was told)
    let steps = [
        ("de", "MISS", "fwd=uri-miss; fwd-status=200; stored"),
        ("de", "HIT", "hit; ttl=60"),
        ("en", "MISS", "fwd=vary-miss; fwd-status=200; stored"),
        ("en", "HIT", "hit; ttl=60"),
        ("de", "HIT", "hit; ttl=60"),
        ("", "MISS", "fwd=vary-miss; fwd-status=200; stored"),
        ("", "HIT", "hit; ttl=60"),
    ];
    for (language, cache, told) in steps {
        let fields: &[(&str, &str)] =
            if language.is_empty() { &[] } else { &[("accept-language", language)] };
        let reply = edge.ask("GET", "/x", fields).await;
        let body = if language.is_empty() { "none" } else { language };
        assert_eq!(reply.told(), (200, cache, body.to_owned()));
        assert_eq!(reply.field("cache-status"), format!("millrace; {told}"));
        assert_eq!(reply.field("vary"), "Accept-Language");
    }
    assert_eq!(origin.hits("/x"), 3);
}

#[tokio::test]
async fn equal_selections_share_a_variant() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    speak(&origin, "/x", "Accept-Language, X-Unsent");
    edge.ask("GET", "/x", &[("accept-language", "de, en;q=0.5")]).await;
    for fields in [
        &[("accept-language", "de,en;q=0.5")][..],
        &[("accept-language", "  de ,  en;q=0.5  ")],
        &[("accept-language", "de"), ("accept-language", "en;q=0.5")],
        &[("accept-language", "de, en;q=0.5"), ("x-other", "1")],
    ] {
        assert_eq!(edge.ask("GET", "/x", fields).await.cache(), "HIT", "{fields:?}");
    }
    let other = [("accept-language", "de, en;q=0.5"), ("x-unsent", "1")];
    assert_eq!(edge.ask("GET", "/x", &other).await.cache(), "MISS");
}

#[tokio::test]
async fn each_variant_is_validated_by_its_own_tag() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    speak(&origin, "/x", "accept-language");
    for language in ["de", "en"] {
        edge.ask("GET", "/x", &[("accept-language", language)]).await;
    }
    edge.advance(61);
    for language in ["en", "de"] {
        let reply = edge.ask("GET", "/x", &[("accept-language", language)]).await;
        assert_eq!(reply.told(), (200, "REVALIDATED", language.to_owned()));
    }
    let tags: Vec<_> =
        origin.requests("/x")[2..].iter().map(|asked| asked.header("if-none-match").to_owned()).collect();
    assert_eq!(tags, ["\"en\"", "\"de\""]);
}

#[tokio::test]
async fn a_changed_vary_changes_the_choice() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let answer = |body: &str, vary: &str| {
        Answer::ok(body).etag(&format!("\"{body}\"")).cache_control("max-age=60").header("vary", vary)
    };
    let ask = async |a: &str, b: &str| {
        let reply = edge.ask("GET", "/x", &[("a", a), ("b", b)]).await;
        (reply.cache().to_owned(), reply.text())
    };
    let told = |cache: &str, body: &str| (cache.to_owned(), body.to_owned());
    origin.on("/x", answer("by-a", "a"));
    assert_eq!(ask("1", "1").await, told("MISS", "by-a"));
    assert_eq!(ask("1", "2").await, told("HIT", "by-a"));
    origin.on("/x", answer("by-b", "b"));
    edge.advance(61);
    assert_eq!(ask("1", "1").await, told("MISS", "by-b"));
    assert_eq!(ask("2", "1").await, told("HIT", "by-b"));
    assert_eq!(ask("1", "2").await, told("MISS", "by-b"));
    origin.on("/x", Answer::ok("for-all").etag("\"for-all\"").cache_control("max-age=60"));
    edge.advance(61);
    assert_eq!(ask("1", "1").await, told("MISS", "for-all"));
    assert_eq!(ask("3", "3").await, told("HIT", "for-all"));
}

/// More fields than anybody varies by: treated as `Vary: *`, so that variants stay countable.
#[tokio::test]
async fn vary_by_everything_is_not_stored() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let names = (0..100).map(|number| format!("x-{number}")).collect::<Vec<_>>().join(", ");
    for (path, vary) in [("/wide", names.as_str()), ("/star", "accept, *")] {
        origin.on(path, Answer::ok("x").etag("\"1\"").cache_control("max-age=60").header("vary", vary));
        for _ in 0..2 {
            let reply = edge.get(path).await;
            assert_eq!((reply.status, reply.cache()), (200, "BYPASS"), "{path}");
            assert!(reply.field("cache-status").ends_with("detail=vary-star"), "{path}");
        }
    }
}

#[tokio::test]
async fn requests_of_one_moment_get_their_own_variants() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    speak(&origin, "/x", "accept-language");
    let ask = async |number: usize| {
        let language = ["de", "en", "fr", "it"][number % 4];
        let reply = edge.send("GET", "/x", &[("accept-language", language)]).await;
        assert_eq!((reply.status, reply.text()), (200, language.to_owned()));
    };
    futures_util::future::join_all((0..40).map(ask)).await;
    for language in ["de", "en", "fr", "it"] {
        let reply = edge.ask("GET", "/x", &[("accept-language", language)]).await;
        assert_eq!(reply.told(), (200, "HIT", language.to_owned()));
    }
    assert!(origin.hits("/x") <= 8, "asked {} times", origin.hits("/x"));
}

/// Each browser has its own words for the images it takes; an origin that sends each of them the best format is asked once for
/// each set of formats.
#[tokio::test]
async fn browsers_that_know_the_same_formats_share_an_image() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", Answer::ok("x").cache_control("max-age=60").header("vary", "Accept"));
    for (accept, cache) in [
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "MISS"),
        ("image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", "HIT"),
        ("image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "MISS"),
        ("text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8", "MISS"),
        ("*/*", "MISS"),
    ] {
        assert_eq!(edge.ask("GET", "/x", &[("accept", accept)]).await.cache(), cache, "{accept}");
    }
}
