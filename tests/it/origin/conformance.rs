//! One table of behaviours that every kind of origin keeps: a directory, an HTTP server, a bucket on a real S3 server, and
//! another Millrace. All hold the same files.

use std::path::Path;

use ::http::{HeaderMap, HeaderValue, Method, header};
use futures_util::{StreamExt, future::join_all};
use millrace::origin::{
    ErrorKind, Origin, Request, Response, directory,
    http::{Config as HttpConfig, Http},
    s3,
};
use tempfile::TempDir;
use url::Url;

use super::{collect, s3_server::S3Server};
use crate::{
    edge::Edge,
    origin_double::{Answer, OriginDouble, pattern_bytes},
};

const MIB: u64 = 1 << 20;
const LARGE: u64 = 5 * MIB;
const LENGTHS: [u64; 6] = [0, 1, MIB - 1, MIB, MIB + 1, LARGE];
const SEED: u64 = 11;

/// Name on disk, and the targets that reach it.
const ODD: [(&str, &[&str]); 5] = [
    ("a b.jpg", &["/odd/a%20b.jpg"]),
    ("é€.jpg", &["/odd/%C3%A9%E2%82%AC.jpg"]),
    ("a+b.jpg", &["/odd/a+b.jpg", "/odd/a%2Bb.jpg"]),
    ("100%.jpg", &["/odd/100%25.jpg"]),
    ("a~b(c)'d,e;f=g&h@i!.jpg", &["/odd/a~b(c)'d,e;f=g&h@i!.jpg", "/odd/a~b%28c%29%27d,e;f=g&h@i!.jpg"]),
];

/// A directory that can also be the data of the S3 server: its only folder is the bucket.
fn files() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let bucket = dir.path().join("media");
    std::fs::create_dir_all(bucket.join("odd")).unwrap();
    for length in LENGTHS {
        std::fs::write(bucket.join(format!("{length}.mp4")), pattern_bytes(SEED, 0..length)).unwrap();
    }
    for (name, _) in ODD {
        std::fs::write(bucket.join("odd").join(name), name).unwrap();
    }
    dir
}

fn http(url: &str) -> Http {
    Http::new(HttpConfig::new("http", Url::parse(url).unwrap())).unwrap()
}

#[tokio::test]
async fn a_directory_conforms() {
    let files = files();
    let origin =
        directory::Directory::new(directory::Config::new("files", files.path().join("media"))).unwrap();
    conform(&origin).await;
    long_suffixes(&origin).await;
}

#[tokio::test]
async fn an_http_server_conforms() {
    let double = OriginDouble::start().await;
    let modified = "Sun, 06 Nov 1994 08:49:37 GMT";
    let object = |answer: Answer, kind: &str| {
        answer.content_type(kind).etag("\"v1\"").header("last-modified", modified)
    };
    for length in LENGTHS {
        double.on(&format!("/{length}.mp4"), object(Answer::pattern(length, SEED), "video/mp4"));
    }
    for (name, targets) in ODD {
        for target in targets {
            double.on(target, object(Answer::ok(name), "image/jpeg"));
        }
    }
    let origin = http(&double.url());
    conform(&origin).await;
    long_suffixes(&origin).await;
}

#[tokio::test]
async fn a_bucket_conforms() {
    let files = files();
    let server = S3Server::start(files.path()).await;
    conform(&s3::S3::new(server.bucket("media")).unwrap()).await;
}

#[tokio::test]
async fn keys_below_a_prefix_conform() {
    let files = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(files.path().join("media")).unwrap();
    let inner = self::files();
    copy(&inner.path().join("media"), &files.path().join("media/below/this one"));
    let server = S3Server::start(files.path()).await;
    let config = s3::Config { prefix: "below/this one".into(), ..server.bucket("media") };
    conform(&s3::S3::new(config).unwrap()).await;
}

#[tokio::test]
async fn another_millrace_conforms() {
    let files = files();
    let parent = Edge::over_directory(&files.path().join("media")).await;
    let origin = http(&format!("http://{}", parent.data()));
    conform(&origin).await;
    long_suffixes(&origin).await;
}

