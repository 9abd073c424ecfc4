//! A bucket behind a scripted server: what is asked of it, and what is made of every way in which S3 says no. The real
//! server is in `conformance`.

use std::sync::Arc;

use ::http::Method;
use millrace::origin::{
    Chain, ErrorKind, Member, Origin, Request, RetryPolicy, http as http_origin, member,
    s3::{Config, Identity, S3},
};
use url::Url;

use super::{collect, failure, get, text};
use crate::origin_double::{Answer, OriginDouble, RecordedRequest};

fn bucket(double: &OriginDouble) -> Config {
    let endpoint = Url::parse(&double.url()).unwrap();
    let http = http_origin::Config::new("s3", endpoint.clone());
    let config = Config::new("s3", "media", http);
    Config { endpoint: Some(endpoint), identity: Identity::Anonymous, ..config }
}

fn origin(double: &OriginDouble) -> S3 {
    S3::new(bucket(double)).unwrap()
}

fn object() -> Answer {
    Answer::ok("0123456789").etag("\"v1\"").header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")
}

fn error(status: u16, code: &str) -> Answer {
    let document = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>about {code}</Message><Key>secret/key</Key></Error>"
    );
    Answer::ok(document).status(status).content_type("application/xml")
}

#[tokio::test]
async fn the_object_comes_with_the_fields_of_http() {
    let double = OriginDouble::start().await;
    let answer = object()
        .header("x-amz-request-id", "1")
        .header("x-amz-meta-owner", "me")
        .header("x-amz-server-side-encryption", "AES256")
        .header("content-encoding", "aws-chunked")
        .header("content-language", "de")
        .content_type("binary/octet-stream");
    double.on("/media/a.mp4", answer);
    let got = origin(&double).fetch(get("/a.mp4?v=1", &[("cookie", "a=b"), ("x-other", "1")])).await.unwrap();
    assert_eq!((got.status.as_u16(), got.content_length, &*got.origin), (200, Some(10), "s3"));
    let mut names: Vec<_> = got.headers.keys().map(|name| name.as_str().to_owned()).collect();
    names.sort_unstable();
    let expected = [
        "accept-ranges",
        "cache-control",
        "content-language",
        "content-length",
        "content-type",
        "date",
        "etag",
        "last-modified",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        (&got.headers["content-type"], &got.headers["cache-control"]),
        (&"video/mp4".parse().unwrap(), &"public, max-age=60".parse().unwrap())
    );
    assert_eq!(text(got).await, "0123456789");
    let asked = &double.requests("/media/a.mp4")[0];
    assert_eq!(asked.target, "/media/a.mp4?x-id=GetObject");
    assert!(!asked.headers.contains_key("cookie") && !asked.headers.contains_key("x-other"));

    let shown = S3::new(Config { metadata: true, ..bucket(&double) }).unwrap();
    let got = shown.fetch(get("/a.mp4", &[])).await.unwrap();
    assert_eq!(got.headers["x-amz-meta-owner"], "me");
}

/// S3 knows `If-Match` and answers 412, where HTTP knows `If-Range` and wants the whole.
#[tokio::test]
async fn a_range_of_another_version_becomes_the_whole() {
    let double = OriginDouble::start().await;
    double.on_with("/media/a", |request: &RecordedRequest| match request.header("if-match") {
        "" | "\"v1\"" => object(),
        _ => error(412, "PreconditionFailed"),
    });
    let origin = origin(&double);
    for (if_range, status, body, requests) in [
        ("\"v1\"", 206, "234", 1),
        ("\"v0\"", 200, "0123456789", 2),
        ("W/\"v1\"", 200, "0123456789", 1),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 206, "234", 1),
        ("Sun, 06 Nov 1994 08:49:36 GMT", 200, "0123456789", 2),
    ] {
        let before = double.total_hits();
        let got = origin.fetch(get("/a", &[("range", "bytes=2-4"), ("if-range", if_range)])).await.unwrap();
        assert_eq!((got.status.as_u16(), &*text(got).await), (status, body), "{if_range}");
        assert_eq!(double.total_hits() - before, requests, "{if_range}");
    }
    let asked = &double.requests("/media/a")[0];
    assert_eq!((asked.header("if-match"), asked.header("range")), ("\"v1\"", "bytes=2-4"));
    assert_eq!(asked.header("if-range"), "");
}

