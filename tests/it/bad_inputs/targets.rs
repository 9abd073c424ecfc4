//! Section B: paths, queries and fields, of a server in front of an origin and of one in front of a directory.

use crate::{
    edge::Edge,
    origin_double::{Answer, OriginDouble},
};

/// A path, and what is answered in front of an origin that has an answer for everything, and in front of a directory.
struct Path {
    row: &'static str,
    raw: String,
    origin: u16,
    directory: u16,
    /// Where the answer is another one than the list wants, why.
    why: &'static str,
}

fn path(row: &'static str, raw: &str, origin: u16, directory: u16) -> Path {
    Path { row, raw: raw.to_owned(), origin, directory, why: "" }
}

fn paths() -> Vec<Path> {
    let on_purpose = |row, raw: &str, directory, why| Path { why, ..path(row, raw, 200, directory) };
    let many: String = (0..500).map(|number| format!("&p{number}=1")).collect();
    vec![
        path("B1 above the root", "/../secret.txt", 400, 400),
        path("B1 above a folder", "/in/../../secret.txt", 400, 400),
        path("B1 encoded dots", "/%2e%2e/secret.txt", 400, 400),
        path("B1 encoded slash", "/..%2fsecret.txt", 400, 400),
        path("B1 encoded backslash", "/..%5csecret.txt", 400, 400),
        path("B1 dots and slashes", "/.//..//secret.txt", 400, 400),
        path("B1 backslashes", "\\..\\secret.txt", 400, 400),
        path("B1 dots as a parameter's segment", "/in/..;/secret.txt", 400, 400),
        path("B1 the same, encoded", "/in/%2E%2e;x=y/secret.txt", 400, 400),
        path("B1 NUL", "/in/a.txt%00.jpg", 400, 400),
        on_purpose(
            "B1 two slashes",
            "//in/a.txt",
            404,
            "another path than with one; origins tell them apart",
        ),
        on_purpose(
            "B1 overlong dots",
            "/%c0%ae%c0%ae/secret.txt",
            404,
            "no UTF-8, so no dots: it stays encoded",
        ),
        on_purpose(
            "B1 dots encoded twice",
            "/%252e%252e/secret.txt",
            404,
            "decoded once, it names a file of that name",
        ),
        path("B3 no hexadecimal digits", "/in/%zz", 400, 400),
        path("B3 one digit", "/in/%2", 400, 400),
        path("B3 none", "/in/%", 400, 400),
        path("B3 in the query", "/in/a.txt?%zz", 400, 400),
        path("B3 raw bytes beyond ASCII", "/in/\u{e9}", 400, 400),
        on_purpose(
            "B3 no UTF-8",
            "/in/%ff",
            404,
            "the syntax allows it: it stays encoded, and is a key of its own",
        ),
        path("B4 path of 8 KiB", &format!("/{}", "a".repeat(8 << 10)), 414, 414),
        path("B4 query of 8 KiB", &format!("/in/a.txt?{}", "a".repeat(8 << 10)), 414, 414),
        path("B4 500 parameters", &format!("/in/a.txt?x=1{many}"), 200, 200),
        path("B14 line ends in the path", "/in/a%0d%0aSet-Cookie:%20x=y", 400, 400),
        path("B14 line ends in the query", "/in/a.txt?%0d%0aSet-Cookie:%20x=y", 400, 400),
        path("B14 a line feed", "/in/a%0alevel=ERROR", 400, 400),
        path("B14 escape sequences", "/in/a%1b%5b31m", 400, 400),
    ]
}