#[tokio::test]
async fn every_kind_takes_off_what_its_requests_must_begin_with() {
    let files = files();
    let media = files.path().join("media");
    let server = S3Server::start(files.path()).await;
    let parent = Edge::over_directory(&media).await;
    let base = Url::parse(&format!("http://{}", parent.data())).unwrap();
    let strip_prefix = || "/films/".to_owned();
    let directory = directory::Config { strip_prefix: strip_prefix(), ..directory::Config::new("d", &media) };
    let http = HttpConfig { strip_prefix: strip_prefix(), ..HttpConfig::new("h", base) };
    let bucket = s3::Config { strip_prefix: strip_prefix(), ..server.bucket("media") };
    let origins: [Box<dyn Origin>; 3] = [
        Box::new(directory::Directory::new(directory).unwrap()),
        Box::new(Http::new(http).unwrap()),
        Box::new(s3::S3::new(bucket).unwrap()),
    ];
    for origin in origins {
        let name = origin.name().clone();
        let get = |target: &str| origin.fetch(Request::new(Method::GET, target));
        let seen = Seen::of(get("/films/odd/a%20b.jpg").await.unwrap()).await;
        assert_eq!((seen.status, &*seen.body), (200, &b"a b.jpg"[..]), "{name}");
        assert_eq!(Seen::of(get("/films/none").await.unwrap()).await.status, 404, "{name}");
        for outside in ["/odd/a%20b.jpg", "/filmsodd/a%20b.jpg", "/films/../odd/a%20b.jpg"] {
            let refused = get(outside).await.err().map(|error| error.kind);
            assert_eq!(refused, Some(ErrorKind::Forbidden), "{name} {outside}");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => std::fs::copy(entry.path(), to).map(drop).unwrap(),
        }
    }
}

/// What one request came to.
struct Seen {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Seen {
    async fn of(response: Response) -> Self {
        let Response { status, headers, content_length, body, .. } = response;
        let body = collect(body).await.unwrap();
        assert_eq!(content_length, Some(body.len() as u64), "the declared length");
        Self { status: status.as_u16(), headers, body }
    }