#[tokio::test]
async fn conditions_are_left_to_s3_where_it_knows_them() {
    let double = OriginDouble::start().await;
    double.on("/media/a", object());
    let origin = origin(&double);
    for (fields, sent) in [
        (&[("if-none-match", "\"v1\"")][..], ("\"v1\"", "")),
        (&[("if-none-match", "\"v0\", \"v1\"")], ("", "")),
        (&[("if-none-match", "*")], ("", "")),
        (&[("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")], ("", "Sun, 06 Nov 1994 08:49:37 GMT")),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let got = origin.fetch(Request { method, ..get("/a", fields) }).await.unwrap();
            assert_eq!((got.status.as_u16(), got.content_length), (304, Some(0)), "{fields:?}");
            assert_eq!(got.headers["etag"], "\"v1\"", "{fields:?}");
            let asked = double.requests("/media/a").pop().unwrap();
            assert_eq!(
                (asked.header("if-none-match"), asked.header("if-modified-since")),
                sent,
                "{fields:?}"
            );
        }
    }
    let got = origin.fetch(get("/a", &[("if-match", "\"v0\"")])).await.unwrap();
    assert_eq!(got.status, 412);
}

#[tokio::test]
async fn every_no_is_told_apart() {
    let double = OriginDouble::start().await;
    let origin = origin(&double);
    // As answers of the object: never S3's document, which names bucket and key.
    for (answer, status) in [
        (error(404, "NoSuchKey"), 404),
        (error(403, "AccessDenied"), 403),
        (error(403, "InvalidObjectState"), 403),
        (error(400, "KeyTooLongError"), 404),
    ] {
        double.on("/media/a", answer);
        let got = origin.fetch(get("/a", &[])).await.unwrap();
        assert_eq!((got.status.as_u16(), got.content_length), (status, Some(0)));
        assert_eq!(collect(got.body).await.unwrap(), b"");
    }
    // Where the bucket may not be listed, a missing object looks denied.
    double.on("/media/a", error(403, "AccessDenied"));
    let lenient = S3::new(Config { denied_is_missing: true, ..bucket(&double) }).unwrap();
    assert_eq!(lenient.fetch(get("/a", &[])).await.unwrap().status, 404);
    double.on("/media/a", error(403, "ExpiredToken"));
    assert_eq!(failure(lenient.fetch(get("/a", &[])).await), ErrorKind::Refused);
    // As troubles of ours with S3: other origins are asked, what is stale is served.
    for (answer, kind, words) in [
        (error(404, "NoSuchBucket"), ErrorKind::Refused, "NoSuchBucket"),
        (error(400, "ExpiredToken"), ErrorKind::Refused, "ExpiredToken: about ExpiredToken"),
        (error(403, "InvalidAccessKeyId"), ErrorKind::Refused, "InvalidAccessKeyId"),
        (error(403, "SignatureDoesNotMatch"), ErrorKind::Refused, "SignatureDoesNotMatch"),
        (
            error(301, "PermanentRedirect").header("x-amz-bucket-region", "eu-west-1"),
            ErrorKind::Refused,
            "eu-west-1",
        ),
        (error(503, "SlowDown"), ErrorKind::Unavailable, "SlowDown"),
        (error(500, "InternalError"), ErrorKind::Unavailable, "InternalError"),
        (Answer::empty(502), ErrorKind::Unavailable, "502"),
        (Answer::hang_up(), ErrorKind::BrokenBody, ""),
        (Answer::raw("nonsense\r\n\r\n"), ErrorKind::BadResponse, ""),
    ] {
        double.on("/media/a", answer);
        let failed = origin.fetch(get("/a", &[])).await.err().unwrap();
        assert_eq!(failed.kind, kind, "{failed}");
        assert!(failed.detail.contains(words), "{failed}");
        assert!(!failed.detail.contains("secret/key"), "{failed}");
    }
    double.go_down().await;
    assert_eq!(origin.fetch(get("/a", &[])).await.err().unwrap().kind, ErrorKind::Connect);
}

