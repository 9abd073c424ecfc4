//! What browsers tell of themselves: it counts where it is asked for, in few steps, and is named in `Vary`. And SVG, which is
//! served so that nothing in it runs.

use millrace::config::raw::{self, Svg};

use super::{
    Edge,
    images::{jpeg, made, size},
};
use crate::origin_double::{Answer, OriginDouble};

fn answer(bytes: impl Into<Vec<u8>>, content_type: &str) -> Answer {
    Answer::ok(bytes.into()).etag("\"1\"").cache_control("max-age=60").content_type(content_type)
}

#[tokio::test]
async fn hints_count_where_they_are_asked_for() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/a.jpg", answer(jpeg(800, 600, 1), "image/jpeg"));
    for (target, fields, width, vary, accepted) in [
        ("/a.jpg?w=100", &[("sec-ch-dpr", "2"), ("dpr", "2"), ("save-data", "on")][..], 100, "", ""),
        ("/a.jpg?w=100&ch=dpr", &[("sec-ch-dpr", "2")], 200, "sec-ch-dpr, dpr", "sec-ch-dpr, dpr"),
        ("/a.jpg?w=100&auto=dpr", &[("dpr", "1.9")], 200, "sec-ch-dpr, dpr", "sec-ch-dpr, dpr"),
        ("/a.jpg?w=100&ch=dpr", &[], 100, "sec-ch-dpr, dpr", "sec-ch-dpr, dpr"),
        ("/a.jpg?w=100&ch=dpr", &[("sec-ch-dpr", "x")], 100, "sec-ch-dpr, dpr", "sec-ch-dpr, dpr"),
        ("/a.jpg?w=100&dpr=2&ch=dpr", &[("dpr", "3")], 200, "", ""),
        ("/a.jpg?ch=width", &[("sec-ch-width", "155")], 160, "sec-ch-width, width", "sec-ch-width, width"),
        ("/a.jpg?w=100&ch=save-data", &[("save-data", "on")], 100, "save-data", ""),
        ("/a.jpg?w=100&ch=save-data", &[("save-data", "off")], 100, "save-data", ""),
    ] {
        let reply = edge.ask("GET", target, fields).await;
        assert_eq!((reply.status, size(&reply).0), (200, width), "{target} {fields:?}");
        assert_eq!((reply.field("vary"), reply.field("accept-ch")), (vary, accepted), "{target} {fields:?}");
    }
    // 100 and 200 wide, 160 wide, 100 wide with less quality: told apart by what comes out, not by what was told.
    assert_eq!(made(&edge).await, 4);
    let both =
        edge.ask("GET", "/a.jpg?w=100&auto=format,dpr", &[("dpr", "3"), ("accept", "image/webp")]).await;
    assert_eq!((both.field("vary"), size(&both).0), ("Accept, sec-ch-dpr, dpr", 300));
    let lean = edge.ask("GET", "/a.jpg?w=100&ch=save-data,dpr", &[("save-data", "on"), ("dpr", "3")]).await;
    assert!(lean.cache() == "HIT" && lean.body.len() < edge.get("/a.jpg?w=100").await.body.len());
    // However many there are in the world.
    for tenths in 11..=40 {
        let ratio = format!("{}.{}", tenths / 10, tenths % 10);
        edge.ask("GET", "/a.jpg?w=100&ch=dpr", &[("dpr", &ratio)]).await;
    }
    assert_eq!(made(&edge).await, 6, "also 1.5 and 3");
    assert_eq!(edge.get("/a.jpg?ch=battery").await.status, 400);
    assert_eq!(origin.hits("/a.jpg"), 1);
}

#[tokio::test]
async fn a_route_asks_for_hints() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        let client_hints = ["DPR", "Save-Data"].map(str::to_owned).to_vec();
        raw.routes = vec![raw::Route { client_hints, ..Default::default() }];
    });
    let edge = edge.await;
    origin.on("/a.jpg", answer(jpeg(800, 600, 1), "image/jpeg"));
    origin.on("/page", answer("<p>", "text/html; charset=utf-8"));
    origin.on("/script", answer("1", "text/javascript"));
    for cache in ["MISS", "HIT"] {
        let page = edge.get("/page").await;
        assert_eq!((page.cache(), page.field("accept-ch")), (cache, "sec-ch-dpr, dpr"));
        assert_eq!(edge.get("/script").await.field("accept-ch"), "");
    }
    let reply = edge.ask("GET", "/a.jpg?w=100", &[("sec-ch-dpr", "2")]).await;
    assert_eq!((size(&reply).0, reply.field("vary")), (200, "sec-ch-dpr, dpr, save-data"));
    let source = edge.ask("GET", "/a.jpg", &[("sec-ch-dpr", "2")]).await;
    assert_eq!((source.field("vary"), source.field("accept-ch")), ("", ""));
}

const SVG: &str = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";

#[tokio::test]
async fn svg_is_served_so_that_nothing_runs() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin
        .on("/a.svg", answer(SVG, "image/svg+xml; charset=utf-8").header("content-security-policy", "none"));
    // By its type, whatever its name.
    origin.on("/plain", answer(SVG, "Image/SVG+XML"));
    origin.on("/lying.png", answer(SVG, "image/png"));
    origin.on("/text", answer("text", "text/plain"));
    for target in ["/a.svg", "/plain", "/a.svg?auto=format", "/a.svg?auto=format,compress", "/a.svg?fm=webp"]
    {
        for cache in ["MISS", "HIT"] {
            let reply = edge.get(target).await;
            assert_eq!((reply.status, reply.text().as_str()), (200, SVG), "{target}");
            let policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox";
            assert_eq!(reply.field("content-security-policy"), policy, "{target} {cache}");
            assert_eq!(reply.field("x-content-type-options"), "nosniff", "{target} {cache}");
        }
    }
    for target in ["/a.svg?w=10", "/a.svg?fm=png", "/cdn-cgi/image/width=10/a.svg", "/lying.png?w=10"] {
        let reply = edge.get(target).await;
        assert_eq!(reply.status, 415, "{target}");
        assert!(reply.text().contains("image_unsupported"), "{target}");
    }
    assert_eq!(edge.get("/lying.png").await.field("x-content-type-options"), "nosniff");
    assert_eq!(edge.get("/text").await.field("x-content-type-options"), "");
    assert_eq!(made(&edge).await, 0);

    let edge = Edge::with(&origin, |raw| raw.media.svg = Svg::Refuse).await;
    for target in ["/a.svg", "/a.svg", "/plain", "/a.svg?auto=format"] {
        let reply = edge.get(target).await;
        assert_eq!((reply.status, reply.text().contains("\"reason\":\"svg\"")), (403, true), "{target}");
        assert!(!reply.text().contains("script"), "{target}");
    }
}