    fn field(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

type Fields<'a> = &'a [(header::HeaderName, &'a str)];

fn request(method: Method, target: &str, fields: Fields<'_>) -> Request {
    let mut request = Request::new(method, target);
    for (name, value) in fields {
        request.headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
    }
    request
}

async fn ask(origin: &dyn Origin, method: Method, target: &str, fields: Fields<'_>) -> Seen {
    match origin.fetch(request(method, target, fields)).await {
        Ok(response) => Seen::of(response).await,
        Err(error) => panic!("{target} {fields:?}: {error}"),
    }
}

async fn conform(origin: &dyn Origin) {
    wholes(origin).await;
    ranges(origin).await;
    conditions(origin).await;
    names(origin).await;
    company(origin).await;
}

async fn wholes(origin: &dyn Origin) {
    for length in LENGTHS {
        let target = format!("/{length}.mp4");
        let whole = ask(origin, Method::GET, &target, &[]).await;
        assert_eq!(whole.status, 200, "{target}");
        assert!(whole.body == pattern_bytes(SEED, 0..length), "{target}: other bytes");
        assert_eq!(whole.field(header::CONTENT_LENGTH), length.to_string());
        assert_eq!(whole.field(header::CONTENT_TYPE), "video/mp4");
        assert!(whole.field(header::ETAG).starts_with('"'), "{target}: {:?}", whole.headers);
        assert!(httpdate::parse_http_date(whole.field(header::LAST_MODIFIED)).is_ok(), "{:?}", whole.headers);
        assert!(httpdate::parse_http_date(whole.field(header::DATE)).is_ok(), "{:?}", whole.headers);
        let head = ask(origin, Method::HEAD, &target, &[]).await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{target}");
        for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::ETAG, header::LAST_MODIFIED] {
            assert_eq!(head.field(name.clone()), whole.field(name), "HEAD {target}");
        }
        let leaked = whole.headers.keys().find(|name| name.as_str().starts_with("x-amz"));
        assert_eq!(leaked, None);
    }
}

async fn ranges(origin: &dyn Origin) {
    let end = LARGE;
    for (range, part) in [
        ("bytes=0-0".to_owned(), 0..1),
        ("bytes=0-99".to_owned(), 0..100),
        (format!("bytes={}-{}", MIB - 3, MIB + 3), MIB - 3..MIB + 4),
        (format!("bytes={}-", end - 10), end - 10..end),
        (format!("bytes={}-{}", end - 10, end + 10), end - 10..end),
        ("bytes=-10".to_owned(), end - 10..end),
        ("bytes=0-".to_owned(), 0..end),
    ] {
        let got = ask(origin, Method::GET, &format!("/{LARGE}.mp4"), &[(header::RANGE, &range)]).await;
        assert_eq!(got.status, 206, "{range}");
        let expected = format!("bytes {}-{}/{LARGE}", part.start, part.end - 1);
        assert_eq!(got.field(header::CONTENT_RANGE), expected, "{range}");
        assert_eq!(got.field(header::CONTENT_LENGTH), (part.end - part.start).to_string(), "{range}");
        assert!(got.body == pattern_bytes(SEED, part), "{range}: other bytes");
    }
    for (length, range) in
        [(LARGE, format!("bytes={LARGE}-")), (1, "bytes=1-5".to_owned()), (0, "bytes=0-".to_owned())]
    {
        let got = ask(origin, Method::GET, &format!("/{length}.mp4"), &[(header::RANGE, &range)]).await;
        assert_eq!(got.status, 416, "{range} of {length}");
        assert_eq!(got.field(header::CONTENT_RANGE), format!("bytes */{length}"));
    }
}

/// Not asked of s3s-fs 0.14.1, which answers 500.
async fn long_suffixes(origin: &dyn Origin) {
    for (length, suffix) in [(LARGE, LARGE + 1), (1, u64::from(u32::MAX))] {
        let (target, range) = (format!("/{length}.mp4"), format!("bytes=-{suffix}"));
        let got = ask(origin, Method::GET, &target, &[(header::RANGE, &range)]).await;
        assert_eq!(got.status, 206, "{range}");
        assert!(got.body == pattern_bytes(SEED, 0..length), "{range}: other bytes");
    }
}

async fn conditions(origin: &dyn Origin) {
    let target = format!("/{MIB}.mp4");
    let whole = ask(origin, Method::HEAD, &target, &[]).await;
    let (tag, modified) = (whole.field(header::ETAG), whole.field(header::LAST_MODIFIED));
    let (weak, list) = (format!("W/{tag}"), format!("\"other\", {tag}"));
    let (past, beyond) = ("Sun, 06 Nov 1994 08:49:36 GMT", format!("bytes={MIB}-"));
    use header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE};
    let length = MIB as usize;
    for (fields, status, bytes) in [
        (&[(IF_NONE_MATCH, tag)][..], 304, 0),
        (&[(IF_NONE_MATCH, &weak)], 304, 0),
        (&[(IF_NONE_MATCH, &list)], 304, 0),
        (&[(IF_NONE_MATCH, "*")], 304, 0),
        (&[(IF_NONE_MATCH, "\"other\"")], 200, length),
        (&[(IF_MODIFIED_SINCE, modified)], 304, 0),
        (&[(IF_MODIFIED_SINCE, past)], 200, length),
        (&[(IF_NONE_MATCH, "\"other\""), (IF_MODIFIED_SINCE, modified)], 200, length),
        (&[(IF_RANGE, tag), (RANGE, "bytes=1-4")], 206, 4),
        (&[(IF_RANGE, "\"other\""), (RANGE, "bytes=1-4")], 200, length),
        (&[(IF_RANGE, &weak), (RANGE, "bytes=1-4")], 200, length),
        (&[(IF_RANGE, past), (RANGE, "bytes=1-4")], 200, length),
        (&[(IF_RANGE, tag), (RANGE, &beyond)], 416, 0),
        (&[(IF_RANGE, "\"other\""), (RANGE, &beyond)], 200, length),
    ] {
        let got = ask(origin, Method::GET, &target, fields).await;
        assert_eq!(got.status, status, "{fields:?}");
        match status {
            304 => assert_eq!(got.field(header::ETAG), tag, "{fields:?}"),
            416 => continue,
            _ => {}
        }
        assert_eq!(got.body.len(), bytes, "{fields:?}");
    }
}

async fn names(origin: &dyn Origin) {
    for (name, targets) in ODD {
        for target in targets {
            let got = ask(origin, Method::GET, target, &[]).await;
            assert_eq!((got.status, &*String::from_utf8_lossy(&got.body)), (200, name), "{target}");
            assert_eq!(got.field(header::CONTENT_TYPE), "image/jpeg", "{target}");
        }
    }
    for target in ["/none", "/none.mp4?x=1", "/odd/none/x", "/", "/?list-type=2"] {
        for method in [Method::GET, Method::HEAD] {
            let got = ask(origin, method, target, &[]).await;
            assert_eq!(got.status, 404, "{target}");
        }
    }
    // Refused one way or the other: never another name for something that is there.
    for target in ["/odd%2Fa+b.jpg", "/odd/../1.mp4", "/odd/%2e%2e/1.mp4", "/..%2f1.mp4", "/odd%5Ca+b.jpg"] {
        if let Ok(response) = origin.fetch(request(Method::GET, target, &[])).await {
            assert!(response.status.is_client_error(), "{target}: {}", response.status);
        }
    }
}

/// Many readers at once, some of whom leave early.
async fn company(origin: &dyn Origin) {
    let target = format!("/{LARGE}.mp4");
    let expected = pattern_bytes(SEED, 0..LARGE);
    let reads = (0..12).map(async |reader| {
        let mut response = origin.fetch(request(Method::GET, &target, &[])).await.unwrap();
        if reader % 3 == 0 {
            return response.body.next().await.unwrap().is_ok_and(|first| expected.starts_with(&first));
        }
        collect(response.body).await.unwrap() == expected
    });
    assert_eq!(join_all(reads).await, [true; 12]);
    assert!(ask(origin, Method::GET, &target, &[]).await.body == expected);
}
