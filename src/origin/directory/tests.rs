//! What a directory origin answers: content, headers, refusals, ranges, and files that change under the reader.

use std::{
    fs,
    os::unix::fs::{FileExt, symlink},
    time::Duration,
};

use http::HeaderName;
use tempfile::TempDir;

use super::*;

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Result<Vec<u8>, ErrorKind>,
}

impl Answer {
    fn header(&self, name: HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A root with one file of each interesting kind.
fn tree() -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("ten.txt"), "0123456789").unwrap();
    fs::write(dir.path().join("sub/clip.mp4"), "clip").unwrap();
    fs::write(dir.path().join("empty"), "").unwrap();
    dir
}

fn origin(dir: &TempDir) -> Directory {
    Directory::new(Config::new("files", dir.path())).unwrap()
}

async fn ask(origin: &Directory, method: Method, target: &str, fields: &[(HeaderName, &str)]) -> Answer {
    let mut request = Request::new(method, target);
    for (name, value) in fields {
        request.headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
    }
    let response = origin.fetch(request).await.unwrap();
    let declared = response.content_length;
    let body = collect(response.body).await;
    if let Ok(body) = &body {
        assert_eq!(declared, Some(body.len() as u64), "{target}: declared length");
    }
    Answer { status: response.status.as_u16(), headers: response.headers, body }
}

async fn get(origin: &Directory, target: &str, fields: &[(HeaderName, &str)]) -> Answer {
    ask(origin, Method::GET, target, fields).await
}

async fn collect(mut body: Body) -> Result<Vec<u8>, ErrorKind> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        bytes.extend_from_slice(&chunk.map_err(|error| error.kind)?);
    }
    Ok(bytes)
}

#[tokio::test]
async fn a_file_is_served_with_validators_and_type() {
    let dir = tree();
    let origin = origin(&dir);
    let answer = get(&origin, "/sub/clip.mp4?v=1", &[]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body.as_deref(), Ok(&b"clip"[..]));
    assert_eq!(answer.header(header::CONTENT_TYPE), "video/mp4");
    assert_eq!(answer.header(header::CONTENT_LENGTH), "4");
    assert_eq!(answer.header(header::ACCEPT_RANGES), "bytes");
    assert_eq!(answer.header(header::CACHE_CONTROL), "public, max-age=60");
    assert!(answer.header(header::ETAG).starts_with('"'), "strong: {}", answer.header(header::ETAG));
    assert!(httpdate::parse_http_date(answer.header(header::LAST_MODIFIED)).is_ok());
    assert!(httpdate::parse_http_date(answer.header(header::DATE)).is_ok());

    let head = ask(&origin, Method::HEAD, "/sub/clip.mp4", &[]).await;
    assert_eq!((head.status, head.body.as_deref()), (200, Ok(&b""[..])));
    for name in [header::CONTENT_LENGTH, header::ETAG, header::LAST_MODIFIED, header::CONTENT_TYPE] {
        assert_eq!(head.header(name.clone()), answer.header(name));
    }

    let empty = get(&origin, "/empty", &[]).await;
    assert_eq!((empty.status, empty.body.as_deref()), (200, Ok(&b""[..])));
}

#[tokio::test]
async fn what_is_no_file_is_404_and_other_methods_405() {
    let dir = tree();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.path().join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let origin = origin(&dir);
    let long = format!("/{}", "a".repeat(5000));
    for target in ["/", "/sub", "/sub/", "/none", "/ten.txt/", "/ten.txt/x", "//etc/passwd", "/fifo", &long] {
        let answer = get(&origin, target, &[]).await;
        assert_eq!(answer.status, 404, "{target}");
        assert_eq!(answer.body.as_deref(), Ok(&b""[..]), "{target}");
    }
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = ask(&origin, method.clone(), "/ten.txt", &[]).await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header(header::ALLOW), "GET, HEAD");
    }
}

