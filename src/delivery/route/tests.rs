//! What targets ask for, and which of them share a key.

use http::HeaderMap;

use super::*;
use crate::delivery::policy::tests::policies;

fn key_at(host: &str, target: &str) -> String {
    let policies = policies(&[("a.example", "/"), ("*.b.example", "/v.mp4/poster.webp")]);
    Plan::of(&Target::parse(target).unwrap(), host, &policies).unwrap().key_text()
}

fn key(target: &str) -> String {
    key_at("", target)
}

fn shape(target: &str) -> Result<Shape, BadQuery> {
    let (target, policies) = (Target::parse(target).unwrap(), policies(&[]));
    let located = Located::of(&target)?;
    Shape::read(&target, &located, policies.of("", "/"))
}

#[test]
fn equal_requests_share_a_key() {
    assert_eq!(key("/a.jpg?w=320&fm=webp"), key("/a.jpg?fm=webp&w=320"));
    assert_eq!(key("/a.jpg?w=320&v=2"), key("/a.jpg?v=2&w=320"));
    assert_ne!(key("/a.jpg?w=320"), key("/a.jpg?w=320&v=2"));
    assert_ne!(key("/a.jpg?w=320"), key("/a.jpg"));
    assert_eq!(key("/v.mp4/poster.webp?t=2.5&w=640"), key("/v.mp4/poster.webp?w=640&t=2.500"));
}

#[test]
fn hosts_share_keys_unless_a_route_names_them() {
    assert_eq!(key_at("made.up", "/a?y&x"), "/a?x&y");
    assert_eq!(key_at("A.Example:80", "/a.jpg?w=9"), format!("a.example{}", key("/a.jpg?w=9")));
    // What is made of a source follows the source.
    assert_eq!(key_at("x.b.example", "/v.mp4/poster.webp"), key("/v.mp4/poster.webp"));
}

#[test]
fn only_known_shapes_are_derived() {
    for plain in
        ["/a.txt?w=320", "/a.jpg?v=2", "/v.mp4", "/v.mp4/other", "/v.txt/master.m3u8", "/v.mp4/1080p/x"]
    {
        let plan = shape(plain).unwrap();
        assert_eq!(plan.route, Route::Asset, "{plain}");
        assert_eq!(plan.source.to_string(), plain);
    }
    let plan = shape("/d/v.mp4/source/seg-3.m4s").unwrap();
    assert_eq!((plan.route, plan.source.path()), (Route::Segment, "/d/v.mp4"));
    let plan = shape("/a.png?x=1&w=10&y=2").unwrap();
    assert_eq!(plan.source.to_string(), "/a.png?x=1&y=2");
}

#[test]
fn the_client_chooses_the_format() {
    let policies = policies(&[]);
    let plan = |target: &str, accept: &'static str| {
        let accept = [(header::ACCEPT, HeaderValue::from_static(accept))];
        let plan = Plan::of(&Target::parse(target).unwrap(), "", &policies).unwrap();
        plan.settled(&accept.into_iter().collect::<HeaderMap>(), &[])
    };
    for (accept, format) in [
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "newest"),
        ("image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", "newest"),
        ("image/webp, image/avif;Q=0", "webp"),
        ("image/avif, */*", "baseline"),
        ("IMAGE/WEBP ; q=0.5", "webp"),
        ("image/webp;q=0, */*", "baseline"),
        ("image/png, */*", "baseline"),
        ("", "baseline"),
    ] {
        let plan = plan("/a.jpg?w=10&auto=format", accept);
        assert_eq!(plan.key_text(), format!("/a.jpg image:w=10,fit=clip,fm={format},q=80"), "{accept}");
        assert_eq!(plan.vary().unwrap().1, "Accept");
    }
    let fixed = plan("/a.jpg?w=10&auto=format&fm=png", "image/webp");
    assert_eq!((fixed.key_text().as_str(), fixed.vary()), ("/a.jpg image:w=10,fit=clip,fm=png", None));
}

#[test]
fn three_dialects_have_one_key() {
    let expected = key("/d/a.jpg?w=320&h=240&fit=crop&v=2");
    for target in [
        "/cdn-cgi/image/width=320,height=240,fit=cover/d/a.jpg?v=2",
        "/img/unsafe/rs:fill:320:240/plain/d/a.jpg?v=2",
        "/img/_/rs:fill/w:320/h:240/plain/d/a.jpg@webp?v=2",
    ] {
        assert_eq!(key(target), expected, "{target}");
    }
    assert_eq!(key("/img/_/plain/a.jpg@png"), key("/a.jpg?fm=png"));
    for plain in ["/img/a.jpg", "/img/a/b.jpg", "/cdn-cgi/image/a.jpg", "/img/plain/a.jpg"] {
        assert_eq!(key(plain), plain, "a file of the origin's");
    }
    let error = shape("/cdn-cgi/image/width=x/a.jpg").unwrap_err();
    assert!(error.to_string().contains("`w`"), "{error}");
}

#[test]
fn bad_parameters_are_named() {
    for bad in ["/a.jpg?w=0", "/a.jpg?q=101", "/v.mp4/poster.webp?t=-1", "/v.mp4/poster.webp?t=nan"] {
        let error = shape(bad).unwrap_err();
        let name = bad.split(['?', '=']).nth(1).unwrap();
        assert!(error.to_string().contains(&format!("`{name}`")), "{bad}: {error}");
    }
}
