//! Routes that are not for everybody: signed addresses, signed playback and tokens to read with.

use millrace::{admission::Secret, config::raw};

use super::{SECRET, send, server, token};
use crate::{
    edge::{Edge, http_origin, images::jpeg},
    origin_double::{Answer, OriginDouble},
};

/// For all times of these tests.
const END: i64 = 9_000_000_000;

fn route(path: &str, access: raw::RouteAccess) -> raw::Route {
    raw::Route { path: path.to_owned(), access, ..Default::default() }
}

/// In front of this origin; `/films` wants signatures, `/team` tokens.
async fn guarded(origin: &OriginDouble) -> Edge {
    server(|raw| {
        raw.origins = vec![http_origin(&origin.url())];
        raw.routes = vec![route("/films", raw::RouteAccess::Signed), route("/team", raw::RouteAccess::Token)];
        raw.pages.player = false;
    })
    .await
}

fn secret() -> Secret {
    Secret::new(SECRET).unwrap()
}

#[tokio::test]
async fn a_thousand_signed_addresses_share_one_copy() {
    let origin = OriginDouble::start().await;
    let edge = guarded(&origin).await;
    for path in ["/films/a/index.m3u8", "/films/a/seg-1.ts"] {
        origin.on(path, Answer::ok(path).cache_control("max-age=3600"));
    }
    for number in 0..1000 {
        let signed =
            secret().sign_directory("/films/a/index.m3u8", &format!("viewer-{number}"), END + number);
        let signed = signed.unwrap();
        let reply = edge.send("GET", &signed, &[("referer", &*signed)]).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "/films/a/index.m3u8"));
        // As a player resolves what the playlist names.
        let segment = signed.replace("index.m3u8", "seg-1.ts");
        assert_eq!(edge.send("GET", &segment, &[]).await.text(), "/films/a/seg-1.ts");
    }
    for path in ["/films/a/index.m3u8", "/films/a/seg-1.ts"] {
        let asked = origin.requests(path);
        assert_eq!(asked.len(), 1);
        assert!(!format!("{asked:?}").contains("viewer"), "{asked:?}");
    }
}

#[tokio::test]
async fn what_is_signed_is_for_that_alone() {
    let origin = OriginDouble::start().await;
    let edge = guarded(&origin).await;
    let paths = ["/films/a.jpg", "/films/b.jpg", "/films/x/a.jpg", "/team/x", "/open"];
    for path in paths {
        origin.on(path, Answer::ok(jpeg(80, 60, 9)).cache_control("max-age=3600"));
    }
    let exact = secret().sign_address("/films/a.jpg", END).unwrap();
    let variant = secret().sign_address("/films/a.jpg?w=40", END).unwrap();
    let below = secret().sign_directory("/films/x/a.jpg", "", END).unwrap();
    let over = secret().sign_directory("/films/x/a.jpg", "", 1000).unwrap();
    let forged =
        Secret::new("another-secret-0123456789-abcdefgh").unwrap().sign_address("/films/a.jpg", END).unwrap();
    for (target, status) in [
        (exact.clone(), 200),
        (variant.clone(), 200),
        (below.clone(), 200),
        // However they are written, they are signatures.
        (exact.replace("mr_signature", "mr%5Fsignature"), 200),
        (below.replace("/_millrace/", "/%5Fmillrace/"), 200),
        ("/open".to_owned(), 200),
        (secret().sign_address("/open", END).unwrap(), 200),
        ("/films/a.jpg".to_owned(), 403),
        ("/films/a.jpg?w=40".to_owned(), 403),
        ("/cdn-cgi/image/width=40/films/a.jpg".to_owned(), 403),
        (exact.replace("a.jpg", "b.jpg"), 403),
        (format!("{exact}&w=40"), 403),
        (variant.replace("w=40", "w=400"), 403),
        (exact.replace("mr_signature=", "mr_signature=x"), 403),
        (exact.replace("mr_expires=9", "mr_expires=8"), 403),
        (exact.replace("mr_signature", "mr_sign"), 403),
        (forged, 403),
        (over, 403),
        (below.replace("/films/x/a.jpg", "/films/a.jpg"), 403),
        (below.replace("/films/x/a.jpg", "/films/x/../a.jpg"), 400),
        (below.replace("/films/x/a.jpg", "/films/x/%2e%2e/a.jpg"), 400),
        (below.replace("/films/x/a.jpg", "/films/x/..%2fa.jpg"), 400),
        (below.replace(".2.", ".1."), 403),
        (below.replace("/films/x/a.jpg", ""), 400),
        (below.replace("/films/x/a.jpg", "/open"), 403),
        ("/team/x".to_owned(), 401),
        // As some origins read them.
        ("//team/x".to_owned(), 401),
        ("/team%2Fx".to_owned(), 401),
        ("/te%61m//x".to_owned(), 401),
        ("/%2Fteam/x".to_owned(), 401),
        ("/cdn-cgi/image/w=9/cdn-cgi/image/w=8/team/x".to_owned(), 401),
        ("/img/_/w:9/plain/team/v.mp4/poster.webp".to_owned(), 401),
        (secret().sign_address("/team/x", END).unwrap(), 401),
    ] {
        for method in ["GET", "HEAD"] {
            let reply = edge.send(method, &target, &[]).await;
            assert_eq!(reply.status, status, "{method} {target} {}", reply.text());
        }
    }
    for target in ["/films/a.jpg", &exact] {
        let reply = edge.send("POST", target, &[("content-length", "0")]).await;
        assert_eq!(reply.status, 403, "who may look may not change anything: {target}");
    }
    let asked = format!("{:?}", paths.map(|path| origin.requests(path)));
    assert!(!asked.contains("mr_") && !asked.contains("_millrace"), "{asked}");
}

#[tokio::test]
async fn tokens_to_read_with_are_not_passed_on_and_share_one_copy() {
    let origin = OriginDouble::start().await;
    let edge = guarded(&origin).await;
    origin.on("/team/x", Answer::ok("x").cache_control("max-age=3600"));
    origin.on("/films/x", Answer::ok("x").cache_control("max-age=3600"));
    for (token, status, cache) in [
        (token("read", None), 200, "MISS"),
        (token("read", Some("/team")), 200, "HIT"),
        (token("admin", None), 200, "HIT"),
        (token("read", Some("/other")), 403, "ERROR"),
        (token("upload", None), 403, "ERROR"),
        ("Bearer x".to_owned(), 401, "ERROR"),
    ] {
        let reply = edge.send("GET", "/team/x", &[("authorization", &*token)]).await;
        assert_eq!((reply.status, reply.cache()), (status, cache), "{token}");
        // No cache behind us is to give it to others.
        let control = if status == 200 { "private, max-age=3600" } else { "no-store" };
        assert_eq!(reply.field("cache-control"), control, "{token}");
    }
    let reader = token("read", None);
    assert_eq!(edge.send("GET", "/films/x", &[("authorization", &*reader)]).await.status, 200);
    assert!(!format!("{:?}", origin.requests("/team/x")).contains("earer"));
}

/// What is stored here can be kept for some like anything else.
#[tokio::test]
async fn assets_can_be_kept_for_those_with_signatures() {
    let edge = server(|raw| raw.routes = vec![route("/assets", raw::RouteAccess::Signed)]).await;
    send(&edge, "PUT", "/assets/a.txt", &[], b"mine").await;
    assert_eq!(edge.get("/assets/a.txt").await.status, 403);
    let signed = secret().sign_address("/assets/a.txt", END).unwrap();
    assert_eq!(edge.get(&signed).await.text(), "mine");
}