/// HEAD has no document that would say so.
#[tokio::test]
async fn a_wrong_clock_is_named() {
    let double = OriginDouble::start().await;
    let origin = origin(&double);
    for (date, words) in [
        ("Sun, 06 Nov 1994 08:49:37 GMT", "s ahead of that of S3"),
        ("Fri, 31 Dec 9999 23:59:59 GMT", "s behind that of S3"),
    ] {
        double.on("/media/a", Answer::empty(403).no_date().header("date", date));
        for method in [Method::GET, Method::HEAD] {
            let failed = origin.fetch(Request::new(method, "/a")).await.err().unwrap();
            assert_eq!(failed.kind, ErrorKind::Refused);
            assert!(failed.detail.contains(words), "{failed}");
        }
    }
}

/// What Amazon says of a range beyond the end stands in the document only.
#[tokio::test]
async fn the_length_comes_with_a_refused_range() {
    let double = OriginDouble::start().await;
    let document = "<Error><Code>InvalidRange</Code><ActualObjectSize>10</ActualObjectSize></Error>";
    double.on("/media/a", Answer::ok(document).status(416).content_type("application/xml"));
    let got = origin(&double).fetch(get("/a", &[("range", "bytes=10-")])).await.unwrap();
    assert_eq!((got.status.as_u16(), &got.headers["content-range"]), (416, &"bytes */10".parse().unwrap()));
}

#[tokio::test]
async fn a_bucket_that_is_slowed_down_is_asked_again() {
    let double = OriginDouble::start().await;
    double.on("/media/a", error(503, "SlowDown").times(1));
    double.on("/media/a", object());
    let member = Member::new(Arc::new(origin(&double)), member::Config::default());
    let chain = Chain::new(vec![Arc::new(member)], RetryPolicy::default());
    assert_eq!(text(chain.fetch(get("/a", &[])).await.unwrap()).await, "0123456789");
    assert_eq!(double.hits("/media/a"), 2);
}

#[tokio::test]
async fn a_body_that_breaks_is_no_whole_one() {
    let double = OriginDouble::start().await;
    double.on("/media/a", Answer::pattern(300_000, 3).etag("\"v1\"").cut_at(100_000));
    let got = origin(&double).fetch(get("/a", &[])).await.unwrap();
    let (bytes, failed) = collect(got.body).await.unwrap_err();
    assert_eq!((bytes.len(), failed.kind), (100_000, ErrorKind::ShortBody), "{failed}");
}

#[tokio::test]
async fn nothing_but_objects_is_asked_for() {
    let double = OriginDouble::start().await;
    double.on_any(Answer::ok("<ListBucketResult/>"));
    let origin = origin(&double);
    for target in ["/", "/?list-type=2", "/?prefix=a"] {
        assert_eq!(origin.fetch(get(target, &[])).await.unwrap().status, 404, "{target}");
    }
    for method in [Method::PUT, Method::POST, Method::DELETE, Method::OPTIONS] {
        assert_eq!(origin.fetch(Request::new(method, "/a")).await.unwrap().status, 405);
    }
    for target in ["/../other/a", "/a%2F..%2Fb", "/%2e%2e/a"] {
        assert_eq!(
            origin.fetch(get(target, &[])).await.err().unwrap().kind,
            ErrorKind::Forbidden,
            "{target}"
        );
    }
    assert_eq!(double.total_hits(), 0);
}