#[tokio::test]
async fn paths_lead_to_what_they_name_or_nowhere() {
    let origin = OriginDouble::start().await;
    origin.on_any(Answer::ok("reached").cache_control("max-age=60"));
    let over_origin = Edge::over(&origin).await;
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("root");
    std::fs::create_dir_all(root.join("in")).unwrap();
    std::fs::write(root.join("in/a.txt"), "inside").unwrap();
    std::fs::write(parent.path().join("secret.txt"), "outside").unwrap();
    let over_directory = Edge::over_directory(&root).await;
    let mut faults = Vec::new();
    for Path { row, raw, origin, directory, why } in paths() {
        for (edge, status) in [(&over_origin, origin), (&over_directory, directory)] {
            for method in ["GET", "HEAD"] {
                let reply = edge.send(method, &raw, &[]).await;
                let text = String::from_utf8_lossy(&reply.body);
                // What is no request at all is refused without words, and a file that is not there has none.
                let clear = reply.body.is_empty()
                    || status < 400
                    || reply.field("content-type").contains("problem+json");
                let split = reply.headers.contains_key("set-cookie");
                if reply.status != status || text.contains("outside") || !clear || split {
                    faults.push(format!("{row} ({why}): {method} {} for {status}, {text}", reply.status));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for target in ["/../secret.txt", "/in/..;/secret.txt", "/secret.txt"] {
        assert_eq!(origin.hits(target), 0, "{target}");
    }
}

/// A field of a request for an object of a thousand bytes, and what is answered, from the origin and from the store.
#[tokio::test]
async fn fields_ask_for_no_more_than_there_is() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", Answer::pattern(1000, 1).etag("\"1\"").cache_control("max-age=60"));
    let many = |one: &str, count: usize| vec![one; count].join(", ");
    let (ranges, overlapping) =
        (format!("bytes={}", many("5-6", 1000)), format!("bytes={}", many("0-999", 8)));
    let (tags, accept) = (many("\"x\"", 1000), many("a/b;q=0", 2000));
    let long_date = format!("Thu, 01 Jan 1970 00:00:00 GMT{}", " ".repeat(8000));
    let rows = [
        ("B11 1,000 parts", "range", &*ranges, 200),
        ("B11 overlapping parts, which are put together", "range", &*overlapping, 206),
        ("B11 first and last", "range", "bytes=0-0,-1", 206),
        ("B11 backwards", "range", "bytes=5-2", 200),
        ("B11 the last none", "range", "bytes=-0", 416),
        ("B11 19 digits", "range", "bytes=9223372036854775807-", 416),
        ("B11 20 digits", "range", "bytes=0-99999999999999999999", 206),
        ("B11 behind the end", "range", "bytes=1000-", 416),
        ("B11 another unit", "range", "lines=0-9", 200),
        ("B11 nonsense", "range", "bytes=a-b", 200),
        ("B12 no date", "if-modified-since", "yesterday", 200),
        ("B12 impossible date", "if-modified-since", "Thu, 99 Foo 2026 99:99:99 GMT", 200),
        ("B12 long date", "if-modified-since", &*long_date, 200),
        ("B12 no date to compare with", "if-unmodified-since", "yesterday", 200),
        ("B12 1,000 tags", "if-none-match", &*tags, 200),
        ("B12 weakly equal", "if-none-match", "W/\"1\"", 304),
        ("B12 not strongly equal", "if-match", "W/\"1\"", 412),
        ("B13 16 KiB of types", "accept", &*accept, 200),
        ("B13 quality of nothing", "accept-encoding", "gzip;q=nan, br;q=0, *;q=0", 200),
        ("B13 quality out of bounds", "accept-encoding", "gzip;q=99, br;q=-1", 200),
    ];
    let mut faults = Vec::new();
    for (row, name, value, status) in rows {
        for from in ["origin", "store"] {
            let reply = edge.ask("GET", "/x", &[(name, value)]).await;
            // Parts have heads of their own.
            let most = if reply.field("content-type").starts_with("multipart/") { 1500 } else { 1000 };
            let whole = reply.status != 200 || reply.is_pattern(1, 0..1000);
            if reply.status != status || (status < 400 && reply.body.len() > most) || !whole {
                faults.push(format!("{row}, from the {from}: {}, {} bytes", reply.status, reply.body.len()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Row B8: one key where RFC 3986 says that two are equal, and two where it does not.
#[tokio::test]
async fn spellings_of_one_address_are_one_key() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on_any(Answer::ok("x").cache_control("max-age=60"));
    for (row, host, target, cache) in [
        ("first", "edge.example", "/a%2Db", "MISS"),
        ("B8 case of the host", "EDGE.Example", "/a-b", "HIT"),
        ("B8 default port", "edge.example:80", "/a-b", "HIT"),
        ("B8 trailing dot", "edge.example.", "/a-b", "HIT"),
        ("B8 case of an escape", "edge.example", "/a%2db", "HIT"),
        ("B8 case of the path", "edge.example", "/A-b", "MISS"),
        ("B8 a slash at the end", "edge.example", "/a-b/", "MISS"),
    ] {
        assert_eq!(edge.ask("GET", target, &[("host", host)]).await.cache(), cache, "{row}");
    }
}
