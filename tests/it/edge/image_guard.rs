//! Who may have images made: all, or only presets, or only what is signed. What is refused costs no fetch.

use millrace::{
    config::raw::{self, Images, Secret},
    delivery::signature::{Keys, signed},
};

use super::{Edge, Reply, images::jpeg};
use crate::origin_double::{Answer, OriginDouble};

const KEY: &str = "943b421c9eb07c830af81030552c86009268de4e532ba2ee2eab8247c6da0881";
const SALT: &str = "520f986b998545b4785e0defbc4f3c1203f22de2374a3d53cb7a7fe9fea309c5";
const OLD: &str = "00112233445566778899aabbccddeeff:01";

fn keys(pairs: &str) -> Keys {
    Keys::parse(pairs, 32).unwrap().unwrap()
}

async fn guarded(origin: &OriginDouble, images: Images) -> Edge {
    origin.on_any(
        Answer::ok(jpeg(80, 60, 1)).etag("\"1\"").cache_control("max-age=60").content_type("image/jpeg"),
    );
    Edge::with(origin, |raw| {
        raw.media.signing_keys = Secret(format!("{KEY}:{SALT}, {OLD}"));
        raw.media.presets = [("thumb", "w=33&h=20&fit=crop"), ("tiny", "w=9")]
            .map(|(name, query)| (name.to_owned(), query.to_owned()))
            .into();
        let image_presets = if images == Images::Presets { vec!["thumb".to_owned()] } else { Vec::new() };
        raw.routes = vec![
            raw::Route { path: "/d".to_owned(), images, image_presets, ..Default::default() },
            raw::Route { path: "/open".to_owned(), ..Default::default() },
        ];
    })
    .await
}