#[tokio::test]
async fn traversal_is_refused() {
    let dir = tree();
    let origin = origin(&dir);
    for target in
        ["/../x", "/%2e%2e/x", "/..%2f", "/..%5c", "/a%00", "/%c0%af", "/%zz", "/sub/%2e%2e/ten.txt"]
    {
        let error = origin.fetch(Request::new(Method::GET, target)).await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::Forbidden, "{target}");
        assert!(!error.kind.is_retryable());
    }
}

#[tokio::test]
async fn links_are_followed_only_where_configured() {
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let dir = tree();
    symlink(outside.path().join("secret"), dir.path().join("file-out")).unwrap();
    symlink(outside.path(), dir.path().join("dir-out")).unwrap();
    symlink("../..", dir.path().join("sub/up")).unwrap();
    symlink("ten.txt", dir.path().join("file-in")).unwrap();
    symlink("loop", dir.path().join("loop")).unwrap();

    let closed = origin(&dir);
    for target in ["/file-out", "/dir-out/secret", "/sub/up/etc/passwd", "/file-in", "/loop"] {
        assert_eq!(get(&closed, target, &[]).await.status, 404, "{target}");
    }
    let open = Directory::new(Config { follow_symlinks: true, ..Config::new("files", dir.path()) }).unwrap();
    for (target, body) in [("/file-out", "secret"), ("/dir-out/secret", "secret"), ("/file-in", "0123456789")]
    {
        assert_eq!(get(&open, target, &[]).await.body.as_deref(), Ok(body.as_bytes()), "{target}");
    }
    assert_eq!(get(&open, "/loop", &[]).await.status, 404);
}

#[tokio::test]
async fn a_root_that_is_itself_a_link_is_fine() {
    let dir = tree();
    let link = dir.path().join("link-to-root");
    symlink(dir.path().join("sub"), &link).unwrap();
    let origin = Directory::new(Config::new("files", &link)).unwrap();
    assert_eq!(get(&origin, "/clip.mp4", &[]).await.body.as_deref(), Ok(&b"clip"[..]));
}

#[tokio::test]
async fn ranges() {
    let dir = tree();
    let origin = origin(&dir);
    for (range, status, body, content_range) in [
        ("bytes=0-0", 206, "0", "bytes 0-0/10"),
        ("bytes=3-", 206, "3456789", "bytes 3-9/10"),
        ("bytes=-4", 206, "6789", "bytes 6-9/10"),
        ("bytes=8-100", 206, "89", "bytes 8-9/10"),
        ("bytes=10-", 416, "", "bytes */10"),
        ("bytes=-0", 416, "", "bytes */10"),
        ("bytes=0-1,4-5", 200, "0123456789", ""),
        ("bytes=5-2", 200, "0123456789", ""),
        ("bytes=x", 200, "0123456789", ""),
    ] {
        let answer = get(&origin, "/ten.txt", &[(header::RANGE, range)]).await;
        assert_eq!(answer.status, status, "{range}");
        assert_eq!(answer.body.as_deref(), Ok(body.as_bytes()), "{range}");
        assert_eq!(answer.header(header::CONTENT_RANGE), content_range, "{range}");
        if status != 416 {
            assert_eq!(answer.header(header::CONTENT_LENGTH), body.len().to_string(), "{range}");
        }
    }
    let head = ask(&origin, Method::HEAD, "/ten.txt", &[(header::RANGE, "bytes=0-0")]).await;
    assert_eq!((head.status, head.header(header::CONTENT_LENGTH)), (200, "10"));
}