fn reason(reply: &Reply) -> String {
    let problem: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    problem["reason"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn signed_addresses_are_served_and_share_a_key() {
    let origin = OriginDouble::start().await;
    let edge = guarded(&origin, Images::Signed).await;
    let (new, old) = (keys(&format!("{KEY}:{SALT}")), keys(OLD));
    let now = edge.seconds();
    let mut caches = Vec::new();
    for target in [
        signed(&new, "/d/a.jpg?w=33&h=20&fit=crop", None),
        signed(&old, "/d/a.jpg?fit=crop&h=20&w=33", None),
        signed(&new, "/d/a.jpg?preset=thumb", Some(now)),
        signed(&new, "/img/_/rs:fill:33:20/plain/d/a.jpg", None),
        signed(&new, "/img/_/rs:fill:33:20/plain/d/a.jpg@webp", Some(now + 60)),
        signed(&new, "/cdn-cgi/image/width=33,height=20,fit=cover/d/a.jpg", None),
        signed(&new, "/img/_/rs:fill:33:20/ZC9hLmpwZw", None),
    ] {
        let reply = edge.get(&target).await;
        assert_eq!((reply.status, reply.field("content-type")), (200, "image/webp"), "{target}");
        caches.push(reply.cache().to_owned());
    }
    assert_eq!(caches, ["MISS", "HIT", "HIT", "HIT", "HIT", "HIT", "HIT"]);
    assert_eq!(origin.total_hits(), 1);
    // The signature is no matter of the origin's, other parameters are.
    assert_eq!(edge.get(&signed(&new, "/d/a.jpg?w=9&v=1", Some(now))).await.status, 200);
    assert_eq!(origin.hits("/d/a.jpg?v=1"), 1);
    // What is purged is what is stored, however it was asked for.
    edge.purge(r#"{"urls":["/d/a.jpg?w=33&h=20&fit=crop"]}"#).await;
    let target = signed(&new, "/img/_/rs:fill:33:20/plain/d/a.jpg", None);
    assert_eq!(edge.get(&target).await.cache(), "MISS");
    // Sources are served as they are, and other routes are open.
    assert_eq!(edge.get("/d/a.jpg").await.status, 200);
    assert_eq!(edge.get("/open/a.jpg?w=10").await.status, 200);
}

/// Made by the packages `@imgproxy/imgproxy-node` 1.1 and `imgproxy` 0.4 for JavaScript, with this key and salt.
#[tokio::test]
async fn addresses_of_imgproxys_clients_are_good() {
    let origin = OriginDouble::start().await;
    let edge = guarded(&origin, Images::Signed).await;
    for target in [
        "/img/YN9kn3sccXmMzhEl_SR31VMzwPjYn3T6BXBAgWX7RW8/f:webp/h:400/rt:fill/w:300/plain/d/a.jpg",
        "/img/swvl_IRogcNf7ty3YcVnTnVuHxBHHO6Axd_4gatKYF4/f:webp/h:400/rt:fill/w:300/ZC9hLmpwZw",
        "/img/hHQqDoFdTLpVYrTdRoDjNYoSq2JDvcRZShu99Dv9rHA/rs:fill:300:400:0/plain/d/a.jpg@webp",
    ] {
        let reply = edge.get(target).await;
        assert_eq!((reply.status, reply.field("content-type")), (200, "image/webp"), "{target}");
    }
    assert_eq!(origin.hits("/d/a.jpg"), 1);
}

#[tokio::test]
async fn what_no_key_has_signed_is_refused_before_anything_is_fetched() {
    let origin = OriginDouble::start().await;
    let edge = guarded(&origin, Images::Signed).await;
    let ours = keys(&format!("{KEY}:{SALT}"));
    let now = edge.seconds();
    let query = signed(&ours, "/d/a.jpg?w=33&q=70", None);
    let (before, signature) = query.rsplit_once('=').unwrap();
    let path = signed(&ours, "/img/_/w:33/plain/d/a.jpg", None);
    let of_path = path.split('/').nth(2).unwrap().to_owned();
    let cdn = signed(&ours, "/cdn-cgi/image/width=33/d/a.jpg", None);
    let foreign = keys(&"ab".repeat(32));
    let mut wrong = 0;
    for (target, expected) in [
        // Missing.
        ("/d/a.jpg?w=33&q=70".to_owned(), "unsigned"),
        ("/d/a.jpg?w=0".to_owned(), "unsigned"),
        ("/cdn-cgi/image/width=33/d/a.jpg".to_owned(), "unsigned"),
        ("/d/v.mp4/poster.webp?w=20".to_owned(), "unsigned"),
        ("/d/v.mp4/poster.webp?t=2".to_owned(), "unsigned"),
        (format!("{query}&s={signature}"), "unsigned"),
        // Of imgproxy's, for open servers.
        ("/img/unsafe/w:33/plain/d/a.jpg".to_owned(), "signature"),
        ("/img/insecure/w:33/plain/d/a.jpg".to_owned(), "signature"),
        ("/img/_/w:33/plain/d/a.jpg".to_owned(), "signature"),
        // Cut off, of other case, of another key.
        (format!("{before}="), "signature"),
        (format!("{before}={}", &signature[..42]), "signature"),
        (format!("{before}={signature}="), "signature"),
        (format!("{before}={}", signature.to_ascii_uppercase()), "signature"),
        (format!("{before}={}", signature.to_ascii_lowercase()), "signature"),
        (signed(&foreign, "/d/a.jpg?w=33&q=70", None), "signature"),
        (path.replace(&of_path, &of_path.to_ascii_uppercase()), "signature"),
        (path.replace(&of_path, &of_path[..40]), "signature"),
        // Of another address: changed, in another order, with more than was signed.
        (query.replace("w=33", "w=34"), "signature"),
        (query.replace("/d/a.jpg", "/d/b.jpg"), "signature"),
        (query.replace("w=33&q=70", "q=70&w=33"), "signature"),
        (format!("{query}&v=1"), "signature"),
        (query.replace("?w", "?v=1&w"), "signature"),
        (path.replace("w:33", "w:34"), "signature"),
        (path.replace("w:33", "w:33/q:70"), "signature"),
        (path.replace("a.jpg", "b.jpg"), "signature"),
        (format!("{path}@png"), "signature"),
        (cdn.replace("width=33", "width=34"), "signature"),
        (format!("{cdn}&expires={}", now + 60), "signature"),
        (format!("/img/{signature}/w:33/q:70/plain/d/a.jpg"), "signature"),
        // Over.
        (signed(&ours, "/d/a.jpg?w=33", Some(now - 1)), "signature-expired"),
        (signed(&ours, "/d/a.jpg?w=33&expires=x", None), "signature-expired"),
        (signed(&ours, "/cdn-cgi/image/width=33/d/a.jpg", Some(now - 1)), "signature-expired"),
        (signed(&ours, "/img/_/w:33/plain/d/a.jpg", Some(now - 1)), "signature-expired"),
    ] {
        let reply = edge.get(&target).await;
        assert_eq!((reply.status, &*reason(&reply)), (403, expected), "{target}");
        assert_eq!(reply.field("cache-control"), "no-store");
        assert!(!reply.text().contains(signature), "{target}");
        wrong += u64::from(expected == "signature");
    }
    // What an origin might take for a guarded path.
    for target in [
        "//d/a.jpg?w=33",
        "/open//../d/a.jpg?w=33",
        "/d%2Fa.jpg?w=33",
        "/%2Fd/a.jpg?w=33",
        "/cdn-cgi/image/width=33//d/a.jpg",
        "/img/_/w:33/plain///d/a.jpg",
        "/img/_/w:33/plain/d%252Fa.jpg",
    ] {
        let status = edge.get(target).await.status;
        assert!(matches!(status, 400 | 403), "{target}: {status}");
    }
    assert_eq!(origin.total_hits(), 0);
    let denied = edge.metric("millrace_cache_requests_total", &["outcome=\"error\"", "reason=\"signature\""]);
    assert_eq!(denied.await, wrong);

    // A stored image is no less guarded.
    assert_eq!(edge.get(&query).await.status, 200);
    assert_eq!(edge.get("/d/a.jpg?w=33&q=70").await.status, 403);
    let short = signed(&ours, "/d/a.jpg?w=33&q=70", Some(now + 10));
    assert_eq!(edge.get(&short).await.cache(), "HIT");
    edge.advance(11);
    assert_eq!(edge.get(&short).await.status, 403);
    // Bad parameters are told to those who may ask.
    assert_eq!(edge.get(&signed(&ours, "/d/a.jpg?w=0", None)).await.status, 400);
    assert_eq!(edge.get(&signed(&ours, "/d/a.jpg?preset=other", None)).await.status, 400);
}

#[tokio::test]
async fn presets_are_made_and_nothing_else() {
    let origin = OriginDouble::start().await;
    let edge = guarded(&origin, Images::Presets).await;
    for target in [
        "/d/a.jpg?w=34&h=20&fit=crop",
        "/d/a.jpg?preset=thumb&q=70",
        "/d/a.jpg?preset=tiny",
        "/d/a.jpg?auto=format",
        "/img/_/w:33/plain/d/a.jpg",
        "/img/_/pr:thumb/plain/d/a.jpg@png",
        "/cdn-cgi/image/width=33/d/a.jpg",
        "/d/v.mp4/poster.webp?w=20",
    ] {
        let reply = edge.get(target).await;
        assert_eq!((reply.status, &*reason(&reply)), (403, "not-a-preset"), "{target}");
    }
    assert_eq!(origin.total_hits(), 0);
    let first = edge.get("/d/a.jpg?preset=thumb").await;
    assert_eq!((first.status, first.cache()), (200, "MISS"));
    for target in [
        "/d/a.jpg?w=33&h=20&fit=crop",
        "/img/_/pr:thumb/plain/d/a.jpg",
        "/img/unsafe/preset:thumb/plain/d/a.jpg@webp",
        "/cdn-cgi/image/preset=thumb/d/a.jpg",
    ] {
        let reply = edge.get(target).await;
        assert!(reply.cache() == "HIT" && reply.body == first.body, "{target}");
    }
    assert_eq!(edge.get("/d/a.jpg").await.status, 200);
    // Elsewhere a preset is one way to ask, and sizes come from the grid.
    assert_eq!(edge.get("/open/a.jpg?preset=tiny&fm=png").await.field("content-type"), "image/png");
    assert_eq!(edge.get("/open/a.jpg?preset=other").await.status, 400);
}