#[tokio::test]
async fn conditions() {
    let dir = tree();
    let origin = origin(&dir);
    let first = get(&origin, "/ten.txt", &[]).await;
    let etag = first.header(header::ETAG);
    let date = first.header(header::LAST_MODIFIED);
    for (fields, status) in [
        (&[(header::IF_NONE_MATCH, etag)][..], 304),
        (&[(header::IF_NONE_MATCH, "\"other\"")], 200),
        (&[(header::IF_MODIFIED_SINCE, date)], 304),
        (&[(header::IF_MATCH, "\"other\"")], 412),
        (&[(header::RANGE, "bytes=0-0"), (header::IF_RANGE, etag)], 206),
        (&[(header::RANGE, "bytes=0-0"), (header::IF_RANGE, "\"other\"")], 200),
        (&[(header::RANGE, "bytes=99-"), (header::IF_RANGE, "\"other\"")], 200),
        (&[(header::RANGE, "bytes=99-"), (header::IF_NONE_MATCH, etag)], 304),
    ] {
        let answer = get(&origin, "/ten.txt", fields).await;
        assert_eq!(answer.status, status, "{fields:?}");
        if status == 304 {
            assert_eq!(answer.body.as_deref(), Ok(&b""[..]));
            assert_eq!(answer.header(header::ETAG), etag);
            assert_eq!(answer.header(header::CACHE_CONTROL), "public, max-age=60");
        }
    }
}

#[tokio::test]
async fn a_new_version_has_a_new_tag() {
    let dir = tree();
    let origin = origin(&dir);
    let path = dir.path().join("ten.txt");
    let before = get(&origin, "/ten.txt", &[]).await.header(header::ETAG).to_owned();
    // Same size and same second, replaced as `rsync` and editors do.
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(dir.path().join("new"), "9876543210").unwrap();
    let new = fs::File::options().write(true).open(dir.path().join("new")).unwrap();
    new.set_modified(modified).unwrap();
    fs::rename(dir.path().join("new"), &path).unwrap();
    assert_ne!(get(&origin, "/ten.txt", &[]).await.header(header::ETAG), before);
}

#[tokio::test]
async fn large_files_come_in_bounded_chunks() {
    let dir = tree();
    let bytes: Vec<u8> = (0..1_000_003_u32).map(|n| (n % 251) as u8).collect();
    fs::write(dir.path().join("large"), &bytes).unwrap();
    let origin = origin(&dir);
    let mut response = origin.fetch(Request::new(Method::GET, "/large")).await.unwrap();
    let mut got = Vec::new();
    while let Some(chunk) = response.body.next().await {
        let chunk = chunk.unwrap();
        assert!(chunk.len() <= file::CHUNK_BYTES);
        got.extend_from_slice(&chunk);
    }
    assert!(got == bytes);
    let part = get(&origin, "/large", &[(header::RANGE, "bytes=300000-900000")]).await;
    assert!(part.body.unwrap() == bytes[300_000..=900_000]);
}

#[tokio::test]
async fn a_file_that_shrinks_or_changes_breaks_the_body() {
    let dir = tree();
    let path = dir.path().join("large");
    let origin = origin(&dir);
    type Damage = fn(&fs::File);
    let damages: [(&str, Damage); 2] = [
        ("shrinks", |file| file.set_len(300_000).unwrap()),
        ("is overwritten", |file| {
            file.write_all_at(b"other", 500_000).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(5)).unwrap();
        }),
    ];
    for (name, damage) in damages {
        fs::write(&path, vec![7; 1_000_000]).unwrap();
        let mut response = origin.fetch(Request::new(Method::GET, "/large")).await.unwrap();
        response.body.next().await.unwrap().unwrap();
        damage(&fs::File::options().write(true).open(&path).unwrap());
        let error = collect(response.body).await.unwrap_err();
        assert_eq!(error, ErrorKind::BrokenBody, "a file that {name}");
    }
}

#[tokio::test]
async fn a_root_that_vanishes_is_an_error_and_not_404() {
    let dir = tree();
    let origin = origin(&dir);
    fs::remove_dir_all(dir.path()).unwrap();
    let error = origin.fetch(Request::new(Method::GET, "/ten.txt")).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Io);
}

#[test]
fn what_cannot_be_served_is_refused_at_once() {
    let dir = tree();
    assert!(Directory::new(Config::new("files", dir.path().join("none"))).is_err());
    assert!(Directory::new(Config::new("files", dir.path().join("ten.txt"))).is_err());
    let split = Config { cache_control: "a\r\nb".to_owned(), ..Config::new("files", dir.path()) };
    assert!(Directory::new(split).is_err());
}
